//! An entry as callers see it, and how its several headers are made one where readers could disagree.

use super::Segment;
use crate::Error;
use crate::metadata::{Timestamp, Xattrs};

/// One entry of an archive, all headers that belong to it taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive, not yet checked for `..` and the like.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Length of the file in bytes, holes included; 0 for what is not a file.
    pub size: u64,
    /// Extended attributes with their full names, in the archive's order.
    pub xattrs: Xattrs,
    /// Where the data begins in the tar, in bytes; a multiple of [`BLOCK`](super::BLOCK).
    pub data_offset: u64,
    /// For a sparse file, which parts of it the data is; they follow each other in the tar without gaps.
    pub sparse: Option<Vec<Segment>>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target, verbatim.
    Symlink(Vec<u8>),
    /// A second name for the entry of this path.
    HardLink(Vec<u8>),
    /// A character device.
    CharDevice { major: u32, minor: u32 },
    /// A block device.
    BlockDevice { major: u32, minor: u32 },
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// The kind in a word, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink(_) => "symbolic link",
            Kind::HardLink(_) => "hard link",
            Kind::CharDevice { .. } => "character device",
            Kind::BlockDevice { .. } => "block device",
            Kind::Fifo => "named pipe",
        }
    }
}

/// The name from the header that has one; two long forms that differ are refused.
pub(super) fn one_name(
    pax: Option<Vec<u8>>,
    gnu: Option<Vec<u8>>,
    plain: Vec<u8>,
    at: u64,
) -> Result<Vec<u8>, Error> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => {
            Err(Error::Conflict { at, what: "PAX and GNU headers name the entry differently" })
        }
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(plain),
    }
}

/// PAX' size wins over the header's; a header that could hold the size must say the same or nothing.
pub(super) fn one_size(pax: Option<u64>, plain: u64, at: u64) -> Result<u64, Error> {
    const LARGEST_OCTAL: u64 = 0o777_7777_7777;
    match pax {
        Some(size) if size <= LARGEST_OCTAL && plain != size && plain != 0 => {
            Err(Error::Conflict { at, what: "PAX and the header give different sizes" })
        }
        Some(size) => Ok(size),
        None => Ok(plain),
    }
}

/// What an entry is, by its type's letter; what a layer cannot have is refused.
pub(super) fn kind(
    typeflag: u8,
    path: &[u8],
    link: Vec<u8>,
    device: Option<(u32, u32)>,
) -> Result<Kind, Error> {
    let slash = path.ends_with(b"/");
    let device = |make: fn(u32, u32) -> Kind| match device {
        Some((major, minor)) => Ok(make(major, minor)),
        None => Err(Error::Path { path: path.to_vec(), what: "a device number that Linux does not have" }),
    };
    match typeflag {
        // Before POSIX a directory was a nameless type with a slash; all readers still know it.
        0 if slash => Ok(Kind::Directory),
        // Of `0` with a slash GNU tar makes a directory, Go and Python a file.
        b'0' | b'7' | b'S' if slash => Err(Error::FileWithSlash { path: path.to_vec() }),
        0 | b'0' | b'7' | b'S' => Ok(Kind::File),
        b'1' => Ok(Kind::HardLink(link)),
        b'2' if link.is_empty() => {
            Err(Error::Path { path: path.to_vec(), what: "a symbolic link to nothing" })
        }
        b'2' => Ok(Kind::Symlink(link)),
        b'3' => device(|major, minor| Kind::CharDevice { major, minor }),
        b'4' => device(|major, minor| Kind::BlockDevice { major, minor }),
        b'5' => Ok(Kind::Directory),
        b'6' => Ok(Kind::Fifo),
        other => Err(Error::UnsupportedType { path: path.to_vec(), typeflag: char::from(other) }),
    }
}
