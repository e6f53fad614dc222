//! A directory's data: blocks that each hold fixed-size entries first and their names behind, all in byte order.

use super::format::{BLOCK, DIRENT};

/// A name in a directory and what it leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    /// The kernel's `FT_*`: 1 file, 2 directory, 3 character device, 4 block device, 5 pipe, 6 socket, 7 symbolic link.
    pub(super) file_type: u8,
}

/// Length of the data that `names`, as lengths in order, will take.
pub(super) fn size(names: impl Iterator<Item = usize>) -> usize {
    let (mut full, mut used) = (0, 0);
    for length in names {
        if used + DIRENT + length > BLOCK {
            full += BLOCK;
            used = 0;
        }
        used += DIRENT + length;
    }
    full + used
}

/// The data itself; `names` in byte order, `.` and `..` among them.
pub(super) fn encode(names: &[Name<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(size(names.iter().map(|name| name.name.len())));
    let mut rest = names;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |name: &&Name<'_>| {
            used += DIRENT + name.name.len();
            used <= BLOCK
        };
        let count = rest.iter().take_while(fits).count();
        let (block, later) = rest.split_at(count);
        put_block(&mut out, block);
        if !later.is_empty() {
            // The names' end is where the NULs begin.
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        rest = later;
    }
    out
}

fn put_block(out: &mut Vec<u8>, names: &[Name<'_>]) {
    let mut name_offset = names.len() * DIRENT;
    for name in names {
        out.extend_from_slice(&name.inode.to_le_bytes());
        out.extend_from_slice(&u16::try_from(name_offset).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&[name.file_type, 0]);
        name_offset += name.name.len();
    }
    for name in names {
        out.extend_from_slice(name.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fill_up_and_sizes_agree() {
        let long: Vec<Vec<u8>> = (0..9u8).map(|digit| vec![b'a' + digit; 200 + usize::from(digit)]).collect();
        let names: Vec<Name<'_>> = long.iter().map(|name| Name { name, inode: 48, file_type: 1 }).collect();
        let data = encode(&names);
        assert_eq!(data.len(), size(long.iter().map(Vec::len)));
        // Two of them fit in a block.
        assert_eq!(data.len(), 4 * BLOCK + DIRENT + 208);
        assert_eq!(u16::from_le_bytes([data[8], data[9]]), 24);
        assert_eq!(&data[24..224], &long[0][..]);
    }
}
