//! What a restore by CRIU needs of the host's tree of mounts, which CRIU does not do itself: places to mount on, and a root that is a mount.
//!
//! Both are made in mount namespaces of their own. Whatever ends this process, no mount stays on the host, least of all one of the root file
//! system in a directory that somebody is going to delete.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use onggi_oci::NamespaceKind;
use onggi_sys::namespace::{setns, unshare};

use super::mount::set_propagation;
use super::namespaces::flag;
use super::problem::{Doing, Outcome, Problem};
use super::report::Failure;
use super::root::{Root, Target};
use super::tree::copy_of;
use crate::plan::{Mount, Plan, Propagation, PropagationKind, Source, Step};

/// The caller's mount namespace and working directory, to come back to. For processes of one thread only.
#[derive(Debug)]
pub struct Home {
    namespace: OwnedFd,
    directory: PathBuf,
}

impl Home {
    /// Holds on to where the caller is.
    ///
    /// # Errors
    /// What failed.
    pub fn hold() -> Result<Home, Failure> {
        let held = || -> Outcome<Home> {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let namespace = rustix::fs::openat(CWD, "/proc/self/ns/mnt", flags, Mode::empty())
                .doing(|| "open /proc/self/ns/mnt")?;
            let directory = std::env::current_dir().doing(|| "getcwd")?;
            Ok(Home { namespace, directory })
        };
        held().map_err(failure)
    }

    /// Acts in a new mount namespace, which nothing of is seen outside, and comes back. A process that is started meanwhile stays in it.
    ///
    /// # Errors
    /// What failed, or what the act says.
    pub fn leave<T, E: From<Failure>>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let kind = flag(NamespaceKind::Mount);
        let away = || -> Outcome {
            unshare(kind).doing(|| "unshare the mount namespace")?;
            set_propagation(Propagation { kind: PropagationKind::Slave, recursive: true })?;
            std::env::set_current_dir(&self.directory).doing(|| format!("chdir {}", self.directory.display()))
        };
        let outcome = away().map_err(|problem| E::from(failure(problem))).and_then(|()| act());
        let back = || -> Outcome {
            setns(self.namespace.as_fd(), kind).doing(|| "return to the mount namespace")?;
            std::env::set_current_dir(&self.directory).doing(|| format!("chdir {}", self.directory.display()))
        };
        back().map_err(|problem| E::from(failure(problem)))?;
        outcome
    }
}

/// Makes in a root file system what a plan's mounts are mounted on, as the start does. To be called within [`Home::leave`]: bind
/// mounts are mounted for it, as others may lie on them.
///
/// # Errors
/// What failed.
pub fn make_mount_points(plan: &Plan, rootfs: &Path) -> Result<(), Failure> {
    let mounts: Vec<&Mount> = plan
        .steps
        .iter()
        .filter_map(|step| if let Step::Mount(mount) = step { Some(mount) } else { None })
        .collect();
    let make = || -> Outcome {
        let root = open_root(rootfs)?;
        // What lies on a tmpfs comes back with it.
        let wanted = mounts.iter().filter(|mount| !is_on_tmpfs(&mount.destination, &mounts));
        wanted.into_iter().try_for_each(|mount| make_mount_point(&root, mount))
    };
    make().map_err(failure)
}

/// Mounts a root file system at a directory, as CRIU wants the root to be a mount. To be called within [`Home::leave`].
///
/// # Errors
/// What failed.
pub fn mount_root(rootfs: &Path, at: &Path) -> Result<(), Failure> {
    let mount = || -> Outcome {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target =
            rustix::fs::openat(CWD, at, flags, Mode::empty()).doing(|| format!("open {}", at.display()))?;
        let tree = copy_of(rootfs, true).doing(|| format!("open_tree {}", rootfs.display()))?;
        tree.attach(target.as_fd(), || format!("mount the root at {}", at.display())).map(drop)
    };
    mount().map_err(failure)
}

fn open_root(rootfs: &Path) -> Outcome<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, rootfs, flags, Mode::empty());
    Ok(Root::new(directory.doing(|| format!("open {}", rootfs.display()))?))
}

fn make_mount_point(root: &Root, mount: &Mount) -> Outcome {
    let destination = &mount.destination;
    let make = |kind| root.target(destination, kind).doing(|| format!("make {destination}"));
    match &mount.source {
        Source::Bind { path, recursive, .. } => {
            let tree = copy_of(path, *recursive).doing(|| format!("open_tree {}", path.display()))?;
            let is_directory = tree.is_directory().doing(|| format!("fstat {}", path.display()))?;
            let target = make(if is_directory { Target::Directory } else { Target::File })?;
            tree.attach(target.as_fd(), || format!("mount on {destination}")).map(drop)
        }
        Source::Again { .. } => Ok(()),
        Source::New { .. } => make(Target::Directory).map(drop),
    }
}

fn is_on_tmpfs(destination: &str, mounts: &[&Mount]) -> bool {
    mounts.iter().any(|mount| {
        matches!(&mount.source, Source::New { kind, .. } if kind == "tmpfs")
            && destination.strip_prefix(&mount.destination).is_some_and(|rest| rest.starts_with('/'))
    })
}

fn failure(Problem { errno, message }: Problem) -> Failure {
    Failure { step: "restore".into(), index: 0, errno, message }
}
