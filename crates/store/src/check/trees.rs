//! Unpacked trees in a check: each is compared with its tar, and one that is something else is made again.
//!
//! A damaged tree is moved away whole before it is deleted, under the lock of whoever unpacks that layer: whoever looks at its place finds a tree or nothing,
//! also after a kill. That one cannot be compared, or made again, is told, and nothing is removed for the first.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use onggi_sys::fault;

use super::Check;
use crate::act::{Act, StoreLock, remove_tree};
use crate::error::Error;
use crate::layout::{make_directory, sync_directory};
use crate::mounts::{Presenter, key, lock};
use crate::records::{ImageRecord, LayerUse};
use crate::types::{Done, Severity};
use crate::{containers, layers, trees};

/// A file's place and number: which tree it was that was found damaged.
type Identity = (u64, u64);

impl Check<'_> {
    /// Compares the tree of a layer, if it has one, with its tar, from which it is made again. Containers that stand on a damaged one keep it.
    pub(super) fn tree(
        &mut self,
        act: Option<&Act>,
        layer: &LayerUse,
        lower: &[PathBuf],
    ) -> Result<(), Error> {
        let path = layers::tree(self.layout, layer);
        let Some(judged) = identity(&path) else { return Ok(()) };
        let fault = match trees::fault(self.layout, layer, lower) {
            Ok(None) => return Ok(()),
            Ok(Some(fault)) => fault,
            Err(error) => {
                self.bad_trees.insert(layer.clone());
                let message = format!("the unpacked layer cannot be compared: {error}");
                self.find(Severity::Derived, &path, message, None);
                return Ok(());
            }
        };
        let mut message = format!("the unpacked layer is damaged: {fault}");
        let mut done = None;
        if let Some(act) = act.filter(|_| self.repair) {
            match self.take_tree_away(act, layer, &path, judged) {
                Ok(true) => done = Some(Done::Removed),
                // Another check was faster, and tells of it.
                Ok(false) => return Ok(()),
                Err(error) => message = format!("{message}; it could not be taken away: {error}"),
            }
            if let (true, Some(trees)) = (done.is_some(), self.store.only_trees()) {
                match trees.present(layer, lower) {
                    Ok(_) => done = Some(Done::Mended),
                    Err(error) => message = format!("{message}; it could not be made again: {error}"),
                }
            }
        }
        if done.is_none() {
            self.bad_trees.insert(layer.clone());
        }
        self.find(Severity::Derived, &path, message, done);
        Ok(())
    }

    /// Takes a damaged tree out of its place, if it is there still, and deletes it unless a container stands on it.
    fn take_tree_away(
        &mut self,
        act: &Act,
        layer: &LayerUse,
        path: &Path,
        judged: Identity,
    ) -> Result<bool, Error> {
        make_directory(&self.layout.mounts())?;
        let unpacking = lock(&self.layout.mounts().join(format!("{}.lock", key(layer))))?;
        let guard = StoreLock::take(self.layout)?;
        if identity(path) != Some(judged) {
            return Ok(false);
        }
        let in_use = containers::layers_in_use(self.layout);
        let mut moved = None;
        if in_use.is_ok_and(|layers| !layers.contains(&layer.diff_id)) {
            let to = act.path("tree");
            fs::rename(path, &to).map_err(Error::io("move away", path))?;
            moved = Some(to);
        } else {
            self.quarantine.set_aside(path)?;
        }
        drop(guard);
        fault::point("store.check.tree-moved-away");
        sync_directory(&self.layout.layer(&layer.diff_id))?;
        drop(unpacking);
        if let Some(moved) = moved {
            // What stays goes with the act.
            let _ = remove_tree(&moved);
        }
        Ok(true)
    }

    /// The trees of an image's layers that are made for their places, which hang on those below.
    pub(super) fn trees_of_variants(&mut self, act: Option<&Act>, image: &ImageRecord) -> Result<(), Error> {
        let mut lower: Vec<PathBuf> = Vec::new();
        for layer in &image.layers {
            let tree = layers::tree(self.layout, layer);
            if layer.variant.is_some() && self.looked_at.insert(layer.clone()) {
                self.tree(act, layer, &lower)?;
            }
            // Where layers are presented otherwise, or before the first use, there is none; what stands on a damaged one has nothing to be compared with.
            if !tree.is_dir() || self.bad_trees.contains(layer) {
                break;
            }
            lower.insert(0, tree);
        }
        Ok(())
    }
}

fn identity(path: &Path) -> Option<Identity> {
    path.symlink_metadata().ok().map(|data| (data.dev(), data.ino()))
}
