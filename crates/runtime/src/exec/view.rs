//! The files of a container that does not run, as it would see them: its root and what is mounted in it.
//!
//! All of it hangs in a mount namespace that only the answer holds, so that nothing of it can be left behind, whenever the caller dies.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::mount;
use super::problem::{Doing, Outcome, Problem};
use super::root::{self, Target};
use super::tree::{self, READ_ONLY, Tree, copy_of};
use crate::plan::{Attributes, Propagation, PropagationKind, Root};

/// A file or directory of the host that is to be seen at a place in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    /// Absolute in the container; what is missing of it is made.
    pub destination: String,
    pub read_only: bool,
}

/// The assembled tree; it goes when this is dropped.
#[derive(Debug)]
pub struct View {
    /// The container's `/`.
    pub root: OwnedFd,
    /// Without it the kernel would take what is mounted in the tree apart.
    _namespace: OwnedFd,
}

/// Assembles the tree. The calling thread leaves its mount namespace for a new one and is of no other use afterwards. Nothing forks, so
/// other threads do no harm. `at`: any directory, on which the tree is mounted there.
///
/// # Errors
/// The step that failed, in words.
pub fn view(root: &Root, at: &Path, read_only: bool, binds: &[Bind]) -> io::Result<View> {
    assemble(root, at, read_only, binds).map_err(|Problem { errno, message }| {
        io::Error::new(io::Error::from_raw_os_error(errno).kind(), message)
    })
}

fn assemble(root: &Root, at: &Path, read_only: bool, binds: &[Bind]) -> Outcome<View> {
    const NEW_MOUNTS: i32 = 0x0002_0000;
    onggi_sys::namespace::unshare(NEW_MOUNTS).doing(|| "unshare the mount namespace")?;
    mount::set_propagation(Propagation { kind: PropagationKind::Private, recursive: true })?;
    let tree = mount::mount_root(root, Some(at), false)?;
    for bind in binds {
        match copy_of(&bind.source, true) {
            Ok(source) => attach(&tree, source, bind)?,
            // The host's own affair since the container has ended.
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(Problem::of(format!("open_tree {}", bind.source.display()), error)),
        }
    }
    if read_only {
        tree::set_attributes(tree.as_fd(), Attributes { set: READ_ONLY, clear: 0 }, false)
            .doing(|| "make the root read-only")?;
    }
    let namespace = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(CWD, "/proc/thread-self/ns/mnt", namespace, Mode::empty())
        .doing(|| "open /proc/thread-self/ns/mnt")?;
    let root = tree.as_fd().try_clone_to_owned().doing(|| "keep the root")?;
    Ok(View { root, _namespace: namespace })
}

/// The target is held by a descriptor before anything is mounted on it: a name could be swapped in between (CVE-2026-42306).
fn attach(tree: &root::Root, mut source: Tree, bind: &Bind) -> Outcome {
    let is_directory = source.is_directory().doing(|| format!("fstat {}", bind.source.display()))?;
    let kind = if is_directory { Target::Directory } else { Target::File };
    let target = tree.target(&bind.destination, kind).doing(|| format!("make {}", bind.destination))?;
    if bind.read_only {
        source
            .set(Attributes { set: READ_ONLY, clear: 0 }, false)
            .doing(|| format!("make {} read-only", bind.destination))?;
    }
    source.attach(target.as_fd(), || format!("mount at {}", bind.destination)).map(drop)
}
