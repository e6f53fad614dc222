//! Writes tars, for `save` and for layers that Onggi makes: plain ustar where an entry fits, a PAX header before it
//! where it does not. The same entries give the same bytes.

use std::io::{self, Read, Write};

use crate::Error;
use crate::metadata::{Metadata, Timestamp};
use crate::tar::{BLOCK, Kind};

/// The largest number that eleven octal digits hold.
const OCTAL_11: u64 = 0o777_7777_7777;
/// The largest that seven do: ids above it need PAX.
const OCTAL_7: u64 = 0o777_7777;

/// A tar that is being written; [`Writer::finish`] adds its end mark.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// A writer at the start of an archive.
    pub fn new(out: W) -> Self {
        Writer { out }
    }

    /// Adds a regular file of `size` bytes, read from `content`.
    ///
    /// # Errors
    /// [`Error::WriteLength`] if `content` is shorter or longer, [`Error::WriteTar`]. The archive is of no use then.
    pub fn file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Error> {
        let failed = |source| Error::WriteTar { path: path.to_vec(), source };
        self.header(path, metadata, &Kind::File, size)?;
        // One byte more, to see that there is none.
        let written = io::copy(&mut content.take(size + 1), &mut self.out).map_err(failed)?;
        if written != size {
            return Err(Error::WriteLength { path: path.to_vec(), written, announced: size });
        }
        self.pad(size).map_err(failed)
    }

    /// Adds an entry without data; a [`Kind::File`] is an empty one.
    ///
    /// # Errors
    /// [`Error::WriteTar`].
    pub fn entry(&mut self, path: &[u8], metadata: &Metadata, kind: &Kind) -> Result<(), Error> {
        if *kind == Kind::File {
            return self.file(path, metadata, 0, &mut io::empty());
        }
        self.header(path, metadata, kind, 0)
    }

    /// Writes the end mark and gives the inner writer back, flushed.
    ///
    /// # Errors
    /// [`Error::WriteTar`].
    pub fn finish(mut self) -> Result<W, Error> {
        let failed = |source| Error::WriteTar { path: Vec::new(), source };
        self.out.write_all(&[0; 2 * BLOCK as usize]).map_err(failed)?;
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }

    fn header(&mut self, path: &[u8], metadata: &Metadata, kind: &Kind, size: u64) -> Result<(), Error> {
        // Readers older than POSIX know a directory by its slash.
        let mut name = path.to_vec();
        if *kind == Kind::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let records = records(&name, metadata, kind, size);
        let mut blocks = Vec::new();
        if !records.is_empty() {
            let plain = Metadata { xattrs: Vec::new(), ..Metadata::implied_directory() };
            let mut header = block(b"PaxHeader", &plain, b'x', &[], (0, 0), records.len() as u64);
            header[100..108].copy_from_slice(b"0000644\0");
            seal(&mut header);
            blocks.extend_from_slice(&header);
            blocks.extend_from_slice(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK as usize), 0);
        }
        let (typeflag, link, device): (u8, &[u8], (u32, u32)) = match kind {
            Kind::File => (b'0', &[], (0, 0)),
            Kind::HardLink(target) => (b'1', target, (0, 0)),
            Kind::Symlink(target) => (b'2', target, (0, 0)),
            Kind::CharDevice { major, minor } => (b'3', &[], (*major, *minor)),
            Kind::BlockDevice { major, minor } => (b'4', &[], (*major, *minor)),
            Kind::Directory => (b'5', &[], (0, 0)),
            Kind::Fifo => (b'6', &[], (0, 0)),
        };
        blocks.extend_from_slice(&block(&name, metadata, typeflag, link, device, size));
        self.out.write_all(&blocks).map_err(|source| Error::WriteTar { path: path.to_vec(), source })
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.next_multiple_of(BLOCK) - size;
        self.out.write_all(&[0; BLOCK as usize][..usize::try_from(padding).unwrap_or(0)])
    }
}

/// The PAX records for what the plain header cannot say; empty if it can say all.
fn records(name: &[u8], metadata: &Metadata, kind: &Kind, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if split(name).is_none() {
        put_record(&mut out, b"path", name);
    }
    if let Kind::Symlink(target) | Kind::HardLink(target) = kind
        && target.len() > 100
    {
        put_record(&mut out, b"linkpath", target);
    }
    if size > OCTAL_11 {
        put_record(&mut out, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], metadata.uid), (b"gid", metadata.gid)] {
        if u64::from(id) > OCTAL_7 {
            put_record(&mut out, key, id.to_string().as_bytes());
        }
    }
    let time = metadata.mtime;
    if time.nanoseconds != 0 || u64::try_from(time.seconds).map_or(true, |seconds| seconds > OCTAL_11) {
        put_record(&mut out, b"mtime", decimal_time(time).as_bytes());
    }
    for (name, value) in &metadata.xattrs {
        put_record(&mut out, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    out
}

/// `length key=value\n`, where the length counts its own digits.
fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Sign, seconds and nine digits: time is kept as seconds rounded down, text wants them rounded to zero.
fn decimal_time(time: Timestamp) -> String {
    if time.seconds < 0 && time.nanoseconds > 0 {
        let seconds = (i128::from(time.seconds) + 1).unsigned_abs();
        return format!("-{seconds}.{:09}", 1_000_000_000 - time.nanoseconds);
    }
    if time.nanoseconds == 0 {
        time.seconds.to_string()
    } else {
        format!("{}.{:09}", time.seconds, time.nanoseconds)
    }
}

/// A plain header with its checksum; what does not fit is zero or cut, and PAX has said it.
fn block(
    name: &[u8],
    metadata: &Metadata,
    typeflag: u8,
    link: &[u8],
    device: (u32, u32),
    size: u64,
) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let octal = |value: u64, digits: usize| {
        let value = if value < 1 << (3 * digits) { value } else { 0 };
        format!("{value:0digits$o}\0").into_bytes()
    };
    let (prefix, short) = split(name).unwrap_or((&[], &name[..name.len().min(100)]));
    put(0, short);
    put(100, &octal(metadata.mode.into(), 7));
    put(108, &octal(metadata.uid.into(), 7));
    put(116, &octal(metadata.gid.into(), 7));
    put(124, &octal(size, 11));
    put(136, &octal(u64::try_from(metadata.mtime.seconds).unwrap_or(0), 11));
    put(156, &[typeflag]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, &octal(device.0.into(), 7));
    put(337, &octal(device.1.into(), 7));
    put(345, prefix);
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; BLOCK as usize]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// The name as ustar's prefix (155 bytes) and name (100 bytes), cut at a slash; `None` if it cannot be.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((&[], name));
    }
    let slash = name.iter().take(156).rposition(|&byte| byte == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && !rest.is_empty() && rest.len() <= 100).then_some((prefix, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::tar::{Entry, Event, Parser};
    use proptest::prelude::*;

    fn parse(tar: &[u8]) -> Vec<(Entry, Vec<u8>)> {
        let (mut parser, mut input, mut entries) = (Parser::new(Limits::default()), tar, Vec::new());
        while let Some(event) = parser.next(&mut input).unwrap() {
            match event {
                Event::Entry(entry) => entries.push((*entry, Vec::new())),
                Event::Data(data) => entries.last_mut().unwrap().1.extend_from_slice(data),
                Event::EntryEnd | Event::End => {}
            }
        }
        parser.finish().unwrap();
        entries
    }

    fn metadata() -> impl Strategy<Value = Metadata> {
        let id = prop_oneof![0..70_000u32, 0..u32::MAX];
        let seconds = prop_oneof![-5_000_000_000..50_000_000_000i64, -3..3i64];
        let nanoseconds = prop_oneof![Just(0), 0..1_000_000_000u32];
        let xattrs =
            prop::collection::vec(("user\\.[a-z=]{1,5}", prop::collection::vec(any::<u8>(), 0..200)), 0..3);
        (0..0o10000u32, id.clone(), id, seconds, nanoseconds, xattrs).prop_map(
            |(mode, uid, gid, seconds, nanoseconds, xattrs)| {
                let xattrs =
                    xattrs.into_iter().map(|(name, value)| (name.replace('=', "_").into_bytes(), value));
                let mtime = Timestamp { seconds, nanoseconds };
                Metadata { mode, uid, gid, mtime, xattrs: xattrs.collect() }
            },
        )
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(b'/'), b'a'..b'e', 0x80..=0xffu8], 1..300).prop_map(
            |mut name| {
                // A trailing slash would say directory.
                name.push(b'z');
                name
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(
            path in name(),
            target in name(),
            metadata in metadata(),
            content in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let mut writer = Writer::new(Vec::new());
            writer.file(&path, &metadata, content.len() as u64, &mut content.as_slice()).unwrap();
            writer.entry(&path, &metadata, &Kind::Symlink(target.clone())).unwrap();
            writer.entry(&path, &metadata, &Kind::HardLink(target.clone())).unwrap();
            writer.entry(&path, &metadata, &Kind::Directory).unwrap();
            writer.entry(&path, &metadata, &Kind::CharDevice { major: 4095, minor: 1_048_575 }).unwrap();
            let entries = parse(&writer.finish().unwrap());
            let kinds: Vec<_> = entries.iter().map(|(entry, _)| entry.kind.clone()).collect();
            prop_assert_eq!(kinds, [
                Kind::File,
                Kind::Symlink(target.clone()),
                Kind::HardLink(target),
                Kind::Directory,
                Kind::CharDevice { major: 4095, minor: 1_048_575 },
            ]);
            prop_assert_eq!(&entries[0].1, &content);
            for (entry, _) in entries {
                let slash = if entry.kind == Kind::Directory { &b"/"[..] } else { b"" };
                prop_assert_eq!(&entry.path, &[&path[..], slash].concat());
                let Entry { mode, uid, gid, mtime, xattrs, .. } = entry;
                prop_assert_eq!(Metadata { mode, uid, gid, mtime, xattrs }, metadata.clone());
            }
        }
    }

    #[test]
    fn a_file_of_another_length_is_an_error() {
        let metadata = Metadata::implied_directory();
        for content in [&b"12"[..], b"1234"] {
            let error = Writer::new(Vec::new()).file(b"f", &metadata, 3, &mut &content[..]).unwrap_err();
            assert!(matches!(error, Error::WriteLength { announced: 3, .. }), "{error}");
        }
    }

    #[test]
    fn what_fits_is_plain_ustar() {
        let mut writer = Writer::new(Vec::new());
        let path = [&[b'p'; 150][..], b"/", &[b'n'; 100]].concat();
        writer.file(&path, &Metadata::implied_directory(), 1, &mut &b"x"[..]).unwrap();
        assert_eq!(writer.finish().unwrap().len(), 4 * 512);
    }
}
