//! Subnets, hardware addresses and what they are made of. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// That of an IPv4 address, as Docker's bridge makes it: who takes an address over has the hardware address that the neighbours
    /// remember.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Mac {
        let [a, b, c, d] = address.octets();
        Mac([0x02, 0x42, a, b, c, d])
    }

    /// That of something with a random id, for what has no IPv4 address: local, and of one station.
    #[must_use]
    pub fn of_id(id: &str) -> Mac {
        let mut bytes = [0; 6];
        for (at, byte) in id.bytes().take(12).enumerate() {
            let digit = char::from(byte).to_digit(16).unwrap_or(0) as u8;
            bytes[at / 2] |= if at % 2 == 0 { digit << 4 } else { digit };
        }
        bytes[0] = bytes[0] & 0xFC | 0x02;
        Mac(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("invalid MAC address: {text}"))?;
        }
        // The lowest bit of the first byte means a group of stations, and nothing but zeros nobody.
        if parts.next().is_some() || bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(format!("invalid MAC address: {text}"));
        }
        Ok(Mac(bytes))
    }
}

/// An address and how many bits of it are the network's; the rest are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// `None` if the prefix is longer than the address. Bits behind the prefix are cleared.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Subnet> {
        let width = width(address);
        if prefix > width {
            return None;
        }
        let host = width - prefix;
        let bits = u128::MAX.checked_shl(u32::from(host)).unwrap_or(0) & bits(address);
        Some(Subnet { address: from_bits(bits, address), prefix })
    }

    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Subnet::new(address, self.prefix).is_some_and(|other| other == self)
    }

    #[must_use]
    pub fn overlaps(self, other: Subnet) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.is_ipv4() == other.is_ipv4()
            && Subnet::new(self.address, shorter) == Subnet::new(other.address, shorter)
    }

    /// The address so many behind the first, if it is inside.
    #[must_use]
    pub fn at(self, offset: u128) -> Option<IpAddr> {
        (offset < self.size()).then(|| from_bits(bits(self.address) + offset, self.address))
    }

    /// How far behind the first an address is.
    #[must_use]
    pub fn offset(self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| bits(address) - bits(self.address))
    }

    /// How many addresses there are; as many as can be counted for one that is all of IPv6.
    #[must_use]
    pub fn size(self) -> u128 {
        1_u128.checked_shl(u32::from(width(self.address) - self.prefix)).unwrap_or(u128::MAX)
    }

    /// Whether an endpoint may have this address: neither the network's own nor, in IPv4, the one that means everybody. Networks of
    /// one or two addresses have neither (RFC 3021).
    #[must_use]
    pub fn is_usable(self, address: IpAddr) -> bool {
        match self.offset(address) {
            None => false,
            Some(_) if self.size() <= 2 => true,
            Some(0) => false,
            Some(offset) => !self.is_ipv4() || offset + 1 < self.size(),
        }
    }

    /// The parts of this size (prefix length), in order; none if it is smaller itself.
    pub fn split(self, prefix: u8) -> impl Iterator<Item = Subnet> {
        let fits = prefix >= self.prefix && prefix <= width(self.address);
        let step = 1_u128.checked_shl(u32::from(width(self.address).saturating_sub(prefix))).unwrap_or(0);
        let mut next = if fits { Some(0_u128) } else { None };
        std::iter::from_fn(move || {
            let offset = next?;
            next = offset.checked_add(step).filter(|&next| step > 0 && next < self.size());
            Subnet::new(self.at(offset)?, prefix)
        })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    /// `10.1.0.0/16`. Bits behind the prefix are an error, as they are probably a slip.
    fn from_str(text: &str) -> Result<Subnet, String> {
        let invalid = || format!("invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let subnet = Subnet::new(address, prefix).ok_or_else(invalid)?;
        if subnet.address != address {
            return Err(format!(
                "invalid network config: {text} has bits behind its prefix; it should be {subnet}"
            ));
        }
        Ok(subnet)
    }
}

impl Serialize for Subnet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Subnet, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Of the family of `like`.
fn from_bits(bits: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits((bits & u128::from(u32::MAX)) as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    pub(crate) fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_read_as_they_are_written() {
        for text in ["10.0.0.0/8", "192.168.7.0/24", "0.0.0.0/0", "fd00::/64", "::/0", "10.0.0.1/32"] {
            assert_eq!(subnet(text).to_string(), text);
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "x/8", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn overlaps_are_of_one_family_and_of_the_shorter_prefix() {
        for (one, other, wanted) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("0.0.0.0/0", "10.2.0.0/16", true),
            ("::/0", "10.2.0.0/16", false),
            ("fd00::/8", "fd12::/64", true),
        ] {
            assert_eq!(subnet(one).overlaps(subnet(other)), wanted, "{one} {other}");
        }
    }

    #[test]
    fn usable_addresses() {
        for (net, address, wanted) in [
            ("10.0.0.0/24", "10.0.0.0", false),
            ("10.0.0.0/24", "10.0.0.1", true),
            ("10.0.0.0/24", "10.0.0.255", false),
            ("10.0.0.0/24", "10.0.1.1", false),
            ("10.0.0.0/31", "10.0.0.0", true),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("fd00::/64", "fd00::", false),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", true),
        ] {
            assert_eq!(subnet(net).is_usable(ip(address)), wanted, "{net} {address}");
        }
    }

    #[test]
    fn parts() {
        let parts: Vec<String> = subnet("10.0.0.0/23").split(24).map(|part| part.to_string()).collect();
        assert_eq!(parts, ["10.0.0.0/24", "10.0.1.0/24"]);
        assert_eq!(subnet("10.0.0.0/24").split(23).count(), 0);
        assert_eq!(subnet("10.0.0.0/24").split(24).count(), 1);
        assert_eq!(subnet("0.0.0.0/0").split(8).count(), 256);
        assert_eq!(subnet("::/0").split(0).count(), 1);
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(Mac::of(Ipv4Addr::new(10, 0, 0, 2)).to_string(), "02:42:0a:00:00:02");
        assert_eq!(Mac::of_id("ffa1b2c3d4e5f6").to_string(), "fe:a1:b2:c3:d4:e5");
        assert_eq!("92-d0-c6-0a-29-33".parse::<Mac>().unwrap().to_string(), "92:d0:c6:0a:29:33");
        for text in
            ["", "92:d0:c6:0a:29", "92:d0:c6:0a:29:33:00", "01:00:5e:00:00:01", "9:d0:c6:0a:29:33", "x"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
