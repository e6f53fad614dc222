//! A strict tar reader without I/O: bytes go in at any boundary, entries and slices of their data come out.
//!
//! Formats: v7, ustar, star's prefix, PAX, GNU (long names, base-256 numbers, all four sparse forms). Where two
//! readers in use would see different entries in the same bytes (CVE-2025-62518 and its kin), the archive is
//! refused rather than one reading preferred.

mod entry;
mod header;
mod number;
mod pax;
mod sparse;

use crate::metadata::Timestamp;
use crate::{Error, Limits};

pub use entry::{Entry, Kind};
use entry::{kind, one_name, one_size};
use header::Header;
pub use sparse::Segment;

/// Length of a tar block: headers are one, and data is padded to whole ones.
pub const BLOCK: u64 = 512;

/// What the parser found next.
#[derive(Debug)]
pub enum Event<'a> {
    /// An entry begins.
    Entry(Box<Entry>),
    /// Bytes of the current entry's data as stored: of a sparse file, its segments one after another.
    Data(&'a [u8]),
    /// The current entry's data is complete; comes after each entry, also one without data.
    EntryEnd,
    /// The end mark. All bytes after it are taken and ignored; keep feeding them, the layer's digest has them.
    End,
}

/// The state between two slices of input.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    /// Bytes taken so far.
    offset: u64,
    entries: u64,
    state: State,
    block: Box<[u8; BLOCK as usize]>,
    /// Bytes of `block` that are filled.
    filled: usize,
    /// Bytes behind the end mark.
    padding: u64,
    pending: Pending,
}

/// What special headers have said about the next entry.
#[derive(Debug, Default)]
struct Pending {
    records: Option<pax::Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    Header,
    /// The data of an `x`, `g`, `L` or `K` header.
    Special {
        typeflag: u8,
        size: u64,
        at: u64,
        buffer: Vec<u8>,
    },
    /// Further blocks of an old GNU sparse map.
    OldSparse {
        entry: Box<Entry>,
        stored: u64,
        map: Vec<u64>,
    },
    /// The map at the front of a PAX 1.0 sparse file's data.
    FrontMap {
        entry: Box<Entry>,
        stored: u64,
        map: sparse::FrontMap,
    },
    Data {
        remaining: u64,
        padding: u64,
    },
    Padding {
        remaining: u64,
    },
    EntryEnd {
        padding: u64,
    },
    /// After one block of zeros.
    Zero,
    Ended,
}

impl Parser {
    /// A parser at the start of an archive.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Parser {
            limits,
            offset: 0,
            entries: 0,
            state: State::Header,
            block: Box::new([0; BLOCK as usize]),
            filled: 0,
            padding: 0,
            pending: Pending::default(),
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Entries found so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes from the front of `input` up to the next event; `None` when all of it is taken and there is none yet.
    ///
    /// # Errors
    /// Whatever makes the archive ambiguous, damaged or larger than the limits.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, Error> {
        loop {
            match &mut self.state {
                State::Data { remaining: 0, padding } => self.state = State::EntryEnd { padding: *padding },
                State::Data { remaining, .. } => {
                    let length = input.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    if length == 0 {
                        return Ok(None);
                    }
                    *remaining -= length as u64;
                    return Ok(Some(Event::Data(self.take(input, length))));
                }
                State::EntryEnd { padding } => {
                    self.state = State::Padding { remaining: *padding };
                    return Ok(Some(Event::EntryEnd));
                }
                State::Padding { remaining: 0 } => self.state = State::Header,
                State::Padding { remaining } => {
                    let length = input.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    if length == 0 {
                        return Ok(None);
                    }
                    *remaining -= length as u64;
                    self.take(input, length);
                }
                State::Ended => {
                    self.padding += self.take(input, input.len()).len() as u64;
                    if self.padding > self.limits.padding_bytes {
                        return Err(Error::Padding { limit: self.limits.padding_bytes });
                    }
                    return Ok(None);
                }
                _ => {
                    if !self.fill_block(input) {
                        return Ok(None);
                    }
                    if let Some(event) = self.block()? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Says that no more input comes.
    ///
    /// An archive may end at any border between entries: old tools and Go's reader do without the end mark, and
    /// an empty layer may be no bytes at all.
    ///
    /// # Errors
    /// [`Error::Truncated`] inside an entry, [`Error::NotATar`] inside the first header.
    pub fn finish(&self) -> Result<(), Error> {
        let between = matches!(
            self.state,
            State::Header | State::Zero | State::Ended | State::Padding { remaining: 0 }
        );
        let nothing_pending = self.pending.records.is_none()
            && self.pending.long_name.is_none()
            && self.pending.long_link.is_none();
        if between && nothing_pending && self.filled == 0 {
            return Ok(());
        }
        if self.offset < BLOCK {
            return Err(Error::NotATar { length: self.offset });
        }
        Err(Error::Truncated { at: self.offset })
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (taken, rest) = input.split_at(length);
        *input = rest;
        self.offset += length as u64;
        taken
    }

    /// Collects one block; true when it is whole.
    fn fill_block(&mut self, input: &mut &[u8]) -> bool {
        let length = input.len().min(self.block.len() - self.filled);
        let taken = self.take(input, length);
        self.block[self.filled..self.filled + length].copy_from_slice(taken);
        self.filled += length;
        if self.filled < self.block.len() {
            return false;
        }
        self.filled = 0;
        true
    }

    /// Handles a whole block in the states that read block by block.
    fn block(&mut self) -> Result<Option<Event<'static>>, Error> {
        let at = self.offset - BLOCK;
        let zero = self.block.iter().all(|&byte| byte == 0);
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header if zero => {
                self.state = State::Zero;
                Ok(None)
            }
            State::Header => self.header(at),
            State::Zero if zero => {
                self.state = State::Ended;
                let pending = std::mem::take(&mut self.pending);
                if pending.records.is_some() || pending.long_name.is_some() || pending.long_link.is_some() {
                    return Err(Error::Conflict { at, what: "an extended header with no entry behind it" });
                }
                Ok(Some(Event::End))
            }
            State::Zero => Err(Error::LoneZeroBlock { at: at - BLOCK }),
            State::Special { typeflag, size, at, mut buffer } => {
                let missing = size - buffer.len() as u64;
                let length = missing.min(BLOCK);
                buffer.extend_from_slice(&self.block[..usize::try_from(length).unwrap_or(0)]);
                if missing > BLOCK {
                    self.state = State::Special { typeflag, size, at, buffer };
                    return Ok(None);
                }
                self.special(typeflag, at, buffer)?;
                Ok(None)
            }
            State::OldSparse { mut entry, stored, mut map } => {
                let more = sparse::old_gnu_extension(&self.block[..], &mut map, at, &self.limits)?;
                if more {
                    self.state = State::OldSparse { entry, stored, map };
                    return Ok(None);
                }
                sparse::attach(&mut entry, &map, stored)?;
                Ok(Some(self.begin(entry, stored)))
            }
            State::FrontMap { mut entry, stored, mut map } => {
                let stored = stored.checked_sub(BLOCK).ok_or_else(|| Error::Sparse {
                    path: entry.path.clone(),
                    what: "the map is longer than the data",
                })?;
                match map.feed(&self.block[..], &entry.path, &self.limits)? {
                    None => {
                        self.state = State::FrontMap { entry, stored, map };
                        Ok(None)
                    }
                    Some(numbers) => {
                        sparse::attach(&mut entry, &numbers, stored)?;
                        Ok(Some(self.begin(entry, stored)))
                    }
                }
            }
            // The other states take bytes, not blocks.
            other => {
                self.state = other;
                Ok(None)
            }
        }
    }

    /// A header block that is not zeros.
    fn header(&mut self, at: u64) -> Result<Option<Event<'static>>, Error> {
        let header = Header::parse(&self.block, at)?;
        match header.typeflag {
            b'x' | b'g' | b'L' | b'K' => {
                let limit = match header.typeflag {
                    b'x' | b'g' => self.limits.extended_header_bytes,
                    // GNU tar counts the final NUL.
                    _ => self.limits.path_bytes as u64 + 1,
                };
                if header.size > limit {
                    return Err(Error::Limit { path: header.path, what: "extended header bytes", limit });
                }
                // The buffer grows with what really arrives, never by what the header declares.
                let (typeflag, size) = (header.typeflag, header.size);
                if size == 0 {
                    self.special(typeflag, at, Vec::new())?;
                } else {
                    self.state = State::Special { typeflag, size, at, buffer: Vec::new() };
                }
                Ok(None)
            }
            _ => self.entry(header, at),
        }
    }

    /// A special header is complete: keep what it says for the entry behind it.
    fn special(&mut self, typeflag: u8, at: u64, data: Vec<u8>) -> Result<(), Error> {
        let twice = Err(Error::Conflict { at, what: "two extended headers of one kind for one entry" });
        match typeflag {
            b'x' if self.pending.records.is_some() => return twice,
            b'x' => self.pending.records = Some(pax::parse(&data, at, &self.limits)?),
            b'L' if self.pending.long_name.is_some() => return twice,
            b'L' => self.pending.long_name = Some(header::until_nul(&data).to_vec()),
            b'K' if self.pending.long_link.is_some() => return twice,
            b'K' => self.pending.long_link = Some(header::until_nul(&data).to_vec()),
            _ => pax::check_global(&data, at)?,
        }
        Ok(())
    }

    fn entry(&mut self, header: Header, at: u64) -> Result<Option<Event<'static>>, Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let limit = self.limits.entries;
            return Err(Error::Limit { path: header.path, what: "entries", limit });
        }
        let pending = std::mem::take(&mut self.pending);
        let records = pending.records.unwrap_or_default();
        let path = one_name(records.path, pending.long_name, header.path, at)?;
        let path = records.sparse.name.clone().unwrap_or(path);
        let link = one_name(records.link_path, pending.long_link, header.link_path, at)?;
        let stored = one_size(records.size, header.size, at)?;
        let kind = kind(header.typeflag, &path, link, header.device)?;
        if kind != Kind::File && stored != 0 {
            return Err(Error::DataWithoutFile { path, kind: kind.name(), size: stored });
        }
        // Readers agree on the padding only while the sums stay in range.
        if stored > u64::MAX / 4 {
            return Err(Error::Number { at, field: "size" });
        }
        let id = |record: Option<u64>, field: i64, name| {
            // 4294967295 is chown's "leave as it is" (CVE-2024-40635 is the same mistake in a user name).
            let id = record.or(u64::try_from(field).ok()).and_then(|id| u32::try_from(id).ok());
            id.filter(|&id| id != u32::MAX).ok_or(Error::Number { at, field: name })
        };
        let mut entry = Box::new(Entry {
            kind,
            mode: header.mode & 0o7777,
            uid: id(records.uid, header.uid, "uid")?,
            gid: id(records.gid, header.gid, "gid")?,
            mtime: records.mtime.unwrap_or(Timestamp { seconds: header.mtime, nanoseconds: 0 }),
            size: stored,
            xattrs: records.xattrs,
            data_offset: self.offset,
            sparse: None,
            path,
        });
        if header.typeflag == b'S' {
            entry.size = header.real_size;
            let mut map = Vec::new();
            if sparse::old_gnu_header(&self.block[..], &mut map, at)? {
                self.state = State::OldSparse { entry, stored, map };
                return Ok(None);
            }
            sparse::attach(&mut entry, &map, stored)?;
        } else if records.sparse != pax::Sparse::default() {
            let refuse = |what| Err(Error::Sparse { path: entry.path.clone(), what });
            let found = records.sparse;
            if entry.kind != Kind::File {
                return refuse("not a regular file");
            }
            let Some(real_size) = found.real_size else { return refuse("no real size") };
            match (found.major, found.minor, found.map) {
                (Some(1), Some(0), None) => {
                    entry.size = real_size;
                    self.state = State::FrontMap { entry, stored, map: sparse::FrontMap::default() };
                    return Ok(None);
                }
                (None | Some(0), _, Some(map)) => {
                    entry.size = real_size;
                    sparse::attach(&mut entry, &map, stored)?;
                }
                _ => return refuse("a version that is not 0.0, 0.1 or 1.0"),
            }
        }
        Ok(Some(self.begin(entry, stored)))
    }

    fn begin(&mut self, mut entry: Box<Entry>, stored: u64) -> Event<'static> {
        entry.data_offset = self.offset;
        self.state = State::Data { remaining: stored, padding: stored.next_multiple_of(BLOCK) - stored };
        Event::Entry(entry)
    }
}
