//! What a container is called and what of it is to be reached: host name, exposed ports, the lines of its network files.

use std::collections::BTreeSet;
use std::net::IpAddr;

use onggi_image::config::RunConfig;

use super::{Facts, invalid};
use crate::error::Error;
use crate::flags;
use crate::request::{Isolation, Network, RunRequest, UtsMode};

/// What becomes lines of `/etc/resolv.conf` and `/etc/hosts` must not be able to write others.
pub(super) fn check_files(request: &RunRequest) -> Result<(), Error> {
    let word = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if let Some(bad) = request.dns.iter().find(|address| {
        let (address, zone) = address.split_once('%').unwrap_or((address, "any"));
        address.parse::<IpAddr>().is_err() || !word(zone)
    }) {
        return Err(invalid(format!("--dns: {bad:?} is not an IP address")));
    }
    for (flag, values) in [("--dns-search", &request.dns_search), ("--dns-option", &request.dns_options)] {
        if let Some(bad) = values.iter().find(|value| !word(value)) {
            return Err(invalid(format!("{flag}: {bad:?} is not one word")));
        }
    }
    if let Some(bad) = request.add_hosts.iter().find(|host| !word(&host.name)) {
        return Err(invalid(format!("--add-host: {:?} is not the name of a host", bad.name)));
    }
    if let Some(bad) = request
        .add_hosts
        .iter()
        .find(|host| host.address != flags::HOST_GATEWAY && host.address.parse::<IpAddr>().is_err())
    {
        return Err(invalid(format!("--add-host: {:?} is not an IP address", bad.address)));
    }
    if let Some(bad) = request.domainname.as_ref().filter(|name| !word(name)) {
        return Err(invalid(format!("--domainname: {bad:?} is not the name of a domain")));
    }
    Ok(())
}

/// What means nothing without a network of the container's own. Docker's sentences.
pub(super) fn check(request: &RunRequest) -> Result<(), Error> {
    let shares = matches!(request.network, Network::Container(_));
    let publishes = !request.publish.is_empty() || request.publish_all;
    let refused = [
        (shares && request.hostname.is_some(), "hostname and the network mode"),
        (shares && !request.dns.is_empty(), "dns and the network mode"),
        (shares && !request.add_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (shares && publishes, "port publishing and the container type network mode"),
        (shares && !request.expose.is_empty(), "port exposing and the container type network mode"),
        (
            matches!(request.network, Network::None | Network::Host) && !request.publish.is_empty(),
            "port publishing and the network mode",
        ),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(asked, _)| *asked) {
        return Err(invalid(format!("conflicting options: {what}")));
    }
    let gateway = request.add_hosts.iter().any(|host| host.address == flags::HOST_GATEWAY);
    if gateway && request.network != Network::Bridge {
        return Err(invalid("--add-host: host-gateway is the host's address in a bridge network"));
    }
    Ok(())
}

/// The image's, the user's, and those that are published: as in Docker, each by itself and in order.
pub(super) fn exposed_ports(request: &RunRequest, image: &RunConfig) -> Result<Vec<String>, Error> {
    let mut ports = BTreeSet::new();
    // Nobody typed the image's.
    let of_image = image.exposed_ports.keys().map(|text| {
        flags::exposed(text).map_err(|_| {
            format!(
                "the image exposes {text:?}, which is no port: an image's EXPOSE is PORT[-PORT][/tcp|udp|sctp], from 1 to 65535"
            )
        })
    });
    let named = of_image.chain(request.expose.iter().map(|text| flags::exposed(text)));
    for port in named.chain(request.publish.iter().cloned().map(Ok)) {
        let port = port.map_err(invalid)?;
        ports.extend((port.container.0..=port.container.1).map(|number| (number, port.protocol)));
    }
    Ok(ports.into_iter().map(|(number, protocol)| format!("{number}/{}", protocol.name())).collect())
}

pub(super) fn hostname(request: &RunRequest, facts: &Facts<'_>) -> Result<String, Error> {
    let shares = request.uts == UtsMode::Host || request.isolation == Isolation::Process;
    // As in Docker, an empty one is none: scripts pass on variables that may be empty.
    match request.hostname.as_ref().filter(|name| !name.is_empty()) {
        Some(_) if shares => Err(invalid("conflicting options: hostname and the UTS mode")),
        Some(name) => {
            // 64 bytes are the kernel's limit, and a NUL or a line end would forge lines of /etc/hosts. Programs make names of files of it. More is not
            // asked, as in Docker (moby#28988): hosts with `_` in their names work.
            let is_file = |label: &str| !label.is_empty() && !label.contains('/');
            let sound = name.len() <= 64
                && !name.bytes().any(|byte| byte <= b' ' || byte == 127)
                && name.strip_suffix('.').unwrap_or(name).split('.').all(is_file);
            if sound { Ok(name.clone()) } else { Err(invalid(format!("invalid hostname: {name:?}"))) }
        }
        None if shares || request.network == Network::Host => Ok(facts.host_name.to_owned()),
        None if facts.shared_hostname.is_some() => Ok(facts.shared_hostname.unwrap_or_default().to_owned()),
        None => Ok(facts.id.short().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::request::ExtraHost;

    #[test]
    fn nothing_forges_a_line_of_a_network_file() {
        samples::refused(&[
            (
                RunRequest { dns: vec!["1.1.1.1\nnameserver 2.2.2.2".into()], ..RunRequest::default() },
                "--dns: \"1.1.1.1\\nnameserver 2.2.2.2\" is not an IP address",
            ),
            (
                RunRequest { dns_search: vec!["a b".into()], ..RunRequest::default() },
                "--dns-search: \"a b\" is not one word",
            ),
            (
                RunRequest { dns_options: vec!["a\n".into()], ..RunRequest::default() },
                "--dns-option: \"a\\n\" is not one word",
            ),
            (
                RunRequest {
                    add_hosts: vec![ExtraHost { name: "a\n6.6.6.6 b".into(), address: "1.2.3.4".into() }],
                    ..RunRequest::default()
                },
                "--add-host: \"a\\n6.6.6.6 b\" is not the name of a host",
            ),
            (RunRequest { hostname: Some("a\nb".into()), ..RunRequest::default() }, "invalid hostname"),
            (
                RunRequest { hostname: Some("../../x".into()), ..RunRequest::default() },
                "invalid hostname: \"../../x\"",
            ),
            (RunRequest { hostname: Some("..".into()), ..RunRequest::default() }, "invalid hostname: \"..\""),
            (RunRequest { hostname: Some(".".into()), ..RunRequest::default() }, "invalid hostname: \".\""),
            (
                RunRequest { hostname: Some("a/b".into()), ..RunRequest::default() },
                "invalid hostname: \"a/b\"",
            ),
        ]);
    }
}
