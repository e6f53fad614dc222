//! Compressed streams, told by their first bytes and never by a label: a media type may say gzip of what is plain tar,
//! and Docker takes it. Several gzip members or zstd frames in a row are one stream, as both formats define.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use crate::Error;

/// The largest zstd window that is accepted, as a power of two: 128 MiB. RFC 8878 asks decoders for 8 MiB; `zstd
/// --ultra --long` writes up to this by default.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The most memory that a block of xz may ask for, in KiB: the dictionary of `xz -9`, 64 MiB, and what stands around it. The format allows 4 GiB.
const XZ_MEMORY: u32 = 65 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not at all.
    Plain,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// The .xz file format, 1.2.1: what distributions compress their root file systems with.
    Xz,
}

/// How far data may grow while it is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Bytes that may come out.
    pub bytes: u64,
    /// Bytes that may come out for one that went in.
    pub ratio: u64,
    /// The ratio is looked at once so many bytes have come out: zeros alone shrink by 1,032 in gzip and by far more
    /// in zstd, and honest layers have some.
    pub ratio_from: u64,
}

impl Ceiling {
    /// Where somebody has said how large it may become, that alone counts: whoever has images of empty disks knows. 0: nobody has.
    #[must_use]
    pub fn of(limit: u64) -> Ceiling {
        match limit {
            0 => Ceiling::default(),
            bytes => Ceiling { bytes, ratio: u64::MAX, ratio_from: u64::MAX },
        }
    }
}

impl Default for Ceiling {
    fn default() -> Self {
        // What programs and their data are shrinks by 2 to 20, text by up to 100; 4 GiB of nothing but zeros is an empty disk at best.
        Ceiling { bytes: 1 << 40, ratio: 200, ratio_from: 4 << 30 }
    }
}

impl Format {
    /// Tells the format from the first bytes of a stream; eight are enough.
    ///
    /// # Errors
    /// [`Error::UnsupportedCompression`] for bzip2.
    pub fn sniff(start: &[u8]) -> Result<Format, Error> {
        // The second is zstd's skippable frame, with which pzstd's output begins.
        let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
        if start.starts_with(&[0x1f, 0x8b]) {
            Ok(Format::Gzip)
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
            Ok(Format::Zstd)
        } else if start.starts_with(b"BZh") {
            Err(Error::UnsupportedCompression { name: "bzip2" })
        } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Ok(Format::Xz)
        } else {
            Ok(Format::Plain)
        }
    }

    /// `none`, `gzip`, `zstd` or `xz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Plain => "none",
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
            Format::Xz => "xz",
        }
    }
}

/// How hard layers are compressed: what gzip itself does, and Docker. It is part of the bytes that come out, so changing it changes digests.
const GZIP_LEVEL: u32 = 6;

/// Compresses a stream as it is read. The same stream gives the same bytes: there is no time and no name in them.
pub fn gzip<R: Read>(plain: R) -> impl Read + use<R> {
    flate2::read::GzEncoder::new(plain, flate2::Compression::new(GZIP_LEVEL))
}

/// Decompresses a stream as it is read. At the end the inner stream has been read to its end as well, so that a
/// digest taken of it is complete.
///
/// Its `io::Error`s hold an [`Error`] where it is the data that is wrong, and are the inner stream's own otherwise.
pub struct Decompressor<R: Read> {
    stream: Stream<Input<R>>,
    format: Format,
    ceiling: Ceiling,
    given: u64,
}

enum Stream<B: BufRead> {
    Plain(B),
    Gzip(Box<GzDecoder<B>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, B>>),
    Xz(Box<XzReader<B>>),
    /// After the end, or after an error.
    Ended,
}

impl<R: Read> Decompressor<R> {
    /// Reads the first bytes of `inner` and decompresses by what they say.
    ///
    /// # Errors
    /// [`Error::Read`] if they cannot be read; [`Error::UnsupportedCompression`].
    pub fn new(inner: R, ceiling: Ceiling) -> Result<Self, Error> {
        let mut input = Input {
            start: Vec::new(),
            position: 0,
            inner: BufReader::with_capacity(128 << 10, inner),
            taken: 0,
        };
        let format = Format::sniff(input.read_start().map_err(|source| Error::Read { source })?)?;
        let stream = match format {
            Format::Plain => Stream::Plain(input),
            Format::Gzip => Stream::Gzip(Box::new(GzDecoder::new(input))),
            Format::Zstd => {
                let failed = |source| Error::Compressed { format: "zstd", source };
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
                Stream::Zstd(Box::new(decoder))
            }
            Format::Xz => Stream::Xz(Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY))),
        };
        Ok(Decompressor { stream, format, ceiling, given: 0 })
    }

    /// What the first bytes said.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Compressed bytes taken so far; after the end it no longer matters.
    fn taken(&self) -> u64 {
        match &self.stream {
            Stream::Plain(input) => input.taken,
            Stream::Gzip(decoder) => decoder.get_ref().taken,
            Stream::Zstd(decoder) => decoder.get_ref().taken,
            Stream::Xz(decoder) => decoder.inner().taken,
            Stream::Ended => u64::MAX,
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.stream {
                Stream::Ended => return Ok(0),
                Stream::Plain(input) => return input.read(buffer),
                Stream::Zstd(decoder) => {
                    return decoder.read(buffer).map_err(|source| damaged("zstd", source));
                }
                Stream::Xz(decoder) => return decoder.read(buffer).map_err(|source| damaged("xz", source)),
                Stream::Gzip(decoder) => {
                    let count = decoder.read(buffer).map_err(|source| damaged("gzip", source))?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
            }
            // A gzip member has ended.
            let Stream::Gzip(decoder) = std::mem::replace(&mut self.stream, Stream::Ended) else {
                return Ok(0);
            };
            let mut input = decoder.into_inner();
            let next = input.fill_buf()?;
            if next.is_empty() {
                return Ok(0);
            }
            if next[0] == 0x1f {
                self.stream = Stream::Gzip(Box::new(GzDecoder::new(input)));
                continue;
            }
            // Tapes and some uploaders pad with zeros; anything else is not what was compressed.
            only_zeros(&mut input)?;
            return Ok(0);
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.read_some(buffer)?;
        self.given += count as u64;
        let refuse = |limit, unit| Err(invalid(Error::Decompressed { limit, unit }));
        if self.given > self.ceiling.bytes {
            return refuse(self.ceiling.bytes, "bytes");
        }
        if self.given > self.ceiling.ratio_from && self.given / self.ceiling.ratio > self.taken() {
            return refuse(self.ceiling.ratio, "times its size");
        }
        Ok(count)
    }
}

impl<R: Read> std::fmt::Debug for Decompressor<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Decompressor");
        debug.field("format", &self.format).field("given", &self.given).finish_non_exhaustive()
    }
}

/// The inner stream with the bytes that were read to tell the format in front, counting what is taken.
struct Input<R: Read> {
    start: Vec<u8>,
    position: usize,
    inner: BufReader<R>,
    taken: u64,
}

impl<R: Read> Input<R> {
    /// Reads eight bytes, or fewer at the end; a pipe may give them one at a time.
    fn read_start(&mut self) -> io::Result<&[u8]> {
        let mut start = Vec::with_capacity(8);
        self.inner.by_ref().take(8).read_to_end(&mut start)?;
        self.start = start;
        Ok(&self.start)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position < self.start.len() {
            Ok(&self.start[self.position..])
        } else {
            self.inner.fill_buf()
        }
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount as u64;
        if self.position < self.start.len() {
            self.position += amount;
        } else {
            self.inner.consume(amount);
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn only_zeros(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(invalid(Error::CompressedTrailer));
        }
        let count = bytes.len();
        input.consume(count);
    }
}

/// What the decoders report as an error of the data is ours; an error of the inner stream stays what it is.
fn damaged(format: &'static str, source: io::Error) -> io::Error {
    use io::ErrorKind as E;
    match source.kind() {
        E::OutOfMemory if source.raw_os_error().is_none() => {
            invalid(Error::Dictionary { format, limit: XZ_MEMORY >> 10 })
        }
        E::InvalidInput | E::InvalidData | E::UnexpectedEof | E::Unsupported | E::Other
            if source.raw_os_error().is_none() =>
        {
            invalid(Error::Compressed { format, source })
        }
        _ => source,
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(data, 1).unwrap()
    }

    /// `printf one | xz`, and so with a dictionary of 256 MiB.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x02\x6f\x6e\x65\x00\x00\x7e\xe5\x10\xc5\xd5\x6a\x6c\x9a\x00\x01\x1b\x03\x0b\x2f\xb9\x10\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
    const XZ_WIDE: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x20\x00\x00\x00\x09\x88\xa5\x76\x01\x00\x02\x6f\x6e\x65\x00\x00\x7e\xe5\x10\xc5\xd5\x6a\x6c\x9a\x00\x01\x1b\x03\x0b\x2f\xb9\x10\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

    /// A reader that gives one byte at a time.
    struct Drop<'a>(&'a [u8]);

    impl Read for Drop<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn read(data: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut reader =
            Decompressor::new(Drop(data), Ceiling::default()).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    #[test]
    fn streams_of_all_kinds_are_read_to_their_end() {
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let table: Vec<(&str, Vec<u8>, &[u8])> = vec![
            ("nothing", vec![], b""),
            ("plain", b"plain".to_vec(), b"plain"),
            ("one byte", b"\x1f".to_vec(), b"\x1f"),
            ("gzip", gzip(b"one"), b"one"),
            ("members", [gzip(b"one"), gzip(b""), gzip(b"two")].concat(), b"onetwo"),
            ("padding", [gzip(b"one"), vec![0; 700]].concat(), b"one"),
            ("zstd", zstd(b"one"), b"one"),
            (
                "frames",
                [zstd(b"one"), skippable.clone(), zstd(b"two"), skippable.clone()].concat(),
                b"onetwo",
            ),
            ("xz", XZ.to_vec(), b"one"),
            ("xz streams", [XZ, &[0; 8], XZ].concat(), b"oneone"),
            ("skippable first", [skippable, zstd(b"two")].concat(), b"two"),
        ];
        for (name, data, expected) in table {
            assert_eq!(read(&data).as_deref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn damage_is_an_error_that_says_what() {
        let mut flipped = gzip(b"some text that is long enough");
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        let mut flipped_xz = XZ.to_vec();
        flipped_xz[XZ.len() / 2] ^= 1;
        let wide_window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x90, 1, 0, 0, b'x'];
        let table: Vec<(&str, Vec<u8>, &str)> = vec![
            ("cut gzip", gzip(b"one")[..12].to_vec(), "damaged gzip data"),
            ("wrong sum", flipped, "damaged gzip data"),
            ("garbage", [gzip(b"one"), b"garbage".to_vec()].concat(), "not gzip follows"),
            ("garbage after zeros", [gzip(b"one"), b"\0\0g".to_vec()].concat(), "not gzip follows"),
            ("cut zstd", zstd(b"one")[..8].to_vec(), "damaged zstd data"),
            ("zstd garbage", [zstd(b"one"), b"garbage".to_vec()].concat(), "damaged zstd data"),
            ("window of 256 MiB", wide_window.to_vec(), "damaged zstd data"),
            ("cut xz", XZ[..XZ.len() - 1].to_vec(), "damaged xz data"),
            ("xz garbage", [XZ, b"garbage!"].concat(), "damaged xz data"),
            ("wrong sum of xz", flipped_xz, "damaged xz data"),
            // `xz --lzma2=dict=256MiB`
            ("dictionary of 256 MiB", XZ_WIDE.to_vec(), "more than 65 MiB of memory"),
            ("bzip2", b"BZh91AY&".to_vec(), "compressed with bzip2"),
        ];
        for (name, data, expected) in table {
            let error = read(&data).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn damaged_streams_end_in_an_error_or_in_data(
            changes in proptest::collection::vec((0..400usize, 0..=255u8), 1..4),
            zstd_first in proptest::bool::ANY,
        ) {
            let text: Vec<u8> = (0..2000u32).flat_map(|number| number.to_string().into_bytes()).collect();
            let mut data = if zstd_first { zstd(&text) } else { [gzip(&text[..900]), gzip(&text[900..])].concat() };
            let length = data.len();
            for (at, byte) in changes {
                data[at % length] = byte;
            }
            if let Ok(out) = read(&data) {
                proptest::prop_assert!(out.len() <= 1 << 20);
            }
        }
    }

    #[test]
    fn bombs_are_cut_off() {
        let data = gzip(&vec![0; 1 << 20]);
        let mut reader =
            Decompressor::new(&data[..], Ceiling { bytes: 1 << 19, ..Ceiling::default() }).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("more than 524288 bytes"), "{error}");

        let zeros = zstd::stream::encode_all(io::repeat(0).take(16 << 20), 1).unwrap();
        let ceiling = Ceiling { ratio_from: 1 << 20, ..Ceiling::default() };
        let mut reader = Decompressor::new(&zeros[..], ceiling).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("200 times"), "{error}");
        // gzip cannot do better than 1,032, which is past the ceiling as well.
        let mut data = Vec::new();
        super::gzip(io::repeat(0).take(2 << 20)).read_to_end(&mut data).unwrap();
        let mut reader = Decompressor::new(&data[..], ceiling).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("200 times"), "{error}");
        let mut reader = Decompressor::new(&data[..], Ceiling::of(2 << 20)).unwrap();
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 2 << 20, "somebody has said so");
        let mut reader = Decompressor::new(&data[..], Ceiling::of((2 << 20) - 1)).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("more than 2097151 bytes"), "{error}");
    }
}
