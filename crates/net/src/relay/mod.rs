//! Published ports of an ordinary user: connections that come to the host are taken in there and begun anew in the user's network
//! namespace, from the address and port that the client has.
//!
//! It is a part of the monitor's loop: no process, no copy of the bytes (`splice(2)`), nothing kept between connections. For root the
//! kernel does all this by the table ([`crate::nftables`]). docs/decisions/0013-rootless-network.md says what else was tried.

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

use crate::home::Home;

/// A socket at home that is on its way to `target`. It speaks as `client`, whose answers find it by [`way_back`]; a client on the host's
/// loopback, which means something else there, is spoken for by the network's gateway.
fn towards(home: &Home, kind: SocketType, client: SocketAddr, target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = home.within(|| rustix::net::socket_with(family, kind, flags, None));
    let socket = made
        .map_err(|error| error.errno().map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error))??;
    if !client.ip().is_loopback() {
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
