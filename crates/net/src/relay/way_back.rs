//! How answers to a borrowed address find the socket that borrowed it, in the user's network namespace.
//!
//! The relay's packets carry a mark, which the kernel keeps with the connection; what comes back of such a connection is given a second
//! mark, by which it is routed to this namespace itself instead of to the client.

use crate::Error;
use crate::link;
use crate::netlink::Socket;
use crate::nftables::batch::{BaseChain, Batch, Family, Hook};
use crate::nftables::expression::{Rule, Tracked, Verdict};

/// Of packets from a socket of the relay.
pub(super) const MARK: u32 = 1;
/// Of what comes back to one.
const BACK: u32 = 2;
/// The routing table that leads everything here.
const ROUTES: u32 = 100;
const TABLE: &str = "onggi-relay";
/// As nft's `mangle`: behind connection tracking and before routes are looked for.
const MANGLE: i32 = -150;

/// Makes it in the network namespace that the caller is in; what is there already is fine.
///
/// # Errors
/// [`Error::Netlink`].
pub fn prepare(ipv6: bool) -> Result<(), Error> {
    let mut socket = Socket::route()?;
    link::loopback_up(&mut socket)?;
    link::add_local_table(&mut socket, true, BACK, ROUTES)?;
    if ipv6 {
        link::add_local_table(&mut socket, false, BACK, ROUTES)?;
    }
    let mut batch = Batch::new(Family::Inet, TABLE);
    batch.new_table();
    let chain = |name, hook| BaseChain { name, kind: "filter", hook, priority: MANGLE };
    // pasta of 2023 sends segments without any flag, which no connection is found for: this namespace itself would answer them for the
    // container, with a reset.
    let senseless = Rule::new().tracked(Tracked::Senseless).verdict(Verdict::Drop);
    for (chain, rule) in [
        (chain("output", Hook::Output), Rule::new().marked(MARK).mark_connection(MARK)),
        (chain("prerouting", Hook::Prerouting), Rule::new().connection_marked(MARK).mark(BACK)),
    ] {
        batch.base_chain(chain);
        batch.rule(chain.name, rule);
    }
    batch.rule("prerouting", senseless);
    match batch.send(&mut Socket::netfilter()?, || format!("make the nf_tables table inet {TABLE}")) {
        Err(error) if error.errno() == Some(EEXIST) => Ok(()),
        other => other,
    }
}

const EEXIST: i32 = 17;
