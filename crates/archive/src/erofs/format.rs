//! EROFS on disk, as much of it as the index uses: superblock, device slot, inode, attributes, directory blocks.
//! The field layouts are those of the kernel's `Documentation/filesystems/erofs.rst`; all numbers are little-endian.

use crate::metadata::Metadata;

/// Blocks of 512 bytes, so that any file in a tar begins at a whole block. Needs Linux 6.4 or newer.
pub(super) const BLOCK_BITS: u8 = 9;
pub(super) const BLOCK: usize = 1 << BLOCK_BITS;
/// The superblock's place, and the first byte behind it and the one device slot.
pub(super) const SUPER_OFFSET: usize = 1024;
pub(super) const HEAD: usize = 1536;
/// Inodes are numbered by their place, in units of 32 bytes.
pub(super) const SLOT: usize = 32;
/// The long form: 32-bit ids and its own time, which the short form lacks.
pub(super) const INODE: usize = 64;
pub(super) const DIRENT: usize = 12;
/// One chunk's place: reserved (2), device (2), first block (4).
pub(super) const CHUNK_INDEX: usize = 8;
/// Block number of a hole.
pub(super) const HOLE: u32 = u32::MAX;
/// The tar, in the device table.
pub(super) const TAR_DEVICE: u16 = 1;

const MAGIC: u32 = 0xe0f5_e1e2;
const COMPAT_CHECKSUM: u32 = 0x1;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;
const DEVICE_SLOT: usize = 128;
const XATTR_HEADER: usize = 12;

/// How an inode's data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Layout {
    /// In whole blocks.
    Plain = 0,
    /// In whole blocks but for the last part, which follows the inode.
    Inline = 2,
    /// In chunks on a device.
    Chunks = 4,
}

/// The first 1536 bytes of an image: padding, superblock, device slot.
pub(super) fn head(root: u64, inodes: u64, blocks: u32, tar_blocks: u32, uuid: [u8; 16]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let mut put = |at: usize, bytes: &[u8]| head[SUPER_OFFSET + at..][..bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_le_bytes());
    put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
    put(12, &[BLOCK_BITS]);
    // The root comes first, so its number is always small.
    put(14, &u16::try_from(root).unwrap_or(u16::MAX).to_le_bytes());
    put(16, &inodes.to_le_bytes());
    put(36, &blocks.to_le_bytes());
    put(48, &uuid);
    put(80, &(INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE).to_le_bytes());
    put(86, &1u16.to_le_bytes());
    // The device table's place, counted in slots from the start of the image.
    put(88, &[((SUPER_OFFSET + DEVICE_SLOT) / DEVICE_SLOT) as u8, 0]);
    put(DEVICE_SLOT + 64, &tar_blocks.to_le_bytes());
    let sum = crc32c(&head[SUPER_OFFSET..SUPER_OFFSET + BLOCK]);
    head[SUPER_OFFSET + 4..][..4].copy_from_slice(&sum.to_le_bytes());
    head
}

/// What an inode says beside its metadata.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) layout: Layout,
    /// With the file type's bits.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// First block, device number or chunk format, by layout and type.
    pub(super) union: u32,
    /// Only for programs with 32-bit inode numbers.
    pub(super) number: u32,
    pub(super) links: u32,
}

/// Appends an inode and its attributes.
pub(super) fn put_inode(out: &mut Vec<u8>, inode: &Inode, metadata: &Metadata, xattrs: &[(&[u8], &[u8])]) {
    let xattr_bytes = xattrs_size(xattrs);
    let xattr_count = if xattr_bytes == 0 { 0 } else { (xattr_bytes - XATTR_HEADER) / 4 + 1 };
    out.extend_from_slice(&(1 | (inode.layout as u16) << 1).to_le_bytes());
    out.extend_from_slice(&u16::try_from(xattr_count).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&u16::try_from(inode.mode).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&inode.size.to_le_bytes());
    out.extend_from_slice(&inode.union.to_le_bytes());
    out.extend_from_slice(&inode.number.to_le_bytes());
    out.extend_from_slice(&metadata.uid.to_le_bytes());
    out.extend_from_slice(&metadata.gid.to_le_bytes());
    out.extend_from_slice(&metadata.mtime.seconds.to_le_bytes());
    out.extend_from_slice(&metadata.mtime.nanoseconds.to_le_bytes());
    out.extend_from_slice(&inode.links.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    if xattrs.is_empty() {
        return;
    }
    out.extend_from_slice(&[0; XATTR_HEADER]);
    for (name, value) in xattrs {
        let (index, rest) = xattr_name(name);
        let start = out.len();
        out.extend_from_slice(&[u8::try_from(rest.len()).unwrap_or(u8::MAX), index]);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    }
}

/// Bytes that the attributes take behind an inode; a multiple of 4.
pub(super) fn xattrs_size(xattrs: &[(&[u8], &[u8])]) -> usize {
    if xattrs.is_empty() {
        return 0;
    }
    let entry =
        |(name, value): &(&[u8], &[u8])| (4 + xattr_name(name).1.len() + value.len()).next_multiple_of(4);
    XATTR_HEADER + xattrs.iter().map(entry).sum::<usize>()
}

/// The number that stands for a name's prefix, and what is left of the name. Others never get here.
fn xattr_name(name: &[u8]) -> (u8, &[u8]) {
    const PREFIXES: [(u8, &[u8]); 5] = [
        (1, b"user."),
        (2, b"system.posix_acl_access"),
        (3, b"system.posix_acl_default"),
        (4, b"trusted."),
        (6, b"security."),
    ];
    let found = PREFIXES.iter().find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)));
    found.unwrap_or((0, name))
}

/// A device number as inodes have it: the minor's upper bits above the major's twelve.
pub(super) fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The Castagnoli sum as the kernel's `crc32c(~0, …)`: not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(
            sum ^ u32::from(byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_numbers() {
        // RFC 3720, B.4: 32 bytes of zeros; there the result is inverted.
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(device(8, 1), 0x801);
        assert_eq!(device(0xabc, 0x12345), 0x123a_bc45);
    }
}
