//! Where an archive's members come from: a tar that can be read at any place, or a directory.
//!
//! A member's name is a key to look up, never a path on this machine. Links inside the archive (old `docker save` wrote one for each layer that two images
//! share) are followed inside it only.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use onggi_archive::Limits;
use onggi_archive::compress::{Ceiling, Decompressor, Format};
use onggi_archive::tar::{Event, Kind, Parser};
use onggi_image::DOCUMENT_LIMIT;
use onggi_sys::fault;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::act::Act;
use crate::error::Error;
use crate::layout::open_directory;
use crate::room;
use crate::types::Progress;

/// As many links as are followed to one member.
const LINKS_FOLLOWED: u32 = 16;
const BUFFER: usize = 256 << 10;
/// Bytes between two looks at how much room is left.
const BETWEEN_LOOKS: usize = 4 << 20;

/// One member, ready to be read from its beginning.
pub(crate) struct Member<'a> {
    pub(crate) size: u64,
    pub(crate) reader: Box<dyn Read + 'a>,
}

/// Something that has members.
pub(crate) trait Source {
    /// Opens a member; `None` if there is none of that name, or it is no file.
    fn open(&self, name: &str) -> Result<Option<Member<'_>>, Error>;

    /// Reads a small member whole; one above [`DOCUMENT_LIMIT`] is refused.
    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(member) = self.open(name)? else { return Ok(None) };
        if member.size > DOCUMENT_LIMIT {
            let reason = format!(
                "{name:?} is {} bytes, more than the {DOCUMENT_LIMIT} that a document may have",
                member.size
            );
            return Err(Error::BadArchive { reason });
        }
        let mut bytes = Vec::new();
        let read = member.reader.take(DOCUMENT_LIMIT).read_to_end(&mut bytes);
        read.map_err(|source| Error::Input { what: name.to_owned(), source })?;
        Ok(Some(bytes))
    }
}

/// A tar whose members are read in place.
#[derive(Debug)]
pub(crate) struct TarSource {
    file: File,
    members: HashMap<Vec<u8>, Place>,
}

#[derive(Debug)]
enum Place {
    Data { offset: u64, size: u64 },
    Link(Vec<u8>),
}

impl TarSource {
    /// An archive in a file. One that is compressed is decompressed into the act's directory first.
    pub(crate) fn of_file(
        mut file: File,
        act: &Act,
        ceiling: Ceiling,
        progress: &dyn Progress,
    ) -> Result<TarSource, Error> {
        let mut start = [0; 8];
        let regular = file.metadata().ok().filter(std::fs::Metadata::is_file);
        let seekable = regular.is_some();
        let filled = if seekable { file.read_at(&mut start, 0).map_err(input)? } else { 0 };
        if !seekable
            || Format::sniff(&start[..filled]).map_err(Error::archive("the archive"))? != Format::Plain
        {
            let total = regular.map(|metadata| metadata.len());
            return TarSource::of_stream(&mut file, total, act, ceiling, progress);
        }
        let members = scan(&file)?;
        Ok(TarSource { file, members })
    }

    /// An archive from a stream, of which a copy is made in the act's directory, since its members come in any order. `total`: its bytes, if they are known.
    pub(crate) fn of_stream(
        stream: &mut dyn Read,
        total: Option<u64>,
        act: &Act,
        ceiling: Ceiling,
        progress: &dyn Progress,
    ) -> Result<TarSource, Error> {
        let path = act.path("archive");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        let stream = Told { inner: stream, done: 0, total, progress };
        let mut stream = Decompressor::new(stream, ceiling).map_err(Error::archive("the archive"))?;
        let (mut scanner, mut unlooked) = (Scanner::new(), 0);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(input(source)),
            };
            scanner.feed(&buffer[..count])?;
            file.write_all(&buffer[..count]).map_err(Error::io("write", &path))?;
            unlooked += count;
            if unlooked >= BETWEEN_LOOKS {
                room::check(&file, &path)?;
                unlooked = 0;
            }
        }
        fault::point("store.load.spooled");
        Ok(TarSource { file, members: scanner.finish()? })
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut key = normal(name.as_bytes())?;
        for _ in 0..LINKS_FOLLOWED {
            match self.members.get(&key)? {
                Place::Data { offset, size } => return Some((*offset, *size)),
                Place::Link(target) => key.clone_from(target),
            }
        }
        None
    }
}

impl Source for TarSource {
    fn open(&self, name: &str) -> Result<Option<Member<'_>>, Error> {
        let member = self.find(name).map(|(offset, size)| Member {
            size,
            reader: Box::new(Window { file: &self.file, offset, remaining: size }) as Box<dyn Read>,
        });
        Ok(member)
    }
}

/// Reads the headers of a plain tar, going over the data of its members without reading it.
fn scan(file: &File) -> Result<HashMap<Vec<u8>, Place>, Error> {
    let nothing = vec![0; 1 << 20];
    let mut scanner = Scanner::new();
    let mut buffer = vec![0; 64 << 10];
    let mut position = 0;
    loop {
        let count = file.read_at(&mut buffer, position).map_err(input)?;
        if count == 0 {
            return scanner.finish();
        }
        scanner.feed(&buffer[..count])?;
        position += count as u64;
        // The parser counts a member's bytes and does not look at them.
        while scanner.data_until > position {
            let step =
                usize::try_from(scanner.data_until - position).unwrap_or(usize::MAX).min(nothing.len());
            if file.read_at(&mut [0], position + step as u64 - 1).map_err(input)? == 0 {
                return Err(Error::BadArchive { reason: "it ends in the middle of a member".to_owned() });
            }
            scanner.feed(&nothing[..step])?;
            position += step as u64;
        }
    }
}

struct Scanner {
    parser: Parser,
    members: HashMap<Vec<u8>, Place>,
    /// Where the data of the last member ends.
    data_until: u64,
}

impl Scanner {
    fn new() -> Scanner {
        Scanner { parser: Parser::new(Limits::default()), members: HashMap::new(), data_until: 0 }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(event) = self.parser.next(&mut bytes).map_err(Error::archive("the archive"))? {
            let Event::Entry(entry) = event else { continue };
            let Some(name) = normal(&entry.path) else {
                let name = String::from_utf8_lossy(&entry.path);
                return Err(Error::BadArchive {
                    reason: format!("the member {name:?} climbs out of the archive"),
                });
            };
            let place = match entry.kind {
                Kind::File if entry.sparse.is_none() => {
                    self.data_until = entry.data_offset + entry.size;
                    Place::Data { offset: entry.data_offset, size: entry.size }
                }
                Kind::Symlink(target) => {
                    let parent = name.rsplit_once_byte(b'/').unwrap_or_default();
                    let joined =
                        if target.starts_with(b"/") { target } else { [parent, b"/", &target].concat() };
                    // A link that leads out of the archive is a link to nothing.
                    match normal_with_parents(&joined) {
                        Some(target) => Place::Link(target),
                        None => continue,
                    }
                }
                Kind::HardLink(target) => match normal(&target) {
                    Some(target) => Place::Link(target),
                    None => continue,
                },
                _ => continue,
            };
            self.members.insert(name, place);
        }
        Ok(())
    }

    fn finish(self) -> Result<HashMap<Vec<u8>, Place>, Error> {
        self.parser.finish().map_err(Error::archive("the archive"))?;
        Ok(self.members)
    }
}

trait RsplitOnceByte {
    fn rsplit_once_byte(&self, byte: u8) -> Option<&[u8]>;
}

impl RsplitOnceByte for [u8] {
    /// What stands before the last such byte.
    fn rsplit_once_byte(&self, byte: u8) -> Option<&[u8]> {
        self.iter().rposition(|other| *other == byte).map(|at| &self[..at])
    }
}

/// A member's name without `./` and doubled slashes; `None` for one with `..` in it.
fn normal(name: &[u8]) -> Option<Vec<u8>> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<_> = parts.collect();
    (!parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

/// As [`normal`], going up for `..` but not above the archive.
fn normal_with_parents(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// A stream whose progress is told, and which ends when it is cancelled.
struct Told<'t> {
    inner: &'t mut dyn Read,
    done: u64,
    total: Option<u64>,
    progress: &'t dyn Progress,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.progress.layer("the archive", self.done, self.total);
        if self.progress.is_cancelled() {
            return Err(std::io::Error::other("cancelled"));
        }
        Ok(count)
    }
}

fn input(source: std::io::Error) -> Error {
    Error::Input { what: "the archive".to_owned(), source }
}

/// A part of a file, read without moving the file's own position.
struct Window<'a> {
    file: &'a File,
    offset: u64,
    remaining: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.remaining -= count as u64;
        Ok(count)
    }
}

/// A directory, out of which no member's name and no link leads.
#[derive(Debug)]
pub(crate) struct DirectorySource {
    directory: OwnedFd,
}

impl DirectorySource {
    pub(crate) fn open(path: &Path) -> Result<DirectorySource, Error> {
        Ok(DirectorySource { directory: open_directory(path)? })
    }
}

impl Source for DirectorySource {
    fn open(&self, name: &str) -> Result<Option<Member<'_>>, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(&self.directory, name, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::XDEV) => {
                return Ok(None);
            }
            other => other.map_err(Error::io("open", name))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(Error::io("stat", name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some(Member { size, reader: Box::new(File::from(file).take(size)) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_keys() {
        for (name, key) in [
            ("a", Some("a")),
            ("./a//b/", Some("a/b")),
            ("/a", Some("a")),
            ("../a", None),
            ("a/../../b", None),
            ("a..b", Some("a..b")),
        ] {
            assert_eq!(normal(name.as_bytes()), key.map(|key| key.as_bytes().to_vec()), "{name}");
        }
        assert_eq!(normal_with_parents(b"x/../y/layer.tar"), Some(b"y/layer.tar".to_vec()));
        assert_eq!(normal_with_parents(b"x/../../etc/passwd"), None);
    }
}
