//! A layer as a tree in memory: what its entries, in their order, amount to. Whiteouts, duplicates, hard links,
//! paths through symbolic links and implied directories are settled here, for the index and for unpacking alike.
//!
//! No path from the archive goes further than this file: the writers see single names in directories.

mod below;
mod finish;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use walk::Missing;

use crate::lower::{Lower, LowerEntry};
use crate::metadata::{Metadata, allowed_xattrs};
use crate::tar::{Entry, Kind, Segment};
use crate::{Error, LayerReport, Limits, path};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs' own bookkeeping, in layers from its time; Docker skips it as well.
const AUFS: &[u8] = b".wh..wh.";
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
    /// A file of the layers below that hard links of this one lead to, with its path there: the writers copy it.
    Copied {
        path: Vec<u8>,
        size: u64,
    },
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

impl Directory {
    /// Whether no entry has named it or anything in it.
    fn is_only_implied(&self) -> bool {
        self.implied && !self.opaque && self.children.is_empty() && self.whiteouts.is_empty()
    }
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
    copied_bytes: u64,
    /// What is here because links lead to it.
    copied: Vec<below::CopiedUp>,
    report: LayerReport,
}

/// The tree when all entries are in: only directories, files (of this layer or copied), symbolic links, devices and pipes are
/// left.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) nodes: Vec<Node>,
    /// Every inode once, a directory before what it holds, names in byte order.
    pub(crate) order: Vec<NodeId>,
    pub(crate) report: LayerReport,
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
            copied_bytes: 0,
            copied: Vec::new(),
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
        let Some(parent) = self.walk(parents, &path, Missing::IsImplied)? else {
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
            Kind::HardLink(target) => match self.find_or_copy_up(&target, &path)? {
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

    /// What the layers below have at a path.
    fn ask(&mut self, path: &[u8]) -> Result<LowerEntry, Error> {
        let below = self.lower.entry(path).map_err(|source| Error::Lower { path: path.to_vec(), source })?;
        Ok(match below {
            LowerEntry::Directory(mut metadata) => {
                // That a directory below is opaque must not be repeated here: it would hide what it holds.
                metadata.xattrs = allowed_xattrs(metadata.xattrs, true).0;
                LowerEntry::Directory(metadata)
            }
            other => other,
        })
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
