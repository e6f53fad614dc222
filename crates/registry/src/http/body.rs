//! Where a body ends: after a number of bytes, after its last chunk, or with the connection (RFC 9112, section 6).

use std::io::{self, Write};

use super::Connection;
use super::head::Head;

/// The longest line that says how long a chunk is, in bytes; extensions count.
const LINE_LIMIT: usize = 1024;
/// The longest trailer behind the last chunk, in bytes.
const TRAILER_LIMIT: usize = 8 << 10;

/// How far a body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunked),
    /// Until the connection ends. Whether anything is missing cannot be known.
    UntilClose {
        ended: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// Before a line that says how long the next chunk is; `first`: no chunk was read before it.
    Size {
        first: bool,
    },
    Data(u64),
    Ended,
}

impl Framing {
    pub(crate) fn of(head: &Head, method: &str) -> Result<Framing, String> {
        if method == "HEAD" || matches!(head.status, 204 | 304) || head.status < 200 {
            return Ok(Framing::Length(0));
        }
        let mut codings = head.all("transfer-encoding");
        if let Some(coding) = codings.next() {
            // Both at once is how requests are smuggled; no honest server sends it.
            if head.header("content-length").is_some() || codings.next().is_some() {
                return Err("it frames its body in two ways".to_owned());
            }
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(format!("its transfer encoding {coding:?} is not known"));
            }
            return Ok(Framing::Chunked(Chunked::Size { first: true }));
        }
        let mut lengths = head.all("content-length");
        let Some(length) = lengths.next() else { return Ok(Framing::UntilClose { ended: false }) };
        if lengths.any(|other| other != length) {
            return Err("it says two lengths".to_owned());
        }
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        match length.parse() {
            Ok(length) if digits => Ok(Framing::Length(length)),
            _ => Err(format!("its length {length:?} is no number")),
        }
    }

    /// Whether it ends before its connection does.
    pub(crate) fn has_end(self) -> bool {
        !matches!(self, Framing::UntilClose { .. })
    }

    pub(crate) fn is_at_end(self) -> bool {
        matches!(
            self,
            Framing::Length(0) | Framing::Chunked(Chunked::Ended) | Framing::UntilClose { ended: true }
        )
    }

    pub(crate) fn length(self) -> Option<u64> {
        match self {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }

    pub(crate) fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self {
                Framing::Length(0)
                | Framing::Chunked(Chunked::Ended)
                | Framing::UntilClose { ended: true } => {
                    return Ok(0);
                }
                Framing::Length(left) => {
                    let count = take(connection, buffer, *left)?;
                    *left -= count as u64;
                    return if count == 0 { Err(cut_short()) } else { Ok(count) };
                }
                Framing::UntilClose { ended } => {
                    let count = take(connection, buffer, u64::MAX)?;
                    *ended = count == 0;
                    return Ok(count);
                }
                Framing::Chunked(Chunked::Data(0)) => {
                    *self = Framing::Chunked(Chunked::Size { first: false });
                }
                Framing::Chunked(Chunked::Data(left)) => {
                    let count = take(connection, buffer, *left)?;
                    *left -= count as u64;
                    return if count == 0 { Err(cut_short()) } else { Ok(count) };
                }
                Framing::Chunked(Chunked::Size { first }) => {
                    // The line end behind the chunk before.
                    if !*first && !line(connection, LINE_LIMIT)?.is_empty() {
                        return Err(bad("a chunk is longer than it says"));
                    }
                    let size = chunk_size(&line(connection, LINE_LIMIT)?)?;
                    *self = Framing::Chunked(match size {
                        0 => {
                            skip_trailer(connection)?;
                            Chunked::Ended
                        }
                        size => Chunked::Data(size),
                    });
                }
            }
        }
    }
}

/// Writes one chunk; an empty one would be the last and is not written.
pub(crate) fn write_chunk(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

fn take(connection: &mut Connection, buffer: &mut [u8], most: u64) -> io::Result<usize> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
    connection.read(&mut buffer[..most])
}

/// A line without its end.
fn line(connection: &mut Connection, limit: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let available = connection.fill()?;
        if available.is_empty() {
            return Err(cut_short());
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let count = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..count]);
        connection.consume(count);
        if line.len() > limit {
            return Err(bad("a line of its chunks is too long"));
        }
        if end.is_some() {
            line.pop();
            if line.pop_if(|byte| *byte == b'\r').is_none() {
                return Err(bad("a line of its chunks has no carriage return"));
            }
            return Ok(line);
        }
    }
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).ok();
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    text.filter(|_| valid)
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| bad("the size of a chunk is no number"))
}

fn skip_trailer(connection: &mut Connection) -> io::Result<()> {
    let mut length = 0;
    loop {
        let line = line(connection, TRAILER_LIMIT)?;
        if line.is_empty() {
            return Ok(());
        }
        length += line.len();
        if length > TRAILER_LIMIT {
            return Err(bad("its trailer is too long"));
        }
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in the middle of the answer")
}

fn bad(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::super::Dialled;
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    /// Gives its bytes in pieces of a size, swallows what is written.
    struct Pieces(Vec<u8>, usize, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.2.min(buffer.len()).min(self.0.len() - self.1);
            buffer[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
            self.1 += count;
            Ok(count)
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Into a small buffer and into one that is read into straight, which must make no difference.
    fn read(head: &str, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool), String> {
        let read = read_into(&mut [0; 7], head, bytes, piece);
        assert_eq!(read, read_into(&mut [0; 100_000], head, bytes, piece));
        read
    }

    fn read_into(
        buffer: &mut [u8],
        head: &str,
        bytes: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, bool), String> {
        let head = Head::parse(format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes()).unwrap().unwrap().0;
        let stream = Box::new(Pieces(bytes.to_vec(), 0, piece));
        let mut connection = Connection::new(Dialled { stream, through_proxy: None });
        let mut framing = Framing::of(&head, "GET")?;
        let mut out = Vec::new();
        loop {
            match framing.read(&mut connection, buffer).map_err(|error| error.to_string())? {
                0 => return Ok((out, framing.is_at_end())),
                count => out.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn bodies_end_where_they_say() {
        const CHUNKED: &str = "Transfer-Encoding: Chunked\r\n";
        for piece in [1, 3, 1000] {
            for (head, bytes, expected) in [
                ("Content-Length: 3\r\n", &b"abcdef"[..], &b"abc"[..]),
                ("Content-Length: 0\r\n", b"abc", b""),
                ("", b"abc", b"abc"),
                (CHUNKED, b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: x\r\n\r\nrest", b"abc0123456789"),
                (CHUNKED, b"0\r\n\r\n", b""),
            ] {
                assert_eq!(read(head, bytes, piece), Ok((expected.to_vec(), true)), "{head} {piece}");
            }
            for (head, bytes, reason) in [
                ("Content-Length: 9\r\n", &b"abc"[..], "in the middle"),
                ("Content-Length: -1\r\n", b"", "no number"),
                ("Content-Length: +1\r\n", b"", "no number"),
                ("Content-Length: 1\r\nContent-Length: 2\r\n", b"", "two lengths"),
                ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"", "two ways"),
                ("Transfer-Encoding: gzip\r\n", b"", "not known"),
                (CHUNKED, b"3\r\nab", "in the middle"),
                (CHUNKED, b"3\r\nabcd\r\n", "longer than it says"),
                (CHUNKED, b"x\r\n", "no number"),
                (CHUNKED, b"-3\r\n", "no number"),
                (CHUNKED, b"\r\n", "no number"),
                (CHUNKED, b"fffffffffffffffff\r\n", "no number"),
                (CHUNKED, b"3\nabc", "no carriage return"),
                (CHUNKED, &[b'0'; 3000], "too long"),
            ] {
                let error = read(head, bytes, piece).unwrap_err();
                assert!(error.contains(reason), "{head:?} {bytes:.20?}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_in_chunks_is_read_back(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10), step in 1..20usize) {
            let mut wire = Vec::new();
            for piece in &pieces {
                write_chunk(&mut wire, piece).unwrap();
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read("Transfer-Encoding: chunked\r\n", &wire, step), Ok((pieces.concat(), true)));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read("Transfer-Encoding: chunked\r\n", &bytes, 5);
        }
    }
}
