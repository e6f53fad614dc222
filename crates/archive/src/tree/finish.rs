//! What has to wait for the last entry: hard links that came before their targets, whiteouts, link counts, and the
//! order of all inodes.

use super::{File, Layer, Node, NodeId, NodeKind, ROOT, Tree};
use crate::lower::{Lower, LowerEntry};
use crate::metadata::{Metadata, Timestamp};
use crate::{Error, path};

/// Directories in a directory that are still to be finished: name, id, whether the layers below are hidden there.
type Subdirectories = std::vec::IntoIter<(Vec<u8>, NodeId, bool)>;

/// A directory on the way from the root to the one that is being finished.
struct Frame {
    subdirectories: Subdirectories,
    hidden: bool,
    path_length: usize,
}

impl<'l> Tree<'l> {
    /// Settles what had to wait for the last entry. Gives back who has the content of what is copied.
    pub(crate) fn finish(mut self) -> Result<(Layer, &'l mut dyn Lower), Error> {
        self.resolve_pending()?;
        self.hide_copied();
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
        Ok((Layer { nodes: self.nodes, order, report: self.report }, self.lower))
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
            match nodes[*child].kind {
                NodeKind::Below(_) => report.lower_symlinks.push(path::join(path, name)),
                // Nobody knows what it leads to.
                NodeKind::Pending { .. } => {}
                _ => return true,
            }
            false
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
                    if let NodeKind::File(File { size, .. }) | NodeKind::Copied { size, .. } = kind {
                        self.report.file_bytes += *size;
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
                return if self.report.links_below { Ok(()) } else { self.refuse_pending(still[0]) };
            }
            waiting = still;
        }
    }

    fn refuse_pending(&self, id: NodeId) -> Result<(), Error> {
        let NodeKind::Pending { path, target } = &self.nodes[id].kind else { return Ok(()) };
        Err(Error::HardLinkTarget { path: path.clone(), target: target.clone() })
    }
}
