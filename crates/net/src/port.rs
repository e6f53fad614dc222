//! Reserving ports of the host: a socket for each, held for as long as the port is published.
//!
//! The kernel passes packets on long before they reach these sockets; all they do is have the port, so that no other container or
//! program takes it, and show in `ss -lnp` who has it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::Error;
use crate::endpoint::Protocol;
use onggi_sys::socket_filter::Instruction;

/// Takes a port; with port 0, one that is free. Answers the socket and the port.
///
/// # Errors
/// [`Error::PortTaken`], [`Error::Bind`].
pub fn reserve(protocol: Protocol, address: SocketAddr) -> Result<(OwnedFd, u16), Error> {
    let fail = |errno: Errno| match errno {
        Errno::ADDRINUSE => Error::PortTaken { address, protocol },
        errno => Error::Bind { address, protocol, source: errno.into() },
    };
    let socket = bind(protocol, address).map_err(fail)?;
    // Nothing that comes by itself (while the table is being made anew, say) is taken in: no connection that nobody will ever
    // serve, no bytes that fill a buffer.
    onggi_sys::socket_filter::attach(socket.as_fd(), &[Instruction::take(0)])
        .map_err(|source| Error::Bind { address, protocol, source })?;
    if protocol != Protocol::Udp {
        // Two sockets may be bound to one port if both may be used again and neither listens.
        rustix::net::listen(&socket, 0).map_err(fail)?;
    }
    let bound = rustix::net::getsockname(&socket).map_err(fail)?;
    let port = SocketAddr::try_from(bound).map_or(address.port(), |bound| bound.port());
    Ok((socket, port))
}

/// A socket at this address, not listening.
///
/// # Errors
/// The kernel's.
pub(crate) fn bind(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if protocol != Protocol::Udp {
        // A server that ended a moment ago has left connections behind (TIME_WAIT), which are no reason to refuse.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if address.is_ipv6() {
        // Each family has its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}
