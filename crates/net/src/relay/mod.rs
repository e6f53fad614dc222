//! Published ports of an ordinary user: connections that come to the host are taken in there and begun anew in the user's network
//! namespace, from the address and port that the client has.
//!
//! It is a part of the monitor's loop: no process, no copy of the bytes (`splice(2)`), nothing kept between connections. For root the
//! kernel does all this by the table ([`crate::nftables`]), but for `::1` and from one family to the other ([`serves`]).
//! docs/decisions/0013-rootless-network.md and 0014-loopback-of-ipv6.md say what else was tried.

mod datagram;
mod numbers;
mod server;
mod stream;
pub mod way_back;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, sockopt};

pub use server::{Place, Relay};

use crate::endpoint::{Endpoint, Port, Protocol};
use crate::home::Home;

/// Whether a published port is served by the relay: all of an ordinary user's. Of root's those alone that the kernel cannot pass on:
/// nothing that goes to `::1` can be sent elsewhere (RFC 4291 §2.5.3), and nothing of IPv6 to a container that has only IPv4.
#[must_use]
pub fn serves(home: &Home, endpoint: &Endpoint, port: &Port) -> bool {
    if home.namespace().is_some() {
        return true;
    }
    match port.host_address {
        IpAddr::V6(address) if port.protocol != Protocol::Sctp => {
            address.is_unspecified() || address.is_loopback() || endpoint.ipv6.is_none()
        }
        _ => false,
    }
}

/// A socket at home that is on its way to `target`. It speaks as `client`, whose answers find it by [`way_back`]; a client on the host's
/// loopback, which means something else there, or of another family than the container is spoken for by the network's gateway. So is
/// everybody where the host is home: what comes to the relay there is the host's own, or of that other family.
fn towards(home: &Home, kind: SocketType, client: SocketAddr, target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = home.within(|| rustix::net::socket_with(family, kind, flags, None));
    let socket = made
        .map_err(|error| error.errno().map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error))??;
    let borrows = home.namespace().is_some() && client.is_ipv4() == target.is_ipv4();
    if borrows && !client.ip().is_loopback() {
        onggi_sys::transparent::borrow_addresses(socket.as_fd(), target.is_ipv4(), way_back::MARK)?;
        // Another connection to the same place may have the client's port: one that came by another port of the host's.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if bind(&socket, &client).is_err() {
            bind(&socket, &SocketAddr::new(client.ip(), 0))?;
        }
    }
    match connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// An IPv4 client of a socket of both families is one of IPv4.
fn plain(client: SocketAddr) -> SocketAddr {
    match client.ip() {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => SocketAddr::new(address.into(), client.port()),
            None => client,
        },
        IpAddr::V4(_) => client,
    }
}
