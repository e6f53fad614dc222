//! Onggi's one table, `inet onggi`: its chains and rules never change while containers come and go, only the elements of its sets do.
//! So the thousandth container costs what the first did, for the kernel and for each packet. docs/network.md tells it in prose.

use std::collections::BTreeSet;

use super::batch::{BaseChain, Batch, Family, Hook, kind, message};
use super::element::{
    self, BRIDGES, Change, INSIDE, INTERNAL, ITSELF4, ITSELF6, PORTS4, PORTS4_AT, PORTS6, PORTS6_AT,
    Published, RELAYED6, RELAYED6_AT, SETS,
};
use super::expression::{Meta, Rule, Tracked, Verdict};
use super::foreign;
use crate::Error;
use crate::netlink::Socket;
use crate::netlink::message::{Attributes, DUMP};

/// A chain that nothing leads to: which version of the table this is. A table without it is made anew.
const STAMP: &str = "layout-5";
/// What the stamps of all versions begin with.
const STAMPS: &str = "layout-";

const GUARD: &str = "guard";
const INPUT: &str = "input";
const FORWARD: &str = "forward";
const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";

/// The base chains. The priorities are nft's `raw`, `filter`, `dstnat` and `srcnat`.
const CHAINS: [BaseChain; 6] = [
    BaseChain { name: GUARD, kind: "filter", hook: Hook::Prerouting, priority: -300 },
    BaseChain { name: INPUT, kind: "filter", hook: Hook::Input, priority: 0 },
    BaseChain { name: FORWARD, kind: "filter", hook: Hook::Forward, priority: 0 },
    BaseChain { name: PREROUTING, kind: "nat", hook: Hook::Prerouting, priority: -100 },
    BaseChain { name: OUTPUT, kind: "nat", hook: Hook::Output, priority: -100 },
    BaseChain { name: POSTROUTING, kind: "nat", hook: Hook::Postrouting, priority: 100 },
];

/// Every rule with its chain, in order.
fn rules() -> Vec<(&'static str, Rule)> {
    let rule = Rule::new;
    // Most of what the host itself is sent is seen not to be by one byte.
    let inwards = || rule().of_family(Family::Ipv6).interface_in(Meta::InName, INTERNAL);
    let mut rules = vec![
        // All else in this chain is about what comes out of containers.
        (GUARD, rule().interface_not_in(Meta::InName, BRIDGES).verdict(Verdict::Accept)),
        // A bridge takes packets to 127.0.0.0/8 (`route_localnet`), which answers to published ports need and containers must not send
        // (CVE-2020-8558).
        (GUARD, rule().loopback_address(true).verdict(Verdict::Drop)),
        (GUARD, rule().loopback_address(false).verdict(Verdict::Drop)),
        // A source that is not of that network: it could answer for others, in their connections too, as these are known by addresses and not
        // by links. What stays on the bridge (it comes by here under br_netfilter) is left to those who are on it.
        (GUARD, rule().not_of_its_link(false).not_of_its_link(true).verdict(Verdict::Drop)),
        // Others' published ports, which the relay would pass on for whoever asks. What the kernel passes on goes by `forward`.
        (INPUT, inwards().port_in(Family::Ipv6, RELAYED6_AT, true).verdict(Verdict::Drop)),
        (INPUT, inwards().port_in(Family::Ipv6, RELAYED6, false).verdict(Verdict::Drop)),
        // What is published on the host's loopback is for the host: its own packets come by `output`. Redirected here, those of a neighbour
        // would get past the kernel's refusal of such addresses, which follows.
        (PREROUTING, rule().loopback_address(true).verdict(Verdict::Accept)),
        // Nearly every packet belongs to a known connection, and should look up as little as can be; those of internal networks are looked at
        // each, so that nothing goes on that began while there was no table.
        (
            FORWARD,
            rule()
                .tracked(Tracked::Known)
                .interface_not_in(Meta::InName, INTERNAL)
                .interface_not_in(Meta::OutName, INTERNAL)
                .verdict(Verdict::Accept),
        ),
        // Between containers of one network, where bridged packets come by here at all (br_netfilter).
        (FORWARD, rule().interfaces_in(INSIDE).verdict(Verdict::Accept)),
        (FORWARD, rule().interface_in(Meta::InName, INTERNAL).verdict(Verdict::Drop)),
        (FORWARD, rule().interface_in(Meta::OutName, INTERNAL).verdict(Verdict::Drop)),
        // What was published, and nothing else: neither from outside nor from another network.
        (
            FORWARD,
            rule().interface_in(Meta::OutName, BRIDGES).tracked(Tracked::Redirected).verdict(Verdict::Accept),
        ),
        (FORWARD, rule().interface_in(Meta::OutName, BRIDGES).verdict(Verdict::Drop)),
    ];
    for chain in [PREROUTING, OUTPUT] {
        // What goes to ::1 has nowhere else to go (RFC 4291 §2.5.3): it arrives at the monitor's relay.
        let here = |family| match family {
            Family::Ipv6 => rule().beyond_loopback6().addressed_here(),
            _ => rule().of_family(family).addressed_here(),
        };
        for (family, at, any) in [(Family::Ipv4, PORTS4_AT, PORTS4), (Family::Ipv6, PORTS6_AT, PORTS6)] {
            rules.push((chain, here(family).redirect_by(family, at, true)));
            rules.push((chain, here(family).redirect_by(family, any, false)));
        }
    }
    rules.extend([
        // A container that comes back to its own network by a published port: the answer has to come back this way too.
        (POSTROUTING, rule().interfaces_in(INSIDE).tracked(Tracked::Redirected).masquerade()),
        // And one that comes back to itself, which under br_netfilter happens inside the bridge, where nobody says where a packet is from.
        (POSTROUTING, rule().of_family(Family::Ipv4).addresses_in(Family::Ipv4, ITSELF4).masquerade()),
        (POSTROUTING, rule().of_family(Family::Ipv6).addresses_in(Family::Ipv6, ITSELF6).masquerade()),
        // 127.0.0.1 means something else to the container that answers.
        (POSTROUTING, rule().loopback_address(false).interface_in(Meta::OutName, BRIDGES).masquerade()),
        (
            POSTROUTING,
            rule().interface_in(Meta::InName, BRIDGES).interface_not_in(Meta::OutName, BRIDGES).masquerade(),
        ),
    ]);
    rules
}

/// The table of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    name: String,
}

impl Table {
    /// Of this name, in the family `inet`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Table {
        Table { name: name.into() }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds and takes away elements: all, or none.
    ///
    /// # Errors
    /// [`Error::Netlink`]: `ENOENT` if the table is not there, or what is to be taken away; `EEXIST` or `EBUSY` if a port leads elsewhere.
    pub fn apply(&self, socket: &mut Socket, add: &[Change<'_>], remove: &[Change<'_>]) -> Result<(), Error> {
        let mut batch = Batch::new(Family::Inet, &self.name);
        element::delete(&mut batch, remove);
        element::add(&mut batch, add);
        if batch.is_empty() {
            return Ok(());
        }
        batch.send(socket, || format!("change the elements of the nf_tables table inet {}", self.name))
    }

    /// Where a port leads by the table, told by whether that is where this one does; `None`: nowhere.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn leads_there(&self, socket: &mut Socket, port: &Published) -> Result<Option<bool>, Error> {
        let Some((map, key, value)) = element::each(&[Change::Port(*port)]).next() else { return Ok(None) };
        Ok(self.value(socket, map, &key)?.map(|found| value.is_some_and(|value| found == value)))
    }

    /// Whether all these elements are there, wherever those that are ports lead.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn has(&self, socket: &mut Socket, elements: &[Change<'_>]) -> Result<bool, Error> {
        for (set, key, _) in element::each(elements) {
            if self.value(socket, set, &key)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The value of an element, which is empty in a set; `None`: there is no such element.
    fn value(&self, socket: &mut Socket, set: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let question = message(Family::Inet, kind::GET_ELEMENT, 0)
            .text(1, &self.name)
            .text(2, set)
            .nest(3, |list| list.nest(1, |element| element.nest(1, |part| part.attribute(1, key))));
        let mut found = None;
        let asked = socket.query(
            question,
            || format!("look into {set} of the nf_tables table inet {}", self.name),
            |each| {
                let list = each.body.get(4..).map(Attributes).and_then(|all| all.find(3));
                let Some(element) = list.and_then(|list| Attributes(list).find(1)) else { return };
                let data = Attributes(element).find(2).and_then(|data| Attributes(data).find(1));
                found.get_or_insert_with(|| data.unwrap_or_default().to_vec());
            },
        );
        match asked {
            Err(error) if error.errno() == Some(ENOENT) => Ok(None),
            other => other.map(|()| found),
        }
    }

    /// The bridges that the table knows; none if it is not there.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn bridges(&self, socket: &mut Socket) -> Result<Vec<String>, Error> {
        let keys = self.keys(socket, BRIDGES)?.into_iter();
        Ok(keys.map(|key| String::from_utf8_lossy(&key).trim_end_matches('\0').to_owned()).collect())
    }

    /// Ports in the table that are none of these, as people write them.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn strays(&self, socket: &mut Socket, known: &[Change<'_>]) -> Result<Vec<String>, Error> {
        let known: BTreeSet<(&str, Vec<u8>)> = element::each(known).map(|(set, key, _)| (set, key)).collect();
        let mut strays = Vec::new();
        for map in element::PORTS {
            let found = self.keys(socket, map)?.into_iter().map(|key| (map, key));
            strays.extend(found.filter(|each| !known.contains(each)).map(|(_, key)| element::describe(&key)));
        }
        Ok(strays)
    }

    /// The keys of a set or map; none if the table is not there.
    fn keys(&self, socket: &mut Socket, set: &str) -> Result<Vec<Vec<u8>>, Error> {
        let question = message(Family::Inet, kind::GET_ELEMENT, DUMP).text(1, &self.name).text(2, set);
        let mut found = Vec::new();
        let asked = socket.query(
            question,
            || format!("list {set} of the nf_tables table inet {}", self.name),
            |each| {
                let list = each.body.get(4..).map(Attributes).and_then(|all| all.find(3));
                let elements = list.into_iter().flat_map(Attributes).filter(|(kind, _)| *kind == 1);
                let keys =
                    elements.filter_map(|(_, element)| Attributes(Attributes(element).find(1)?).find(1));
                found.extend(keys.map(<[u8]>::to_vec));
            },
        );
        match asked {
            Err(error) if error.errno() == Some(ENOENT) => Ok(Vec::new()),
            other => other.map(|()| found),
        }
    }

    /// Makes the table anew with these elements, in one transaction: packets meet the old one or the new one. Until it is sealed, right after, it does
    /// not count as whole.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn rebuild(&self, socket: &mut Socket, elements: &[Change<'_>]) -> Result<(), Error> {
        let mut batch = Batch::new(Family::Inet, &self.name);
        // What is not there cannot be deleted, so it is made first.
        batch.table();
        batch.delete_table();
        batch.table();
        for (number, (name, key, data)) in (1..).zip(SETS) {
            batch.set(number, name, key, data);
        }
        for chain in CHAINS {
            batch.base_chain(chain);
        }
        for (chain, rule) in rules() {
            batch.rule(chain, rule);
        }
        batch.chain(STAMP);
        element::add(&mut batch, elements);
        batch.send(socket, || format!("make the nf_tables table inet {}", self.name))?;
        onggi_sys::fault::point("net.table.made");
        seal(socket, &self.name)
    }

    /// Takes it away with everything in it; one that is not there is fine.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete(&self, socket: &mut Socket) -> Result<(), Error> {
        let mut batch = Batch::new(Family::Inet, &self.name);
        batch.table();
        batch.delete_table();
        batch.send(socket, || format!("delete the nf_tables table inet {}", self.name))
    }

    /// Whether the table is there with all its rules, or as another version of Onggi makes it, whose rules nobody here knows. For who lives
    /// long and has it made by the program that is installed now: the two need not be of one version.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn stands(&self, socket: &mut Socket) -> Result<bool, Error> {
        let is_other = |chain: &foreign::Chain| {
            chain.table == self.name && chain.name.starts_with(STAMPS) && chain.name != STAMP
        };
        Ok(self.is_whole(socket)? || foreign::chains(socket)?.iter().any(is_other))
    }

    /// Whether the table is there, of this version, with all its rules as they were made. Its elements are not looked at.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn is_whole(&self, socket: &mut Socket) -> Result<bool, Error> {
        Ok(has_chain(socket, &self.name, STAMP)? && is_sealed(socket, &self.name)?)
    }
}

/// Writes down in a table what its rules are, as the kernel shows them: by the name of a chain that nothing leads to. Whoever changes one of them
/// later, not to speak of adding or deleting some, breaks that. (A rule that is replaced keeps its number.)
pub(crate) fn seal(socket: &mut Socket, table: &str) -> Result<(), Error> {
    let name = seal_of(socket, table)?;
    let mut batch = Batch::new(Family::Inet, table);
    batch.chain(&name);
    batch.send(socket, || format!("seal the nf_tables table inet {table}"))
}

/// Whether a table is there, and its rules are those that were sealed.
pub(crate) fn is_sealed(socket: &mut Socket, table: &str) -> Result<bool, Error> {
    let name = seal_of(socket, table)?;
    has_chain(socket, table, &name)
}

/// The name of the chain: a sum over the rules (FNV-1a).
fn seal_of(socket: &mut Socket, table: &str) -> Result<String, Error> {
    const CHAIN: u16 = 2;
    const EXPRESSIONS: u16 = 4;
    let mut sum: u64 = 0xCBF2_9CE4_8422_2325;
    let all = message(Family::Inet, kind::GET_RULE, DUMP).text(1, table);
    let asked = socket.query(all, looking_for(table), |each| {
        let rule = Attributes(each.body.get(4..).unwrap_or_default());
        if rule.find_text(1) == Some(table) {
            let parts = [CHAIN, EXPRESSIONS].into_iter().filter_map(|part| rule.find(part));
            for byte in parts.flatten() {
                sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
    });
    match asked {
        Err(error) if error.errno() == Some(ENOENT) => {}
        other => other?,
    }
    Ok(format!("seal-{sum:016x}"))
}

fn has_chain(socket: &mut Socket, table: &str, name: &str) -> Result<bool, Error> {
    let question = message(Family::Inet, kind::GET_CHAIN, 0).text(1, table).text(3, name);
    match socket.query(question, looking_for(table), |_| {}) {
        Err(error) if error.errno() == Some(ENOENT) => Ok(false),
        other => other.map(|()| true),
    }
}

fn looking_for(table: &str) -> impl FnOnce() -> String {
    let table = table.to_owned();
    move || format!("look for the nf_tables table inet {table}")
}

const ENOENT: i32 = 2;
