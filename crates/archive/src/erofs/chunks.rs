//! Where a file's data lies in the tar: a table of chunks, one for most files, more for those with holes.

use super::format::{BLOCK, BLOCK_BITS, HOLE, TAR_DEVICE};
use crate::tar::Segment;
use crate::tree::File;

/// Bits of a chunk's size above a block's that an inode can express.
const BITS_MAX: u32 = 31;
/// A sparse file with more chunks than this (8 MiB of table) is refused: its holes are too finely spread.
const CHUNKS_MAX: u64 = 1 << 20;

/// What the inode says: that there is a table, and how large a chunk is.
pub(super) fn format(file: &File) -> u32 {
    const INDEXES: u32 = 0x20;
    if file.size == 0 { 0 } else { INDEXES | (bits_of(file) - u32::from(BLOCK_BITS)) }
}

/// Entries in the file's table.
pub(super) fn count(file: &File) -> usize {
    usize::try_from(file.size.div_ceil(1 << bits_of(file))).unwrap_or(usize::MAX)
}

/// Log2 of the file's chunk size: one chunk for what has no holes.
fn bits_of(file: &File) -> u32 {
    let segments = file.sparse.as_deref();
    segments
        .map_or_else(|| whole_bits(file.size), |segments| bits_of_segments(segments, file.size).unwrap_or(9))
}

fn whole_bits(size: u64) -> u32 {
    let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
    bits.clamp(u32::from(BLOCK_BITS), u32::from(BLOCK_BITS) + BITS_MAX)
}

/// The largest chunk size (its log2) at which each chunk of a sparse file is all data or all hole.
///
/// Only data that begins and ends on chunk borders can be told so, but for the end of the file. In the tar the segments
/// follow each other, so with aligned lengths their data is aligned as well.
pub(super) fn bits_of_segments(segments: &[Segment], size: u64) -> Option<u32> {
    let mut borders = 0u64;
    for segment in segments {
        borders |= segment.offset;
        let end = segment.offset + segment.length;
        if end != size {
            borders |= end;
        }
    }
    let bits = if borders == 0 { whole_bits(size) } else { borders.trailing_zeros().min(whole_bits(size)) };
    (bits >= u32::from(BLOCK_BITS) && size.div_ceil(1 << bits) <= CHUNKS_MAX).then_some(bits)
}

/// Appends the file's table.
pub(super) fn put(buffer: &mut Vec<u8>, file: &File) {
    let bits = bits_of(file);
    let whole = [Segment { offset: 0, length: file.size }];
    let segments = file.sparse.as_deref().unwrap_or(&whole);
    let mut entry = |device: u16, block: u32| {
        buffer.extend_from_slice(&[0; 2]);
        buffer.extend_from_slice(&device.to_le_bytes());
        buffer.extend_from_slice(&block.to_le_bytes());
    };
    let (mut chunk, mut data_offset) = (0, file.place);
    for segment in segments {
        for _ in chunk..segment.offset >> bits {
            entry(0, HOLE);
        }
        let end = (segment.offset + segment.length).div_ceil(1 << bits);
        for within in 0..end - (segment.offset >> bits) {
            let block = (data_offset + (within << bits)) / BLOCK as u64;
            // `check_place` has seen that it fits.
            entry(TAR_DEVICE, u32::try_from(block).unwrap_or(HOLE));
        }
        chunk = end;
        data_offset += segment.length;
    }
    for _ in chunk..file.size.div_ceil(1 << bits) {
        entry(0, HOLE);
    }
}
