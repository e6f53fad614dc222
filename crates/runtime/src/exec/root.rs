//! The root file system as a descriptor: the only way to anything inside it.
//!
//! What is inside belongs to the image, and in a shared volume somebody may be swapping a directory for a symbolic link at this
//! moment (CVE-2021-30465, CVE-2024-45310). So every path is resolved by the kernel within the root (`openat2(2)`,
//! Linux 5.6; by [`onggi_sys::walk`] where a filter refuses it), and what is missing is made one name at a time in a directory that is held open.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use onggi_sys::walk::{self, Links};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
/// The kernel gives up with EAGAIN when a rename anywhere passes a `..` on the way; on a busy machine more than once.
const MOST_ATTEMPTS: usize = 128;

/// A directory that stands for `/`.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// What a mount's target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Directory,
    File,
}

impl Root {
    pub(super) fn new(directory: OwnedFd) -> Root {
        Root(directory)
    }

    /// The calling process's own root, for what joins a container.
    pub(super) fn own() -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root(rustix::fs::openat(CWD, "/", flags, Mode::empty())?))
    }

    /// Opens what is at the path, following links inside the root, never a magic one (`/proc/self/fd/7`, CVE-2024-21626).
    pub(super) fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlags::empty())
    }

    /// Opens what is at the path if there is no link on the way at all.
    pub(super) fn open_without_links(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    /// Holds the target of a mount, and makes what is missing of it: directories of mode 0755, or an empty file at the end.
    pub(super) fn target(&self, path: &str, target: Target) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(error) if is(&error, Errno::NOENT) => {}
            other => return other,
        }
        match target {
            Target::Directory => self.make_directories(path),
            Target::File => self.make_file(path),
        }
    }

    /// Holds the directory that a name is to be made in (made itself if it is missing), and gives the name.
    pub(super) fn parent<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." || name == ".." {
            return Err(Errno::INVAL.into());
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        Ok((self.target(parent, Target::Directory)?, name))
    }

    fn make_directories(&self, path: &str) -> io::Result<OwnedFd> {
        const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
        // Mostly one name is missing, in a directory that is there.
        if let Some((parent, name)) = clean_parent(path)
            && let Ok(here) = self.open(parent, DIRECTORY)
            && rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)).is_ok()
        {
            return self.open(path, DIRECTORY | OFlags::NOFOLLOW);
        }
        // What is still to be entered, the next name last; a dangling link puts its own names there.
        let mut rest: Vec<String> = names(path).rev().collect();
        let mut done = String::from("/");
        let mut links = 0;
        let mut here = self.open("/", DIRECTORY)?;
        while let Some(name) = rest.pop() {
            let next = if done == "/" { format!("/{name}") } else { format!("{done}/{name}") };
            here = match self.open(&next, DIRECTORY) {
                Err(error) if is(&error, Errno::NOENT) => {
                    match rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(0o755)) {
                        Ok(()) => self.open(&next, DIRECTORY | OFlags::NOFOLLOW)?,
                        Err(Errno::EXIST) => {
                            // It exists and yet leads nowhere: a dangling link, whose target is to be made.
                            links += 1;
                            if links > MOST_LINKS {
                                return Err(Errno::LOOP.into());
                            }
                            let link = rustix::fs::readlinkat(&here, &name, Vec::new())?;
                            let link = link.into_string().map_err(|_| Errno::ILSEQ)?;
                            if link.starts_with('/') {
                                done = String::from("/");
                                here = self.open("/", DIRECTORY)?;
                            }
                            rest.extend(names(&link).rev());
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                other => other?,
            };
            done = next;
        }
        Ok(here)
    }

    /// Never by O_CREAT, which follows a dangling link to wherever it points: such a link is followed here, inside.
    fn make_file(&self, path: &str) -> io::Result<OwnedFd> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let (parent, name) = self.parent(&path)?;
            let mode = Mode::from_raw_mode(0o644);
            match rustix::fs::mknodat(&parent, name, FileType::RegularFile, mode, 0) {
                Ok(()) => {
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    return Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let link = rustix::fs::readlinkat(&parent, name, Vec::new())?;
            let link = link.into_string().map_err(|_| Errno::ILSEQ)?;
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            path = if link.starts_with('/') { link } else { format!("{directory}/{link}") };
        }
        Err(Errno::LOOP.into())
    }

    fn resolve(&self, path: &str, flags: OFlags, more: ResolveFlags) -> io::Result<OwnedFd> {
        let links = if more.contains(ResolveFlags::NO_SYMLINKS) { Links::None } else { Links::Inside };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        for _ in 0..MOST_ATTEMPTS {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => return walk::open(self.0.as_fd(), path, flags, links),
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether the descriptor is a directory; asked of the descriptor, so it stays true.
pub(super) fn is_directory(descriptor: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::statat(descriptor, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// The directory of a path and the name in it, if it ends in a name.
fn clean_parent(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    let is_name = !matches!(name, "" | "." | "..");
    is_name.then_some((if parent.is_empty() { "/" } else { parent }, name))
}

fn names(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn root(directory: &Path) -> Root {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Root::new(rustix::fs::open(directory, flags, Mode::empty()).unwrap())
    }

    #[test]
    fn links_never_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let root = root(inside.path());
        symlink(outside.path(), inside.path().join("absolute")).unwrap();
        symlink(
            "../../../../../../..".to_owned() + outside.path().to_str().unwrap(),
            inside.path().join("relative"),
        )
        .unwrap();
        // CVE-2019-18837, CVE-2024-45310: what is made lands inside, below the names that the link spells.
        for link in ["absolute", "relative"] {
            root.target(&format!("/{link}/made/by/{link}"), Target::Directory).unwrap();
            root.target(&format!("/{link}/file-of-{link}"), Target::File).unwrap();
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "something was made outside");
        let spelled = inside.path().join(outside.path().strip_prefix("/").unwrap());
        for name in ["made/by/absolute", "made/by/relative", "file-of-absolute", "file-of-relative"] {
            assert!(spelled.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_file_is_made_where_a_dangling_link_leads_inside() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path().join("victim"), inside.path().join("absolute")).unwrap();
        symlink("absolute", inside.path().join("relative")).unwrap();
        root(inside.path()).target("/relative", Target::File).unwrap();
        assert!(!outside.path().join("victim").exists());
        assert!(inside.path().join(outside.path().strip_prefix("/").unwrap()).join("victim").is_file());
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let inside = tempfile::tempdir().unwrap();
        symlink("b", inside.path().join("a")).unwrap();
        symlink("a", inside.path().join("b")).unwrap();
        let error = root(inside.path()).target("/a/x", Target::Directory).unwrap_err();
        assert!(is(&error, Errno::LOOP));
    }

    #[test]
    fn magic_links_are_refused() {
        let root = Root::own().unwrap();
        assert!(root.open("/proc/self/fd/0", OFlags::PATH).is_err());
        assert!(root.open("/proc/self/cwd", OFlags::PATH).is_err());
        assert!(root.open("/proc/self/status", OFlags::PATH).is_ok());
    }
}
