//! A netlink socket. The kernel answers a request before `sendmsg` returns, so nothing here ever waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::message::{Attributes, HEADER, Message, Received, messages};
use crate::Error;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// On an error or an ack: the request is not repeated in it; there are attributes behind.
const CAPPED: u16 = 0x100;
const HAS_ATTRIBUTES: u16 = 0x200;
/// In these attributes: the kernel's own words.
const EXPLANATION: u16 = 1;

/// No packet of a dump is larger unless the reader says that it can take more (`netlink_dump`).
const PACKET: usize = 16 * 1024;

/// A socket to one of the kernel's families, in the network namespace in which it was made.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Links, addresses, routes.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn route() -> Result<Socket, Error> {
        Socket::open(None)
    }

    /// nf_tables.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn netfilter() -> Result<Socket, Error> {
        Socket::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> Result<Socket, Error> {
        let fail = |source: io::Error| Error::Socket { source };
        let flags = SocketFlags::CLOEXEC;
        let descriptor = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(|errno| fail(errno.into()))?;
        onggi_sys::netlink::explain_errors(descriptor.as_fd()).map_err(fail)?;
        Ok(Socket { descriptor, sequence: 0 })
    }

    /// Sends one request that is answered by a word: done, or why not. `act` says what it is.
    pub(crate) fn request(&mut self, message: Message, act: impl FnOnce() -> String) -> Result<(), Error> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        self.exchange(&bytes, act, |_| {})
    }

    /// Sends a request, or a dump's, and hands over each message of the answer.
    pub(crate) fn query(
        &mut self,
        message: Message,
        act: impl FnOnce() -> String,
        each: impl FnMut(Received<'_>),
    ) -> Result<(), Error> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        self.exchange(&bytes, act, each)
    }

    /// Sends bytes that are whole messages, and reads whatever the kernel says of them: the first error is the answer.
    pub(crate) fn exchange(
        &mut self,
        bytes: &[u8],
        act: impl FnOnce() -> String,
        mut each: impl FnMut(Received<'_>),
    ) -> Result<(), Error> {
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::send(&self.descriptor, bytes, SendFlags::empty()));
        let mut failure = match sent {
            Ok(_) => None,
            Err(errno) => Some((errno.into(), String::new())),
        };
        // Not on the stack, whose pages a monitor would keep for good.
        let mut packet = vec![0; PACKET];
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.descriptor, packet.as_mut_slice(), flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    failure.get_or_insert((errno.into(), String::new()));
                    break;
                }
                Ok((_, length)) if length > packet.len() => {
                    failure.get_or_insert((Errno::MSGSIZE.into(), String::new()));
                }
                Ok((_, length)) => {
                    for message in messages(&packet[..length]) {
                        match message.kind {
                            ERROR | DONE => {
                                if let Some(error) = error_of(message) {
                                    failure.get_or_insert(error);
                                }
                            }
                            _ => each(message),
                        }
                    }
                }
            }
        }
        match failure {
            None => Ok(()),
            Some((source, detail)) => Err(Error::Netlink { act: act(), source, detail }),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What an error message means: nothing, or an errno with the kernel's explanation.
fn error_of(message: Received<'_>) -> Option<(io::Error, String)> {
    let errno = i32::from_ne_bytes(*message.body.first_chunk::<4>()?);
    if errno >= 0 {
        return None;
    }
    let behind = if message.flags & CAPPED != 0 { 4 + HEADER } else { message.body.len() };
    let detail = (message.flags & HAS_ATTRIBUTES != 0)
        .then(|| message.body.get(behind..).map(Attributes).and_then(|all| all.find_text(EXPLANATION)))
        .flatten()
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    Some((io::Error::from_raw_os_error(-errno), detail))
}
