//! From a path of the archive to a directory of the tree: through symbolic links of this layer and of those below,
//! never above the root, within limits.

use std::borrow::Cow;

use super::{Directory, NodeId, NodeKind, ROOT, Tree};
use crate::lower::LowerEntry;
use crate::metadata::Metadata;
use crate::{Error, path};

/// As many as the kernel follows in one path (path_resolution(7)).
const LINKS_FOLLOWED: u32 = 40;

impl Tree<'_> {
    /// What the path of a hard link's target leads to in this layer; a final symbolic link is not followed.
    pub(super) fn find(&mut self, target: &[u8], path: &[u8]) -> Result<Option<NodeId>, Error> {
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
    pub(super) fn walk(
        &mut self,
        parents: &[&[u8]],
        path: &[u8],
        create: bool,
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
}
