//! Whether a directory still is what a layer's tar unpacks to: names, kinds, owners, permissions, sizes, links, devices, attributes and contents.
//!
//! The tar goes by once and the digests of its contents are kept; then the directory is walked beside the finished layer, one name at a time from held
//! descriptors, and nothing in it is followed or waited for. Times are not compared, since not every file system keeps all that a tar can say.

use std::collections::{BTreeMap, btree_map};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::lower::{Lower, copy_content};
use crate::metadata::Metadata;
use crate::tar::{Event, Parser, Segment};
use crate::tree::{Data, File, Layer, Node, NodeId, NodeKind, ROOT, Tree};
use crate::unpack::{attributes, is_device};
use crate::{Error, Limits};

type Content = [u8; 32];

/// Compares the directory `tree` with what `tar` is above `lower`. Says the first difference, if there is one. `ordinary`: as
/// [`crate::unpack::Unpacker::as_ordinary_user`] has unpacked it.
///
/// # Errors
/// What is wrong with the archive, or with the layers below.
pub fn difference(
    tar: &mut dyn Read,
    tree: BorrowedFd<'_>,
    lower: &mut dyn Lower,
    limits: Limits,
    ordinary: bool,
) -> Result<Option<String>, Error> {
    let (mut parser, mut layer) = (Parser::new(limits.clone()), Tree::new(lower, limits));
    let (mut contents, mut current) = (Vec::<Content>::new(), None::<Sha256>);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Read { source }),
        };
        let mut bytes = &buffer[..count];
        while let Some(event) = parser.next(&mut bytes)? {
            match event {
                Event::Entry(entry) => {
                    let kept = layer.add(*entry, contents.len() as u64)? == Data::Keep;
                    current = kept.then(Sha256::new);
                }
                Event::Data(data) => {
                    if let Some(hasher) = &mut current {
                        hasher.update(data);
                    }
                }
                Event::EntryEnd => {
                    contents.extend(current.take().map(|hasher| Content::from(hasher.finalize())));
                }
                Event::End => {}
            }
        }
    }
    parser.finish()?;
    let (layer, lower) = layer.finish()?;
    let mut copied = BTreeMap::new();
    for &id in &layer.order {
        if let NodeKind::Copied { path, size } = &layer.nodes[id].kind {
            let mut hasher = Sha256::new();
            copy_content(lower, path, *size, |bytes| {
                hasher.update(bytes);
                Ok(())
            })?;
            copied.insert(id, Content::from(hasher.finalize()));
        }
    }
    let walk = Walk { layer: &layer, contents, copied, ordinary, inodes: BTreeMap::new() };
    Ok(walk.difference(tree).err().map(|Difference { path, what }| {
        let path = if path.is_empty() { "/".into() } else { String::from_utf8_lossy(&path).into_owned() };
        format!("{path}: {what}")
    }))
}

struct Difference {
    path: Vec<u8>,
    what: String,
}

struct Walk<'a> {
    layer: &'a Layer,
    /// By the place that the tree was told.
    contents: Vec<Content>,
    copied: BTreeMap<NodeId, Content>,
    ordinary: bool,
    /// The inode that was found first for each node with several names.
    inodes: BTreeMap<NodeId, u64>,
}

/// A directory that is being looked at.
struct Open<'a> {
    descriptor: OwnedFd,
    rest: btree_map::Iter<'a, Vec<u8>, NodeId>,
    path_length: usize,
}

impl<'a> Walk<'a> {
    fn difference(mut self, tree: BorrowedFd<'_>) -> Result<(), Difference> {
        let mut path = Vec::new();
        let mut stack = vec![self.open(tree, b".", ROOT, &path)?];
        while let Some(open) = stack.last_mut() {
            path.truncate(open.path_length);
            let Some((name, &id)) = open.rest.next() else {
                stack.pop();
                continue;
            };
            crate::path::push(&mut path, name);
            let node = &self.layer.nodes[id];
            if matches!(node.kind, NodeKind::Directory(_)) {
                let child = self.open(open.descriptor.as_fd(), name, id, &path)?;
                stack.push(child);
            } else if !(self.ordinary && is_device(&node.kind)) {
                self.look(open.descriptor.as_fd(), name, id, &path)?;
            }
        }
        Ok(())
    }

    /// Looks at a directory itself, and that it holds no name too many.
    fn open(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        id: NodeId,
        path: &[u8],
    ) -> Result<Open<'a>, Difference> {
        let node = &self.layer.nodes[id];
        let NodeKind::Directory(directory) = &node.kind else {
            unreachable!("{:?} is opened as a directory", node.kind)
        };
        let stat = stat(parent, name, path)?;
        metadata(&stat, FileType::Directory, &node.metadata, path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = openat(parent, name, flags, Mode::empty()).map_err(unreadable(path))?;
        self.xattrs(descriptor.as_fd(), node, directory.opaque, path)?;
        for entry in Dir::read_from(&descriptor).map_err(unreadable(path))? {
            let entry = entry.map_err(unreadable(path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !directory.children.contains_key(name) {
                return Err(differs(
                    path,
                    format!("holds {:?}, which the layer does not", entry.file_name()),
                ));
            }
        }
        Ok(Open { descriptor, rest: directory.children.iter(), path_length: path.len() })
    }

    fn look(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        id: NodeId,
        path: &[u8],
    ) -> Result<(), Difference> {
        let node = &self.layer.nodes[id];
        let stat = stat(parent, name, path)?;
        let device = |major, minor| match stat.st_rdev == rustix::fs::makedev(major, minor) {
            true => Ok(()),
            false => Err(differs(path, "is another device")),
        };
        match &node.kind {
            NodeKind::File(File { size, place, sparse }) => {
                let content = usize::try_from(*place).ok().and_then(|place| self.contents.get(place));
                self.file(parent, name, node, &stat, (*size, content, sparse.as_deref()), path)?;
            }
            NodeKind::Copied { size, .. } => {
                self.file(parent, name, node, &stat, (*size, self.copied.get(&id), None), path)?;
            }
            NodeKind::Symlink(target) => {
                metadata(&stat, FileType::Symlink, &node.metadata, path)?;
                let found = readlinkat(parent, name, Vec::new()).map_err(unreadable(path))?;
                if found.as_bytes() != target.as_slice() {
                    return Err(differs(path, "leads elsewhere"));
                }
            }
            NodeKind::CharDevice { major, minor } => {
                metadata(&stat, FileType::CharacterDevice, &node.metadata, path)?;
                device(*major, *minor)?;
            }
            NodeKind::BlockDevice { major, minor } => {
                metadata(&stat, FileType::BlockDevice, &node.metadata, path)?;
                device(*major, *minor)?;
            }
            NodeKind::Fifo => metadata(&stat, FileType::Fifo, &node.metadata, path)?,
            other => unreachable!("{other:?} is left in a finished layer"),
        }
        if node.links > 1 && *self.inodes.entry(id).or_insert(stat.st_ino) != stat.st_ino {
            return Err(differs(path, "is another file than its other names"));
        }
        Ok(())
    }

    fn file(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        node: &Node,
        stat: &Stat,
        (size, content, sparse): (u64, Option<&Content>, Option<&[Segment]>),
        path: &[u8],
    ) -> Result<(), Difference> {
        metadata(stat, FileType::RegularFile, &node.metadata, path)?;
        if u64::try_from(stat.st_size) != Ok(size) {
            return Err(differs(path, format!("has {} bytes, not {size}", stat.st_size)));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty()).map_err(unreadable(path))?;
        self.xattrs(file.as_fd(), node, false, path)?;
        let whole = [Segment { offset: 0, length: size }];
        let found = digest(&file.into(), sparse.unwrap_or(&whole), size).map_err(unreadable(path))?;
        if found.as_ref() != content {
            return Err(differs(path, "has another content"));
        }
        Ok(())
    }

    /// Of access lists the kernel keeps what they mean, and of labels what the host's policy says: neither is compared.
    fn xattrs(&self, file: BorrowedFd<'_>, node: &Node, opaque: bool, path: &[u8]) -> Result<(), Difference> {
        let compared = |name: &[u8]| {
            name.starts_with(b"user.") || name.starts_with(b"trusted.") || name == b"security.capability"
        };
        let mark = crate::unpack::opaque_mark(self.ordinary).as_bytes();
        let mut wanted: BTreeMap<&[u8], &[u8]> = attributes(&node.metadata, self.ordinary)
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .filter(|(name, _)| compared(name))
            .collect();
        if opaque {
            wanted.insert(mark, b"y");
        }
        // The kernel's own limits on a list and on a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
        let mut list = vec![0; 64 << 10];
        let length = match rustix::fs::flistxattr(file, &mut list) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other.map_err(unreadable(path))?,
        };
        let found = list[..length].split(|byte| *byte == 0).filter(|name| compared(name));
        let mut value = vec![0; if length == 0 { 0 } else { 64 << 10 }];
        for name in found {
            let length = rustix::fs::fgetxattr(file, name, &mut value).map_err(unreadable(path))?;
            let same = match wanted.remove(name) {
                // In a user namespace the kernel tells it as of that namespace.
                Some(_) if self.ordinary && name == b"security.capability" => true,
                Some(wanted) => wanted == &value[..length],
                None => false,
            };
            if !same {
                return Err(differs(path, format!("has another attribute {}", name.escape_ascii())));
            }
        }
        match wanted.keys().next() {
            Some(name) => Err(differs(path, format!("has lost the attribute {}", name.escape_ascii()))),
            None => Ok(()),
        }
    }
}

/// The digest of a file's segments, one after another; `None` if there is anything but zeros between them.
fn digest(file: &std::fs::File, segments: &[Segment], size: u64) -> io::Result<Option<Content>> {
    let mut buffer = vec![0; 256 << 10];
    let mut hasher = Sha256::new();
    let (mut at, end) = (0, Segment { offset: size, length: 0 });
    for segment in segments.iter().chain([&end]) {
        let hole = segment.offset.saturating_sub(at);
        let holds = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if !each(file, at, hole, &mut buffer, holds)? {
            return Ok(None);
        }
        each(file, segment.offset, segment.length, &mut buffer, |bytes| {
            hasher.update(bytes);
            true
        })?;
        at = segment.offset + segment.length;
    }
    Ok(Some(hasher.finalize().into()))
}

/// Shows a piece of a file to `holds` until it says no.
fn each(
    file: &std::fs::File,
    mut at: u64,
    mut length: u64,
    buffer: &mut [u8],
    mut holds: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    while length > 0 {
        let most = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..most], at)?;
        if !holds(&buffer[..most]) {
            return Ok(false);
        }
        at += most as u64;
        length -= most as u64;
    }
    Ok(true)
}

fn stat(parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Stat, Difference> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Err(differs(path, "is missing")),
        other => other.map_err(unreadable(path)),
    }
}

fn metadata(stat: &Stat, kind: FileType, wanted: &Metadata, path: &[u8]) -> Result<(), Difference> {
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(differs(path, "is of another kind"));
    }
    if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
        let (uid, gid) = (wanted.uid, wanted.gid);
        return Err(differs(path, format!("belongs to {}:{}, not {uid}:{gid}", stat.st_uid, stat.st_gid)));
    }
    let mode = stat.st_mode & 0o7777;
    if kind != FileType::Symlink && mode != wanted.mode {
        return Err(differs(path, format!("has the mode {mode:o}, not {:o}", wanted.mode)));
    }
    Ok(())
}

fn differs(path: &[u8], what: impl Into<String>) -> Difference {
    Difference { path: path.to_vec(), what: what.into() }
}

fn unreadable<E: std::fmt::Display>(path: &[u8]) -> impl FnOnce(E) -> Difference {
    move |error| differs(path, format!("cannot be read: {error}"))
}
