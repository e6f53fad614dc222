//! The layout of an index and its bytes: superblock and device slot, then all inodes in the tree's order, then the
//! whole blocks of directories and long links, then the files that
//! were copied from the layers below. Twice over the tree: once for the places, once for the bytes that name them.

use std::io::Write;

use sha2::{Digest, Sha256};

use super::chunks;
use super::directory::{self, Name};
use super::format::{self, BLOCK, CHUNK_INDEX, HEAD, INODE, Inode, Layout, SLOT};
use crate::Error;
use crate::lower::{Lower, copy_content};
use crate::metadata::Metadata;
use crate::tree::{File, Layer, Node, NodeId, NodeKind, ROOT};

const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// Writes the index of a finished layer whose tar is `tar_bytes` long.
pub(super) fn write(
    layer: &Layer,
    lower: &mut dyn Lower,
    tar_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let (places, blocks) = lay_out(layer)?;
    let tar_blocks =
        u32::try_from(tar_bytes.div_ceil(BLOCK as u64)).map_err(|_| Error::TooLarge { path: Vec::new() })?;
    let mut body = Body { layer, places: &places, inodes: Vec::new(), data: Vec::new() };
    for (number, &id) in layer.order.iter().enumerate() {
        body.put(id, u32::try_from(number + 1).unwrap_or(u32::MAX));
    }
    let Body { mut inodes, data, .. } = body;
    inodes.resize(inodes.len().next_multiple_of(BLOCK), 0);

    // Overlayfs tells its layers apart by this number; without one it gives files of different layers inode numbers
    // that may be the same ("null uuid detected", and xino is off).
    let sum = Sha256::new().chain_update(&inodes).chain_update(&data).finalize();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&sum[..16]);
    let root = (places[ROOT].offset / SLOT) as u64;
    let head = format::head(root, layer.order.len() as u64, blocks, tar_blocks, uuid);
    let parts: [&[u8]; 3] = [&head, &inodes, &data];
    let failed = |source| Error::WriteIndex { source };
    parts.iter().try_for_each(|part| out.write_all(part)).map_err(failed)?;
    for &id in &layer.order {
        if let NodeKind::Copied { path, size } = &layer.nodes[id].kind {
            copy_content(lower, path, *size, |bytes| out.write_all(bytes).map_err(failed))?;
            let padding = size.next_multiple_of(BLOCK as u64) - size;
            out.write_all(&[0; BLOCK][..padding as usize]).map_err(failed)?;
        }
    }
    out.flush().map_err(failed)
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

/// Gives every inode its place; the second value is the image's length in blocks.
fn lay_out(layer: &Layer) -> Result<(Vec<Place>, u32), Error> {
    let nowhere = Place { offset: 0, layout: Layout::Plain, first_block: 0 };
    let mut places = vec![nowhere; layer.nodes.len()];
    let mut offset = HEAD;
    let (mut data_blocks, mut copied_blocks): (u32, u32) = (0, 0);
    let too_large = || Error::TooLarge { path: Vec::new() };
    for &id in &layer.order {
        let node = &layer.nodes[id];
        let fixed = INODE + format::xattrs_size(&xattrs(node));
        let data = data_size(node);
        let tail = data % BLOCK;
        offset = offset.next_multiple_of(SLOT);
        let layout = match &node.kind {
            NodeKind::File(file) if file.size > 0 => Layout::Chunks,
            NodeKind::Copied { .. } => Layout::Plain,
            // The tail must not cross a block. Moving the inode by slots always finds room for this much.
            _ if tail > 0 && tail <= BLOCK - SLOT => {
                while (offset + fixed) % BLOCK + tail > BLOCK {
                    offset += SLOT;
                }
                Layout::Inline
            }
            _ => Layout::Plain,
        };
        let (blocks, own_blocks) = match (layout, &node.kind) {
            (_, NodeKind::Copied { size, .. }) => (&mut copied_blocks, size.div_ceil(BLOCK as u64)),
            (Layout::Plain, _) => (&mut data_blocks, data.div_ceil(BLOCK) as u64),
            (Layout::Inline, _) => (&mut data_blocks, (data / BLOCK) as u64),
            (Layout::Chunks, _) => (&mut data_blocks, 0),
        };
        places[id] = Place { offset, layout, first_block: *blocks };
        let own_blocks = u32::try_from(own_blocks).ok();
        *blocks = own_blocks.and_then(|own| blocks.checked_add(own)).ok_or_else(too_large)?;
        offset += fixed;
        match (layout, &node.kind) {
            (Layout::Inline, _) => offset += tail,
            (Layout::Chunks, NodeKind::File(file)) => {
                let table = chunks::count(file).checked_mul(CHUNK_INDEX).ok_or_else(too_large)?;
                offset = offset.next_multiple_of(CHUNK_INDEX) + table;
            }
            _ => {}
        }
    }
    let first_data_block = u32::try_from(offset.div_ceil(BLOCK)).map_err(|_| too_large())?;
    let first_copied_block = first_data_block.checked_add(data_blocks).ok_or_else(too_large)?;
    let blocks = first_copied_block.checked_add(copied_blocks).ok_or_else(too_large)?;
    for &id in &layer.order {
        let is_copied = matches!(layer.nodes[id].kind, NodeKind::Copied { .. });
        places[id].first_block += if is_copied { first_copied_block } else { first_data_block };
    }
    Ok((places, blocks))
}

/// What comes after the superblock, while it grows.
struct Body<'a> {
    layer: &'a Layer,
    places: &'a [Place],
    /// From [`HEAD`] on.
    inodes: Vec<u8>,
    data: Vec<u8>,
}

impl Body<'_> {
    /// Appends an inode with what follows it, and the whole blocks of its data.
    fn put(&mut self, id: NodeId, number: u32) {
        let (node, place) = (&self.layer.nodes[id], self.places[id]);
        let data = self.data_of(id);
        let union = match &node.kind {
            NodeKind::File(file) => chunks::format(file),
            NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                format::device(*major, *minor)
            }
            NodeKind::Directory(_) | NodeKind::Symlink(_) | NodeKind::Copied { .. } => place.first_block,
            _ => 0,
        };
        let size = match &node.kind {
            NodeKind::File(File { size, .. }) | NodeKind::Copied { size, .. } => *size,
            _ => data.len() as u64,
        };
        let mode = file_type(node).0 | node.metadata.mode;
        let inode = Inode { layout: place.layout, mode, size, union, number, links: node.links };

        self.inodes.resize(place.offset - HEAD, 0);
        format::put_inode(&mut self.inodes, &inode, &node.metadata, &xattrs(node));
        let whole = if place.layout == Layout::Inline { data.len() - data.len() % BLOCK } else { data.len() };
        self.data.extend_from_slice(&data[..whole]);
        self.data.resize(self.data.len().next_multiple_of(BLOCK), 0);
        self.inodes.extend_from_slice(&data[whole..]);
        if let (Layout::Chunks, NodeKind::File(file)) = (place.layout, &node.kind) {
            self.inodes.resize(self.inodes.len().next_multiple_of(CHUNK_INDEX), 0);
            chunks::put(&mut self.inodes, file);
        }
    }

    fn data_of(&self, id: NodeId) -> Vec<u8> {
        let directory = match &self.layer.nodes[id].kind {
            NodeKind::Directory(directory) => directory,
            NodeKind::Symlink(target) => return target.clone(),
            _ => return Vec::new(),
        };
        let name = |name, id: NodeId| Name {
            name,
            inode: (self.places[id].offset / SLOT) as u64,
            file_type: file_type(&self.layer.nodes[id]).1,
        };
        let mut names = vec![name(b".".as_slice(), id), name(b"..", directory.parent)];
        names.extend(directory.children.iter().map(|(text, child)| name(text, *child)));
        // "." is not always first: '!' to '-' sort before it.
        names.sort_unstable_by_key(|name| name.name);
        directory::encode(&names)
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
        NodeKind::File(_)
        | NodeKind::Copied { .. }
        | NodeKind::Pending { .. }
        | NodeKind::Alias(_)
        | NodeKind::Below(_) => (0o100_000, 1),
    }
}
