//! The facts of a host that networks of containers need: forwarding, the kernel's filters, and other people's firewalls.

use std::fs;

use onggi_engine::{Engine, FirewallFacts};
use onggi_error::Diagnose;

use super::host_checks::Check;

/// All of them, for root.
pub(super) fn all(engine: Option<&Engine>) -> Vec<Check> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/net/{name}")).ok().map(|text| text.trim().to_owned())
    };
    let mut checks = vec![forwarding(read("ipv4/ip_forward").as_deref())];
    checks.push(reverse_path(read("ipv4/conf/all/rp_filter").as_deref()));
    checks.push(bridged(read("bridge/bridge-nf-call-iptables").as_deref()));
    if let Some(engine) = engine {
        match engine.firewall_facts() {
            Ok(facts) => checks.extend(firewall(&facts)),
            Err(error) => {
                let mend = error.hint().unwrap_or_else(|| "modprobe nf_tables".to_owned());
                checks.push(Check::fail("nf_tables", error.to_string(), mend));
            }
        }
    }
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    checks.extend(legacy_filter(&legacy));
    checks
}

fn forwarding(value: Option<&str>) -> Check {
    const NAME: &str = "forwarding";
    match value {
        Some("0") => {
            Check::ok(NAME, "off; the first container with a network turns it on (net.ipv4.ip_forward)")
        }
        Some(_) => Check::ok(NAME, "on"),
        None => Check::fail(NAME, "/proc/sys says nothing of it", "mount -t proc proc /proc"),
    }
}

/// Packets that come in by another link than the answer would leave by.
fn reverse_path(value: Option<&str>) -> Check {
    const NAME: &str = "rp_filter";
    match value {
        Some("1") => {
            Check::ok(NAME, "strict: what a container sends by one network from another's address is dropped")
        }
        Some("2") => Check::ok(NAME, "loose"),
        _ => Check::ok(NAME, "off"),
    }
}

fn bridged(value: Option<&str>) -> Check {
    const NAME: &str = "bridge-nf-call";
    match value {
        Some("1") => {
            Check::ok(NAME, "on: packets inside a network pass the firewall too, which lets them through")
        }
        Some(_) => Check::ok(NAME, "off"),
        None => Check::ok(NAME, "br_netfilter is not loaded"),
    }
}

fn firewall(facts: &FirewallFacts) -> Vec<Check> {
    let table = match (facts.is_whole, facts.bridges.len()) {
        (true, _) => Check::ok("nf_tables", "there, with the table of the networks"),
        (false, 0) => Check::ok("nf_tables", "there; the table of the networks is made on first use"),
        (false, _) => Check::warn(
            "nf_tables",
            "the table of the networks is missing, or its rules are not as Onggi made them",
            "onggi network rebuild",
        ),
    };
    let mut checks = vec![table];
    for (chain, mend) in &facts.obstacles {
        let found = format!("{chain} drops what containers send to others");
        checks.push(Check::warn("firewall", found, mend.clone()));
    }
    if facts.obstacles.is_empty() {
        checks.push(Check::ok("firewall", "nobody's chain drops what containers send"));
    }
    checks
}

/// Rules of the old kind are another room of the kernel, whose policy can be read by its own program alone.
fn legacy_filter(names: &str) -> Option<Check> {
    let found = "rules of the old iptables are loaded, and cannot be looked at from here: if their FORWARD drops, containers reach nobody";
    names
        .lines()
        .any(|name| name == "filter")
        .then(|| Check::warn("iptables-legacy", found, "iptables-legacy -S FORWARD"))
}

#[cfg(test)]
mod tests {
    use super::super::host_checks::State;
    use super::*;

    #[test]
    fn what_stands_in_the_way_comes_with_its_cure() {
        let facts = FirewallFacts {
            is_whole: false,
            bridges: vec!["onggi0".to_owned()],
            obstacles: vec![("table ip filter, chain FORWARD".to_owned(), "iptables …".to_owned())],
        };
        let states = |facts| firewall(facts).iter().map(|check| check.state).collect::<Vec<_>>();
        assert_eq!(states(&facts), [State::Warn, State::Warn]);
        assert_eq!(firewall(&facts)[1].mend.as_deref(), Some("iptables …"));
        assert_eq!(states(&FirewallFacts::default()), [State::Ok, State::Ok]);
        assert!(legacy_filter("nat\nfilter\n").is_some() && legacy_filter("nat\n").is_none());
        assert_eq!(forwarding(None).state, State::Fail);
    }
}
