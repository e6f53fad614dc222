//! Bytes between the monitor's stream and the three standard streams.
//!
//! One thread for each direction, with blocking calls and large buffers: a reader that stops (`| less`)
//! stops only its own direction, and never the passing on of signals. Output without a terminal comes in
//! Docker's frames: a byte for the stream, three zeroes, the length as four bytes, big end first.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// As large as a pipe can be by default, so that neither side waits for the other's next call.
const BUFFER: usize = 1 << 20;

const HEADER: usize = 8;

/// How copying the output ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The monitor closed the stream.
    Drained,
    /// Whoever reads our output went away.
    NobodyReads,
    Failed(String),
}

/// Copies a terminal's output, which is one stream of raw bytes.
pub(crate) fn copy_raw(from: &mut impl Read, out: &mut impl Write) -> Ended {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ended::Drained,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return end_of_stream(&error),
        };
        if let Err(error) = out.write_all(&buffer[..length]).and_then(|()| out.flush()) {
            return writing(&error);
        }
    }
}

/// Takes the frames apart and copies what is in them to the stream that they name.
pub(crate) fn copy_framed(from: &mut impl Read, out: &mut impl Write, err: &mut impl Write) -> Ended {
    let mut buffer = vec![0; BUFFER];
    let mut header = [0; HEADER];
    let mut header_filled = 0;
    // What is still to come of the frame that is being copied.
    let mut left: usize = 0;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) if left == 0 && header_filled == 0 => return Ended::Drained,
            Ok(0) => return Ended::Failed("the stream ended within a frame".to_owned()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return end_of_stream(&error),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            if left == 0 {
                let taken = rest.len().min(HEADER - header_filled);
                header[header_filled..header_filled + taken].copy_from_slice(&rest[..taken]);
                header_filled += taken;
                rest = &rest[taken..];
                if header_filled < HEADER {
                    break;
                }
                header_filled = 0;
                left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
                if !matches!(header[0], 1 | 2) || header[1..4] != [0, 0, 0] {
                    return Ended::Failed("the stream is not in frames".to_owned());
                }
                continue;
            }
            let (now, after) = rest.split_at(rest.len().min(left));
            let written = if header[0] == 1 { out.write_all(now) } else { err.write_all(now) };
            if let Err(error) = written {
                return writing(&error);
            }
            left -= now.len();
            rest = after;
        }
    }
}

/// Copies standard input until it ends, then closes that direction, which ends the program's input too.
pub(crate) fn copy_input(from: &mut impl Read, stream: &UnixStream) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                // The program closed its input or ended: what it did not read is nobody's.
                if (&*stream).write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A closed descriptor, a directory, a terminal that is not ours: no input.
            Err(_) => break,
        }
    }
    // It fails only if the other side is gone already.
    let _ = stream.shutdown(Shutdown::Write);
}

fn end_of_stream(error: &io::Error) -> Ended {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ended::Drained,
        _ => Ended::Failed(format!("read the container's output: {error}")),
    }
}

fn writing(error: &io::Error) -> Ended {
    match error.kind() {
        ErrorKind::BrokenPipe => Ended::NobodyReads,
        _ => Ended::Failed(format!("write the container's output: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in the pieces asked for.
    struct Pieces<'b> {
        bytes: &'b [u8],
        sizes: Vec<usize>,
        turn: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let wanted = self.sizes.get(self.turn % self.sizes.len().max(1)).copied().unwrap_or(1).max(1);
            self.turn += 1;
            let length = wanted.min(buffer.len()).min(self.bytes.len());
            buffer[..length].copy_from_slice(&self.bytes[..length]);
            self.bytes = &self.bytes[length..];
            Ok(length)
        }
    }

    fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_they_are_cut(
            frames in proptest::collection::vec((1u8..=2, proptest::collection::vec(any::<u8>(), 0..50)), 0..10),
            sizes in proptest::collection::vec(1usize..30, 1..5),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(stream, payload)| frame(*stream, payload)).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let ended = copy_framed(&mut Pieces { bytes: &bytes, sizes, turn: 0 }, &mut out, &mut err);
            prop_assert_eq!(ended, Ended::Drained);
            let wanted = |n: u8| frames.iter().filter(|(s, _)| *s == n).flat_map(|(_, p)| p.clone()).collect::<Vec<_>>();
            prop_assert_eq!(out, wanted(1));
            prop_assert_eq!(err, wanted(2));
        }
    }

    #[test]
    fn a_cut_or_foreign_stream_is_an_error() {
        let whole = frame(1, b"hello");
        for bytes in [&whole[..3], &whole[..10], b"HTTP/1.1 200 OK"] {
            let ended = copy_framed(&mut &bytes[..], &mut Vec::new(), &mut Vec::new());
            assert!(matches!(ended, Ended::Failed(_)), "{bytes:?}");
        }
    }

    #[test]
    fn input_is_half_closed_at_its_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        copy_input(&mut &b"abc"[..], &ours);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"abc");
        theirs.write_all(b"still open").unwrap();
    }

    #[test]
    fn a_reader_that_leaves_ends_the_copy() {
        let (read, write) = io::pipe().unwrap();
        drop(read);
        let mut out = write;
        assert_eq!(copy_raw(&mut &b"x"[..], &mut out), Ended::NobodyReads);
    }
}
