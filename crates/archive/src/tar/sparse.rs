//! Sparse files: the four ways GNU tar writes where the data goes, made into one checked list of segments.

use super::{BLOCK, Entry, number, pax};
use crate::{Error, Limits};

/// A part of a sparse file that has data; what lies between two is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes, not 0.
    pub length: u64,
}

/// Checks a map's numbers (offset, length, offset …) against the entry's size and its `stored` bytes.
pub(super) fn attach(entry: &mut Entry, numbers: &[u64], stored: u64) -> Result<(), Error> {
    let refuse = |what| Err(Error::Sparse { path: entry.path.clone(), what });
    if !numbers.len().is_multiple_of(2) {
        return refuse("an offset without length");
    }
    let mut segments: Vec<Segment> = Vec::new();
    let (mut end, mut sum) = (0u64, 0u64);
    for pair in numbers.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        if offset < end {
            return refuse("segments overlap or are out of order");
        }
        let Some(segment_end) = offset.checked_add(length).filter(|&end| end <= entry.size) else {
            return refuse("a segment lies behind the end of the file");
        };
        end = segment_end;
        sum += length;
        match segments.last_mut() {
            // GNU tar marks the file's end by an empty segment.
            _ if length == 0 => {}
            Some(last) if last.offset + last.length == offset => last.length += length,
            _ => segments.push(Segment { offset, length }),
        }
    }
    if sum != stored {
        return refuse("the segments are not as long as the data");
    }
    if entry.size > i64::MAX.unsigned_abs() {
        return refuse("the file is longer than any file system allows");
    }
    entry.sparse = Some(segments);
    Ok(())
}

/// The four segments in an old GNU header; true if further blocks of the map follow.
pub(super) fn old_gnu_header(block: &[u8], map: &mut Vec<u64>, at: u64) -> Result<bool, Error> {
    old_gnu(&block[386..482], map, at)?;
    Ok(block[482] != 0)
}

/// The 21 segments in a further block; true if yet another follows.
pub(super) fn old_gnu_extension(
    block: &[u8],
    map: &mut Vec<u64>,
    at: u64,
    limits: &Limits,
) -> Result<bool, Error> {
    if map.len() / 2 > limits.sparse_segments {
        let limit = limits.sparse_segments as u64;
        return Err(Error::Limit { path: Vec::new(), what: "sparse segments", limit });
    }
    old_gnu(&block[..504], map, at)?;
    Ok(block[504] != 0)
}

fn old_gnu(slots: &[u8], map: &mut Vec<u64>, at: u64) -> Result<(), Error> {
    for slot in slots.chunks_exact(24) {
        if slot[0] == 0 {
            break;
        }
        for half in [&slot[..12], &slot[12..]] {
            let number = number::parse(half).and_then(|number| u64::try_from(number).ok());
            map.push(number.ok_or(Error::Number { at, field: "sparse map" })?);
        }
    }
    Ok(())
}

/// The map that PAX format 1.0 puts before the data: decimal lines, first how many pairs, padded to a block.
#[derive(Debug, Default)]
pub(super) struct FrontMap {
    line: Vec<u8>,
    pairs: Option<u64>,
    numbers: Vec<u64>,
}

impl FrontMap {
    /// Takes a block; the numbers once the map is complete. The rest of its last block is padding.
    pub(super) fn feed(
        &mut self,
        block: &[u8],
        path: &[u8],
        limits: &Limits,
    ) -> Result<Option<Vec<u64>>, Error> {
        debug_assert_eq!(block.len() as u64, BLOCK);
        let refuse = |what| Error::Sparse { path: path.to_vec(), what };
        for &byte in block {
            if byte != b'\n' {
                if self.line.len() == 20 {
                    return Err(refuse("a number of more than 20 digits"));
                }
                self.line.push(byte);
                continue;
            }
            let number = pax::decimal(&self.line).ok_or_else(|| refuse("not a number"))?;
            self.line.clear();
            match self.pairs {
                None if number > limits.sparse_segments as u64 => {
                    let limit = limits.sparse_segments as u64;
                    return Err(Error::Limit { path: path.to_vec(), what: "sparse segments", limit });
                }
                None => self.pairs = Some(number),
                Some(_) => self.numbers.push(number),
            }
            if self.pairs.is_some_and(|pairs| self.numbers.len() as u64 == pairs * 2) {
                return Ok(Some(std::mem::take(&mut self.numbers)));
            }
        }
        Ok(None)
    }
}
