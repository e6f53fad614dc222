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
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat,
    Timespec, Timestamps, Uid, XattrFlags, flock,
};
use rustix::io::Errno;

use onggi_sys::walk::{self, Links};

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::is;
use crate::FILLED;
use crate::plan::Populate;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A fill that goes on, or one that nobody uses.
const FILLING: &str = "_filling";
/// Each level holds two descriptors.
const DEEPEST: usize = 200;

/// Fills a volume from what it will cover. One that holds something is left alone: somebody filled it in the meantime.
pub(super) fn populate(child: &Child<'_>, populate: &Populate) -> Outcome {
    let Populate { destination, volume } = populate;
    let from = match child.root()?.open(destination, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NOTDIR) => None,
        other => Some(other.doing(|| format!("open {destination}"))?),
    };
    let to = rustix::fs::openat(CWD, volume, DIRECTORY, Mode::empty());
    let to = to.doing(|| format!("open the volume {}", volume.display()))?;
    let beside = volume.parent().unwrap_or(Path::new("/"));
    fill(from.as_ref(), &to, beside)
        .map_err(|problem| problem.below(&format!("fill the volume {}", volume.display())))
}

/// Any moment may be the last, and half of a fill must not pass for all of it: the copy is made beside the volume, gets its second name when
/// it is whole, and is moved into the volume from there. What was cut short before that is thrown away by the next start, what was cut
/// short after it is moved on. Whoever else starts with the volume waits meanwhile. `from`: `None` where the image has nothing.
fn fill(from: Option<&OwnedFd>, to: &OwnedFd, beside: &Path) -> Outcome {
    let (filling, filled) = (beside.join(FILLING), beside.join(FILLED));
    if !filled.exists() && (from.is_none() || !is_empty(to)?) {
        return Ok(());
    }
    let parent = rustix::fs::openat(CWD, beside, DIRECTORY, Mode::empty());
    let parent = parent.doing(|| format!("open {}", beside.display()))?;
    flock(&parent, FlockOperation::LockExclusive).doing(|| format!("lock {}", beside.display()))?;
    if !filled.exists() {
        let Some(from) = from else { return Ok(()) };
        if !is_empty(to)? {
            return Ok(());
        }
        let disk = |directory: &OwnedFd| rustix::fs::fstat(directory).map(|stat| stat.st_dev);
        if disk(to).doing(|| "fstat")? != disk(&parent).doing(|| "fstat")? {
            // Somebody has mounted a disk there, into which nothing can be moved.
            return copy_tree(from, to.as_fd());
        }
        remove(&filling)?;
        rustix::fs::mkdirat(&parent, FILLING, Mode::from_raw_mode(0o700))
            .doing(|| format!("mkdir {}", filling.display()))?;
        let copy = rustix::fs::openat(&parent, FILLING, DIRECTORY, Mode::empty());
        let copy = copy.doing(|| format!("open {}", filling.display()))?;
        if let Err(problem) = copy_tree(from, copy.as_fd()) {
            // What filled the disk shall not stay on it; if it cannot be removed, the next start tries again.
            let _ = remove(&filling);
            return Err(problem);
        }
        // Its second name says that it is whole, and a power cut must not make that untrue.
        rustix::fs::syncfs(&copy).doing(|| format!("syncfs {}", filling.display()))?;
        onggi_sys::fault::point("runtime.fill.copied");
        rustix::fs::renameat(&parent, FILLING, &parent, FILLED)
            .doing(|| format!("rename {}", filling.display()))?;
        onggi_sys::fault::point("runtime.fill.whole");
    }
    let copy = rustix::fs::openat(&parent, FILLED, DIRECTORY, Mode::empty());
    let copy = copy.doing(|| format!("open {}", filled.display()))?;
    let stat = rustix::fs::fstat(&copy).doing(|| format!("fstat {}", filled.display()))?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&copy).doing(|| format!("read {}", filled.display()))? {
        let name = entry.doing(|| format!("read {}", filled.display()))?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    for name in names {
        match rustix::fs::renameat_with(&copy, &name, to, &name, RenameFlags::NOREPLACE) {
            // What somebody has put there since is theirs.
            Ok(()) | Err(Errno::EXIST) => onggi_sys::fault::point("runtime.fill.moved"),
            Err(error) => return Err(Problem::of(format_args!("move {}", name.to_string_lossy()), error)),
        }
    }
    attributes(copy.as_fd(), to.as_fd(), &stat, Path::new("."))?;
    remove(&filled)
}

fn remove(tree: &Path) -> Outcome {
    match std::fs::remove_dir_all(tree) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Problem::of(format_args!("remove {}", tree.display()), error))
        }
        _ => Ok(()),
    }
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
        let parent = match rustix::fs::openat2(self.top, &parent, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => walk::open(self.top.as_fd(), &parent, flags, Links::None),
            other => other.map_err(std::io::Error::from),
        };
        let parent = parent.doing(|| format!("open {}", first.display()))?;
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
