//! A tree of files behind one descriptor: the host's, or a container's. Nothing in it is reached but from there, by the kernel's own
//! confinement, so that no link leads from one into the other (CVE-2018-15664).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::rules::{Found, split};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;
/// The kernel gives up with EAGAIN when a rename anywhere passes a `..` on the way.
const MOST_ATTEMPTS: usize = 128;

/// A directory that stands for `/`.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Tree {
        Tree { root }
    }

    /// The caller's own.
    pub(super) fn host() -> io::Result<Tree> {
        Ok(Tree { root: rustix::fs::openat(CWD, "/", path_flags() | OFlags::DIRECTORY, Mode::empty())? })
    }

    /// Holds what is at the path; of a link at its end the target with `follow`, else the link.
    pub(super) fn hold(&self, path: &str, follow: bool) -> io::Result<OwnedFd> {
        let flags = if follow { path_flags() } else { path_flags() | OFlags::NOFOLLOW };
        self.resolve(path.as_bytes(), flags)
    }

    /// Holds a directory.
    pub(super) fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.resolve(path, path_flags() | OFlags::DIRECTORY)
    }

    /// What the path leads to, and the path of that: a link at its end is followed, also one that leads nowhere yet.
    pub(super) fn find(&self, path: &str) -> io::Result<(Found, String)> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let held = match self.hold(path.trim_end_matches('/'), false) {
                Ok(held) => held,
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                    return Ok((Found::Missing, path));
                }
                Err(error) => return Err(error),
            };
            match FileType::from_raw_mode(stat(&held)?.st_mode) {
                FileType::Directory => return Ok((Found::Directory, path)),
                FileType::Symlink => {}
                _ => return Ok((Found::File, path)),
            }
            let link = rustix::fs::readlinkat(&held, "", Vec::new())?;
            let link = link.into_string().map_err(|_| Errno::ILSEQ)?;
            // Who has said that it is a directory means what the link leads to.
            let end = if super::rules::names_directory(&path) { "/" } else { "" };
            let link = link + end;
            path = if link.starts_with('/') { link } else { format!("{}/{link}", split(&path).0) };
        }
        Err(Errno::LOOP.into())
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"/" } else { path };
        openat2(self.root.as_fd(), path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }
}

/// Holds a directory below another, with no link on the way.
pub(super) fn below(directory: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(directory, path, path_flags() | OFlags::DIRECTORY, resolve)
}

fn openat2(
    directory: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    for _ in 0..MOST_ATTEMPTS {
        match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

pub(super) fn path_flags() -> OFlags {
    OFlags::PATH | OFlags::CLOEXEC
}

/// Of the very thing that is held.
pub(super) fn stat(held: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::statat(held, "", AtFlags::EMPTY_PATH)?)
}

/// Opens for reading what is held: a name could lead elsewhere by now, and to a device whose opening does something.
pub(super) fn reopen(held: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?.into())
}
