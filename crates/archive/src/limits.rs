//! How much an archive may ask for. Every number that a header declares is compared with one of these before
//! anything is done with it, and nothing is ever allocated from a declared size alone.

/// Limits for one archive; [`Limits::default`] suits images of any real size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the tar plus directories implied by their paths.
    pub entries: u64,
    /// Bytes in one path or link target. Linux' `PATH_MAX` is 4096 with the final NUL.
    pub path_bytes: usize,
    /// Components in one path, counted after symbolic links are followed.
    pub path_depth: usize,
    /// Bytes of all extended attributes of one entry, names included. Not above 256 KiB, which is what an
    /// EROFS inode can hold.
    pub xattr_bytes: usize,
    /// Bytes of one PAX extended header; Go's reader has the same limit.
    pub extended_header_bytes: u64,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
    /// Bytes of names, link targets and attributes kept in memory for the whole layer.
    pub metadata_bytes: u64,
    /// Path components walked through symbolic links, over the whole layer: links to links to links must not
    /// turn a small archive into hours of work.
    pub link_steps: u64,
    /// Bytes of all files of the layers below that this one links to, and so has to hold a copy of.
    pub copied_bytes: u64,
    /// Bytes behind the end mark. Tools fill their last record, of some megabytes at most; without a limit a stream of zeros fills the disk.
    pub padding_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            entries: 1_000_000,
            path_bytes: 4095,
            path_depth: 256,
            xattr_bytes: 192 << 10,
            extended_header_bytes: 1 << 20,
            sparse_segments: 65_536,
            metadata_bytes: 256 << 20,
            link_steps: 32_000_000,
            copied_bytes: 4 << 30,
            padding_bytes: 64 << 20,
        }
    }
}
