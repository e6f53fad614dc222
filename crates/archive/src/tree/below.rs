//! Hard links to what only the layers below have. What they lead to is copied up, as link(2) on an overlay does it: its name there and the new ones are
//! one inode of this layer, so that a write through one is seen through all.

use super::walk::{Missing, Reached};
use super::{NodeId, NodeKind, Tree};
use crate::lower::LowerEntry;
use crate::metadata::{Metadata, allowed_xattrs};
use crate::tar::Kind;
use crate::{Error, path};

/// A name that no entry has given: it is here because a link leads to it.
#[derive(Debug)]
pub(super) struct CopiedUp {
    /// The directories from the root to where it lies, each with the name that comes next.
    way: Vec<(NodeId, Vec<u8>)>,
    id: NodeId,
}

impl Tree<'_> {
    /// What a hard link's target leads to, in this layer as it is by now, or else in those below: as containerd has it where it gives each
    /// entry to the kernel as it comes, above the layers below.
    pub(super) fn find_or_copy_up(&mut self, target: &[u8], path: &[u8]) -> Result<Option<NodeId>, Error> {
        match self.find(target, path)? {
            // One that waits itself may only become what is below.
            None => self.copy_up(target, path),
            found => Ok(found),
        }
    }

    fn copy_up(&mut self, target: &[u8], path: &[u8]) -> Result<Option<NodeId>, Error> {
        if self.ask(b"")? == LowerEntry::Unknown {
            self.report.links_below = true;
            return Ok(None);
        }
        let components = path::components(target, &self.limits)?;
        let Some((&name, parents)) = components.split_last() else { return Ok(None) };
        let Some(reached) = self.reach(parents, target, Missing::IsBelow)? else { return Ok(None) };
        // The links on the way may have led to what this layer has.
        let existing = self.directory(reached.last()).children.get(name).copied();
        if let Some(id) = existing.filter(|&id| !matches!(self.nodes[id].kind, NodeKind::Below(_))) {
            return Ok(Some(id));
        }
        let way = way(&reached, name);
        if self.hides(&way) {
            return Ok(None);
        }
        let full = path::join(&reached.path, name);
        let (kind, metadata) = match self.ask(&full)? {
            LowerEntry::Unknown | LowerEntry::Missing => return Ok(None),
            LowerEntry::Directory(_) => {
                return Err(Error::HardLinkToDirectory { path: path.to_vec(), target: target.to_vec() });
            }
            LowerEntry::Symlink(leads_to, metadata) => (NodeKind::Symlink(leads_to), metadata),
            LowerEntry::File { size, metadata } => {
                self.count_copied(path, size)?;
                (NodeKind::Copied { path: full.clone(), size }, metadata)
            }
            LowerEntry::Special(Kind::CharDevice { major, minor }, metadata) => {
                (NodeKind::CharDevice { major, minor }, metadata)
            }
            LowerEntry::Special(Kind::BlockDevice { major, minor }, metadata) => {
                (NodeKind::BlockDevice { major, minor }, metadata)
            }
            LowerEntry::Special(_, metadata) => (NodeKind::Fifo, metadata),
        };
        let is_file = matches!(kind, NodeKind::Copied { .. });
        let xattrs = allowed_xattrs(metadata.xattrs, is_file).0;
        let held: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.count_bytes(path, 2 * full.len() + held)?;
        let id = self.insert_node(kind, Metadata { xattrs, ..metadata }, path)?;
        self.link(reached.last(), name, id);
        self.copied.push(CopiedUp { way, id });
        Ok(Some(id))
    }

    fn count_copied(&mut self, path: &[u8], size: u64) -> Result<(), Error> {
        self.copied_bytes = self.copied_bytes.saturating_add(size);
        if self.copied_bytes > self.limits.copied_bytes {
            let limit = self.limits.copied_bytes;
            return Err(Error::Limit {
                path: path.to_vec(),
                what: "bytes of files that links copy up",
                limit,
            });
        }
        Ok(())
    }

    /// Takes out what this layer has hidden after it was linked to: the links are its only names then. With it go directories that are here for it alone.
    pub(super) fn hide_copied(&mut self) {
        for CopiedUp { way, id } in std::mem::take(&mut self.copied) {
            if !self.hides(&way) {
                continue;
            }
            for (parent, name) in way.iter().rev() {
                let Some(&child) = self.directory(*parent).children.get(name) else { break };
                let goes = match &self.nodes[child].kind {
                    NodeKind::Directory(directory) => directory.is_only_implied(),
                    _ => child == id,
                };
                if !goes {
                    break;
                }
                self.directory(*parent).children.remove(name);
            }
        }
    }

    /// Whether this layer, as it is by now, hides what the layers below have there.
    fn hides(&mut self, way: &[(NodeId, Vec<u8>)]) -> bool {
        way.iter().any(|(parent, name)| {
            let directory = self.directory(*parent);
            directory.opaque || directory.whiteouts.contains(name)
        })
    }
}

fn way(reached: &Reached, last: &[u8]) -> Vec<(NodeId, Vec<u8>)> {
    let names = reached.path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).chain([last]);
    reached.directories.iter().copied().zip(names.map(<[u8]>::to_vec)).collect()
}
