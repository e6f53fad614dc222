//! Descriptors that are handed out over the engine's sockets: the terminal's master, and the first process's pidfd.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::error::Error;

/// How long somebody on the other side of a socket may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Connects and sends one message: a name, and the descriptor along with it.
pub(crate) fn send(path: &str, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), Error> {
    connect(path)
        .and_then(|socket| send_over(&socket, name.as_bytes(), descriptor))
        .map_err(|error| Error::io(format!("send a descriptor to {path}"), error))
}

/// Connects to a socket by its path or, with `@` in front, its abstract name (as Go's `net.Dial`).
pub(crate) fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    let socket = patient(SocketType::STREAM)?;
    rustix::net::connect(&socket, &address).map_err(in_time)?;
    Ok(socket)
}

/// A local socket whose peer has half a minute to take what is sent, and to let a connection in: one whose queue is full must not hold
/// a container for ever.
pub(crate) fn patient(kind: SocketType) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    Ok(socket)
}

/// What it is called when a [`patient`] socket's time has run out.
pub(crate) fn in_time(error: Errno) -> Errno {
    if error == Errno::AGAIN { Errno::TIMEDOUT } else { error }
}

/// Sends a message and a descriptor along with it.
pub(crate) fn send_over(socket: &OwnedFd, message: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(message)];
    rustix::net::sendmsg(socket.as_fd(), &text, &mut ancillary, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(in_time)
}
