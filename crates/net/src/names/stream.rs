//! Messages on a stream (RFC 1035 §4.2.2, RFC 7766): each behind its length in two bytes, in whatever pieces they come and go.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// As much is asked of the socket at once, so that a message that was only announced takes no memory.
const PIECE: usize = 4096;

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    largest: usize,
}

impl Incoming {
    /// Takes messages of at most `largest` bytes.
    pub(super) fn new(largest: usize) -> Incoming {
        Incoming { bytes: Vec::new(), largest }
    }

    /// Reads what there is, not beyond this message. `None`: it is not whole yet.
    ///
    /// # Errors
    /// `UnexpectedEof` at the stream's end, `InvalidData` for a message that is empty or too large, and `recv(2)`'s.
    pub(super) fn read(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
        loop {
            let missing = match *self.bytes.as_slice() {
                [] => 2,
                [_] => 1,
                [high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if length == 0 || length > self.largest {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    2 + length - self.bytes.len()
                }
            };
            if missing == 0 {
                let mut message = std::mem::take(&mut self.bytes);
                message.drain(..2);
                return Ok(Some(message));
            }
            let had = self.bytes.len();
            self.bytes.resize(had + missing.min(PIECE), 0);
            let got = rustix::net::recv(socket, &mut self.bytes[had..], RecvFlags::DONTWAIT);
            self.bytes.truncate(had + got.map_or(0, |(count, _)| count));
            match got {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// `None` if the message is longer than the length before it can say.
    pub(super) fn new(message: &[u8]) -> Option<Outgoing> {
        let length = u16::try_from(message.len()).ok()?;
        let mut bytes = Vec::with_capacity(2 + message.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        Some(Outgoing { bytes, sent: 0 })
    }

    /// Writes what the socket takes. `true`: all of it is written.
    ///
    /// # Errors
    /// `send(2)`'s.
    pub(super) fn write(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(socket, &self.bytes[self.sent..], flags) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn messages_come_in_whatever_pieces() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut incoming = Incoming::new(10);
        let mut read = || incoming.read(ours.as_fd()).unwrap();
        assert_eq!(read(), None);
        for (bytes, wanted) in [
            (&b"\x00"[..], None),
            (b"\x03", None),
            (b"ab", None),
            (b"c", Some(&b"abc"[..])),
            (b"\x00\x01x\x00\x01", Some(b"x")),
            (b"y", Some(b"y")),
        ] {
            theirs.write_all(bytes).unwrap();
            assert_eq!(read().as_deref(), wanted);
        }
        drop(theirs);
        let error = incoming.read(ours.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn messages_of_no_use_are_refused() {
        for bytes in [b"\x00\x00", b"\x00\x0B", b"\xFF\xFF"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(bytes).unwrap();
            let error = Incoming::new(10).read(ours.as_fd()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn a_large_message_is_written_as_it_is_taken() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
        let message: Vec<u8> = (0..60_000_u32).map(|number| number as u8).collect();
        let mut outgoing = Outgoing::new(&message).unwrap();
        let mut incoming = Incoming::new(usize::from(u16::MAX));
        let mut turns = 0;
        let read = loop {
            turns += 1;
            outgoing.write(ours.as_fd()).unwrap();
            if let Some(read) = incoming.read(theirs.as_fd()).unwrap() {
                break read;
            }
        };
        assert!(turns > 1 && read == message);
        assert!(Outgoing::new(&[0; 65_536]).is_none());
        drop(theirs);
        assert!(Outgoing::new(b"x").unwrap().write(ours.as_fd()).is_err());
    }
}
