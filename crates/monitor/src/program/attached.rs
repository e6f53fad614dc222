//! A client's stream: what is attached to a container or an exec session.
//!
//! It holds at most one piece of output that its socket did not take yet; while it does, the stream is not read for anybody, so
//! that a slow client slows the container down and memory stays bounded.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::detach::DetachKeys;
use super::log::Stream;
use super::poller::Registered;

#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) number: u32,
    /// Sockets of others stay in the mode their owner chose; every call says `MSG_DONTWAIT` itself.
    pub(crate) socket: OwnedFd,
    pub(crate) session: u32,
    /// The peer and the question that it was attached by.
    pub(crate) peer: u32,
    pub(crate) question: u32,
    /// What it writes goes to standard input; no longer once that is closed, or its own side.
    pub(crate) stdin: bool,
    /// It was attached to standard input.
    pub(crate) feeds_stdin: bool,
    /// Its own side is open.
    pub(crate) listening: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) framed: bool,
    pub(crate) keys: DetachKeys,
    /// What its owner read of standard input before it handed the socket over.
    pub(crate) already_read: Vec<u8>,
    pub(crate) pending: Vec<u8>,
    /// The process has ended: close it once `pending` is empty.
    pub(crate) closing: bool,
    pub(crate) registered: Registered,
}

/// The other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Attached {
    /// Whether it gets this stream.
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    /// Gives it a piece of output: `frame` is eight bytes for the header and then the payload. What the socket does not take waits.
    pub(crate) fn offer(&mut self, frame: &[u8]) -> Result<(), Gone> {
        let bytes = if self.framed { frame } else { &frame[8..] };
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = self.send(bytes)?;
        self.pending.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits, as much as the socket takes.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        let sent = self.send(&self.pending)?;
        self.pending.drain(..sent);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Gone> {
        let mut sent = 0;
        while sent < bytes.len() {
            match rustix::net::send(&self.socket, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(Gone),
            }
        }
        Ok(sent)
    }

    /// Reads what the client typed. `None`: nothing now. `Some(0)`: it has closed its side.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Gone> {
        match rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(_) => Err(Gone),
        }
    }

    /// Tells the client that nobody reads what it writes.
    pub(crate) fn stop_reading(&mut self) {
        self.stdin = false;
        self.listening = false;
        // It may have hung up in the meantime.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Read);
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Attached {
    /// A descriptor of the same socket may live elsewhere (the program that handed it over), and the client must see the end all
    /// the same. What it wrote and nobody read is taken out first: a socket that is closed on unread bytes tells its client of a
    /// reset connection in place of the end, and TCP throws away what was on its way.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let mut rest = [0; 4096];
        while matches!(self.receive(&mut rest), Ok(Some(count)) if count > 0) {}
    }
}
