//! One client of a published UDP port: a socket that hears this client alone, and one that speaks as the client to the container.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, bind, connect, recv, recvfrom, send, sockopt};

use super::{plain, towards};
use crate::endpoint::Protocol;
use crate::home::Home;

/// How long (nanoseconds) a client is remembered that nothing comes from or goes to: as the kernel's tracking does, 120 s.
pub(super) const MEMORY: u64 = 120_000_000_000;
/// As many datagrams are passed on before others have their turn.
const TURNS: usize = 32;
/// The largest that there is.
pub(super) const LARGEST: usize = 65_535;

/// What goes to and fro.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) number: u32,
    /// Where the client sent its first.
    pub(super) place: SocketAddr,
    pub(super) client: SocketAddr,
    /// The client's end, and the container's.
    pub(super) ends: [OwnedFd; 2],
    /// When (monotonic nanoseconds) something last went by.
    pub(super) last: u64,
}

/// A datagram that came to a listening socket, and from whom; `None` if there is none.
pub(super) fn first(listener: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match recvfrom(listener, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((count, _, from)) => {
                let client = from.and_then(|from| SocketAddr::try_from(from).ok())?;
                return Some((count, client));
            }
            // The latter: of an answer that found nobody.
            Err(Errno::INTR | Errno::CONNREFUSED) => {}
            Err(_) => return None,
        }
    }
}

/// The sockets for a client that is new.
pub(super) fn open(
    home: &Home,
    place: SocketAddr,
    client: SocketAddr,
    target: SocketAddr,
) -> io::Result<[OwnedFd; 2]> {
    let outside = crate::port::unbound(Protocol::Udp, place)?;
    // Of two sockets at one place the kernel chooses the one that is connected to who sends.
    sockopt::set_socket_reuseaddr(&outside, true)?;
    bind(&outside, &place)?;
    connect(&outside, &client)?;
    Ok([outside, towards(home, SocketType::DGRAM, plain(client), target)?])
}

impl Flow {
    /// Sends the container what came first.
    pub(super) fn begin(&self, datagram: &[u8]) {
        // As everywhere with datagrams: what does not arrive is sent again, by who wants it to.
        let _ = send(&self.ends[1], datagram, SendFlags::DONTWAIT);
    }

    /// Passes on what has come to one of the two ends. `true` if there was any.
    pub(super) fn pass(&self, end: usize, buffer: &mut [u8]) -> bool {
        let (from, to) = (&self.ends[end], &self.ends[1 - end]);
        let mut any = false;
        for _ in 0..TURNS {
            match recv(from, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    any = true;
                    let _ = send(to, &buffer[..count], SendFlags::DONTWAIT);
                }
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(_) => break,
            }
        }
        any
    }
}
