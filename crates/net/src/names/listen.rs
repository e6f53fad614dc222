//! The sockets of a sandbox's server in its network namespace, and the rules that lead clients there.
//!
//! Clients ask 127.0.0.11, port 53. The sockets have ports by chance and the kernel's rules go between, so that a program in the
//! container may have port 53 on every address for itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::server::Sockets;
use crate::endpoint::Protocol;
use crate::netlink::Socket;
use crate::nftables::batch::{BaseChain, Batch, Family, Hook};
use crate::nftables::expression::Rule;
use crate::wire::within;
use crate::{Error, link, port};

/// The server's address in every sandbox, as Docker has it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// The table in the container's network namespace.
const TABLE: &str = "onggi-names";
/// Streams that wait to be let in.
const BACKLOG: i32 = 16;

/// Makes the sockets and rules in the network namespace of a process (its pidfd) or behind a descriptor of one, and
/// brings loopback up there, by which clients come. Rules of an earlier server are replaced.
///
/// # Errors
/// [`Error::Enter`], [`Error::Bind`], [`Error::Netlink`].
pub fn listen(target: BorrowedFd<'_>) -> Result<Sockets, Error> {
    within(target, open)?
}

fn open() -> Result<Sockets, Error> {
    link::loopback_up(&mut Socket::route()?)?;
    let (datagrams, by_datagram) = bind(Protocol::Udp)?;
    let (streams, by_stream) = bind(Protocol::Tcp)?;
    let fail = |errno: Errno| Error::Bind {
        address: SocketAddr::new(ADDRESS.into(), by_stream),
        protocol: Protocol::Tcp,
        source: errno.into(),
    };
    rustix::net::listen(&streams, BACKLOG).map_err(fail)?;
    rustix::io::ioctl_fionbio(&streams, true).map_err(fail)?;
    match lead(by_datagram, by_stream, Before::Nothing) {
        // A dead server's. Not every time: the kernel takes milliseconds over what is deleted, and closing the socket waits for it.
        Err(error) if error.errno() == Some(EEXIST) => lead(by_datagram, by_stream, Before::Another)?,
        other => other?,
    }
    Ok(Sockets { datagrams, streams })
}

/// What there is before the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Another,
}

/// Makes the rules that lead clients to these ports, all in one step.
fn lead(by_datagram: u16, by_stream: u16, before: Before) -> Result<(), Error> {
    let mut batch = Batch::new(Family::Ipv4, TABLE);
    if before == Before::Another {
        batch.delete_table();
    }
    batch.new_table();
    // As nft's `dstnat`. Answers find their way back by the connection's entry.
    let chain = BaseChain { name: "output", kind: "nat", hook: Hook::Output, priority: -100 };
    batch.base_chain(chain);
    for (protocol, port) in [(Protocol::Udp, by_datagram), (Protocol::Tcp, by_stream)] {
        let rule = Rule::new().for_address(ADDRESS).for_port(protocol, PORT).redirect_to(ADDRESS, port);
        batch.rule(chain.name, rule);
    }
    batch.send(&mut Socket::netfilter()?, || format!("lead {ADDRESS}:{PORT} to the server of names"))
}

const EEXIST: i32 = 17;

/// A socket at the server's address and a port that is free.
fn bind(protocol: Protocol) -> Result<(OwnedFd, u16), Error> {
    let address = SocketAddr::new(ADDRESS.into(), 0);
    let fail = |errno: Errno| Error::Bind { address, protocol, source: errno.into() };
    let socket = port::bind(protocol, address).map_err(fail)?;
    let bound = rustix::net::getsockname(socket.as_fd()).map_err(fail)?;
    Ok((socket, SocketAddr::try_from(bound).map_err(fail)?.port()))
}
