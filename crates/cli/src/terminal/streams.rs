//! Bytes between the monitor's stream and the three standard streams.
//!
//! One thread for each direction, with blocking calls and large buffers: a reader that stops (`| less`)
//! stops only its own direction, and never the passing on of signals. Output without a terminal comes in
//! Docker's frames: a byte for the stream, three zeroes, the length as four bytes, big end first.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// As large as a pipe can be by default, so that neither side waits for the other's next call.
const BUFFER: usize = 1 << 20;

const HEADER: usize = 8;

/// So many payloads are written at once.
const TOGETHER: usize = 64;

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
    let mut frames = Frames::default();
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) if frames.are_whole() => return Ended::Drained,
            Ok(0) => return Ended::Failed("the stream ended within a frame".to_owned()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return end_of_stream(&error),
        };
        let mut rest = &buffer[..length];
        let mut payload = frames.next(&mut rest);
        // What goes to one stream without a break is one write, so that its reader is woken once and not for each frame.
        while let Ok(Some((stream, first))) = payload {
            let mut together = vec![IoSlice::new(first)];
            payload = frames.next(&mut rest);
            while let Ok(Some((same, next))) = payload
                && same == stream
                && together.len() < TOGETHER
            {
                together.push(IoSlice::new(next));
                payload = frames.next(&mut rest);
            }
            let written = match stream {
                Stream::Out => write_together(out, &mut together),
                Stream::Err => write_together(err, &mut together),
            };
            if let Err(error) = written {
                return writing(&error);
            }
        }
        if payload.is_err() {
            return Ended::Failed("the stream is not in frames".to_owned());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// The bytes are not Docker's frames.
struct Foreign;

/// Where in a frame the last reading has ended.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER],
    header_filled: usize,
    /// What is still to come of the payload.
    left: usize,
}

impl Frames {
    fn are_whole(&self) -> bool {
        self.left == 0 && self.header_filled == 0
    }

    /// Takes the next payload, or the part of it that is there. `None`: all is taken.
    fn next<'b>(&mut self, rest: &mut &'b [u8]) -> Result<Option<(Stream, &'b [u8])>, Foreign> {
        while self.left == 0 {
            let (taken, after) = rest.split_at(rest.len().min(HEADER - self.header_filled));
            self.header[self.header_filled..self.header_filled + taken.len()].copy_from_slice(taken);
            self.header_filled += taken.len();
            *rest = after;
            if self.header_filled < HEADER {
                return Ok(None);
            }
            self.header_filled = 0;
            let [1 | 2, 0, 0, 0, length @ ..] = self.header else { return Err(Foreign) };
            self.left = u32::from_be_bytes(length) as usize;
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let (payload, after) = rest.split_at(rest.len().min(self.left));
        self.left -= payload.len();
        *rest = after;
        Ok(Some((if self.header[0] == 1 { Stream::Out } else { Stream::Err }, payload)))
    }
}

/// Writes all of the pieces, in as few calls as it takes.
fn write_together(to: &mut impl Write, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !pieces.is_empty() {
        match to.write_vectored(pieces) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
