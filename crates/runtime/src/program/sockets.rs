//! Descriptors that are handed out over the engine's sockets: the terminal's master, and the first process's pidfd.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use super::error::Error;

/// Connects and sends one message: a name, and the descriptor along with it.
pub(crate) fn send(path: &str, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), Error> {
    let fail = |error: rustix::io::Errno| Error::io(format!("send a descriptor to {path}"), error);
    let address = SocketAddrUnix::new(path).map_err(fail)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(fail)?;
    rustix::net::connect(&socket, &address).map_err(fail)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(name.as_bytes())];
    rustix::net::sendmsg(socket.as_fd(), &text, &mut ancillary, SendFlags::NOSIGNAL).map(drop).map_err(fail)
}
