//! Reads back what the writer of indexes has made, as the kernel would (`Documentation/filesystems/erofs.rst`) and by no line of the writer's own.
//!
//! It panics at whatever the kernel would have to mistrust: a place outside of the image or the tar, names out of order, a directory that holds itself.

use std::collections::HashSet;

const BLOCK: usize = 512;
const SUPER: usize = 1024;
const SLOT: usize = 32;
const INODE: usize = 64;
const DIRENT: usize = 12;
const DIRECTORY: u16 = 0o040_000;
const KIND: u16 = 0o170_000;
const CHUNKS: u16 = 4;
const INLINE: u16 = 2;
const HOLE: u32 = u32::MAX;

/// Walks the whole tree. `tar` is how long the tar is that the image's data lies in.
pub fn check(image: &[u8], tar: u64) {
    let reader = Reader { image, tar };
    assert_eq!(reader.u32(SUPER), 0xe0f5_e1e2, "the superblock");
    assert_eq!(image.len() % BLOCK, 0);
    let root = u64::from(reader.u16(SUPER + 14));
    let inodes = reader.u64(SUPER + 16);
    let (mut seen, mut directories) = (HashSet::new(), HashSet::new());
    let mut waiting = vec![(root, root)];
    while let Some((id, parent)) = waiting.pop() {
        assert!(directories.insert(id), "directory {id} is in two places");
        seen.insert(id);
        for (name, child, kind) in reader.directory(id, parent) {
            let mode = reader.u16(reader.place(child) + 4);
            assert_eq!(kind, kind_of(mode), "{}", name.escape_ascii());
            if mode & KIND == DIRECTORY {
                waiting.push((child, id));
            } else if seen.insert(child) {
                reader.data(child);
            }
        }
    }
    assert_eq!(seen.len() as u64, inodes, "inodes that no name leads to");
}

struct Reader<'i> {
    image: &'i [u8],
    tar: u64,
}

impl Reader<'_> {
    fn place(&self, id: u64) -> usize {
        let place = usize::try_from(id).expect("a small image") * SLOT;
        assert!(place + INODE <= self.image.len(), "inode {id} lies outside");
        place
    }

    /// Where an inode's tail or its chunks begin.
    fn behind(&self, place: usize) -> usize {
        let count = usize::from(self.u16(place + 2));
        place + INODE + if count == 0 { 0 } else { 12 + (count - 1) * 4 }
    }

    /// The names of a directory, but for its own and its parent's, which are looked at here.
    fn directory(&self, id: u64, parent: u64) -> Vec<(Vec<u8>, u64, u8)> {
        let mut entries = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        let bytes = self.content(id);
        for block in bytes.chunks(BLOCK) {
            let count = usize::from(u16::from_le_bytes([block[8], block[9]])) / DIRENT;
            assert!(count > 0 && count * DIRENT <= block.len(), "a block of no names");
            let start = |number: usize| {
                usize::from(u16::from_le_bytes([block[number * DIRENT + 8], block[number * DIRENT + 9]]))
            };
            for number in 0..count {
                let child =
                    u64::from_le_bytes(block[number * DIRENT..][..8].try_into().expect("eight bytes"));
                let end = if number + 1 < count { start(number + 1) } else { block.len() };
                let name = &block[start(number)..end];
                let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())];
                assert!(
                    !name.is_empty() && name.len() <= 255 && !name.contains(&b'/'),
                    "{}",
                    name.escape_ascii()
                );
                assert!(
                    last.as_deref().is_none_or(|last| last < name),
                    "{} is out of order",
                    name.escape_ascii()
                );
                last = Some(name.to_vec());
                match name {
                    b"." => assert_eq!(child, id),
                    b".." => assert_eq!(child, parent),
                    _ => entries.push((name.to_vec(), child, block[number * DIRENT + 10])),
                }
            }
        }
        entries
    }

    /// A directory's or a link's own bytes.
    fn content(&self, id: u64) -> Vec<u8> {
        let place = self.place(id);
        let size = usize::try_from(self.u64(place + 8)).expect("a small image");
        let first = self.u32(place + 16) as usize * BLOCK;
        let layout = self.u16(place) >> 1 & 7;
        let blocks = if layout == INLINE { size / BLOCK * BLOCK } else { size };
        let mut bytes = if blocks == 0 { Vec::new() } else { self.image[first..first + blocks].to_vec() };
        if layout == INLINE {
            let tail = self.behind(place);
            assert!(
                tail / BLOCK == (tail + size - blocks).saturating_sub(1).max(tail) / BLOCK,
                "a tail across blocks"
            );
            bytes.extend_from_slice(&self.image[tail..tail + size - blocks]);
        }
        bytes
    }

    /// Whether all of a file's data lies in the tar.
    fn data(&self, id: u64) {
        let place = self.place(id);
        if self.u16(place) >> 1 & 7 != CHUNKS {
            self.content(id);
            return;
        }
        let size = self.u64(place + 8);
        let chunk = (BLOCK as u64) << (self.u32(place + 16) & 31);
        let table = self.behind(place).next_multiple_of(8);
        for number in 0..size.div_ceil(chunk) {
            let entry = table + usize::try_from(number).expect("a small file") * 8;
            let block = self.u32(entry + 4);
            if block == HOLE {
                continue;
            }
            assert_eq!(self.u16(entry + 2), 1, "the tar is the only device");
            let length = chunk.min(size - number * chunk);
            assert!(u64::from(block) * BLOCK as u64 + length <= self.tar, "data behind the end of the tar");
        }
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.image[at..at + 2].try_into().expect("two bytes"))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.image[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.image[at..at + 8].try_into().expect("eight bytes"))
    }
}

/// The kind beside a name, of a mode.
fn kind_of(mode: u16) -> u8 {
    match mode & KIND {
        0o100_000 => 1,
        DIRECTORY => 2,
        0o020_000 => 3,
        0o060_000 => 4,
        0o010_000 => 5,
        0o120_000 => 7,
        other => panic!("a kind {other:o}"),
    }
}
