//! Which link of the host's pasta is shown as the one that leads out. It looks at default routes by itself; without any, versions before
//! 2024-08 need a link by name, although they only take its family of addresses from it.
//!
//! The two texts of /proc are parsed purely.

use std::fs;

/// What the host has for pasta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uplink {
    /// A default route, which pasta finds.
    Route,
    /// None, but a link with an address: what is on its network can be reached.
    Link(String),
    /// Loopback alone: a laptop in a train.
    None,
}

/// Of the network namespace that the caller is in. What cannot be read is taken for empty.
pub(crate) fn find() -> Uplink {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    choose(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}

/// Flags of a route (`linux/route.h`, `linux/ipv6_route.h`).
const UP: u32 = 1;
const REJECT: u32 = 0x200;
/// An address of this host's own; the kernel keeps these in the same table of IPv6.
const LOCAL: u32 = 0x8000_0000;
const LOOPBACK: &str = "lo";

fn choose(ipv4: &str, ipv6: &str) -> Uplink {
    let routes: Vec<(bool, &str)> =
        ipv4.lines().filter_map(route4).chain(ipv6.lines().filter_map(route6)).collect();
    match (routes.iter().any(|(default, _)| *default), routes.first()) {
        (true, _) => Uplink::Route,
        (false, Some((_, link))) => Uplink::Link((*link).to_owned()),
        (false, None) => Uplink::None,
    }
}

/// Whether it is a default route, and its link; `None` for those that lead nowhere.
fn route4(line: &str) -> Option<(bool, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [link, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let leads = flags & UP != 0 && flags & REJECT == 0 && link != LOOPBACK;
    leads.then_some((destination == "00000000" && mask == "00000000", link))
}

fn route6(line: &str) -> Option<(bool, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, _, _, _, _, flags, link] = fields[..] else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_default = length == "00";
    // Every link has fe80::/10 and ff00::/8, and by these alone nobody is reached.
    let is_link_s_own =
        ["fe8", "fe9", "fea", "feb", "ff"].iter().any(|prefix| destination.starts_with(prefix));
    let leads = flags & UP != 0 && flags & (REJECT | LOCAL) == 0 && link != LOOPBACK && !is_link_s_own;
    leads.then_some((is_default, link))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const DEFAULT4: &str = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    const NEAR4: &str = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const UNREACHABLE4: &str = "*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n";
    const NONE: &str = "00000000000000000000000000000000";
    const LOOPBACK6: &str = "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo\n";
    const NO_ROUTE6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";

    fn route6(destination: &str, length: &str, flags: &str) -> String {
        format!("{destination} {length} {NONE} 00 {NONE} 00000400 00000001 00000000 {flags}     eth1\n")
    }

    #[test]
    fn a_default_route_of_either_family_is_pasta_s_to_find() {
        assert_eq!(choose(&[HEAD, NEAR4, DEFAULT4].concat(), ""), Uplink::Route);
        assert_eq!(choose(HEAD, &route6(NONE, "00", "00450003")), Uplink::Route);
    }

    #[test]
    fn without_one_a_link_that_leads_somewhere_is_named() {
        let near6 = route6("fd000000000000000000000000000000", "40", "00000001");
        assert_eq!(choose(&[HEAD, UNREACHABLE4, NEAR4].concat(), ""), Uplink::Link("eth0".to_owned()));
        assert_eq!(choose(HEAD, &near6), Uplink::Link("eth1".to_owned()));
        assert_eq!(choose(&[HEAD, NEAR4].concat(), &near6), Uplink::Link("eth0".to_owned()));
    }

    #[test]
    fn loopback_and_a_link_without_an_address_lead_nowhere() {
        let own = route6("fe800000000000000000000000000000", "40", "00000001");
        let local = route6("fd000000000000000000000000000002", "80", "80200001");
        let ipv6 = [LOOPBACK6, NO_ROUTE6, &own, &local].concat();
        assert_eq!(choose(HEAD, &ipv6), Uplink::None);
        assert_eq!(choose("", ""), Uplink::None);
        assert_eq!(choose("nothing that is known\n", "neither is this\n"), Uplink::None);
    }
}
