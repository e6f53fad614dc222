//! Layers as trees of files beside their tars, where the kernel cannot mount EROFS from files.
//!
//! Where every layer has to be a tree it is unpacked as it comes, from the stream that is being verified, into the act's own directory: it gets its place with
//! the layer, or goes with the act. A layer that was here before, or that depends on the layers below it, is unpacked when it is first used.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use onggi_archive::unpack::{self, Unpacker};
use onggi_archive::{LayerSink, Lower};
use onggi_image::Digest;
use onggi_sys::{fault, namespace};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::act::{Act, make_in, remove_tree};
use crate::confined::Unpacking;
use crate::error::Error;
use crate::layers::{self, PLAIN_TREE, TAR};
use crate::layout::{Layout, make_directory, open_directory, open_file, sync_directory};
use crate::lower::LowerLayers;
use crate::mounts::{Presenter, key, lock};
use crate::records::LayerUse;

/// One unpacked tree a layer, beside its tar.
#[derive(Debug)]
pub(crate) struct UnpackedTrees {
    pub(crate) layout: Layout,
    /// What unpacks, in a process of its own.
    pub(crate) program: Option<PathBuf>,
}

impl UnpackedTrees {
    fn path(&self, layer: &LayerUse) -> PathBuf {
        layers::tree(&self.layout, layer)
    }

    /// Begins the plain tree of a layer whose tar is on its way. `below` is asked for nothing there, and is needed where this process unpacks.
    pub(crate) fn begin<'l>(
        &self,
        act: &Act,
        below: &'l mut dyn Lower,
        what: &str,
    ) -> Result<GrowingTree<'l>, Error> {
        let directory = make_in(act, "tree")?;
        let root = open_directory(&directory)?;
        let by = match &self.program {
            Some(program) => Unpacking::start(program, None, &directory, &[], what).map(By::Process),
            None => unpacker(&root, below, what).map(|unpacker| By::Here(Box::new(unpacker))),
        };
        Ok(GrowingTree { directory, root, what: what.to_owned(), by: by.ok() })
    }
}

impl Presenter for UnpackedTrees {
    fn presented(&self, layer: &LayerUse) -> Option<PathBuf> {
        let path = self.path(layer);
        is_tree(&path).then_some(path)
    }

    fn present(&self, layer: &LayerUse, lower: &[PathBuf]) -> Result<PathBuf, Error> {
        make_directory(&self.layout.mounts())?;
        let _lock = lock(&self.layout.mounts().join(format!("{}.lock", key(layer))))?;
        let target = self.path(layer);
        if is_tree(&target) {
            return Ok(target);
        }
        if target.symlink_metadata().is_ok() {
            return Err(Error::damaged(target, "it is no directory"));
        }
        let act = Act::begin(&self.layout, "unpack")?;
        let directory = make_in(&act, "tree")?;
        let root = open_directory(&directory)?;
        let tar_path = self.layout.layer(&layer.diff_id).join(TAR);
        let tar = open_file(&tar_path)?;
        let what = format!("the layer {}", layer.diff_id);
        // Only a variant is made for its place: the plain form is the same wherever it is used.
        let lower = if layer.variant.is_some() { lower } else { &[] };
        if let Some(program) = &self.program {
            Unpacking::start(program, Some(tar), &directory, lower, &what)?.finish()?;
        } else {
            let mut below = LowerLayers::open(lower)?;
            let unpacker = unpacker(&root, &mut below, &what)?;
            onggi_archive::feed_all(&mut &tar, None, Box::new(unpacker)).map_err(Error::archive(&what))?;
        }
        // A tree that is only half on the disk after a power cut must not have its name.
        rustix::fs::syncfs(&root).map_err(Error::io("syncfs", &directory))?;
        let tree = directory.join(unpack::TREE);
        fs::rename(&tree, &target).map_err(Error::io("rename", tree))?;
        sync_directory(&self.layout.layer(&layer.diff_id))?;
        Ok(target)
    }

    fn withdraw(&self, _diff_id: &Digest) -> Result<(), Error> {
        // The trees lie in the layer's directory and go with it.
        Ok(())
    }

    fn withdraw_one(&self, _layer: &LayerUse) -> Result<(), Error> {
        Ok(())
    }

    fn withdraw_all(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A link in its place may lead anywhere.
fn is_tree(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|data| data.is_dir())
}

/// What is wrong with the tree of a layer, compared with its tar; `lower` are the trees below, for a variant. Nothing if there is none.
pub(crate) fn fault(layout: &Layout, layer: &LayerUse, lower: &[PathBuf]) -> Result<Option<String>, Error> {
    let path = layers::tree(layout, layer);
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let tree = match rustix::fs::open(&path, open, Mode::empty()) {
        Ok(tree) => tree,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Ok(Some(format!("it is no directory: {error}"))),
    };
    let tar_path = layout.layer(&layer.diff_id).join(TAR);
    let mut tar = open_file(&tar_path)?;
    let mut below = LowerLayers::open(lower)?;
    let ordinary = namespace::in_user_namespace();
    onggi_archive::compare::difference(&mut tar, tree.as_fd(), &mut below, layers::limits_of_kept(), ordinary)
        .map_err(Error::archive(format!("the layer {}", layer.diff_id)))
}

/// An unpacker in this process. Of a tar that is on its way the index is made as well, which has the stricter limit.
fn unpacker<'l>(root: &OwnedFd, below: &'l mut dyn Lower, what: &str) -> Result<Unpacker<'l>, Error> {
    let into = root.try_clone().map_err(Error::io("open again", what))?;
    let unpacker = Unpacker::new(into, below, layers::limits_of_kept()).map_err(Error::archive(what))?;
    Ok(unpacker.as_ordinary_user(namespace::in_user_namespace()))
}

/// The tree of a layer that is not verified yet. Dropped, it leaves what it has made to the act.
///
/// That it cannot be made is no reason against the layer, which may never be used here: whoever uses it is told why.
#[derive(Debug)]
pub(crate) struct GrowingTree<'l> {
    directory: PathBuf,
    root: OwnedFd,
    what: String,
    /// Nobody, once it has failed.
    by: Option<By<'l>>,
}

#[derive(Debug)]
enum By<'l> {
    Process(Unpacking),
    Here(Box<Unpacker<'l>>),
}

impl GrowingTree<'_> {
    /// Takes the next bytes of the tar.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let fed = match &mut self.by {
            None => return,
            Some(By::Process(process)) => process.feed(bytes),
            Some(By::Here(unpacker)) => unpacker.feed(bytes).map_err(Error::archive(&self.what)),
        };
        if fed.is_err() {
            self.by = None;
            self.remove();
        }
    }

    /// Says that the tar has ended and is what it should be. Puts the tree into its layer's directory, which has no name yet; the answer, if there is a tree,
    /// is a descriptor by which the file system can be synced.
    pub(crate) fn finish(mut self, layer: &Path) -> Result<Option<OwnedFd>, Error> {
        let finished = match self.by.take() {
            None => return Ok(None),
            Some(By::Process(process)) => process.finish(),
            Some(By::Here(unpacker)) => unpacker.finish().map(drop).map_err(Error::archive(&self.what)),
        };
        if finished.is_err() {
            self.remove();
            return Ok(None);
        }
        let tree = self.directory.join(unpack::TREE);
        fs::rename(&tree, layer.join(PLAIN_TREE)).map_err(Error::io("rename", tree))?;
        fault::point("store.tree.unpacked");
        Ok(Some(self.root))
    }

    /// The disk may be full of it, and the layer's own files need room.
    fn remove(&self) {
        // What stays goes with the act.
        let _ = remove_tree(&self.directory);
    }
}
