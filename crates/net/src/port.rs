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
    let fail = |errno| failure(protocol, address, errno);
    let socket = bind(protocol, address).map_err(fail)?;
    // Nothing that comes by itself (while the table is being made anew, say) is taken in: no connection that nobody will ever
    // serve, no bytes that fill a buffer.
    onggi_sys::socket_filter::attach(socket.as_fd(), &[Instruction::take(0)])
        .map_err(|source| Error::Bind { address, protocol, source })?;
    if protocol != Protocol::Udp {
        // Two sockets may be bound to one port if both may be used again and neither listens.
        rustix::net::listen(&socket, 0).map_err(fail)?;
    }
    let port = port_of(&socket, address).map_err(fail)?;
    Ok((socket, port))
}

fn port_of(socket: &OwnedFd, asked: SocketAddr) -> Result<u16, Errno> {
    let bound = rustix::net::getsockname(socket)?;
    Ok(SocketAddr::try_from(bound).map_or(asked.port(), |bound| bound.port()))
}

fn failure(protocol: Protocol, address: SocketAddr, errno: Errno) -> Error {
    match errno {
        Errno::ADDRINUSE => Error::PortTaken { address, protocol },
        errno => Error::Bind { address, protocol, source: errno.into() },
    }
}

/// As [`reserve`], for who only wants to know: nobody is kept from the port, who holds it already is found out.
///
/// # Errors
/// [`Error::PortTaken`], [`Error::Bind`].
pub fn probe(protocol: Protocol, address: SocketAddr) -> Result<(OwnedFd, u16), Error> {
    let socket = bind(protocol, address).map_err(|errno| failure(protocol, address, errno))?;
    let port = port_of(&socket, address).map_err(|errno| failure(protocol, address, errno))?;
    Ok((socket, port))
}

/// Takes a port as [`reserve`] does, for who means to take in what comes to it ([`crate::relay`]): the socket listens and does not wait.
///
/// # Errors
/// [`Error::PortTaken`], [`Error::Bind`].
pub fn open(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Error> {
    let fail = |errno| failure(protocol, address, errno);
    let socket = bind(protocol, address).map_err(fail)?;
    match protocol {
        // From now on sockets for single clients may stand beside it; who comes to take the port does not ask to, and is refused.
        Protocol::Udp => sockopt::set_socket_reuseaddr(&socket, true).map_err(fail)?,
        _ => rustix::net::listen(&socket, BACKLOG).map_err(fail)?,
    }
    rustix::io::ioctl_fionbio(&socket, true).map_err(fail)?;
    Ok(socket)
}

/// Connections that wait to be taken in: the kernel's own limit (`net.core.somaxconn`) on most machines.
const BACKLOG: i32 = 4096;

/// A socket at this address, not listening.
///
/// # Errors
/// The kernel's.
pub(crate) fn bind(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = unbound(protocol, address)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// A socket for an address of this kind.
pub(crate) fn unbound(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
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
    Ok(socket)
}
