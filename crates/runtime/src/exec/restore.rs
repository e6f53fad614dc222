//! What a restore by CRIU needs of the host's tree of mounts, which CRIU does not do itself: places to mount on, and a root that is a mount.
//!
//! Both are made in mount namespaces of their own. Whatever ends this process, no mount stays on the host, least of all one of the root file
//! system in a directory that somebody is going to delete.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use onggi_oci::NamespaceKind;
use onggi_sys::namespace::{setns, unshare};

use super::mount::set_propagation;
use super::namespaces::flag;
use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;
use super::report::Failure;
use super::root::{Root, Target};
use super::swap::unescape;
use super::tree::{Tree, copy_of};
use super::{ids, sources};
use crate::plan::{Attributes, Mount, Plan, Propagation, PropagationKind, Source, Step};

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

/// Mounts what is to show other owners below an empty directory, and gives the path of each by its destination. CRIU binds what is at a path
/// and knows nothing of owners: a bind of these keeps theirs. To be called within [`Home::leave`].
///
/// # Errors
/// What failed.
pub fn mount_mapped_sources(plan: &Plan, at: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let wanted: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Mount(Mount { destination, source: Source::Bind { path, recursive, ids, .. }, .. }) => {
                ids.as_ref().map(|ids| (destination, path, *recursive, ids))
            }
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mount = || -> Outcome<Vec<(String, PathBuf)>> {
        let procfs = Procfs::open().doing(|| "open /proc")?;
        // Places to mount on that go with the namespace.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = rustix::fs::openat(CWD, at, flags, Mode::empty());
        let there = there.doing(|| format!("open {}", at.display()))?;
        let places = Tree::new("tmpfs", None, &["mode=700".to_owned()], Attributes::default())?;
        let places = Root::new(places.attach(there.as_fd(), || "mount a tmpfs for sources".to_owned())?);
        let mut paths = Vec::new();
        for (number, (destination, path, recursive, ids)) in wanted.iter().enumerate() {
            let (users, groups) = match &plan.launch.user {
                Some(user) if ids.users.is_empty() => (&user.users, &user.groups),
                _ => (&ids.users, &ids.groups),
            };
            let namespace = ids::namespace(&procfs, users, groups)?;
            let tree = Tree::detached(sources::mapped(path, *recursive, namespace.as_fd(), ids.recursive)?);
            let is_directory = tree.is_directory().doing(|| format!("fstat {}", path.display()))?;
            let kind = if is_directory { Target::Directory } else { Target::File };
            let place = places.target(&format!("/{number}"), kind).doing(|| "make a place for a source")?;
            tree.attach(place.as_fd(), || format!("mount {} for CRIU", path.display()))?;
            paths.push(((*destination).clone(), at.join(number.to_string())));
        }
        Ok(paths)
    };
    mount().map_err(failure)
}

/// That the kernel shows these places of a process's tree as mounts with owners of their own.
///
/// # Errors
/// The first that is none.
pub fn check_mapped_mounts<'a>(pid: i32, places: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut places = places.peekable();
    if places.peek().is_none() {
        return Ok(());
    }
    let check = || -> Outcome {
        let procfs = Procfs::open().doing(|| "open /proc")?;
        let table = procfs.read(&format!("{pid}/mountinfo")).doing(|| "read the table of mounts")?;
        for place in places {
            if !is_mapped(&table, place) {
                return Err(Problem::new(format!(
                    "the mount at {place} has lost the owners that it is to show"
                )));
            }
        }
        Ok(())
    };
    check().map_err(failure)
}

/// The last mount at a place counts: it is the one that is seen (proc_pid_mountinfo(5)).
fn is_mapped(table: &str, place: &str) -> bool {
    let place = OsStr::new(place);
    let of = |line: &str| -> Option<bool> {
        let mut fields = line.split(' ').skip(4);
        let is_there = unescape(fields.next()?) == place;
        is_there.then(|| fields.next().is_some_and(|options| options.split(',').any(|one| one == "idmapped")))
    };
    table.lines().filter_map(of).next_back().unwrap_or(false)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_says_whether_it_has_owners_of_its_own() {
        let table = "22 28 0:21 / /proc rw,nosuid - proc proc rw\n\
                     23 28 0:22 / /mapped rw,relatime,idmapped - ext4 /dev/sda1 rw\n\
                     24 28 0:22 / /two\\040words rw,idmapped shared:3 - ext4 /dev/sda1 rw\n\
                     25 28 0:22 / /covered rw,idmapped - ext4 /dev/sda1 rw\n\
                     26 25 0:22 / /covered rw - ext4 /dev/sda1 rw,idmapped\n";
        for (place, expected) in
            [("/proc", false), ("/mapped", true), ("/two words", true), ("/covered", false), ("/none", false)]
        {
            assert_eq!(is_mapped(table, place), expected, "{place}");
        }
    }
}
