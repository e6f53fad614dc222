//! What of a container's tree of mounts is not its own: CRIU puts a name for it into the images, and takes from the caller what
//! stands for the name when it restores.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use onggi_runtime::plan::{CgroupView, Plan, Source, Step};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// What covers a masked file, and so the name of all such mounts.
const MASK: &str = "/dev/null";

/// Paths inside the container, as the configuration has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct External {
    /// Bind mounts, control groups, and devices, which are bind mounts in a user namespace.
    pub(crate) mounts: Vec<String>,
    /// Covered, if they are files.
    pub(crate) masked: Vec<String>,
}

impl External {
    pub(crate) fn of(plan: &Plan) -> External {
        let masked = plan.steps.iter().filter_map(|step| match step {
            Step::MaskPaths { paths, .. } => Some(paths.clone()),
            _ => None,
        });
        let mounts = sources(plan).into_iter().map(|(destination, _)| destination).collect();
        External { mounts, masked: masked.flatten().collect() }
    }
}

/// Each external mount of a plan with the host's path behind it.
pub(crate) fn sources(plan: &Plan) -> Vec<(String, PathBuf)> {
    plan.steps.iter().flat_map(step_sources).collect()
}

fn step_sources(step: &Step) -> Vec<(String, PathBuf)> {
    match step {
        Step::Mount(mount) => match &mount.source {
            Source::Bind { path, .. } => vec![(mount.destination.clone(), path.clone())],
            _ => Vec::new(),
        },
        Step::MountCgroups(mount) => {
            let destination = &mount.destination;
            match &mount.view {
                CgroupView::V2 { directory } | CgroupView::V2Host { directory } => {
                    vec![(destination.clone(), directory.clone())]
                }
                CgroupView::V1 { hierarchies, .. } => hierarchies
                    .iter()
                    .map(|(name, directory)| (format!("{destination}/{name}"), directory.clone()))
                    .collect(),
            }
        }
        Step::MakeDevices { devices, .. } => {
            devices.iter().map(|device| (device.path.clone(), PathBuf::from(&device.path))).collect()
        }
        _ => Vec::new(),
    }
}

/// Names for a dump: of each mount its own path. `live` is the container's root as its processes see it.
pub(crate) fn for_dump(
    external: &External,
    rootfs: &Path,
    live: &Path,
) -> Result<Vec<(String, String)>, Error> {
    let root = open_directory(rootfs)?;
    let live = open_directory(live)?;
    let mounts = external.mounts.iter().map(|destination| {
        let place = resolve(&root, rootfs, destination);
        (place.clone(), place)
    });
    let masked = external.masked.iter().filter(|path| is_file(&live, path));
    Ok(mounts.chain(masked.map(|path| (path.clone(), MASK.to_owned()))).collect())
}

/// What stands for the names of a dump of this configuration; by its destination `instead` of what the plan says.
pub(crate) fn for_restore(
    plan: &Plan,
    rootfs: &Path,
    instead: &[(String, PathBuf)],
) -> Result<Vec<(String, String)>, Error> {
    let root = open_directory(rootfs)?;
    let mounts = sources(plan).into_iter().map(|(destination, source)| {
        let other = instead.iter().find(|(place, _)| *place == destination);
        let source = other.map_or(source.as_path(), |(_, path)| path);
        (resolve(&root, rootfs, &destination), source.to_string_lossy().into_owned())
    });
    let mask = [(MASK.to_owned(), MASK.to_owned())];
    let is_masked = !External::of(plan).masked.is_empty();
    Ok(mounts.chain(mask.into_iter().filter(|_| is_masked)).collect())
}

/// Where in its tree a container sees these.
pub(crate) fn places(rootfs: &Path, destinations: &[(String, PathBuf)]) -> Result<Vec<String>, Error> {
    let root = open_directory(rootfs)?;
    Ok(destinations.iter().map(|(destination, _)| resolve(&root, rootfs, destination)).collect())
}

fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| Error::system(format!("open {}", path.display()), error))
}

/// Where the kernel shows a mount whose configured place lies behind links of the root file system. What is not there (it is on another
/// mount) stays as it is written. It is only a name: who swaps a link gets a restore that fails.
fn resolve(root: &OwnedFd, rootfs: &Path, path: &str) -> String {
    let clean = onggi_runtime::plan::clean(path);
    let mut there = clean.as_str();
    loop {
        if let Some(place) = place_of(root, rootfs, there) {
            let rest = &clean[there.len()..];
            let joined = format!("{}{rest}", if place == "/" { "" } else { place.as_str() });
            return if joined.is_empty() { "/".to_owned() } else { joined };
        }
        match there.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => there = parent,
            _ => return clean,
        }
    }
}

/// Inside the root, with a leading slash.
fn place_of(root: &OwnedFd, rootfs: &Path, path: &str) -> Option<String> {
    let found = open_in(root, path)?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()?;
    let inside = real.strip_prefix(rootfs).ok()?;
    Some(format!("/{}", inside.to_str()?))
}

fn is_file(root: &OwnedFd, path: &str) -> bool {
    open_in(root, path)
        .and_then(|found| rustix::fs::fstat(&found).ok())
        .is_some_and(|data| !rustix::fs::FileType::from_raw_mode(data.st_mode).is_dir())
}

fn open_in(root: &OwnedFd, path: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The kernel gives up with EAGAIN when a rename anywhere passes a `..` on the way.
    (0..128).find_map(|_| match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
        other => Some(other.ok()),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_mount_is_named_by_where_the_kernel_shows_it() {
        let directory = tempfile::tempdir().unwrap();
        let rootfs = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(rootfs.join("real/conf")).unwrap();
        symlink("/real/conf", rootfs.join("conf")).unwrap();
        symlink("../../../../real", rootfs.join("up")).unwrap();
        let root = open_directory(&rootfs).unwrap();
        for (path, expected) in [
            ("/conf", "/real/conf"),
            ("/conf/", "/real/conf"),
            ("/conf/below/it", "/real/conf/below/it"),
            ("/up/conf", "/real/conf"),
            ("/nowhere/at/all", "/nowhere/at/all"),
            ("/../real", "/real"),
            ("/", "/"),
        ] {
            assert_eq!(resolve(&root, &rootfs, path), expected, "{path}");
        }
    }

    #[test]
    fn only_files_that_are_there_are_masked_by_the_null_device() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        let masked = ["/directory", "/file", "/none"].map(str::to_owned).to_vec();
        let external = External { mounts: vec!["/data".to_owned()], masked };
        let names = for_dump(&external, directory.path(), directory.path()).unwrap();
        let expected = [("/data", "/data"), ("/file", "/dev/null")];
        assert_eq!(names, expected.map(|(key, name)| (key.to_owned(), name.to_owned())));
    }
}
