//! How answers to a borrowed address find the socket that borrowed it, in the user's network namespace.
//!
//! The relay's packets carry a mark, which the kernel keeps with the connection; what comes back of such a connection is given a second
//! mark, by which it is routed to this namespace itself instead of to the client.

use crate::Error;
use crate::link;
use crate::netlink::Socket;
use crate::nftables;
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
    fill(&mut batch);
    match make(batch, &mut Socket::netfilter()?) {
        Err(error) if error.errno() == Some(EEXIST) => Ok(()),
        other => other,
    }
}

/// Makes the table anew in the network namespace that the caller is in, if somebody has taken it or rules of it away.
///
/// # Errors
/// [`Error::Netlink`].
pub fn mend() -> Result<(), Error> {
    let mut socket = Socket::netfilter()?;
    if stands(&mut socket)? {
        return Ok(());
    }
    let mut batch = Batch::new(Family::Inet, TABLE);
    // What is not there cannot be deleted, so it is made first.
    batch.table();
    batch.delete_table();
    batch.table();
    fill(&mut batch);
    make(batch, &mut socket)
}

/// Whether the table is there with all its rules as they were made.
///
/// # Errors
/// [`Error::Netlink`].
pub fn stands(socket: &mut Socket) -> Result<bool, Error> {
    nftables::is_sealed(socket, TABLE)
}

fn fill(batch: &mut Batch<'_>) {
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
}

fn make(batch: Batch<'_>, socket: &mut Socket) -> Result<(), Error> {
    batch.send(socket, || format!("make the nf_tables table inet {TABLE}"))?;
    nftables::seal(socket, TABLE)
}

const EEXIST: i32 = 17;
