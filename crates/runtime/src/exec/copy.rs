//! Copies a tree of the image's into a volume or a tmpfs that is about to cover it.
//!
//! By descriptors alone: no link is followed on either side, as the image may hold anything and a volume may be in use. Owners, modes,
//! extended attributes, times, hard links, devices and FIFOs come along.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::is;
use crate::plan::Populate;

/// Each level holds two descriptors.
const DEEPEST: usize = 200;

/// Fills a volume from what it will cover. One that holds something is left alone: somebody filled it in the meantime.
pub(super) fn populate(child: &Child<'_>, populate: &Populate) -> Outcome {
    let Populate { destination, volume } = populate;
    let from = match child.root()?.open(destination, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NOTDIR) => return Ok(()),
        other => other.doing(|| format!("open {destination}"))?,
    };
    let to =
        rustix::fs::openat(CWD, volume, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let to = to.doing(|| format!("open the volume {}", volume.display()))?;
    if !is_empty(&to)? {
        return Ok(());
    }
    copy_tree(&from, to.as_fd())
        .map_err(|problem| problem.below(&format!("fill the volume {}", volume.display())))
}

/// Copies the contents and the attributes of a directory.
pub(super) fn copy_tree(from: &OwnedFd, to: BorrowedFd<'_>) -> Outcome {
    // What fsmount(2) gives cannot be read itself.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = rustix::fs::openat(to, ".", flags, Mode::empty()).doing(|| "open the copy's directory")?;
    let mut copy = Copy { top: &to, links: HashMap::new() };
    copy.directory(from, &to, Path::new(""), 0)
}

struct Copy<'a> {
    top: &'a OwnedFd,
    /// Device and inode to the path of its first copy.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path, depth: usize) -> Outcome {
        if depth > DEEPEST {
            return Err(Problem::new(format!("{}: directories nest deeper than {DEEPEST}", path.display())));
        }
        for entry in Dir::read_from(from).doing(|| format!("read {}/", path.display()))? {
            let entry = entry.doing(|| format!("read {}/", path.display()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)
                .doing(|| format!("lstat {}", path.display()))?;
            self.entry(from, to, name, &stat, &path, depth)?;
        }
        let stat = rustix::fs::fstat(from).doing(|| format!("fstat {}/", path.display()))?;
        attributes(from.as_fd(), to.as_fd(), &stat, path)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        path: &Path,
        depth: usize,
    ) -> Outcome {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !kind.is_dir() && stat.st_nlink > 1 && self.link(to, name, stat, path)? {
            return Ok(());
        }
        let private = Mode::from_raw_mode(0o600);
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))
                    .doing(|| format!("mkdir {}", path.display()))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner_from = rustix::fs::openat(from, name, flags, Mode::empty())
                    .doing(|| format!("open {}", path.display()))?;
                let inner_to = rustix::fs::openat(to, name, flags, Mode::empty())
                    .doing(|| format!("open {}", path.display()))?;
                self.directory(&inner_from, &inner_to, path, depth + 1)
            }
            FileType::RegularFile => {
                // Nobody waits on a FIFO that was put in the file's place.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, name, flags, Mode::empty())
                    .doing(|| format!("open {}", path.display()))?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let copy = rustix::fs::openat(to, name, flags, private)
                    .doing(|| format!("create {}", path.display()))?;
                let (mut source, mut copy) = (File::from(source), File::from(copy));
                std::io::copy(&mut source, &mut copy).doing(|| format!("copy {}", path.display()))?;
                attributes(source.as_fd(), copy.as_fd(), stat, path)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())
                    .doing(|| format!("readlink {}", path.display()))?;
                rustix::fs::symlinkat(&target, to, name).doing(|| format!("symlink {}", path.display()))?;
                owner_and_times(to, name, stat, path)
            }
            FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)
                    .doing(|| format!("mknod {}", path.display()))?;
                owner_and_times(to, name, stat, path)
            }
            FileType::Unknown => Err(Problem::new(format!("{}: a file of an unknown kind", path.display()))),
        }
    }

    /// Whether another name of the same file was copied before, and this one is now a link to it.
    fn link(&mut self, to: &OwnedFd, name: &CStr, stat: &Stat, path: &Path) -> Outcome<bool> {
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
            return Ok(false);
        };
        // An empty path would not be opened.
        let parent = Path::new(".").join(first.parent().unwrap_or(Path::new("")));
        let Some(first_name) = first.file_name() else { return Ok(false) };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat2(self.top, parent, flags, Mode::empty(), resolve)
            .doing(|| format!("open {}", first.display()))?;
        rustix::fs::linkat(&parent, first_name, to, name, AtFlags::empty())
            .doing(|| format!("link {}", path.display()))?;
        Ok(true)
    }
}

/// Owner first: changing it takes the set-user-id bits and the file capabilities away.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, path: &Path) -> Outcome {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid)).doing(|| format!("chown {}", path.display()))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .doing(|| format!("chmod {}", path.display()))?;
    extended_attributes(from, to, path)?;
    rustix::fs::futimens(to, &times(stat)).doing(|| format!("set the times of {}", path.display()))
}

fn extended_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> Outcome {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::NOTSUP) => return Ok(()),
        other => other.doing(|| format!("listxattr {}", path.display()))?,
    };
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        // overlayfs's own, which say nothing of the file.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let length =
            rustix::fs::fgetxattr(from, name, &mut value).doing(|| format!("getxattr {}", path.display()))?;
        match rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // The volume's file system has no such attributes: the file's contents matter more.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(Problem::of(format_args!("setxattr {}", path.display()), error)),
        }
    }
    Ok(())
}

fn owner_and_times(to: &OwnedFd, name: &CStr, stat: &Stat, path: &Path) -> Outcome {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .doing(|| format!("chown {}", path.display()))?;
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
        .doing(|| format!("set the times of {}", path.display()))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn is_empty(directory: &OwnedFd) -> Outcome<bool> {
    for entry in Dir::read_from(directory).doing(|| "read the volume")? {
        let entry = entry.doing(|| "read the volume")?;
        // ext4 puts this one into the root of a fresh disk.
        if !matches!(entry.file_name().to_bytes(), b"." | b".." | b"lost+found") {
            return Ok(false);
        }
    }
    Ok(true)
}
