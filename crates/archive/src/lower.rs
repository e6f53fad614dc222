//! What the layers below say about a path: asked when a layer names a file but not the directories it lies in, and when it links to a file that it
//! does not have.

use std::io::{self, Read};

use crate::tar::Kind;
use crate::{Error, Metadata};

/// The layers below the one that is being made, as one merged tree.
///
/// Overlayfs takes a merged directory's owner and permissions from the topmost layer that has it. A directory that a
/// layer only implies must therefore repeat what lies below it, or `/tmp` would lose its sticky bit to a layer that
/// holds nothing but `tmp/x`.
pub trait Lower {
    /// What lies at `path` (no leading slash, plain components, not following a final symbolic link).
    ///
    /// # Errors
    /// When the layers below cannot be read; a missing path is [`LowerEntry::Missing`].
    fn entry(&mut self, path: &[u8]) -> io::Result<LowerEntry>;

    /// The content of what [`Lower::entry`] has called a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn content(&mut self, _path: &[u8]) -> io::Result<Box<dyn Read>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// What a [`Lower`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowerEntry {
    /// Nobody says: the layer is looked at alone, and a link that leads out of it is left out and reported.
    Unknown,
    /// Nothing, or a whiteout.
    Missing,
    /// A directory.
    Directory(Metadata),
    /// A symbolic link with its target: `bin/x` above a `bin -> usr/bin` is `usr/bin/x`, as containerd has it.
    Symlink(Vec<u8>, Metadata),
    /// A regular file of so many bytes.
    File { size: u64, metadata: Metadata },
    /// A device or a pipe.
    Special(Kind, Metadata),
}

/// Copies a file's content from the layers below, whole or not at all.
pub(crate) fn copy_content(
    lower: &mut dyn Lower,
    path: &[u8],
    size: u64,
    mut write: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |source| Error::Lower { path: path.to_vec(), source };
    let mut content = lower.content(path).map_err(failed)?.take(size);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match content.read(&mut buffer) {
            Ok(0) if content.limit() > 0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => return Ok(()),
            Ok(count) => write(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Nothing is known of layers below: for layers that are looked at alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLower;

impl Lower for NoLower {
    fn entry(&mut self, _path: &[u8]) -> io::Result<LowerEntry> {
        Ok(LowerEntry::Unknown)
    }
}
