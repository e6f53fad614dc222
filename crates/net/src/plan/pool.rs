//! Where new networks get their subnets from, and endpoints their addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::Error;
use crate::address::Subnet;

/// A range that is cut into subnets of one size, written `10.192.0.0/11:22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    pub range: Subnet,
    /// The prefix length of each subnet.
    pub size: u8,
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Pool, String> {
        let invalid =
            || format!("{text}: write a range and the size of each network, as in 10.192.0.0/11:22");
        let (range, size) = text.rsplit_once(':').ok_or_else(invalid)?;
        let range: Subnet = range.parse().map_err(|_| invalid())?;
        let size: u8 = size.parse().map_err(|_| invalid())?;
        // The gateway and one container are the least that is a network; IPv6 has no pools, as its addresses never run out.
        if !range.is_ipv4() || size < range.prefix() || size > 29 {
            return Err(invalid());
        }
        Ok(Pool { range, size })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.range, self.size)
    }
}

/// Reads pools with commas between them.
///
/// # Errors
/// What is wrong with the first that is.
pub fn parse(text: &str) -> Result<Vec<Pool>, String> {
    text.split(',').map(|pool| pool.trim().parse()).collect()
}

/// The first subnet, counted from `first_choice` on, that overlaps nothing in use.
///
/// # Errors
/// [`Error::NoSubnet`].
pub fn choose(pools: &[Pool], used: &[Subnet], first_choice: usize) -> Result<Subnet, Error> {
    let all: Vec<Subnet> = pools.iter().flat_map(|pool| pool.range.split(pool.size)).collect();
    let start = first_choice.checked_rem(all.len()).unwrap_or(0);
    let (before, from) = all.split_at(start);
    let free = |subnet: &&Subnet| !used.iter().any(|used| used.overlaps(**subnet));
    from.iter().chain(before).find(free).copied().ok_or_else(|| {
        let text: Vec<String> = pools.iter().map(ToString::to_string).collect();
        Error::NoSubnet { pools: text.join(", "), size: pools.first().map_or(0, |pool| pool.size) }
    })
}

/// The IPv6 subnet of a network that did not say which: a unique local one (RFC 4193) of the network's own random id.
#[must_use]
pub fn local6(network: &str) -> Option<Subnet> {
    let digit = |at: usize| network.get(at..=at).and_then(|digit| u128::from_str_radix(digit, 16).ok());
    let random = (0..14).try_fold(0, |bits: u128, at| Some(bits << 4 | digit(at)?))?;
    Subnet::new(IpAddr::V6(((0xFD << 56 | random) << 64).into()), 64)
}

/// The lowest address of a subnet, or of the range in it that is for containers, that is neither taken nor the gateway's.
///
/// # Errors
/// [`Error::NoAddress`].
pub fn choose_address(
    subnet: Subnet,
    range: Option<Subnet>,
    gateway: IpAddr,
    mut taken: Vec<IpAddr>,
) -> Result<IpAddr, Error> {
    let within = range.unwrap_or(subnet);
    taken.retain(|address| within.contains(*address));
    taken.push(gateway);
    taken.sort_unstable();
    let mut taken = taken.into_iter().peekable();
    let mut offset = 0;
    while let Some(candidate) = within.at(offset) {
        while taken.peek().is_some_and(|used| *used < candidate) {
            taken.next();
        }
        if taken.peek() != Some(&candidate) && subnet.is_usable(candidate) {
            return Ok(candidate);
        }
        offset += 1;
    }
    Err(Error::NoAddress { subnet: within.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::tests::{ip, subnet};

    #[test]
    fn pools_are_read() {
        assert_eq!(parse("10.192.0.0/11:22").unwrap()[0].to_string(), "10.192.0.0/11:22");
        assert_eq!(parse("10.0.0.0/8:24, 192.168.0.0/16:20").unwrap().len(), 2);
        for text in ["", "10.0.0.0/8", "10.0.0.0/8:7", "10.0.0.0/8:30", "fd00::/8:64", "x:24", "10.0.0.0/8:x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_subnet_avoids_what_is_in_use_and_begins_where_it_is_told() {
        let pools = parse("10.0.0.0/22:24,10.9.0.0/24:24").unwrap();
        for (used, first, wanted) in [
            (&[][..], 0, Some("10.0.0.0/24")),
            (&["10.0.0.0/24"], 0, Some("10.0.1.0/24")),
            (&["10.0.0.128/25", "10.0.1.0/30"], 0, Some("10.0.2.0/24")),
            (&["10.0.0.0/22"], 0, Some("10.9.0.0/24")),
            (&[], 7, Some("10.0.2.0/24")),
            (&["10.0.2.0/23", "10.9.0.0/16"], 7, Some("10.0.0.0/24")),
            (&["10.0.0.0/8"], 0, None),
            (&["fd00::/8"], 0, Some("10.0.0.0/24")),
        ] {
            let used: Vec<Subnet> = used.iter().map(|text| subnet(text)).collect();
            let chosen = choose(&pools, &used, first).ok().map(|subnet| subnet.to_string());
            assert_eq!(chosen.as_deref(), wanted, "{used:?} {first}");
        }
    }

    #[test]
    fn the_lowest_free_address() {
        for (net, range, taken, wanted) in [
            ("10.0.0.0/24", None, &[][..], Some("10.0.0.2")),
            ("10.0.0.0/24", None, &["10.0.0.2", "10.0.0.4", "10.0.0.3"], Some("10.0.0.5")),
            ("10.0.0.0/24", None, &["10.0.0.3", "10.9.9.9"], Some("10.0.0.2")),
            ("10.0.0.0/30", None, &["10.0.0.2"], None),
            ("10.0.0.0/24", Some("10.0.0.8/29"), &["10.0.0.8"], Some("10.0.0.9")),
            ("10.0.0.0/24", Some("10.0.0.8/31"), &["10.0.0.8", "10.0.0.9"], None),
            ("10.0.0.0/24", Some("10.0.0.254/31"), &["10.0.0.254"], None),
            ("fd00::/64", None, &["fd00::2"], Some("fd00::3")),
        ] {
            let range = range.map(subnet);
            let gateway = subnet(net).at(1).unwrap();
            let taken = taken.iter().map(|text| ip(text)).collect();
            let chosen = choose_address(subnet(net), range, gateway, taken).ok().map(|ip| ip.to_string());
            assert_eq!(chosen.as_deref(), wanted, "{net} {range:?}");
        }
    }

    #[test]
    fn local_subnets_come_of_ids() {
        let subnet = local6("0123456789abcdef").unwrap();
        assert_eq!(subnet.to_string(), "fd01:2345:6789:abcd::/64");
        assert_eq!(local6("short"), None);
    }
}
