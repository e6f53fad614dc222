//! The expressions of a rule: each loads something into a register, or compares one, or acts.
//!
//! Registers are 4 bytes each; the first is number 8. What is looked up in a set of several parts is loaded into registers that
//! follow one another.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::batch::Family;
use crate::endpoint::Protocol;
use crate::netlink::Message;

/// The first register.
const FIRST: u32 = 8;
/// `struct` field numbers and flags of `nf_tables.h`.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// The register that takes a verdict.
const VERDICT_REGISTER: u32 = 0;

/// What happens to the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
    /// Back to the chain that led here.
    Return = (-5_i32).cast_unsigned(),
}

/// `NFT_META_…`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Meta {
    Mark = 3,
    InName = 6,
    OutName = 7,
    Family = 15,
    Protocol = 16,
}

/// `NFT_CT_…` and the bits that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// `established`, `related`
    Known,
    /// Its destination was changed.
    Redirected,
    /// `invalid`: it makes no sense where its connection stands, or anywhere.
    Senseless,
}

/// A rule under construction, read from left to right like nft's.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    expressions: Vec<(&'static str, Message)>,
}

impl Rule {
    pub(crate) fn new() -> Rule {
        Rule::default()
    }

    /// `meta nfproto ipv4`
    pub(crate) fn of_family(self, family: Family) -> Rule {
        self.load_meta(Meta::Family, 0).compare(&[family.number()])
    }

    /// `iifname @set`, `oifname @set`
    pub(crate) fn interface_in(self, meta: Meta, set: &str) -> Rule {
        self.load_meta(meta, 0).lookup(set, false)
    }

    /// `iifname NAME`, or with `beginning` all whose names begin so: `iifname NAME*`
    pub(crate) fn interface_is(self, meta: Meta, name: &str, beginning: bool) -> Rule {
        let mut bytes = name.as_bytes().to_vec();
        if !beginning {
            bytes.push(0);
        }
        self.load_meta(meta, 0).compare(&bytes)
    }

    pub(crate) fn counter(self) -> Rule {
        self.add("counter", |body| body)
    }

    /// `oifname != @set`
    pub(crate) fn interface_not_in(self, meta: Meta, set: &str) -> Rule {
        self.load_meta(meta, 0).lookup(set, true)
    }

    /// `iifname . oifname @set`
    pub(crate) fn interfaces_in(self, set: &str) -> Rule {
        self.load_meta(Meta::InName, 0).load_meta(Meta::OutName, 4).lookup(set, false)
    }

    /// `ct state established,related`, `ct status dnat`
    pub(crate) fn tracked(self, what: Tracked) -> Rule {
        let (key, bits): (u32, u32) = match what {
            Tracked::Known => (0, 2 | 4),
            Tracked::Senseless => (0, 1),
            Tracked::Redirected => (2, 1 << 5),
        };
        self.add("ct", |body| body.big(1, FIRST).big(2, key)).mask(&bits.to_ne_bytes()).add("cmp", |body| {
            body.big(1, FIRST).big(2, NOT_EQUAL).nest(3, |data| data.attribute(DATA_VALUE, &[0; 4]))
        })
    }

    /// `fib daddr type local`
    pub(crate) fn addressed_here(self) -> Rule {
        const TYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        self.add("fib", |body| body.big(1, FIRST).big(2, TYPE).big(3, DESTINATION))
            .compare(&LOCAL.to_ne_bytes())
    }

    /// `fib saddr . iif oif missing`, and with `destination` `fib daddr …`: the link that the packet came in by is not the one by which
    /// this address is reached.
    pub(crate) fn not_of_its_link(self, destination: bool) -> Rule {
        const LINK: u32 = 1;
        const SOURCE: u32 = 1;
        const DESTINATION: u32 = 2;
        const BY_ITS_LINK: u32 = 8;
        const WHETHER: u32 = 32;
        let flags = if destination { DESTINATION } else { SOURCE } | BY_ITS_LINK | WHETHER;
        self.add("fib", |body| body.big(1, FIRST).big(2, LINK).big(3, flags)).compare(&[0; 4])
    }

    /// `ip saddr 127.0.0.0/8`, and with `destination` `ip daddr …`
    pub(crate) fn loopback_address(self, destination: bool) -> Rule {
        let offset = if destination { 16 } else { 12 };
        // The first byte is all that matters.
        self.of_family(Family::Ipv4).payload(NETWORK, offset, 1, 0).compare(&[127])
    }

    /// `ip6 daddr != ::1`
    pub(crate) fn beyond_loopback6(self) -> Rule {
        let (rule, _) = self.of_family(Family::Ipv6).destination(Family::Ipv6, 0);
        rule.add("cmp", |body| {
            let loopback = Ipv6Addr::LOCALHOST.octets();
            body.big(1, FIRST).big(2, NOT_EQUAL).nest(3, |data| data.attribute(DATA_VALUE, &loopback))
        })
    }

    /// `ip daddr` or `ip6 daddr` from the register on; answers with the first register behind it.
    fn destination(self, family: Family, register: u32) -> (Rule, u32) {
        match family {
            Family::Ipv6 => (self.payload(NETWORK, 24, 16, register), register + 4),
            _ => (self.payload(NETWORK, 16, 4, register), register + 1),
        }
    }

    /// `ip saddr . ip daddr @set`, or of IPv6
    pub(crate) fn addresses_in(self, family: Family, set: &str) -> Rule {
        let rule = match family {
            Family::Ipv6 => self.payload(NETWORK, 8, 16, 0).payload(NETWORK, 24, 16, 4),
            _ => self.payload(NETWORK, 12, 4, 0).payload(NETWORK, 16, 4, 1),
        };
        rule.lookup(set, false)
    }

    /// `dnat to [daddr .] meta l4proto . th dport map @map`
    pub(crate) fn redirect_by(self, family: Family, map: &str, by_address: bool) -> Rule {
        let (rule, next) = if by_address { self.destination(family, 0) } else { (self, 0) };
        let port_behind = if family == Family::Ipv6 { 4 } else { 1 };
        rule.load_meta(Meta::Protocol, next)
            .payload(TRANSPORT, DESTINATION_PORT, 2, next + 1)
            .add("lookup", |body| body.text(1, map).big(2, FIRST).big(3, FIRST))
            .add("nat", |body| {
                body.big(1, NAT_DESTINATION)
                    .big(2, u32::from(family.number()))
                    .big(3, FIRST)
                    .big(5, FIRST + port_behind)
            })
    }

    /// `[ip6 daddr .] meta l4proto . th dport @set`
    pub(crate) fn port_in(self, family: Family, set: &str, by_address: bool) -> Rule {
        let (rule, next) = if by_address { self.destination(family, 0) } else { (self, 0) };
        let rule = rule.load_meta(Meta::Protocol, next);
        rule.payload(TRANSPORT, DESTINATION_PORT, 2, next + 1).lookup(set, false)
    }

    /// `ip daddr ADDRESS`
    pub(crate) fn for_address(self, address: Ipv4Addr) -> Rule {
        let (rule, _) = self.destination(Family::Ipv4, 0);
        rule.compare(&address.octets())
    }

    /// `udp dport PORT`
    pub(crate) fn for_port(self, protocol: Protocol, port: u16) -> Rule {
        self.load_meta(Meta::Protocol, 0)
            .compare(&[protocol.number()])
            .payload(TRANSPORT, DESTINATION_PORT, 2, 0)
            .compare(&port.to_be_bytes())
    }

    /// `dnat to ADDRESS:PORT`
    pub(crate) fn redirect_to(self, address: Ipv4Addr, port: u16) -> Rule {
        self.load(FIRST, &address.octets()).load(FIRST + 1, &port.to_be_bytes()).add("nat", |body| {
            body.big(1, NAT_DESTINATION)
                .big(2, u32::from(Family::Ipv4.number()))
                .big(3, FIRST)
                .big(5, FIRST + 1)
        })
    }

    /// `meta mark MARK`
    pub(crate) fn marked(self, mark: u32) -> Rule {
        self.load_meta(Meta::Mark, 0).compare(&mark.to_ne_bytes())
    }

    /// `meta mark set MARK`
    pub(crate) fn mark(self, mark: u32) -> Rule {
        self.load(FIRST, &mark.to_ne_bytes()).add("meta", |body| body.big(2, Meta::Mark as u32).big(3, FIRST))
    }

    /// `ct mark MARK`
    pub(crate) fn connection_marked(self, mark: u32) -> Rule {
        self.add("ct", |body| body.big(1, FIRST).big(2, CONNECTION_MARK)).compare(&mark.to_ne_bytes())
    }

    /// `ct mark set MARK`
    pub(crate) fn mark_connection(self, mark: u32) -> Rule {
        self.load(FIRST, &mark.to_ne_bytes()).add("ct", |body| body.big(2, CONNECTION_MARK).big(4, FIRST))
    }

    pub(crate) fn masquerade(self) -> Rule {
        self.add("masq", |body| body)
    }

    pub(crate) fn verdict(self, verdict: Verdict) -> Rule {
        self.add("immediate", |body| {
            body.big(1, VERDICT_REGISTER)
                .nest(2, |data| data.nest(DATA_VERDICT, |code| code.big(1, verdict as u32)))
        })
    }

    /// As the elements of a list.
    pub(crate) fn write(self, list: Message) -> Message {
        self.expressions.into_iter().fold(list, |list, (name, body)| {
            list.nest(1, |element| element.text(1, name).nest(2, |data| data.raw(body.body())))
        })
    }

    fn load(self, register: u32, value: &[u8]) -> Rule {
        self.add("immediate", |body| body.big(1, register).nest(2, |data| data.attribute(DATA_VALUE, value)))
    }

    fn load_meta(self, meta: Meta, register: u32) -> Rule {
        self.add("meta", |body| body.big(1, FIRST + register).big(2, meta as u32))
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Rule {
        self.add("payload", |body| body.big(1, FIRST + register).big(2, base).big(3, offset).big(4, length))
    }

    fn compare(self, value: &[u8]) -> Rule {
        self.add("cmp", |body| {
            body.big(1, FIRST).big(2, EQUAL).nest(3, |data| data.attribute(DATA_VALUE, value))
        })
    }

    fn mask(self, mask: &[u8]) -> Rule {
        self.add("bitwise", |body| {
            body.big(1, FIRST)
                .big(2, FIRST)
                .big(3, mask.len() as u32)
                .nest(4, |data| data.attribute(DATA_VALUE, mask))
                .nest(5, |data| data.attribute(DATA_VALUE, &vec![0; mask.len()]))
        })
    }

    fn lookup(self, set: &str, inverted: bool) -> Rule {
        self.add("lookup", |body| {
            let body = body.text(1, set).big(2, FIRST);
            if inverted { body.big(5, 1) } else { body }
        })
    }

    fn add(mut self, name: &'static str, fill: impl FnOnce(Message) -> Message) -> Rule {
        self.expressions.push((name, fill(Message::new(0, 0))));
        self
    }
}

/// `NFT_CT_MARK`
const CONNECTION_MARK: u32 = 3;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// Where `payload` counts from.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// Where TCP, UDP and SCTP have the port (bytes).
const DESTINATION_PORT: u32 = 2;
/// `NFT_NAT_DNAT`
const NAT_DESTINATION: u32 = 1;
