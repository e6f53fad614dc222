//! The index of a layer: a small EROFS image with the layer's names, inodes and attributes, whose file data
//! stays in the tar, the image's second device, but for what it has from the layers below. Mount the pair with `mount -t erofs -o ro,device=layer.tar layer.erofs`.
//!
//! The image is a function of the tar's bytes and of what [`Lower`] answers: nothing else, no clock.

mod chunks;
mod directory;
mod format;
mod image;

use std::io::Write;

use crate::lower::Lower;
use crate::tar::{self, Event, Parser};
use crate::tree::{Data, Tree};
use crate::{Error, LayerReport, LayerSink, Limits};

use format::{BLOCK, CHUNK_INDEX, HOLE};

/// Makes the index while the tar streams by; writes it to `out` at the end, front to back.
pub struct Indexer<'a> {
    parser: Parser,
    tree: Tree<'a>,
    out: &'a mut dyn Write,
}

impl std::fmt::Debug for Indexer<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Indexer").field("parser", &self.parser).finish_non_exhaustive()
    }
}

impl<'a> Indexer<'a> {
    /// An indexer at the start of a tar.
    #[must_use]
    pub fn new(out: &'a mut dyn Write, lower: &'a mut dyn Lower, limits: Limits) -> Self {
        Indexer { parser: Parser::new(limits.clone()), tree: Tree::new(lower, limits), out }
    }
}

impl LayerSink for Indexer<'_> {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(event) = self.parser.next(&mut bytes)? {
            let Event::Entry(entry) = event else { continue };
            let place = entry.data_offset;
            let path = match entry.sparse {
                Some(_) => entry.path.clone(),
                None => Vec::new(),
            };
            check_place(&entry)?;
            let segments = entry.sparse.clone();
            let size = entry.size;
            if self.tree.add(*entry, place)? == Data::Keep
                && let Some(segments) = segments
            {
                let Some(bits) = chunks::bits_of_segments(&segments, size) else {
                    return Err(Error::SparseUnaligned { path });
                };
                // A small header can ask for a large table of holes, and many headers for many.
                self.tree
                    .count_bytes(&path, (size.div_ceil(1 << bits) as usize).saturating_mul(CHUNK_INDEX))?;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<LayerReport, Error> {
        self.parser.finish()?;
        let tar_bytes = self.parser.offset();
        let (layer, lower) = self.tree.finish()?;
        image::write(&layer, lower, tar_bytes, self.out)?;
        Ok(LayerReport { tar_bytes, ..layer.report })
    }
}

/// Block numbers have 32 bits, and the last is taken for holes.
fn check_place(entry: &tar::Entry) -> Result<(), Error> {
    let end = entry.data_offset.saturating_add(entry.size).div_ceil(BLOCK as u64);
    if end >= u64::from(HOLE) || entry.size.div_ceil(BLOCK as u64) >= u64::from(HOLE) {
        return Err(Error::TooLarge { path: entry.path.clone() });
    }
    Ok(())
}
