//! Docker's place for other people's rules: the chain `DOCKER-USER`, by which every packet that is passed on comes before Docker's own
//! rules and its policy, which drops what is none of Docker's. There, and only there, Onggi adds rules for its bridges.
//!
//! The rules are such as `iptables` writes and reads: one that it does not understand makes it, and Docker with it, give the table up.

use super::batch::{Batch, Family};
use super::expression::{Meta, Rule, Verdict};
use super::foreign::{self, IPV4, IPV6};
use crate::Error;
use crate::netlink::Socket;

const TABLE: &str = "filter";
const CHAIN: &str = "DOCKER-USER";
const FORWARD: &str = "FORWARD";
/// The beginnings of Docker's bridges' names: what goes to those Docker itself lets through, or not.
const DOCKERS: [&str; 2] = ["docker", "br-"];
/// Rules for one bridge and family.
const RULES: usize = 4;

/// Whether Docker drops what is none of its own and has a place for rules against that.
fn is_asked_for(chains: &[foreign::Chain], family: u8) -> bool {
    let here = |name: &str| {
        chains.iter().find(|chain| chain.family == family && chain.table == TABLE && chain.name == name)
    };
    here(CHAIN).is_some() && here(FORWARD).is_some_and(|forward| forward.forwards && forward.drops)
}

/// Whether Docker has its place for other people's rules here.
///
/// # Errors
/// [`Error::Netlink`].
pub fn has_place(socket: &mut Socket) -> Result<bool, Error> {
    Ok(foreign::chains(socket)?
        .iter()
        .any(|chain| (chain.table.as_str(), chain.name.as_str()) == (TABLE, CHAIN)))
}

/// Sees that the rules for exactly these bridges are there, wherever Docker has a place for them and needs them. `mark` tells those of one
/// installation from another's. With none, they go.
///
/// # Errors
/// [`Error::Netlink`].
pub fn admit(socket: &mut Socket, mark: &str, bridges: &[(&str, bool)]) -> Result<(), Error> {
    let chains = foreign::chains(socket)?;
    for (number, family) in [(IPV4, Family::Ipv4), (IPV6, Family::Ipv6)] {
        if !chains
            .iter()
            .any(|chain| (chain.family, chain.table.as_str(), chain.name.as_str()) == (number, TABLE, CHAIN))
        {
            continue;
        }
        let wanted: Vec<&str> = bridges
            .iter()
            .filter(|(_, ipv6)| is_asked_for(&chains, number) && (*ipv6 || number == IPV4))
            .map(|(name, _)| *name)
            .collect();
        admit_family(socket, number, family, mark, &wanted)?;
    }
    Ok(())
}

/// Whether [`admit`] would change nothing for this bridge.
///
/// # Errors
/// As [`admit`].
pub fn is_admitted(socket: &mut Socket, mark: &str, bridge: &str, ipv6: bool) -> Result<bool, Error> {
    let chains = foreign::chains(socket)?;
    for number in [IPV4, IPV6].into_iter().filter(|&number| ipv6 || number == IPV4) {
        if is_asked_for(&chains, number) {
            let rules = foreign::rules(socket, number, TABLE, Some(CHAIN))?;
            let comment = comment(mark, bridge);
            if rules.iter().filter(|rule| rule.comment == comment).count() != RULES {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn admit_family(
    socket: &mut Socket,
    number: u8,
    family: Family,
    mark: &str,
    bridges: &[&str],
) -> Result<(), Error> {
    let rules = foreign::rules(socket, number, TABLE, Some(CHAIN))?;
    let ours: Vec<&foreign::Rule> =
        rules.iter().filter(|rule| rule.comment.starts_with(&comment(mark, ""))).collect();
    let is_right = ours.len() == bridges.len() * RULES
        && bridges
            .iter()
            .all(|bridge| ours.iter().filter(|rule| rule.comment == comment(mark, bridge)).count() == RULES);
    if is_right {
        return Ok(());
    }
    // Behind what the owner has put there, and before the return that older versions of Docker end the chain with.
    let end = rules.iter().find(|rule| rule.returns_all).map(|rule| rule.handle);
    let mut batch = Batch::new(family, TABLE);
    for rule in ours {
        batch.delete_rule(CHAIN, rule.handle);
    }
    for bridge in bridges {
        let comment = comment(mark, bridge);
        let mut add = |rule: Rule| batch.rule_before(CHAIN, end, &comment, rule);
        // What comes to the bridge Onggi's own table lets through, or not.
        add(Rule::new().interface_is(Meta::OutName, bridge, false).counter().verdict(Verdict::Accept));
        for docker in DOCKERS {
            let rule = Rule::new().interface_is(Meta::InName, bridge, false);
            add(rule.interface_is(Meta::OutName, docker, true).counter().verdict(Verdict::Return));
        }
        add(Rule::new().interface_is(Meta::InName, bridge, false).counter().verdict(Verdict::Accept));
    }
    if batch.is_empty() {
        return Ok(());
    }
    batch.send(socket, || format!("change Onggi's rules in the chain {CHAIN}"))
}

fn comment(mark: &str, bridge: &str) -> String {
    format!("{mark} {bridge}")
}
