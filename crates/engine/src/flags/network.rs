//! The texts of `--network`, `--publish`, `--expose` and `--add-host`. Docker's sentences are those of go-connections' `nat` and docker/cli's
//! `opts`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use onggi_net::address::Mac;

use crate::request::{ExtraHost, Network, NetworkRequest, Protocol, PublishRequest};

/// In place of an address in `--add-host`: the host's own in the container's network.
pub const HOST_GATEWAY: &str = "host-gateway";

/// `--network`, as often as it was given, with what `--network-alias`, `--ip`, `--ip6` and `--mac-address` say of the first one.
///
/// # Errors
/// Modes that exclude one another, options that are not built.
pub fn networks(texts: &[String], single: NetworkRequest) -> Result<(Network, Vec<NetworkRequest>), String> {
    let given = single != NetworkRequest::default();
    let mut networks = Vec::new();
    for text in texts {
        networks.push(network(text)?);
    }
    if networks.is_empty() {
        networks.push(NetworkRequest { name: "bridge".to_owned(), ..NetworkRequest::default() });
    }
    let mode = |name: &str| match name {
        "none" => Some(Network::None),
        "host" => Some(Network::Host),
        _ => name.strip_prefix("container:").map(|name| Network::Container(name.to_owned())),
    };
    if let Some(mode) = networks.iter().find_map(|wanted| mode(&wanted.name)) {
        if networks.len() > 1 {
            return Err(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                    .to_owned(),
            );
        }
        if let Network::Container(name) = &mode
            && name.is_empty()
        {
            return Err("invalid container format container:<name|id>".to_owned());
        }
        let named = networks.remove(0);
        if given || named != (NetworkRequest { name: named.name.clone(), ..NetworkRequest::default() }) {
            return Err(format!("conflicting options: {} has no addresses or aliases to give", named.name));
        }
        return Ok((mode, Vec::new()));
    }
    if let Some(first) = networks.first_mut().filter(|_| given) {
        let twice = (!first.aliases.is_empty() && !single.aliases.is_empty())
            || (first.ipv4.is_some() && single.ipv4.is_some())
            || (first.ipv6.is_some() && single.ipv6.is_some())
            || (first.mac.is_some() && single.mac.is_some());
        if twice {
            return Err("conflicting options: cannot specify both --network-alias, --ip, --ip6 or --mac-address and the same in --network".to_owned());
        }
        first.aliases.extend(single.aliases);
        first.ipv4 = first.ipv4.or(single.ipv4);
        first.ipv6 = first.ipv6.or(single.ipv6);
        first.mac = first.mac.take().or(single.mac);
    }
    for (at, wanted) in networks.iter().enumerate() {
        if networks[..at].iter().any(|other| other.name == wanted.name) {
            return Err(format!("network \"{}\" is specified multiple times", wanted.name));
        }
    }
    Ok((Network::Bridge, networks))
}

/// `NAME`, or `name=NAME,alias=…,ip=…`.
fn network(text: &str) -> Result<NetworkRequest, String> {
    let mut wanted = NetworkRequest::default();
    if !text.contains('=') {
        text.clone_into(&mut wanted.name);
    }
    for field in text.split(',').filter(|_| text.contains('=')) {
        let (key, value) =
            field.split_once('=').ok_or_else(|| format!("invalid field {field} in --network {text}"))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => value.clone_into(&mut wanted.name),
            "alias" => wanted.aliases.push(alias(value)?),
            "ip" => {
                wanted.ipv4 = Some(value.parse().map_err(|_| format!("invalid IPv4 address: {value}"))?);
            }
            "ip6" => {
                wanted.ipv6 = Some(value.parse().map_err(|_| format!("invalid IPv6 address: {value}"))?);
            }
            "mac-address" => wanted.mac = Some(value.parse::<Mac>()?.to_string()),
            "link-local-ip" | "driver-opt" | "gw-priority" => {
                return Err(format!("{key} in --network is not built yet"));
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if wanted.name.is_empty() {
        return Err(format!("network name/id is not specified in --network {text}"));
    }
    Ok(wanted)
}

/// `--add-host NAME:ADDRESS` or `NAME=ADDRESS`.
///
/// # Errors
/// No separator, an address that is none.
pub fn add_host(text: &str) -> Result<ExtraHost, String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, address)| !name.is_empty() && !address.is_empty())
        .ok_or_else(|| format!("bad format for add-host: \"{text}\""))?;
    // The host's address in the container's network, which is known when it starts.
    if address == HOST_GATEWAY {
        return Ok(ExtraHost { name: name.to_owned(), address: address.to_owned() });
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse::<IpAddr>().map_err(|_| format!("invalid IP address in add-host: \"{address}\""))?;
    Ok(ExtraHost { name: name.to_owned(), address: bare.to_owned() })
}

/// `--network-alias`: it becomes the name of a file.
///
/// # Errors
/// It cannot be one.
pub fn alias(text: &str) -> Result<String, String> {
    onggi_net::endpoint::file_name(text).ok_or_else(|| format!("invalid network alias: {text:?}"))?;
    Ok(text.to_owned())
}

/// `--ip`.
///
/// # Errors
/// It is no address of IPv4.
pub fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("invalid IPv4 address: {text}"))
}

/// `--ip6`.
///
/// # Errors
/// It is no address of IPv6.
pub fn ipv6(text: &str) -> Result<Ipv6Addr, String> {
    text.parse().map_err(|_| format!("invalid IPv6 address: {text}"))
}

/// `--mac-address`, as it will be written.
///
/// # Errors
/// It is none, or that of a group.
pub fn mac_address(text: &str) -> Result<String, String> {
    text.parse::<Mac>().map(|mac| mac.to_string())
}

/// `--publish`: `[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]`, ranges with a dash, or `published=…,target=…,protocol=…`.
///
/// # Errors
/// Docker's sentence.
pub fn publish(text: &str) -> Result<PublishRequest, String> {
    if text.contains('=') {
        return publish_by_names(text);
    }
    let (ports, protocol) = with_protocol(text)?;
    let invalid = || format!("invalid publish {text:?}: write [[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]");
    let (address, rest) = match ports.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once("]:").ok_or_else(invalid)?;
            (Some(address), rest)
        }
        None => match ports.split(':').count() {
            1 | 2 => (None, ports),
            3 => ports.split_once(':').map(|(address, rest)| (Some(address), rest)).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        },
    };
    let address = match address {
        None | Some("") => None,
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| format!("invalid IP address: {text}"))?),
    };
    let (host, container) = rest.split_once(':').unwrap_or(("", rest));
    let container = range(container).ok_or_else(|| match container {
        "" => format!("no port specified: {text}<empty>"),
        _ => format!("invalid containerPort: {container}"),
    })?;
    let host = match host {
        "" => None,
        // As Docker: any that is free.
        "0" if container.0 == container.1 => None,
        text => Some(range(text).ok_or_else(|| format!("invalid hostPort: {text}"))?),
    };
    check(PublishRequest { protocol, address, host, container }, text)
}

/// Docker's long form.
fn publish_by_names(text: &str) -> Result<PublishRequest, String> {
    let (mut host, mut container, mut protocol) = (None, None, Protocol::Tcp);
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field: {field}"))?;
        match key.to_ascii_lowercase().as_str() {
            "protocol" => protocol = self::protocol(value)?,
            "mode" if matches!(value, "host" | "ingress") => {}
            "target" => {
                container = Some(range(value).ok_or_else(|| format!("invalid target port ({value})"))?);
            }
            "published" if value == "0" => host = None,
            "published" => {
                host = Some(range(value).ok_or_else(|| format!("invalid published port ({value})"))?);
            }
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    let container = container.ok_or_else(|| format!("missing mandatory field 'target' in {text}"))?;
    check(PublishRequest { protocol, address: None, host, container }, text)
}

fn check(request: PublishRequest, text: &str) -> Result<PublishRequest, String> {
    let length = |range: (u16, u16)| u32::from(range.1) - u32::from(range.0) + 1;
    let container = length(request.container);
    // A range of the host for one port means that one of them is taken.
    if request.host.is_some_and(|host| length(host) != container && container != 1) {
        return Err(format!("invalid ranges specified for container and host Ports: {text}"));
    }
    if let Some(address) = request.address.filter(is_of_many) {
        return Err(format!(
            "invalid IP address: {address} is of many hosts, and no port can be published on it"
        ));
    }
    Ok(request)
}

/// A group's, or everybody's.
fn is_of_many(address: &IpAddr) -> bool {
    address.is_multicast() || *address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// `--expose` and an image's `EXPOSE`: `80`, `80/tcp`, `8000-8010/udp`.
///
/// # Errors
/// Docker's sentence.
pub fn exposed(text: &str) -> Result<PublishRequest, String> {
    let (ports, protocol) = with_protocol(text)?;
    let container = range(ports).ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
    Ok(PublishRequest { protocol, address: None, host: None, container })
}

fn with_protocol(text: &str) -> Result<(&str, Protocol), String> {
    let (ports, name) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    Ok((ports, protocol(name)?))
}

fn protocol(name: &str) -> Result<Protocol, String> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" | "" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err(format!("invalid proto: {name}")),
    }
}

/// `80` or `80-90`; no port is 0.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let range = (number(first)?, number(last)?);
    (range.0 <= range.1).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match publish(text) {
            Err(error) => error,
            Ok(PublishRequest { protocol, address, host, container }) => {
                let range = |(first, last): (u16, u16)| format!("{first}-{last}");
                let address = address.map_or("*".to_owned(), |address| address.to_string());
                let host = host.map_or("?".to_owned(), range);
                format!("{address} {host} {}/{}", range(container), protocol.name())
            }
        }
    }

    #[test]
    fn ports() {
        for (text, wanted) in [
            ("80", "* ? 80-80/tcp"),
            ("8080:80", "* 8080-8080 80-80/tcp"),
            (":80", "* ? 80-80/tcp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1 8080-8080 80-80/udp"),
            ("127.0.0.1::80", "127.0.0.1 ? 80-80/tcp"),
            ("[::1]:8080:80", "::1 8080-8080 80-80/tcp"),
            ("[::]::80/sctp", ":: ? 80-80/sctp"),
            ("8000-8009:9000-9009", "* 8000-8009 9000-9009/tcp"),
            ("8000-8009:80", "* 8000-8009 80-80/tcp"),
            ("published=8080,target=80,protocol=udp", "* 8080-8080 80-80/udp"),
            ("8000-8001:80-82", "invalid ranges specified for container and host Ports: 8000-8001:80-82"),
            ("", "no port specified: <empty>"),
            ("x", "invalid containerPort: x"),
            ("x:80", "invalid hostPort: x"),
            ("0:80", "* ? 80-80/tcp"),
            ("127.0.0.1:0:80/udp", "127.0.0.1 ? 80-80/udp"),
            ("0:80-81", "invalid hostPort: 0"),
            ("published=0,target=80", "* ? 80-80/tcp"),
            ("70000:80", "invalid hostPort: 70000"),
            ("80/icmp", "invalid proto: icmp"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("90-80", "invalid containerPort: 90-80"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn modes_and_networks() {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            networks(&texts, NetworkRequest::default())
        };
        assert_eq!(of(&["none"]).unwrap(), (Network::None, Vec::new()));
        assert_eq!(of(&["container:web"]).unwrap().0, Network::Container("web".into()));
        assert_eq!(of(&[]).unwrap().1[0].name, "bridge");
        let (mode, both) = of(&["front", "name=back,alias=db,ip=10.0.0.5"]).unwrap();
        assert_eq!(
            (mode, both.len(), both[1].aliases.as_slice()),
            (Network::Bridge, 2, &["db".to_owned()][..])
        );
        for wrong in [
            &["host", "front"][..],
            &["front", "front"],
            &["container:"],
            &["name=a,ip=x"],
            &["alias=a"],
            &["name=a,gw-priority=1"],
            &["name=a,mac-address=01:00:5e:00:00:01"],
            &["name=a,mac-address=00:00:00:00:00:00"],
            &["name=host,alias=x"],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        let single = NetworkRequest { aliases: vec!["db".into()], ..NetworkRequest::default() };
        assert_eq!(networks(&["a".to_owned()], single.clone()).unwrap().1[0].aliases, ["db"]);
        assert!(networks(&["host".to_owned()], single).is_err());
    }

    #[test]
    fn hosts() {
        assert_eq!(add_host("a:::1").unwrap().address, "::1");
        assert_eq!(add_host("a=[::1]").unwrap().address, "::1");
        assert_eq!(add_host("a:host-gateway").unwrap().address, HOST_GATEWAY);
        assert!(add_host("a:b").is_err() && add_host(":1.2.3.4").is_err());
    }
}
