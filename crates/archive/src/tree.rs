//! A layer as a tree in memory: what its entries, in their order, amount to. Whiteouts, duplicates, hard links,
//! paths through symbolic links and implied directories are settled here, for the index and for unpacking alike.
//!
//! No path from the archive goes further than this file: the writers see single names in directories.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::lower::{Lower, LowerEntry};
use crate::metadata::{Metadata, Timestamp, allowed_xattrs};
use crate::tar::{Entry, Kind, Segment};
use crate::{Error, LayerReport, Limits, path};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs' own bookkeeping, in layers from its time; Docker skips it as well.
const AUFS: &[u8] = b".wh..wh.";
/// As many as the kernel follows in one path (path_resolution(7)).
const LINKS_FOLLOWED: u32 = 40;

pub(crate) type NodeId = usize;
pub(crate) const ROOT: NodeId = 0;

/// An inode to be.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) metadata: Metadata,
    /// Names in the finished tree; for a directory as Unix counts them.
    pub(crate) links: u32,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Directory(Directory),
    File(File),
    Symlink(Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// A hard link whose target has not come yet: path of the link, target. Gone after `finish`.
    Pending {
        path: Vec<u8>,
        target: Vec<u8>,
    },
    /// Resolved by `finish`. Gone after it.
    Alias(NodeId),
    /// A symbolic link of the layers below that a path of this layer goes through. Gone after `finish`.
    Below(Vec<u8>),
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) children: BTreeMap<Vec<u8>, NodeId>,
    pub(crate) opaque: bool,
    /// Set by `finish`; the root is its own.
    pub(crate) parent: NodeId,
    whiteouts: BTreeSet<Vec<u8>>,
    implied: bool,
}

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) size: u64,
    /// Where the content is, in the caller's terms: an offset in the tar, or the number of a staged file.
    pub(crate) place: u64,
    pub(crate) sparse: Option<Vec<Segment>>,
}

/// The tree while entries arrive.
pub(crate) struct Tree<'l> {
    nodes: Vec<Node>,
    limits: Limits,
    lower: &'l mut dyn Lower,
    /// The directory of the entry before: archives list a directory's files in a row.
    last_parent: Option<(Vec<u8>, NodeId)>,
    metadata_bytes: u64,
    link_steps: u64,
    report: LayerReport,
}

/// The tree when all entries are in: only directories, files, symbolic links, devices and pipes are left.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) nodes: Vec<Node>,
    /// Every inode once, a directory before what it holds, names in byte order.
    pub(crate) order: Vec<NodeId>,
    pub(crate) report: LayerReport,
}

/// Directories in a directory that are still to be finished: name, id, whether the layers below are hidden there.
type Subdirectories = std::vec::IntoIter<(Vec<u8>, NodeId, bool)>;

/// A directory on the way from the root to the one that is being finished.
struct Frame {
    subdirectories: Subdirectories,
    hidden: bool,
    path_length: usize,
}

/// What the caller has to do with an entry's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// It is a file's content.
    Keep,
    /// The entry is something else, or a whiteout.
    Skip,
}

impl<'l> Tree<'l> {
    pub(crate) fn new(lower: &'l mut dyn Lower, limits: Limits) -> Self {
        let root = NodeKind::Directory(Directory { implied: true, ..Directory::default() });
        let root = Node { kind: root, metadata: Metadata::implied_directory(), links: 0 };
        Tree {
            nodes: vec![root],
            limits,
            lower,
            last_parent: None,
            metadata_bytes: 0,
            link_steps: 0,
            report: LayerReport::default(),
        }
    }

    /// Takes the next entry; `place` says where its content will be if it is a file.
    pub(crate) fn add(&mut self, entry: Entry, place: u64) -> Result<Data, Error> {
        let Entry { path, kind, mode, uid, gid, mtime, size, xattrs, sparse, .. } = entry;
        self.report.entries += 1;
        let components = path::components(&path, &self.limits)?;
        let (xattrs, left_out) = allowed_xattrs(xattrs, matches!(kind, Kind::File | Kind::Directory));
        self.report.ignored_xattrs += left_out;
        let held: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.count_bytes(&path, held)?;
        let metadata = Metadata { mode, uid, gid, mtime, xattrs };

        let Some((&name, parents)) = components.split_last() else {
            if kind != Kind::Directory {
                return Err(Error::Root { kind: kind.name() });
            }
            self.nodes[ROOT].metadata = metadata;
            self.directory(ROOT).implied = false;
            return Ok(Data::Skip);
        };
        if components.iter().any(|component| component.starts_with(AUFS)) && name != OPAQUE {
            return Ok(Data::Skip);
        }
        if parents.iter().any(|component| component.starts_with(WHITEOUT)) {
            return Err(Error::Whiteout { path, what: "an entry below a whiteout" });
        }
        let Some(parent) = self.walk(parents, &path, true)? else {
            return Err(Error::NotADirectory { parent: path.clone(), path });
        };
        if name == OPAQUE {
            self.directory(parent).opaque = true;
            return Ok(Data::Skip);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(Error::Whiteout { path, what: "a whiteout of nothing" });
            }
            if kind == Kind::Directory {
                return Err(Error::Whiteout { path, what: "a whiteout that is a directory" });
            }
            let hidden = hidden.to_vec();
            self.count_bytes(&path, hidden.len())?;
            self.directory(parent).whiteouts.insert(hidden);
            return Ok(Data::Skip);
        }

        let existing = self.directory(parent).children.get(name).copied();
        let is_file = kind == Kind::File;
        let mut metadata = metadata;
        let kind = match kind {
            Kind::Directory => {
                if let Some(id) = existing
                    && let NodeKind::Directory(directory) = &mut self.nodes[id].kind
                {
                    directory.implied = false;
                    self.nodes[id].metadata = metadata;
                    return Ok(Data::Skip);
                }
                NodeKind::Directory(Directory::default())
            }
            Kind::HardLink(target) => match self.find(&target, &path)? {
                Some(id) => {
                    if matches!(self.nodes[id].kind, NodeKind::Directory(_)) {
                        return Err(Error::HardLinkToDirectory { path, target });
                    }
                    self.count_bytes(&path, name.len())?;
                    self.link(parent, name, id);
                    return Ok(Data::Skip);
                }
                None => {
                    self.count_bytes(&path, path.len() + target.len())?;
                    NodeKind::Pending { path: path.clone(), target }
                }
            },
            Kind::Symlink(target) => {
                if target.len() > self.limits.path_bytes || target.contains(&0) {
                    return Err(Error::Path { path, what: "a symbolic link whose target is no path" });
                }
                self.count_bytes(&path, target.len())?;
                // Linux has no other, whatever the archive says.
                metadata.mode = 0o777;
                NodeKind::Symlink(target)
            }
            Kind::File => {
                let segments = sparse.as_ref().map_or(0, Vec::len);
                self.count_bytes(&path, segments * size_of::<Segment>())?;
                NodeKind::File(File { size, place, sparse })
            }
            Kind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
            Kind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
            Kind::Fifo => NodeKind::Fifo,
        };
        let id = self.insert_node(kind, metadata, &path)?;
        self.count_bytes(&path, name.len())?;
        self.link(parent, name, id);
        Ok(if is_file { Data::Keep } else { Data::Skip })
    }

    /// The metadata of the entry that was added last and kept, as it will be in the layer.
    pub(crate) fn last_metadata(&self) -> &Metadata {
        &self.nodes[self.nodes.len() - 1].metadata
    }

    /// Settles what had to wait for the last entry.
    pub(crate) fn finish(mut self) -> Result<Layer, Error> {
        self.resolve_pending()?;
        if self.directory(ROOT).implied
            && let LowerEntry::Directory(metadata) = self.ask(b"")?
        {
            self.nodes[ROOT].metadata = metadata;
        }
        let mut order = vec![ROOT];
        self.nodes[ROOT].links = 2;
        // A directory's path exists once, in `path`: paths of all siblings together could take gigabytes.
        let mut path = Vec::new();
        let subdirectories = self.finish_directory(ROOT, &path, false, &mut order)?;
        let mut frames = vec![Frame { subdirectories, hidden: false, path_length: 0 }];
        while let Some(frame) = frames.last_mut() {
            let Some((name, id, hidden)) = frame.subdirectories.next() else {
                frames.pop();
                continue;
            };
            path.truncate(frame.path_length);
            path::push(&mut path, &name);
            let hidden = hidden || frame.hidden;
            let subdirectories = self.finish_directory(id, &path, hidden, &mut order)?;
            frames.push(Frame { subdirectories, hidden, path_length: path.len() });
        }
        self.report.inodes = order.len() as u64;
        Ok(Layer { nodes: self.nodes, order, report: self.report })
    }

    /// Turns one directory's whiteouts into entries, counts the links of what it holds and lists that in `order`.
    ///
    /// `hidden` says that nothing of the layers below shows at this path. Gives the directories in it with the same
    /// for each: name, id, hidden.
    fn finish_directory(
        &mut self,
        id: NodeId,
        path: &[u8],
        hidden: bool,
        order: &mut Vec<NodeId>,
    ) -> Result<Subdirectories, Error> {
        let mut directory = std::mem::take(self.directory(id));
        if directory.implied && hidden {
            self.nodes[id].metadata = Metadata::implied_directory();
        } else if directory.implied {
            self.report.implied_dirs.push(path.to_vec());
        }
        let whiteouts = std::mem::take(&mut directory.whiteouts);
        self.report.whiteouts += whiteouts.len() as u64 + u64::from(directory.opaque);
        let (nodes, report) = (&self.nodes, &mut self.report);
        directory.children.retain(|name, child| {
            let below = matches!(nodes[*child].kind, NodeKind::Below(_));
            if below {
                report.lower_symlinks.push(path::join(path, name));
            }
            !below
        });
        for name in &whiteouts {
            match directory.children.get(name) {
                // A whiteout hides only what lies below this layer (OCI image-spec, layer.md): a directory of the
                // same name in the same layer is a new one, whichever of the two came first.
                Some(&child) => {
                    if let NodeKind::Directory(child) = &mut self.nodes[child].kind {
                        child.opaque = true;
                    }
                }
                None => {
                    let kind = NodeKind::CharDevice { major: 0, minor: 0 };
                    let mtime = Timestamp::default();
                    let metadata = Metadata { mode: 0, uid: 0, gid: 0, mtime, xattrs: Vec::new() };
                    let child = self.insert_node(kind, metadata, path)?;
                    directory.children.insert(name.clone(), child);
                }
            }
        }
        let mut subdirectories = Vec::new();
        for (name, child) in &mut directory.children {
            while let NodeKind::Alias(target) = self.nodes[*child].kind {
                *child = target;
            }
            let node = &mut self.nodes[*child];
            node.links += 1;
            match &mut node.kind {
                NodeKind::Directory(below) => {
                    below.parent = id;
                    node.links = 2;
                    self.nodes[id].links += 1;
                    subdirectories.push((name.clone(), *child, directory.opaque || whiteouts.contains(name)));
                    order.push(*child);
                }
                _ if node.links > 1 => {}
                kind => {
                    if let NodeKind::File(file) = kind {
                        self.report.file_bytes += file.size;
                    }
                    order.push(*child);
                }
            }
        }
        *self.directory(id) = directory;
        Ok(subdirectories.into_iter())
    }

    /// Hard links that came before their targets. One may wait for another, so it goes in rounds.
    fn resolve_pending(&mut self) -> Result<(), Error> {
        let is_pending = |node: &Node| matches!(node.kind, NodeKind::Pending { .. });
        let mut waiting: Vec<NodeId> =
            (0..self.nodes.len()).filter(|&id| is_pending(&self.nodes[id])).collect();
        loop {
            let mut still = Vec::new();
            for &id in &waiting {
                let NodeKind::Pending { path, target } = &self.nodes[id].kind else { continue };
                let (path, target) = (path.clone(), target.clone());
                match self.find(&target, &path)? {
                    Some(found) if found != id && !is_pending(&self.nodes[found]) => {
                        if matches!(self.nodes[found].kind, NodeKind::Directory(_)) {
                            return Err(Error::HardLinkToDirectory { path, target });
                        }
                        self.nodes[id].kind = NodeKind::Alias(found);
                    }
                    _ => still.push(id),
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            if still.len() == waiting.len() {
                return self.refuse_pending(still[0]);
            }
            waiting = still;
        }
    }

    fn refuse_pending(&mut self, id: NodeId) -> Result<(), Error> {
        let NodeKind::Pending { path, target } = &self.nodes[id].kind else { return Ok(()) };
        let (path, target) = (path.clone(), target.clone());
        let plain = path::components(&target, &self.limits)?.join(&b'/');
        Err(match self.ask(&plain)? {
            LowerEntry::Missing => Error::HardLinkTarget { path, target },
            _ => Error::HardLinkIntoLower { path, target },
        })
    }

    /// What the path of a hard link's target leads to in this layer; a final symbolic link is not followed.
    fn find(&mut self, target: &[u8], path: &[u8]) -> Result<Option<NodeId>, Error> {
        let components = path::components(target, &self.limits)?;
        let Some((&name, parents)) = components.split_last() else {
            return Err(Error::HardLinkToDirectory { path: path.to_vec(), target: target.to_vec() });
        };
        let Some(parent) = self.walk(parents, target, false)? else { return Ok(None) };
        let mut found = self.directory(parent).children.get(name).copied();
        while let Some(id) = found {
            match self.nodes[id].kind {
                NodeKind::Alias(target) => found = Some(target),
                NodeKind::Below(_) => return Ok(None),
                _ => break,
            }
        }
        Ok(found)
    }

    /// The directory that `parents` lead to, through symbolic links and never above the root.
    ///
    /// With `create`, directories that are missing become implied ones; else the answer is `None` then, and
    /// where something in the way is not a directory.
    fn walk(&mut self, parents: &[&[u8]], path: &[u8], create: bool) -> Result<Option<NodeId>, Error> {
        if parents.is_empty() {
            return Ok(Some(ROOT));
        }
        let joined = parents.join(&b'/');
        if let Some((last, id)) = &self.last_parent
            && *last == joined
        {
            return Ok(Some(*id));
        }
        let mut links = 0;
        let mut rest: Vec<Cow<'_, [u8]>> = parents.iter().rev().map(|&name| Cow::Borrowed(name)).collect();
        // The directories from the root to here, each with the length that the path has there.
        let mut here: Vec<(NodeId, usize)> = vec![(ROOT, 0)];
        let mut here_path: Vec<u8> = Vec::new();
        while let Some(name) = rest.pop() {
            if links > 0 {
                self.link_steps += 1;
                if self.link_steps > self.limits.link_steps {
                    let limit = self.limits.link_steps;
                    return Err(Error::Limit {
                        path: path.to_vec(),
                        what: "steps through symbolic links",
                        limit,
                    });
                }
            }
            match name.as_ref() {
                b"" | b"." => continue,
                b".." => {
                    if here.len() > 1 {
                        here.pop();
                    }
                    here_path.truncate(here.last().map_or(0, |(_, length)| *length));
                    continue;
                }
                _ => {}
            }
            if here.len() > self.limits.path_depth {
                let limit = self.limits.path_depth as u64;
                return Err(Error::Limit { path: path.to_vec(), what: "path depth", limit });
            }
            let parent = here.last().map_or(ROOT, |(id, _)| *id);
            let child = self.directory(parent).children.get(name.as_ref()).copied();
            let child = match child {
                Some(child) => child,
                None if create => {
                    let child_path = path::join(&here_path, &name);
                    self.imply(parent, &name, &child_path)?
                }
                None => return Ok(None),
            };
            match &self.nodes[child].kind {
                NodeKind::Directory(_) => {
                    path::push(&mut here_path, &name);
                    here.push((child, here_path.len()));
                }
                NodeKind::Symlink(target) | NodeKind::Below(target) => {
                    links += 1;
                    if links > LINKS_FOLLOWED {
                        return Err(Error::LinkLoop { path: path.to_vec() });
                    }
                    if target.starts_with(b"/") {
                        here.truncate(1);
                        here_path.clear();
                    }
                    rest.extend(
                        target.split(|&byte| byte == b'/').rev().map(|name| Cow::Owned(name.to_vec())),
                    );
                }
                _ if create => {
                    let parent = path::join(&here_path, &name);
                    return Err(Error::NotADirectory { path: path.to_vec(), parent });
                }
                _ => return Ok(None),
            }
        }
        let id = here.last().map_or(ROOT, |(id, _)| *id);
        if create {
            self.last_parent = Some((joined, id));
        }
        Ok(Some(id))
    }

    /// A directory that no entry has named yet, or the symbolic link that the layers below have in its place.
    fn imply(&mut self, parent: NodeId, name: &[u8], path: &[u8]) -> Result<NodeId, Error> {
        // A name that the walk of a link's target brings in was never checked.
        if name.len() > 255 {
            return Err(Error::Path { path: path.to_vec(), what: "a name of more than 255 bytes" });
        }
        let whited_out = self.directory(parent).whiteouts.contains(name);
        let below = if whited_out { LowerEntry::Missing } else { self.ask(path)? };
        let directory = || NodeKind::Directory(Directory { implied: true, ..Directory::default() });
        let (kind, metadata) = match below {
            LowerEntry::Directory(metadata) => (directory(), metadata),
            LowerEntry::Symlink(target) => (NodeKind::Below(target), Metadata::implied_directory()),
            LowerEntry::Missing | LowerEntry::Other => (directory(), Metadata::implied_directory()),
        };
        // The report will hold the whole path.
        self.count_bytes(path, name.len() + path.len())?;
        let id = self.insert_node(kind, metadata, path)?;
        self.directory(parent).children.insert(name.to_vec(), id);
        Ok(id)
    }

    fn ask(&mut self, path: &[u8]) -> Result<LowerEntry, Error> {
        self.lower.entry(path).map_err(|source| Error::Lower { path: path.to_vec(), source })
    }

    fn insert_node(&mut self, kind: NodeKind, metadata: Metadata, path: &[u8]) -> Result<NodeId, Error> {
        if self.nodes.len() as u64 >= self.limits.entries {
            return Err(Error::Limit { path: path.to_vec(), what: "entries", limit: self.limits.entries });
        }
        self.nodes.push(Node { kind, metadata, links: 0 });
        Ok(self.nodes.len() - 1)
    }

    /// Gives `parent` the name; what had it before is no longer part of the layer.
    fn link(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        if self.directory(parent).children.insert(name.to_vec(), id).is_some() {
            // What was replaced may have been a directory or link on the way to the last parent.
            self.last_parent = None;
        }
    }

    /// Holds the layer to its limit of kept names, attributes and tables.
    pub(crate) fn count_bytes(&mut self, path: &[u8], bytes: usize) -> Result<(), Error> {
        self.metadata_bytes += bytes as u64;
        if self.metadata_bytes > self.limits.metadata_bytes {
            let limit = self.limits.metadata_bytes;
            return Err(Error::Limit { path: path.to_vec(), what: "bytes of names and attributes", limit });
        }
        Ok(())
    }

    /// The directory behind an id that is known to be one.
    fn directory(&mut self, id: NodeId) -> &mut Directory {
        match &mut self.nodes[id].kind {
            NodeKind::Directory(directory) => directory,
            other => unreachable!("node {id} is {other:?}, not a directory"),
        }
    }
}
