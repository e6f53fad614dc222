//! Files and directories of a cgroup file system, always beneath a descriptor, never by a path that somebody could bend.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A mount point of the host.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A directory beneath a mount point of the host. There are no links in a cgroup file system, nor where it is mounted: in one call, and if
/// there is a link on the way to the mount after all, or a filter around us does not know the call, in two.
pub(crate) fn open(root: &Path, path: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(CWD, root.join(path), DIRECTORY, Mode::empty(), resolve) {
        Err(Errno::LOOP | Errno::AGAIN | Errno::INTR | Errno::NOSYS) => open_beneath(&open_root(root)?, path),
        other => Ok(other?),
    }
}

/// A directory beneath; neither symbolic links nor other mounts are followed on the way.
pub(crate) fn open_beneath(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
            // A rename elsewhere on the machine raced with the resolution (openat2(2)).
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A filter around us does not know the call.
            Err(Errno::NOSYS) => return onggi_sys::walk::open_on_mount(root.as_fd(), path, DIRECTORY),
            other => return Ok(other?),
        }
    }
}

/// Makes the directory and its parents, and opens it; `true` if it is new.
pub(crate) fn make(root: &OwnedFd, path: &str) -> io::Result<(OwnedFd, bool)> {
    // Mostly the parents are there. Nobody can make a link in a cgroup file system, and what is opened is opened without any.
    let mode = Mode::from_raw_mode(0o755);
    if rustix::fs::mkdirat(root, path, mode).is_ok() {
        return Ok((open_beneath(root, path)?, true));
    }
    let Some((parent, name)) = path.rsplit_once('/') else { return make_in(root, path) };
    let parent = match open_beneath(root, parent) {
        Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => make(root, parent)?.0,
        other => other?,
    };
    make_in(&parent, name)
}

/// The same by the name of the mount point.
pub(crate) fn make_at(root: &Path, path: &str) -> io::Result<(OwnedFd, bool)> {
    match rustix::fs::mkdirat(CWD, root.join(path), Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok((open(root, path)?, true)),
        Err(_) => make(&open_root(root)?, path),
    }
}

fn make_in(parent: &OwnedFd, name: &str) -> io::Result<(OwnedFd, bool)> {
    let new = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let opened = rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    Ok((opened, new))
}

pub(crate) fn write(directory: &OwnedFd, file: &str, value: &str) -> io::Result<()> {
    let file = open_write(directory, file)?;
    write_open(&file, value)
}

pub(crate) fn open_write(directory: &OwnedFd, file: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        directory,
        file,
        OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?)
}

/// One value in one call, as the kernel's handlers want it.
pub(crate) fn write_open(file: &OwnedFd, value: &str) -> io::Result<()> {
    loop {
        match rustix::io::write(file, value.as_bytes()) {
            Ok(written) if written == value.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn open_read(directory: &OwnedFd, file: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        directory,
        file,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?)
}

pub(crate) fn read(directory: &OwnedFd, file: &str) -> io::Result<String> {
    read_again(&open_read(directory, file)?)
}

/// The whole file from its beginning, through a descriptor that stays open.
pub(crate) fn read_again(file: &OwnedFd) -> io::Result<String> {
    let mut out = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::pread(file, &mut buffer, out.len() as u64) {
            Ok(0) => break,
            Ok(count) => out.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    String::from_utf8(out).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The names of the directories in this one: groups that a container made for itself.
pub(crate) fn children(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

pub(crate) fn remove(root: impl AsFd, path: impl rustix::path::Arg) -> Result<(), Errno> {
    rustix::fs::unlinkat(root, path, AtFlags::REMOVEDIR)
}
