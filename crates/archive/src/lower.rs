//! What the layers below say about a path: asked when a layer names a file but not the directories it lies in.

use std::io;

use crate::Metadata;

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
}

/// What a [`Lower`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowerEntry {
    /// Nothing, or a whiteout.
    Missing,
    /// A directory.
    Directory(Metadata),
    /// A symbolic link with its target: `bin/x` above a `bin -> usr/bin` is `usr/bin/x`, as containerd has it.
    Symlink(Vec<u8>),
    /// Anything else.
    Other,
}

/// No layers below: for the lowest layer, and for layers that are looked at alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLower;

impl Lower for NoLower {
    fn entry(&mut self, _path: &[u8]) -> io::Result<LowerEntry> {
        Ok(LowerEntry::Missing)
    }
}
