//! `openat2(2)` where there is none: a path walked name by name, each held before the next is looked up.
//!
//! Every Linux that this runtime starts on has the call (5.6), so this is for filters that refuse it, as those of older container engines
//! around us do. `..` goes back to the directory that was come from, so no rename on the way leads out, and links are read and followed
//! here, inside.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// What links on the way do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are followed, with the top as their root; those of a procfs only if they name something in it (`RESOLVE_NO_MAGICLINKS`).
    Inside,
    /// They are an error.
    None,
}

/// Opens what is at a path below `top`, which is its root. What it opens is close-on-exec.
///
/// # Errors
/// Those of `openat2(2)` with `RESOLVE_IN_ROOT`.
pub fn open(top: BorrowedFd<'_>, path: impl AsRef<Path>, flags: OFlags, links: Links) -> io::Result<OwnedFd> {
    let path = path.as_ref().as_os_str().as_bytes();
    // The directory that each name was found in, so that `..` leads back; empty at the top.
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut rest: Vec<OsString> = names(path).rev().collect();
    let mut followed = 0;
    // Slashes at the end want a directory, as with the kernel.
    let flags = if path.ends_with(b"/") { flags | OFlags::DIRECTORY } else { flags };
    while let Some(name) = rest.pop() {
        if name == ".." {
            above.pop();
            continue;
        }
        let here = above.last().map_or(top, AsFd::as_fd);
        let held = hold(here, &name)?;
        let stat = rustix::fs::statat(&held, "", AtFlags::EMPTY_PATH)?;
        let is_link = FileType::from_raw_mode(stat.st_mode).is_symlink();
        if is_link && !(rest.is_empty() && flags.contains(OFlags::NOFOLLOW)) {
            followed += 1;
            if links == Links::None || followed > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&held, "", Vec::new())?;
            let target = target.to_bytes();
            if rustix::fs::fstatfs(&held)?.f_type == PROC_SUPER_MAGIC && !is_in_procfs(target) {
                return Err(Errno::LOOP.into());
            }
            if target.starts_with(b"/") {
                above.clear();
            }
            rest.extend(names(target).rev());
            continue;
        }
        if rest.is_empty() && !flags.contains(OFlags::PATH) {
            // A link that has taken the name's place since is refused, not followed.
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(here, &name, flags, Mode::empty())?);
        }
        above.push(held);
    }
    match above.pop() {
        Some(held) if flags.contains(OFlags::PATH) => {
            let stat = rustix::fs::statat(&held, "", AtFlags::EMPTY_PATH)?;
            if flags.contains(OFlags::DIRECTORY) && !FileType::from_raw_mode(stat.st_mode).is_dir() {
                return Err(Errno::NOTDIR.into());
            }
            Ok(held)
        }
        // A directory: it was the top, or come back to.
        directory => {
            let here = directory.as_ref().map_or(top, AsFd::as_fd);
            Ok(rustix::fs::openat(here, ".", flags | OFlags::CLOEXEC, Mode::empty())?)
        }
    }
}

/// The same without leaving the mount that the top is on (`RESOLVE_BENEATH` and `RESOLVE_NO_XDEV`).
///
/// # Errors
/// As [`open`]; `EXDEV` if the path leaves it.
pub fn open_on_mount(top: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    if path.starts_with('/') || names(path.as_bytes()).any(|name| name == "..") {
        return Err(Errno::XDEV.into());
    }
    let file = open(top, path, flags, Links::None)?;
    // Where one could come back from another mount there was a `..`.
    let (here, found) = (mount_id(top)?, mount_id(file.as_fd())?);
    if here == found { Ok(file) } else { Err(Errno::XDEV.into()) }
}

/// A file of a procfs as [`open_on_mount`]; `self` is the one link that is followed.
///
/// # Errors
/// As [`open_on_mount`].
pub fn open_in_procfs(top: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let Some(rest) = path.strip_prefix("self/") else { return open_on_mount(top, path, flags) };
    let own = rustix::fs::readlinkat(top, "self", Vec::new())?;
    open_on_mount(top, &format!("{}/{rest}", own.to_string_lossy()), flags)
}

fn mount_id(descriptor: BorrowedFd<'_>) -> io::Result<u64> {
    use rustix::fs::{StatxFlags, statx};
    Ok(statx(descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

fn hold(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// `self`, `mounts` and `net` lead to names; magic links say paths from the root, or `pipe:[7]` and the like.
fn is_in_procfs(target: &[u8]) -> bool {
    !target.starts_with(b"/") && target.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'/')
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn held(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// The kernel's own answer is the measure.
    #[test]
    fn it_finds_what_openat2_finds() {
        use rustix::fs::{ResolveFlags, openat2};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/file"), "x").unwrap();
        for (link, target) in [
            ("absolute", "/a/b"),
            ("out", "../../../../etc/passwd"),
            ("up", "a/../a/./b/.."),
            ("circle", "circle"),
            ("a/b/back", "/a/file"),
            ("dangling", "none"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let top = held(directory.path());
        for path in [
            "/",
            ".",
            "a",
            "/a//b/",
            "a/file",
            "a/file/",
            "a/file/x",
            "absolute",
            "absolute/back",
            "out",
            "up/file",
            "circle",
            "dangling",
            "none/x",
            "../../a",
            "a/../..",
            "absolute/../file",
            "a/b/back",
        ] {
            for flags in [
                OFlags::PATH,
                OFlags::RDONLY,
                OFlags::PATH | OFlags::NOFOLLOW,
                OFlags::PATH | OFlags::DIRECTORY,
            ] {
                for links in [Links::Inside, Links::None] {
                    let more =
                        if links == Links::None { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
                    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
                    let expected = openat2(&top, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
                    let found = open(top.as_fd(), path, flags, links);
                    let inode =
                        |file: &OwnedFd| rustix::fs::statat(file, "", AtFlags::EMPTY_PATH).unwrap().st_ino;
                    assert_eq!(
                        found.as_ref().map(inode).map_err(io::Error::raw_os_error),
                        expected.as_ref().map(inode).map_err(|errno| Some(errno.raw_os_error())),
                        "{path} {flags:?} {links:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn magic_links_are_refused_and_a_procfs_is_not_left() {
        let root = held(std::path::Path::new("/"));
        let errno =
            |path: &str| open(root.as_fd(), path, OFlags::PATH, Links::Inside).unwrap_err().raw_os_error();
        assert_eq!(errno("/proc/self/cwd"), Some(Errno::LOOP.raw_os_error()));
        assert_eq!(errno("/proc/self/root/etc"), Some(Errno::LOOP.raw_os_error()));
        assert!(open(root.as_fd(), "/proc/self/status", OFlags::PATH, Links::Inside).is_ok());
        let procfs = held(std::path::Path::new("/proc"));
        let errno =
            |path: &str| open_in_procfs(procfs.as_fd(), path, OFlags::PATH).unwrap_err().raw_os_error();
        assert!(open_in_procfs(procfs.as_fd(), "self/oom_score_adj", OFlags::PATH).is_ok());
        assert_eq!(errno("self/root/etc/passwd"), Some(Errno::LOOP.raw_os_error()));
        assert_eq!(errno("../etc/passwd"), Some(Errno::XDEV.raw_os_error()));
    }
}
