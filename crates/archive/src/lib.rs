//! Layers as bytes: tar without I/O, the EROFS index that makes a tar mountable, unpacking into a
//! directory that nothing can leave, compression told by content, and a tar writer.
//!
//! A layer arrives as a stream and passes through once: whoever drives it hashes each chunk, keeps it if
//! it wants to, and hands it to a [`LayerSink`]. This crate knows no images, no store and no network.

#[cfg(target_os = "linux")]
pub mod compare;
pub mod compress;
pub mod erofs;
mod error;
mod limits;
mod lower;
mod metadata;
mod path;
pub mod tar;
mod tree;
#[cfg(target_os = "linux")]
pub mod unpack;
pub mod write;

use std::io::{Read, Write};

pub use error::Error;
pub use limits::Limits;
pub use lower::{Lower, LowerEntry, NoLower};
pub use metadata::{Metadata, Timestamp, Xattrs};

/// Takes the bytes of one uncompressed layer tar, in order, and makes a form of the layer from them.
///
/// Two forms exist: [`erofs::Indexer`], whose file data stays in the tar, and [`unpack::Unpacker`], for hosts
/// that cannot mount EROFS. What a layer means (whiteouts, hard links, implied directories, paths through
/// symbolic links) is decided in one place for both, so they give the same tree. A sink that is dropped
/// before [`finish`](LayerSink::finish) has made nothing that counts; its owner removes what it wrote.
pub trait LayerSink {
    /// Takes the next bytes of the tar; any length, at any boundary.
    ///
    /// # Errors
    /// What is wrong with the archive, with the name of the entry; after an error the sink is of no use.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Says that the tar has ended and writes what had to wait for that.
    ///
    /// # Errors
    /// A tar that ends in the middle, hard links whose target never came, or a failed write.
    fn finish(self: Box<Self>) -> Result<LayerReport, Error>;
}

/// What was found in a layer, for the store's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerReport {
    /// Length of the tar in bytes, including whatever follows its end mark.
    pub tar_bytes: u64,
    /// Entries in the tar, whiteouts and replaced duplicates included.
    pub entries: u64,
    /// Inodes in the finished layer.
    pub inodes: u64,
    /// Sum of the sizes of the files in the finished layer; a hard-linked file counts once.
    pub file_bytes: u64,
    /// Directories that the tar names only as parents, without a leading slash; the root is the empty path.
    /// They carry the metadata that [`Lower`] gave, so a layer with any is only right above those layers.
    pub implied_dirs: Vec<Vec<u8>>,
    /// Symbolic links of the layers below that paths in the tar go through; they bind the layer in the same way.
    pub lower_symlinks: Vec<Vec<u8>>,
    /// The layer was looked at alone, and holds hard links to what it did not have when they came: those that lead to nothing are left
    /// out, and only with the layers below is it whole.
    pub links_below: bool,
    /// Whiteouts written, opaque directories included.
    pub whiteouts: u64,
    /// Extended attributes left out: SELinux labels (the host's policy decides), overlayfs' own names (an
    /// image must not steer overlayfs), and those that the kernel cannot hold on that kind of file.
    pub ignored_xattrs: u64,
}

/// Reads a whole layer tar into a sink, with a copy of every byte to `copy_to`.
///
/// Bytes after the tar's end mark are read and copied as well, since the layer's digest covers them.
///
/// # Errors
/// Those of the sink; [`Error::Read`] and [`Error::Copy`] for the streams.
pub fn feed_all(
    tar: &mut dyn Read,
    mut copy_to: Option<&mut dyn Write>,
    mut sink: Box<dyn LayerSink + '_>,
) -> Result<LayerReport, Error> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match tar.read(&mut buffer) {
            Ok(0) => return sink.finish(),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Read { source }),
        };
        let bytes = &buffer[..count];
        if let Some(copy) = copy_to.as_mut() {
            copy.write_all(bytes).map_err(|source| Error::Copy { source })?;
        }
        sink.feed(bytes)?;
    }
}

/// Indexes a layer tar: [`feed_all`] into an [`erofs::Indexer`] that writes to `image`.
///
/// # Errors
/// As [`feed_all`].
pub fn index(
    tar: &mut dyn Read,
    copy_to: Option<&mut dyn Write>,
    image: &mut dyn Write,
    lower: &mut dyn Lower,
    limits: Limits,
) -> Result<LayerReport, Error> {
    feed_all(tar, copy_to, Box::new(erofs::Indexer::new(image, lower, limits)))
}
