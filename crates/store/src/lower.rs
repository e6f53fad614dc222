//! The layers below one, looked at as overlayfs would merge them: what has a path, and who owns it.
//!
//! The directories are images' content, so every step is one `openat` with `O_NOFOLLOW` from a descriptor of the directory before: no
//! link in them leads anywhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use onggi_archive::{Lower, LowerEntry, Metadata, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::layout::open_directory;

/// Directories of layers, the topmost first.
#[derive(Debug)]
pub(crate) struct LowerLayers {
    layers: Vec<OwnedFd>,
}

/// What one layer says about a path.
enum Answer {
    /// Nothing: ask the next layer below.
    Silent,
    /// Nothing, and the layers below are hidden.
    Hidden,
    Found(LowerEntry),
}

impl LowerLayers {
    pub(crate) fn open(directories: &[PathBuf]) -> Result<LowerLayers, Error> {
        let layers = directories.iter().map(|path| open_directory(path)).collect::<Result<_, _>>()?;
        Ok(LowerLayers { layers })
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.layers.iter().map(AsFd::as_fd)
    }
}

impl Lower for LowerLayers {
    fn entry(&mut self, path: &[u8]) -> io::Result<LowerEntry> {
        for layer in &self.layers {
            match look(layer.as_fd(), path)? {
                Answer::Silent => {}
                Answer::Hidden => break,
                Answer::Found(entry) => return Ok(entry),
            }
        }
        Ok(LowerEntry::Missing)
    }
}

fn look(layer: BorrowedFd<'_>, path: &[u8]) -> io::Result<Answer> {
    let mut directory = layer.try_clone_to_owned()?;
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
    let mut opaque = false;
    while let Some(name) = names.next() {
        opaque |= is_opaque(directory.as_fd())?;
        let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(if opaque { Answer::Hidden } else { Answer::Silent }),
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => return Ok(Answer::Hidden),
            FileType::Symlink if names.peek().is_none() => {
                let target = rustix::fs::readlinkat(&directory, name, Vec::new())?;
                return Ok(Answer::Found(LowerEntry::Symlink(target.into_bytes())));
            }
            _ if names.peek().is_none() => return Ok(Answer::Found(LowerEntry::Other)),
            // Not a directory, so nothing lies under it, in this layer or below.
            _ => return Ok(Answer::Hidden),
        }
    }
    Ok(Answer::Found(LowerEntry::Directory(metadata(directory.as_fd())?)))
}

fn is_opaque(directory: BorrowedFd<'_>) -> io::Result<bool> {
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0; 2];
        match rustix::fs::fgetxattr(directory, name, &mut value) {
            Ok(1) if value[0] == b'y' => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Without the time, which overlayfs' users never rely on for a merged directory and which would only make more variants.
fn metadata(directory: BorrowedFd<'_>) -> io::Result<Metadata> {
    let stat = rustix::fs::fstat(directory)?;
    let mut xattrs = Vec::new();
    for name in xattr_names(directory)? {
        // Overlayfs' own say how the layer lies there; they are no property of the directory.
        if name.starts_with(b"trusted.overlay.")
            || name.starts_with(b"user.overlay.")
            || name == b"security.selinux"
        {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(directory, name.as_slice(), &mut value)?;
        value.truncate(length);
        xattrs.push((name, value));
    }
    xattrs.sort();
    let mtime = Timestamp { seconds: 0, nanoseconds: 0 };
    Ok(Metadata { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs })
}

fn xattr_names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    // The kernel's own limit on a list (XATTR_LIST_MAX).
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(directory, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    Ok(list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}
