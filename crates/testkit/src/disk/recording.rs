//! What was sent to a disk, and what may be on it when the power fails.
//!
//! The rule of a disk with a volatile cache: what was written before a flush that has ended is there; of what came later, any part may be, in
//! any order, down to single sectors.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Where ext4 has its superblock: two sectors, which it trusts to be written together. It reads them before its journal, so of one that is torn it knows only that the
/// sum is wrong, and nothing but a repair from a copy helps. What Onggi does cannot change that.
const SUPERBLOCK: Range<usize> = 1024..2048;

/// A disk's first content and everything that was sent to it since.
#[derive(Debug, Clone)]
pub struct Recording {
    first: Vec<u8>,
    sent: Vec<Sent>,
}

#[derive(Debug, Clone)]
enum Sent {
    Write { offset: usize, bytes: Vec<u8> },
    Flush,
}

/// What becomes of the writes that no flush has followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All of them had reached the disk.
    All,
    /// All were still in the cache.
    None,
    /// Each had or had not, by chance.
    Writes,
    /// Each sector had or had not, by chance; the two of ext4's superblock together.
    Sectors,
}

impl Recording {
    pub(super) fn new(first: Vec<u8>) -> Recording {
        Recording { first, sent: Vec::new() }
    }

    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    pub(super) fn write(&mut self, offset: usize, bytes: Vec<u8>) {
        self.sent.push(Sent::Write { offset, bytes });
    }

    pub(super) fn flush(&mut self) {
        self.sent.push(Sent::Flush);
    }

    /// How many writes and flushes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether nothing was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// How many flushes there are.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.sent.iter().filter(|sent| matches!(sent, Sent::Flush)).count()
    }

    /// What is on the disk if the power fails after so many writes and flushes. The same `chance` gives the same state.
    #[must_use]
    pub fn cut(&self, after: usize, survival: Survival, chance: u64) -> Vec<u8> {
        let sent = &self.sent[..after.min(self.sent.len())];
        let flushed = sent.iter().rposition(|sent| matches!(sent, Sent::Flush)).unwrap_or(0);
        let mut coin = Coin(chance);
        let mut disk = self.first.clone();
        for (number, sent) in sent.iter().enumerate() {
            let Sent::Write { offset, bytes } = sent else { continue };
            let survival = if number < flushed { Survival::All } else { survival };
            match survival {
                Survival::All => disk[*offset..*offset + bytes.len()].copy_from_slice(bytes),
                Survival::None => {}
                Survival::Writes if coin.toss() => {
                    disk[*offset..*offset + bytes.len()].copy_from_slice(bytes);
                }
                Survival::Writes => {}
                Survival::Sectors => {
                    let mut is_there = false;
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        let start = offset + number * SECTOR;
                        let goes_with_the_last =
                            number > 0 && SUPERBLOCK.start < start && start < SUPERBLOCK.end;
                        is_there = if goes_with_the_last { is_there } else { coin.toss() };
                        if is_there {
                            disk[start..start + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        disk
    }
}

/// Writes a disk's bytes to a file, with holes for what is zero.
///
/// # Errors
/// The file cannot be written.
pub fn write_image(path: &Path, disk: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(disk.len() as u64)?;
    for (number, page) in disk.chunks(PAGE).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, (number * PAGE) as u64)?;
        }
    }
    Ok(())
}

/// Chance that can be had again (splitmix64).
struct Coin(u64);

impl Coin {
    fn toss(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) & 1 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behind the superblock's place two sectors flushed, then two writes that are not.
    fn recording() -> Recording {
        let end = SUPERBLOCK.end;
        let mut recording = Recording::new(vec![0; end + 4 * SECTOR]);
        recording.write(end, vec![1; 2 * SECTOR]);
        recording.flush();
        recording.write(end, vec![2; 2 * SECTOR]);
        recording.write(end + 2 * SECTOR, vec![3; 2 * SECTOR]);
        recording
    }

    fn sectors(disk: &[u8]) -> Vec<u8> {
        disk[SUPERBLOCK.end..].chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn a_superblock_is_not_torn() {
        let mut recording = Recording::new(vec![0; PAGE]);
        recording.write(0, vec![1; PAGE]);
        let states = (0..200).map(|chance| recording.cut(1, Survival::Sectors, chance));
        let mut seen = std::collections::BTreeSet::new();
        for disk in states {
            assert_eq!(disk[SUPERBLOCK.start], disk[SUPERBLOCK.end - 1]);
            seen.insert((disk[0], disk[SUPERBLOCK.start], disk[SUPERBLOCK.end]));
        }
        assert_eq!(seen.len(), 8, "all else is by chance");
    }

    #[test]
    fn what_was_flushed_stays() {
        let recording = recording();
        assert_eq!(sectors(&recording.cut(4, Survival::None, 0)), [1, 1, 0, 0]);
        assert_eq!(sectors(&recording.cut(4, Survival::All, 0)), [2, 2, 3, 3]);
        assert_eq!(sectors(&recording.cut(3, Survival::All, 0)), [2, 2, 0, 0]);
        assert_eq!(sectors(&recording.cut(1, Survival::None, 0)), [0, 0, 0, 0]);
    }

    #[test]
    fn chance_takes_whole_writes_or_sectors() {
        let recording = recording();
        let seen = |survival| {
            let states = (0..200).map(|chance| sectors(&recording.cut(4, survival, chance)));
            states.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(seen(Survival::Writes).len(), 4);
        assert_eq!(seen(Survival::Sectors).len(), 16);
    }
}
