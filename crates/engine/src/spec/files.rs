//! The text of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` in a container. Pure; moby's `libnetwork/etchosts` and
//! `libnetwork/internal/resolvconf` are the models.

use std::net::IpAddr;

use onggi_net::endpoint::Endpoint;
use onggi_net::names::listen::ADDRESS as NAME_SERVER;

use crate::flags::HOST_GATEWAY;
use crate::networks::Connections;
use crate::record::Record;
use crate::request::Network;

/// `host` is the host's own file, which a container on the host's network sees.
pub(crate) fn hosts(record: &Record, host: &str, connections: &Connections) -> String {
    let request = &record.request;
    let mut text = String::new();
    if request.network == Network::Host {
        text.push_str(host);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    } else {
        for line in [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::\tip6-localnet",
            "ff00::\tip6-mcastprefix",
            "ff02::1\tip6-allnodes",
            "ff02::2\tip6-allrouters",
        ] {
            text.push_str(line);
            text.push('\n');
        }
    }
    for extra in &request.add_hosts {
        if extra.address == HOST_GATEWAY {
            text.extend(connections.host.iter().map(|address| format!("{address}\t{}\n", extra.name)));
        } else {
            text.push_str(&format!("{}\t{}\n", extra.address, extra.name));
        }
    }
    if request.network == Network::None {
        // There is no other address; Java and sudo fail when a host does not know its own name.
        text.push_str(&own_line(record, IpAddr::from([127, 0, 0, 1])));
    }
    let endpoints: Vec<&Endpoint> =
        connections.attachments.iter().map(|attachment| &attachment.endpoint).collect();
    text.push_str(&own_addresses(record, endpoints));
    text
}

/// The lines by which a container knows its own name on networks.
pub(crate) fn own_addresses<'a>(
    record: &Record,
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
) -> String {
    let addresses = endpoints.into_iter().flat_map(Endpoint::addresses);
    addresses.map(|address| own_line(record, address)).collect()
}

fn own_line(record: &Record, address: IpAddr) -> String {
    let name = &record.resolved.hostname;
    match &record.request.domainname {
        Some(domain) => format!("{address}\t{name}.{domain} {name}\n"),
        None => format!("{address}\t{name}\n"),
    }
}

pub(crate) fn hostname(record: &Record) -> String {
    format!("{}\n", record.resolved.hostname)
}

/// `host` is the host's own file. What the flags give replaces the host's lines of that kind; name servers on the host's loopback cannot
/// be reached from another network namespace and are left out. Where names are served, who serves them is the only server: it asks the
/// others.
pub(crate) fn resolv_conf(record: &Record, host: &str, connections: &Connections) -> String {
    let request = &record.request;
    let words = |keyword: &str| -> Vec<Vec<String>> {
        host.lines()
            .map(|line| line.split(['#', ';']).next().unwrap_or_default().split_whitespace())
            .filter_map(|mut words| (words.next()? == keyword).then(|| words.map(str::to_owned).collect()))
            .collect()
    };
    let reachable = |server: &String| {
        let address = server.split('%').next().unwrap_or_default().parse::<IpAddr>();
        request.network == Network::Host || !address.is_ok_and(|address| address.is_loopback())
    };
    let served = connections.names.is_some();
    let servers: Vec<String> = if served {
        vec![NAME_SERVER.to_string()]
    } else if request.dns.is_empty() {
        words("nameserver").into_iter().filter_map(|line| line.into_iter().next()).filter(reachable).collect()
    } else {
        request.dns.clone()
    };
    // The last line counts, as in resolv.conf(5); a lone dot is "no search list".
    let search = if request.dns_search.is_empty() {
        words("search").pop().unwrap_or_default()
    } else {
        request.dns_search.iter().filter(|domain| *domain != ".").cloned().collect()
    };
    let mut options =
        if request.dns_options.is_empty() { words("options").concat() } else { request.dns_options.clone() };
    if served && !options.iter().any(|option| option.starts_with("ndots:")) {
        // As Docker: a name without a dot is first asked for as it is, since it may be a container's.
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    for (keyword, values) in [("search", search), ("options", options)] {
        if !values.is_empty() {
            text.push_str(&format!("{keyword} {}\n", values.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{ExtraHost, RunRequest};
    use onggi_image::config::RunConfig;

    fn record(request: &RunRequest) -> Record {
        let image = RunConfig { cmd: Some(vec!["sh".into()]), ..RunConfig::default() };
        crate::resolve::samples::record(request, &image).unwrap()
    }

    #[test]
    fn hosts_name_the_container_and_the_extra_ones() {
        let extra = ExtraHost { name: "db".into(), address: "10.0.0.1".into() };
        let request = RunRequest {
            hostname: Some("jar".into()),
            domainname: Some("example.org".into()),
            add_hosts: vec![extra.clone()],
            ..RunRequest::default()
        };
        let text = hosts(&record(&request), "ignored", &Connections::default());
        assert!(
            text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
            "{text}"
        );
        assert!(text.ends_with("10.0.0.1\tdb\n127.0.0.1\tjar.example.org jar\n"), "{text}");
        let request = RunRequest { network: Network::Host, add_hosts: vec![extra], ..RunRequest::default() };
        assert_eq!(
            hosts(&record(&request), "1.2.3.4 the-host", &Connections::default()),
            "1.2.3.4 the-host\n10.0.0.1\tdb\n"
        );
        assert_eq!(hostname(&record(&request)), "the-host\n");
    }

    #[test]
    fn resolv_conf_follows_the_host_and_the_flags() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver 9.9.9.9 # quad\nsearch a b\noptions edns0 ndots:2\n";
        let text = |request: RunRequest| resolv_conf(&record(&request), host, &Connections::default());
        assert_eq!(text(RunRequest::default()), "nameserver 9.9.9.9\nsearch a b\noptions edns0 ndots:2\n");
        let request = RunRequest { network: Network::Host, ..RunRequest::default() };
        assert!(text(request).starts_with("nameserver 127.0.0.53\nnameserver 9.9.9.9\n"));
        let request = RunRequest {
            dns: vec!["1.1.1.1".into()],
            dns_search: vec![".".into()],
            dns_options: vec!["rotate".into()],
            ..RunRequest::default()
        };
        assert_eq!(text(request.clone()), "nameserver 1.1.1.1\noptions rotate\n");
        let connections = Connections { names: Some(Default::default()), ..Connections::default() };
        let text = |request: RunRequest| resolv_conf(&record(&request), host, &connections);
        assert_eq!(text(request), "nameserver 127.0.0.11\noptions rotate ndots:0\n");
        assert_eq!(
            text(RunRequest::default()),
            "nameserver 127.0.0.11\nsearch a b\noptions edns0 ndots:2\n",
            "the host's own count of dots stays"
        );
    }
}
