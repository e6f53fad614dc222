//! The index of a layer: a small EROFS image with the layer's names, inodes and attributes, whose file data
//! stays in the tar, the image's second device. Mount the pair with `mount -t erofs -o ro,device=layer.tar layer.erofs`.
//!
//! The image is a function of the tar's bytes and of what [`Lower`](crate::Lower) answers: nothing else, no clock.

mod directory;
mod format;

use std::io::Write;

use crate::lower::Lower;
use crate::metadata::Metadata;
use crate::tar::{self, Event, Parser, Segment};
use crate::tree::{Data, File, Layer, Node, NodeId, NodeKind, ROOT, Tree};
use crate::{Error, LayerReport, LayerSink, Limits};

use directory::Name;
use format::{BLOCK, BLOCK_BITS, CHUNK_INDEX, HEAD, HOLE, INODE, Inode, Layout, SLOT, TAR_DEVICE};

/// Bits of a chunk's size above a block's that an inode can express.
const CHUNK_BITS_MAX: u32 = 31;
/// A sparse file with more chunks than this (8 MiB of table) is refused: its holes are too finely spread.
const CHUNKS_MAX: u64 = 1 << 20;
const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

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
                let Some(bits) = chunk_bits(&segments, size) else {
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
        let layer = self.tree.finish()?;
        write(&layer, tar_bytes, self.out)?;
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

/// Where one inode and its data go.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Byte offset of the inode in the image.
    offset: usize,
    layout: Layout,
    /// First block of what is not inline.
    first_block: u32,
}

/// Lays the image out, then writes it front to back.
fn write(layer: &Layer, tar_bytes: u64, out: &mut dyn Write) -> Result<(), Error> {
    let failed = |source| Error::WriteIndex { source };
    let (places, blocks) = lay_out(layer)?;
    let tar_blocks =
        u32::try_from(tar_bytes.div_ceil(BLOCK as u64)).map_err(|_| Error::TooLarge { path: Vec::new() })?;
    let root = (places[ROOT].offset / SLOT) as u64;
    let head = format::head(root, layer.order.len() as u64, blocks, tar_blocks);
    out.write_all(&head).map_err(failed)?;

    let mut position = HEAD;
    let mut block_data = Vec::new();
    let mut buffer = Vec::with_capacity(64 << 10);
    for (number, &id) in layer.order.iter().enumerate() {
        let (node, place) = (&layer.nodes[id], places[id]);
        let gap = place.offset - position - buffer.len();
        buffer.resize(buffer.len() + gap, 0);
        put_node(&mut buffer, &mut block_data, layer, &places, id, number, node, place);
        if buffer.len() >= 60 << 10 {
            out.write_all(&buffer).map_err(failed)?;
            position += buffer.len();
            buffer.clear();
        }
    }
    let end = (position + buffer.len()).next_multiple_of(BLOCK);
    buffer.resize(end - position, 0);
    out.write_all(&buffer).map_err(failed)?;
    out.write_all(&block_data).map_err(failed)?;
    out.flush().map_err(failed)
}

/// Gives every inode its place; the second value is the image's length in blocks.
fn lay_out(layer: &Layer) -> Result<(Vec<Place>, u32), Error> {
    let nowhere = Place { offset: 0, layout: Layout::Plain, first_block: 0 };
    let mut places = vec![nowhere; layer.nodes.len()];
    let mut offset = HEAD;
    let mut data_blocks: u32 = 0;
    let too_large = || Error::TooLarge { path: Vec::new() };
    for &id in &layer.order {
        let node = &layer.nodes[id];
        let fixed = INODE + format::xattrs_size(&xattrs(node));
        let data = data_size(node);
        let tail = data % BLOCK;
        offset = offset.next_multiple_of(SLOT);
        let layout = match &node.kind {
            NodeKind::File(file) if file.size > 0 => Layout::Chunks,
            // The tail must not cross a block. Moving the inode by slots always finds room for this much.
            _ if tail > 0 && tail <= BLOCK - SLOT => {
                while (offset + fixed) % BLOCK + tail > BLOCK {
                    offset += SLOT;
                }
                Layout::Inline
            }
            _ => Layout::Plain,
        };
        places[id] = Place { offset, layout, first_block: data_blocks };
        let own_blocks = match layout {
            Layout::Plain => data.div_ceil(BLOCK),
            Layout::Inline => data / BLOCK,
            Layout::Chunks => 0,
        };
        data_blocks = u32::try_from(own_blocks)
            .ok()
            .and_then(|own| data_blocks.checked_add(own))
            .ok_or_else(too_large)?;
        offset += fixed;
        match (layout, &node.kind) {
            (Layout::Inline, _) => offset += tail,
            (Layout::Chunks, NodeKind::File(file)) => {
                let table = chunk_count(file).checked_mul(CHUNK_INDEX).ok_or_else(too_large)?;
                offset = offset.next_multiple_of(CHUNK_INDEX) + table;
            }
            _ => {}
        }
    }
    let first_data_block = u32::try_from(offset.div_ceil(BLOCK)).map_err(|_| too_large())?;
    for &id in &layer.order {
        places[id].first_block += first_data_block;
    }
    let blocks = first_data_block.checked_add(data_blocks).ok_or_else(too_large)?;
    Ok((places, blocks))
}

/// Appends an inode with what follows it to `buffer`, and its whole blocks to `block_data`.
#[expect(clippy::too_many_arguments, reason = "one call, and a struct of these would only rename them")]
fn put_node(
    buffer: &mut Vec<u8>,
    block_data: &mut Vec<u8>,
    layer: &Layer,
    places: &[Place],
    id: NodeId,
    number: usize,
    node: &Node,
    place: Place,
) {
    let data = match &node.kind {
        NodeKind::Directory(directory) => {
            let name = |name, id: NodeId| Name {
                name,
                inode: (places[id].offset / SLOT) as u64,
                file_type: file_type(&layer.nodes[id]).1,
            };
            let mut names = vec![name(b".".as_slice(), id), name(b"..", directory.parent)];
            names.extend(directory.children.iter().map(|(text, child)| name(text, *child)));
            // "." is not always first: '!' to '-' sort before it.
            names.sort_unstable_by_key(|name| name.name);
            directory::encode(&names)
        }
        NodeKind::Symlink(target) => target.clone(),
        _ => Vec::new(),
    };
    let union = match &node.kind {
        NodeKind::File(file) => chunk_format(file),
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
            format::device(*major, *minor)
        }
        NodeKind::Directory(_) | NodeKind::Symlink(_) => place.first_block,
        _ => 0,
    };
    let size = if let NodeKind::File(file) = &node.kind { file.size } else { data.len() as u64 };
    let inode = Inode {
        layout: place.layout,
        mode: file_type(node).0 | node.metadata.mode,
        size,
        union,
        number: u32::try_from(number + 1).unwrap_or(u32::MAX),
        links: node.links,
    };
    let start = buffer.len();
    format::put_inode(buffer, &inode, &node.metadata, &xattrs(node));
    let whole = if place.layout == Layout::Inline { data.len() - data.len() % BLOCK } else { data.len() };
    block_data.extend_from_slice(&data[..whole]);
    block_data.resize(block_data.len().next_multiple_of(BLOCK), 0);
    buffer.extend_from_slice(&data[whole..]);
    if let (Layout::Chunks, NodeKind::File(file)) = (place.layout, &node.kind) {
        // Aligned in the image; the buffer may begin anywhere, the inode does not.
        let inode_and_padding = (buffer.len() - start).next_multiple_of(CHUNK_INDEX);
        buffer.resize(start + inode_and_padding, 0);
        put_chunks(buffer, file);
    }
}

/// The node's attributes as they go into the image.
fn xattrs(node: &Node) -> Vec<(&[u8], &[u8])> {
    let Metadata { xattrs, .. } = &node.metadata;
    let mut all: Vec<(&[u8], &[u8])> =
        xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    if matches!(&node.kind, NodeKind::Directory(directory) if directory.opaque) {
        all.push(OPAQUE);
    }
    all
}

fn data_size(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Directory(directory) => {
            let mut lengths: Vec<&[u8]> = directory.children.keys().map(Vec::as_slice).collect();
            lengths.extend([b".".as_slice(), b".."]);
            lengths.sort_unstable();
            directory::size(lengths.into_iter().map(<[u8]>::len))
        }
        NodeKind::Symlink(target) => target.len(),
        _ => 0,
    }
}

/// The type as `S_IFMT` bits and as a directory entry has it.
fn file_type(node: &Node) -> (u32, u8) {
    match &node.kind {
        NodeKind::Directory(_) => (0o040_000, 2),
        NodeKind::Symlink(_) => (0o120_000, 7),
        NodeKind::CharDevice { .. } => (0o020_000, 3),
        NodeKind::BlockDevice { .. } => (0o060_000, 4),
        NodeKind::Fifo => (0o010_000, 5),
        // The tree has no others when it is finished.
        NodeKind::File(_) | NodeKind::Pending { .. } | NodeKind::Alias(_) | NodeKind::Below(_) => {
            (0o100_000, 1)
        }
    }
}

fn chunk_format(file: &File) -> u32 {
    const INDEXES: u32 = 0x20;
    if file.size == 0 { 0 } else { INDEXES | (bits_of(file) - u32::from(BLOCK_BITS)) }
}

fn chunk_count(file: &File) -> usize {
    usize::try_from(file.size.div_ceil(1 << bits_of(file))).unwrap_or(usize::MAX)
}

/// Log2 of the file's chunk size: one chunk for what has no holes.
fn bits_of(file: &File) -> u32 {
    let segments = file.sparse.as_deref();
    segments.map_or_else(|| whole_bits(file.size), |segments| chunk_bits(segments, file.size).unwrap_or(9))
}

fn whole_bits(size: u64) -> u32 {
    let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
    bits.clamp(u32::from(BLOCK_BITS), u32::from(BLOCK_BITS) + CHUNK_BITS_MAX)
}

/// The largest chunk size (its log2) at which each chunk of a sparse file is all data or all hole.
///
/// Only data that begins and ends on chunk borders can be told so, but for the end of the file. In the tar the segments
/// follow each other, so with aligned lengths their data is aligned as well.
fn chunk_bits(segments: &[Segment], size: u64) -> Option<u32> {
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

fn put_chunks(buffer: &mut Vec<u8>, file: &File) {
    let bits = bits_of(file);
    let whole = [Segment { offset: 0, length: file.size }];
    let segments = file.sparse.as_deref().unwrap_or(&whole);
    let mut put = |device: u16, block: u32| {
        buffer.extend_from_slice(&[0; 2]);
        buffer.extend_from_slice(&device.to_le_bytes());
        buffer.extend_from_slice(&block.to_le_bytes());
    };
    let (mut chunk, mut data_offset) = (0, file.place);
    for segment in segments {
        for _ in chunk..segment.offset >> bits {
            put(0, HOLE);
        }
        let end = (segment.offset + segment.length).div_ceil(1 << bits);
        for within in 0..end - (segment.offset >> bits) {
            let block = (data_offset + (within << bits)) / BLOCK as u64;
            // `check_place` has seen that it fits.
            put(TAR_DEVICE, u32::try_from(block).unwrap_or(HOLE));
        }
        chunk = end;
        data_offset += segment.length;
    }
    for _ in chunk..file.size.div_ceil(1 << bits) {
        put(0, HOLE);
    }
}
