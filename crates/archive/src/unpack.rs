//! A layer as a directory, for hosts that cannot mount EROFS. File contents go to a staging directory under plain
//! numbers as they stream by; the tree is made from the finished layer at the end, one name at a time in
//! directories that this code has just made and holds open.
//!
//! So no path of the archive ever reaches the kernel, no link of it is ever followed, and an archive has no way out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File as StdFile;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, futimens, linkat, lsetxattr, mkdirat, mknodat, openat, renameat,
    symlinkat, unlinkat, utimensat,
};

use crate::lower::{Lower, copy_content};
use crate::metadata::Metadata;
use crate::tar::{Event, Parser, Segment};
use crate::tree::{Data, File, Layer, Node, NodeId, NodeKind, ROOT, Tree};
use crate::{Error, LayerReport, LayerSink, Limits};

/// Where the finished tree lies in the directory that [`Unpacker::new`] was given.
pub const TREE: &str = "tree";
/// Where contents wait; gone when the tree is finished.
const STAGE: &str = "stage";

/// Unpacks while the tar streams by.
pub struct Unpacker<'l> {
    parser: Parser,
    tree: Tree<'l>,
    into: OwnedFd,
    stage: OwnedFd,
    ordinary: bool,
    alone: bool,
    /// The number of the next staged file.
    next: u64,
    current: Option<Staged>,
}

/// What a new file is before it is told otherwise, so that it need not be told what it is already: each of these calls is a change to an inode, and a
/// layer has thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Made {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Made {
    fn of(stat: &rustix::fs::Stat) -> Made {
        Made { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
    }

    fn is_owned_as(self, metadata: &Metadata) -> bool {
        (self.uid, self.gid) == (metadata.uid, metadata.gid)
    }
}

/// The file whose data is arriving.
#[derive(Debug)]
struct Staged {
    path: Vec<u8>,
    file: StdFile,
    size: u64,
    /// Of a sparse file, the segments not yet filled, last first, and how far the last is.
    sparse: Option<(Vec<Segment>, u64)>,
    metadata: Metadata,
}

impl std::fmt::Debug for Unpacker<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Unpacker").field("parser", &self.parser).finish_non_exhaustive()
    }
}

impl<'l> Unpacker<'l> {
    /// An unpacker that makes [`TREE`] in the empty directory `into`. Its owner syncs and renames it when the
    /// layer is verified, or removes all of it.
    ///
    /// # Errors
    /// [`Error::Unpack`] if the staging directory cannot be made.
    pub fn new(into: OwnedFd, lower: &'l mut dyn Lower, limits: Limits) -> Result<Self, Error> {
        let stage = make_directory(into.as_fd(), STAGE.as_bytes()).map_err(failed(b"", "mkdirat stage"))?;
        let (parser, tree) = (Parser::new(limits.clone()), Tree::new(lower, limits));
        Ok(Unpacker { parser, tree, into, stage, ordinary: false, alone: false, next: 0, current: None })
    }

    /// For root of a user namespace: leaves out device nodes and the attributes that only root of the machine may give, and marks what
    /// hides the layers below as overlayfs' option `userxattr` reads it.
    #[must_use]
    pub fn as_ordinary_user(mut self, ordinary: bool) -> Self {
        self.ordinary = ordinary;
        self
    }

    /// For a process that does nothing else and has no `/proc`: it changes its working directory where the other way leads through there.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    fn begin(&mut self, entry: crate::tar::Entry) -> Result<(), Error> {
        let (path, size, sparse) = (entry.path.clone(), entry.size, entry.sparse.clone());
        if self.tree.add(entry, self.next)? == Data::Skip {
            return Ok(());
        }
        let metadata = self.tree.last_metadata().clone();
        let file = stage(self.stage.as_fd(), self.next, &metadata, &path)?;
        self.next += 1;
        let sparse = sparse.map(|segments| (segments.into_iter().rev().collect(), 0));
        self.current = Some(Staged { path, file, size, sparse, metadata });
        Ok(())
    }
}

impl LayerSink for Unpacker<'_> {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(event) = self.parser.next(&mut bytes)? {
            match event {
                Event::Entry(entry) => self.begin(*entry)?,
                Event::Data(data) => {
                    if let Some(staged) = &mut self.current {
                        staged.write(data).map_err(failed(&staged.path, "write"))?;
                    }
                }
                Event::EntryEnd => {
                    if let Some(staged) = self.current.take() {
                        staged.finish(self.ordinary)?;
                    }
                }
                Event::End => {}
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<LayerReport, Error> {
        self.parser.finish()?;
        let tar_bytes = self.parser.offset();
        let (mut layer, lower) = self.tree.finish()?;
        for &id in &layer.order {
            let Node { kind, metadata, .. } = &mut layer.nodes[id];
            if let NodeKind::Copied { path, size } = kind {
                let (place, size) = (self.next, *size);
                self.next += 1;
                let staged = stage_copy(self.stage.as_fd(), place, metadata, lower, path, size)?;
                set_metadata(staged.as_fd(), metadata, self.ordinary, None, path)?;
                *kind = NodeKind::File(File { size, place, sparse: None });
            }
        }
        let (stage, ordinary, alone) = (self.stage.as_fd(), self.ordinary, self.alone);
        let (linked, moved) = (BTreeMap::new(), BTreeSet::new());
        let builder = Builder { layer: &layer, stage, ordinary, alone, linked, moved };
        let moved = builder.build(self.into.as_fd())?;
        // Contents that a later duplicate replaced, and those of hard links.
        for number in (0..self.next).filter(|number| !moved.contains(number)) {
            unlinkat(&self.stage, number.to_string(), AtFlags::empty())
                .map_err(|error| failed(b"", "unlinkat stage")(error.into()))?;
        }
        unlinkat(&self.into, STAGE, AtFlags::REMOVEDIR)
            .map_err(|error| failed(b"", "unlinkat stage")(error.into()))?;
        Ok(LayerReport { tar_bytes, ..layer.report })
    }
}

impl Staged {
    fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        let Some((segments, done)) = &mut self.sparse else { return self.file.write_all(data) };
        while let Some(segment) = segments.last()
            && !data.is_empty()
        {
            let length = data.len().min(usize::try_from(segment.length - *done).unwrap_or(usize::MAX));
            self.file.write_all_at(&data[..length], segment.offset + *done)?;
            data = &data[length..];
            *done += length as u64;
            if *done == segment.length {
                segments.pop();
                *done = 0;
            }
        }
        Ok(())
    }

    fn finish(self, ordinary: bool) -> Result<(), Error> {
        if self.sparse.is_some() {
            self.file.set_len(self.size).map_err(failed(&self.path, "ftruncate"))?;
        }
        set_metadata(self.file.as_fd(), &self.metadata, ordinary, None, &self.path)
    }
}

/// Makes the tree from the finished layer.
struct Builder<'a> {
    layer: &'a Layer,
    stage: BorrowedFd<'a>,
    ordinary: bool,
    alone: bool,
    /// Staged names of what has several links and is not a file.
    linked: BTreeMap<NodeId, String>,
    /// Numbers of the staged files that have left the staging directory.
    moved: BTreeSet<u64>,
}

/// A directory that is being filled.
struct Open<'a> {
    descriptor: OwnedFd,
    id: NodeId,
    rest: std::collections::btree_map::Iter<'a, Vec<u8>, NodeId>,
    path_length: usize,
}

impl<'a> Builder<'a> {
    /// Returns which staged files are not there any more.
    fn build(mut self, into: BorrowedFd<'_>) -> Result<BTreeSet<u64>, Error> {
        let layer = self.layer;
        let mut path = Vec::new();
        let mut stack = vec![self.open(into, TREE.as_bytes(), ROOT, &path)?];
        while let Some(open) = stack.last_mut() {
            path.truncate(open.path_length);
            let Some((name, &id)) = open.rest.next() else {
                // Last, since every name made in a directory changes its time.
                let node = &layer.nodes[open.id];
                let opaque = matches!(&node.kind, NodeKind::Directory(directory) if directory.opaque);
                let hides = opaque.then(|| opaque_mark(self.ordinary));
                set_metadata(open.descriptor.as_fd(), &node.metadata, self.ordinary, hides, &path)?;
                stack.pop();
                continue;
            };
            crate::path::push(&mut path, name);
            if matches!(layer.nodes[id].kind, NodeKind::Directory(_)) {
                let child = self.open(open.descriptor.as_fd(), name, id, &path)?;
                stack.push(child);
            } else {
                self.place(open.descriptor.as_fd(), name, id, &path)?;
            }
        }
        for staged in self.linked.values() {
            unlinkat(self.stage, staged.as_str(), AtFlags::empty())
                .map_err(|error| failed(b"", "unlinkat stage")(error.into()))?;
        }
        Ok(self.moved)
    }

    fn open(&self, parent: BorrowedFd<'_>, name: &[u8], id: NodeId, path: &[u8]) -> Result<Open<'a>, Error> {
        let descriptor = make_directory(parent, name).map_err(failed(path, "mkdirat"))?;
        let rest = match &self.layer.nodes[id].kind {
            NodeKind::Directory(directory) => directory.children.iter(),
            other => unreachable!("{other:?} is opened as a directory"),
        };
        Ok(Open { descriptor, id, rest, path_length: path.len() })
    }

    /// Gives something that is not a directory its name.
    fn place(&mut self, parent: BorrowedFd<'_>, name: &[u8], id: NodeId, path: &[u8]) -> Result<(), Error> {
        let node = &self.layer.nodes[id];
        if self.ordinary && is_device(&node.kind) {
            return Ok(());
        }
        let staged = match &node.kind {
            NodeKind::File(file) if node.links == 1 => {
                self.moved.insert(file.place);
                return renameat(self.stage, file.place.to_string(), parent, name)
                    .map_err(|error| failed(path, "renameat")(error.into()));
            }
            NodeKind::File(file) => file.place.to_string(),
            _ if node.links == 1 => return self.make_node(parent, name, node, path),
            _ => match self.linked.get(&id) {
                Some(staged) => staged.clone(),
                None => {
                    let staged = format!("n{id}");
                    self.make_node(self.stage, staged.as_bytes(), node, path)?;
                    self.linked.insert(id, staged.clone());
                    staged
                }
            },
        };
        // Does not follow a symbolic link, so a hard link to one is one.
        linkat(self.stage, staged, parent, name, AtFlags::empty())
            .map_err(|error| failed(path, "linkat")(error.into()))
    }

    /// Makes a symbolic link, device or pipe with its metadata.
    ///
    /// The name is new in a directory that only this process can enter, so it cannot turn into something else between
    /// the calls. There is no descriptor of a symbolic link or device that would not open it, hence names.
    fn make_node(&self, parent: BorrowedFd<'_>, name: &[u8], node: &Node, path: &[u8]) -> Result<(), Error> {
        let metadata = &node.metadata;
        let fail = |call| move |error: rustix::io::Errno| failed(path, call)(error.into());
        let mode = Mode::from_raw_mode(metadata.mode);
        let special = |kind, major, minor| {
            mknodat(parent, name, kind, mode, rustix::fs::makedev(major, minor)).map_err(fail("mknodat"))
        };
        match &node.kind {
            NodeKind::Symlink(target) => {
                symlinkat(target.as_slice(), parent, name).map_err(fail("symlinkat"))?;
            }
            NodeKind::CharDevice { major, minor } => special(FileType::CharacterDevice, *major, *minor)?,
            NodeKind::BlockDevice { major, minor } => special(FileType::BlockDevice, *major, *minor)?,
            NodeKind::Fifo => special(FileType::Fifo, 0, 0)?,
            other => unreachable!("{other:?} is made as a node"),
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("fstatat"))?;
        if !Made::of(&stat).is_owned_as(metadata) {
            let (uid, gid) = owner(metadata);
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("fchownat"))?;
        }
        if !metadata.xattrs.is_empty() {
            // No call takes a directory descriptor and a name here before Linux 6.13 (setxattrat).
            let there = if self.alone {
                rustix::process::fchdir(parent).map_err(fail("fchdir"))?;
                name.to_vec()
            } else {
                [b"/proc/self/fd/", parent.as_raw_fd().to_string().as_bytes(), b"/", name].concat()
            };
            for (attribute, value) in attributes(metadata, self.ordinary) {
                lsetxattr(there.as_slice(), attribute.as_slice(), value, XattrFlags::empty())
                    .map_err(fail("lsetxattr"))?;
            }
        }
        if !matches!(node.kind, NodeKind::Symlink(_)) {
            // The umask took bits from mknod, and chown takes setuid.
            chmodat(parent, name, mode, AtFlags::empty()).map_err(fail("fchmodat"))?;
        }
        utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW).map_err(fail("utimensat"))
    }
}

/// Makes the file in which a content waits.
fn stage(stage: BorrowedFd<'_>, number: u64, metadata: &Metadata, path: &[u8]) -> Result<StdFile, Error> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Mostly what it shall be. Nobody else enters the staging directory.
    let mode = Mode::from_raw_mode(metadata.mode & 0o777);
    let file = openat(stage, number.to_string(), flags, mode);
    file.map(StdFile::from).map_err(|error| failed(path, "openat")(error.into()))
}

/// Stages a file of the layers below.
fn stage_copy(
    into: BorrowedFd<'_>,
    number: u64,
    metadata: &Metadata,
    lower: &mut dyn Lower,
    path: &[u8],
    size: u64,
) -> Result<StdFile, Error> {
    let mut file = stage(into, number, metadata, path)?;
    copy_content(lower, path, size, |bytes| file.write_all(bytes).map_err(failed(path, "write")))?;
    Ok(file)
}

/// Makes a directory that nobody else can enter yet, and opens it.
fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Owner first, since chown(2) clears setuid and capabilities; then attributes, permissions, and time last.
fn set_metadata(
    descriptor: BorrowedFd<'_>,
    metadata: &Metadata,
    ordinary: bool,
    hides: Option<&str>,
    path: &[u8],
) -> Result<(), Error> {
    let fail = |call| move |error: rustix::io::Errno| failed(path, call)(error.into());
    let made = Made::of(&rustix::fs::fstat(descriptor).map_err(fail("fstat"))?);
    if !made.is_owned_as(metadata) {
        let (uid, gid) = owner(metadata);
        fchown(descriptor, uid, gid).map_err(fail("fchown"))?;
    }
    for (name, value) in attributes(metadata, ordinary) {
        fsetxattr(descriptor, name.as_slice(), value, XattrFlags::empty()).map_err(fail("fsetxattr"))?;
    }
    if let Some(mark) = hides {
        fsetxattr(descriptor, mark, b"y", XattrFlags::empty()).map_err(fail("fsetxattr overlay.opaque"))?;
    }
    // A change of owner took bits from it, and an attribute may be an access list, which is the mode as well.
    if made.mode != metadata.mode || !made.is_owned_as(metadata) || !metadata.xattrs.is_empty() {
        fchmod(descriptor, Mode::from_raw_mode(metadata.mode)).map_err(fail("fchmod"))?;
    }
    futimens(descriptor, &times(metadata)).map_err(fail("futimens"))
}

/// Whose name begins with `trusted.` nobody in a user namespace may set.
pub(crate) fn opaque_mark(ordinary: bool) -> &'static str {
    if ordinary { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// A device, but not the one that says of a name that it is gone: that one anybody may make (Linux 5.8).
pub(crate) fn is_device(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::CharDevice { major, minor } => (*major, *minor) != (0, 0),
        NodeKind::BlockDevice { .. } => true,
        _ => false,
    }
}

/// Those that may be set: in a user namespace not `trusted.*`, and of `security.*` capabilities alone, which the kernel binds to it.
pub(crate) fn attributes(metadata: &Metadata, ordinary: bool) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
    let may = move |name: &[u8]| {
        let of_machine = name.starts_with(b"trusted.") || name.starts_with(b"security.");
        !ordinary || !of_machine || name == b"security.capability"
    };
    metadata.xattrs.iter().filter(move |(name, _)| may(name))
}

fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))
}

fn times(metadata: &Metadata) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: metadata.mtime.seconds,
            tv_nsec: metadata.mtime.nanoseconds.into(),
        },
    }
}

fn failed(path: &[u8], call: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Unpack { path: path.to_vec(), call, source }
}
