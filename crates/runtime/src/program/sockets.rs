//! Descriptors that are handed out over the engine's sockets: the terminal's master, and the first process's pidfd.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::error::Error;

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
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// Sends a message and a descriptor along with it.
pub(crate) fn send_over(socket: &OwnedFd, message: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(message)];
    rustix::net::sendmsg(socket.as_fd(), &text, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}
