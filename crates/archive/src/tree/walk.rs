//! From a path of the archive to a directory of the tree: through symbolic links of this layer and of those below,
//! never above the root, within limits.

use std::borrow::Cow;

use super::{Directory, NodeId, NodeKind, ROOT, Tree};
use crate::lower::LowerEntry;
use crate::metadata::Metadata;
use crate::{Error, path};

/// As many as the kernel follows in one path (path_resolution(7)).
const LINKS_FOLLOWED: u32 = 40;

/// What becomes of a directory on the way that this layer does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The way ends there.
    Ends,
    /// The layers below must have it, which this layer then implies.
    IsBelow,
    /// It is implied.
    IsImplied,
}

/// Where a path has led.
pub(super) struct Reached {
    /// The directories from the root to the last.
    pub(super) directories: Vec<NodeId>,
    /// Of the last, without links.
    pub(super) path: Vec<u8>,
}

impl Reached {
    pub(super) fn last(&self) -> NodeId {
        self.directories.last().copied().unwrap_or(ROOT)
    }
}

/// A directory on the way.
struct Step {
    id: NodeId,
    /// Of the path here.
    length: usize,
    /// Whether this layer hides what the layers below have here.
    hidden: bool,
}

impl Tree<'_> {
    /// What the path of a hard link's target leads to in this layer; a final symbolic link is not followed.
    pub(super) fn find(&mut self, target: &[u8], path: &[u8]) -> Result<Option<NodeId>, Error> {
        let components = path::components(target, &self.limits)?;
        let Some((&name, parents)) = components.split_last() else {
            return Err(Error::HardLinkToDirectory { path: path.to_vec(), target: target.to_vec() });
        };
        let Some(parent) = self.walk(parents, target, Missing::Ends)? else { return Ok(None) };
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
    /// The answer is `None` where the way ends, and where something in it is not a directory, which is an error if directories are implied.
    pub(super) fn walk(
        &mut self,
        parents: &[&[u8]],
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<NodeId>, Error> {
        if parents.is_empty() {
            return Ok(Some(ROOT));
        }
        let joined = parents.join(&b'/');
        if let Some((last, id)) = &self.last_parent
            && *last == joined
        {
            return Ok(Some(*id));
        }
        let Some(reached) = self.reach(parents, path, missing)? else { return Ok(None) };
        let id = reached.last();
        if missing == Missing::IsImplied {
            self.last_parent = Some((joined, id));
        }
        Ok(Some(id))
    }

    /// As [`Tree::walk`], with the way that it went.
    pub(super) fn reach(
        &mut self,
        parents: &[&[u8]],
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<Reached>, Error> {
        let mut links = 0;
        let mut rest: Vec<Cow<'_, [u8]>> = parents.iter().rev().map(|&name| Cow::Borrowed(name)).collect();
        let mut here = vec![Step { id: ROOT, length: 0, hidden: false }];
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
                    here_path.truncate(here.last().map_or(0, |step| step.length));
                    continue;
                }
                _ => {}
            }
            if here.len() > self.limits.path_depth {
                let limit = self.limits.path_depth as u64;
                return Err(Error::Limit { path: path.to_vec(), what: "path depth", limit });
            }
            let (parent, hidden) = here.last().map_or((ROOT, false), |step| (step.id, step.hidden));
            let directory = self.directory(parent);
            let hidden = hidden || directory.opaque || directory.whiteouts.contains(name.as_ref());
            let child = directory.children.get(name.as_ref()).copied();
            let child = match child {
                Some(child) => child,
                None if missing == Missing::Ends => return Ok(None),
                None => {
                    let child_path = path::join(&here_path, &name);
                    let below = if hidden { LowerEntry::Missing } else { self.ask(&child_path)? };
                    match self.imply(parent, &name, &child_path, below, missing)? {
                        Some(child) => child,
                        None => return Ok(None),
                    }
                }
            };
            match &self.nodes[child].kind {
                NodeKind::Directory(_) => {
                    path::push(&mut here_path, &name);
                    here.push(Step { id: child, length: here_path.len(), hidden });
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
                _ if missing == Missing::IsImplied => {
                    let parent = path::join(&here_path, &name);
                    return Err(Error::NotADirectory { path: path.to_vec(), parent });
                }
                _ => return Ok(None),
            }
        }
        let directories = here.into_iter().map(|step| step.id).collect();
        Ok(Some(Reached { directories, path: here_path }))
    }

    /// A directory that no entry has named yet, or the symbolic link that the layers below have in its place. `below`: what shows of them there.
    fn imply(
        &mut self,
        parent: NodeId,
        name: &[u8],
        path: &[u8],
        below: LowerEntry,
        missing: Missing,
    ) -> Result<Option<NodeId>, Error> {
        // A name that the walk of a link's target brings in was never checked.
        if name.len() > 255 {
            return Err(Error::Path { path: path.to_vec(), what: "a name of more than 255 bytes" });
        }
        let directory = || NodeKind::Directory(Directory { implied: true, ..Directory::default() });
        let (kind, metadata) = match below {
            LowerEntry::Directory(metadata) => (directory(), metadata),
            LowerEntry::Symlink(target, _) => (NodeKind::Below(target), Metadata::implied_directory()),
            _ if missing == Missing::IsBelow => return Ok(None),
            _ => (directory(), Metadata::implied_directory()),
        };
        // The report will hold the whole path.
        self.count_bytes(path, name.len() + path.len())?;
        let id = self.insert_node(kind, metadata, path)?;
        self.directory(parent).children.insert(name.to_vec(), id);
        Ok(Some(id))
    }
}
