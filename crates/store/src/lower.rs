//! The layers below one, looked at as overlayfs would merge them: what has a path, who owns it, and what a file holds.
//!
//! The directories are images' content, so every step is one `openat` with `O_NOFOLLOW` from a descriptor of the directory before: no
//! link in them leads anywhere.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use onggi_archive::tar::Kind;
use onggi_archive::{Lower, LowerEntry, Metadata, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::Error;
use crate::layout::open_directory;

/// Directories of layers, the topmost first.
#[derive(Debug)]
pub(crate) struct LowerLayers {
    layers: Vec<OwnedFd>,
    /// The process has no `/proc`, and nobody minds where it is.
    alone: bool,
}

/// What one layer says about a path.
enum Answer {
    /// Nothing: ask the next layer below.
    Silent,
    /// Nothing, and the layers below are hidden.
    Hidden,
    Found(Found),
}

/// The directory that has it, which is itself the thing if there is no name.
struct Found {
    directory: OwnedFd,
    name: Option<Vec<u8>>,
    stat: Stat,
}

impl LowerLayers {
    pub(crate) fn open(directories: &[PathBuf]) -> Result<LowerLayers, Error> {
        let layers = directories.iter().map(|path| open_directory(path)).collect::<Result<_, _>>()?;
        Ok(LowerLayers { layers, alone: false })
    }

    /// For a process that does nothing else and has no `/proc`: it changes its working directory where the other way leads through there.
    pub(crate) fn alone(layers: Vec<OwnedFd>) -> LowerLayers {
        LowerLayers { layers, alone: true }
    }

    fn find(&self, path: &[u8]) -> io::Result<Option<Found>> {
        for layer in &self.layers {
            match look(layer.as_fd(), path)? {
                Answer::Silent => {}
                Answer::Hidden => break,
                Answer::Found(found) => return Ok(Some(found)),
            }
        }
        Ok(None)
    }
}

impl Lower for LowerLayers {
    fn entry(&mut self, path: &[u8]) -> io::Result<LowerEntry> {
        self.find(path)?.map_or(Ok(LowerEntry::Missing), |found| found.entry(self.alone))
    }

    fn content(&mut self, path: &[u8]) -> io::Result<Box<dyn Read>> {
        let Some(Found { directory, name: Some(name), .. }) = self.find(path)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // Were it anything but a file, it would not be waited for, and not be a terminal of ours.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(Box::new(File::from(rustix::fs::openat(&directory, name, flags, Mode::empty())?)))
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
            _ if names.peek().is_none() => {
                return Ok(Answer::Found(Found { directory, name: Some(name.to_vec()), stat }));
            }
            // Not a directory, so nothing lies under it, in this layer or below.
            _ => return Ok(Answer::Hidden),
        }
    }
    let stat = rustix::fs::fstat(&directory)?;
    Ok(Answer::Found(Found { directory, name: None, stat }))
}

impl Found {
    fn entry(self, alone: bool) -> io::Result<LowerEntry> {
        let Found { directory, name, stat } = self;
        let Some(name) = name else {
            // Without the time, which overlayfs' users never rely on for a merged directory and which would only make more variants.
            let mtime = Timestamp { seconds: 0, nanoseconds: 0 };
            let xattrs = xattrs(
                |list| rustix::fs::flistxattr(&directory, list),
                |name, value| rustix::fs::fgetxattr(&directory, name, value),
            )?;
            return Ok(LowerEntry::Directory(Metadata { mtime, xattrs, ..metadata(&stat) }));
        };
        // No call takes a directory's descriptor and a name here before Linux 6.13 (listxattrat), and a device cannot be opened.
        let path = if alone {
            rustix::process::fchdir(&directory)?;
            name.clone()
        } else {
            [b"/proc/self/fd/", directory.as_raw_fd().to_string().as_bytes(), b"/", &name].concat()
        };
        let xattrs = xattrs(
            |list| rustix::fs::llistxattr(path.as_slice(), list),
            |name, value| rustix::fs::lgetxattr(path.as_slice(), name, value),
        )?;
        let metadata = Metadata { xattrs, ..metadata(&stat) };
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                LowerEntry::File { size: u64::try_from(stat.st_size).unwrap_or_default(), metadata }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&directory, name, Vec::new())?;
                LowerEntry::Symlink(target.into_bytes(), metadata)
            }
            FileType::CharacterDevice => LowerEntry::Special(Kind::CharDevice { major, minor }, metadata),
            FileType::BlockDevice => LowerEntry::Special(Kind::BlockDevice { major, minor }, metadata),
            // Layers have nothing else.
            _ => LowerEntry::Special(Kind::Fifo, metadata),
        })
    }
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

fn metadata(stat: &Stat) -> Metadata {
    let mtime = Timestamp {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    };
    Metadata { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs: Vec::new() }
}

/// All attributes but those that say how a layer lies there, by the calls that list them and read one.
fn xattrs(
    list: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // The kernel's own limits on a list and on a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
    let (mut names, mut value) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let length = match list(&mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut xattrs = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Overlayfs' own say how the layer lies there; they are no property of the file.
        if name.starts_with(b"trusted.overlay.")
            || name.starts_with(b"user.overlay.")
            || name == b"security.selinux"
        {
            continue;
        }
        let length = get(name, &mut value)?;
        xattrs.push((name.to_vec(), value[..length].to_vec()));
    }
    xattrs.sort();
    Ok(xattrs)
}
