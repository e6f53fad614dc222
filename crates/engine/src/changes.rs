//! What a container has changed of its image's files: `diff`.
//!
//! The writable layer holds what was made and changed, and marks for what was deleted (overlayfs' documentation, "whiteouts and opaque
//! directories"); what each was before is looked up in the layers below. Both are read by descriptors, and no link is followed.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;

/// How a file differs from the image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Changed,
    Deleted,
}

/// One file or directory that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    /// Absolute in the container.
    pub path: String,
}

/// What every container has for mounts of its own: made by its start, and by nobody's program.
const OWN: [&[u8]; 6] = [b"/dev", b"/proc", b"/sys", b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf"];

impl Engine {
    /// The files that differ, sorted; a directory is named before what is in it.
    ///
    /// # Errors
    /// The layers cannot be read.
    pub fn changes(&self, id: &ContainerId) -> Result<Vec<Change>, Error> {
        let record = self.record(id)?;
        let image = self.leased_image(&record.image)?;
        let upper = self.paths.container(id).join("upper");
        let fail = |path: &Path| Error::io("read", path.to_owned());
        let lower = self.store.mount_layers(&image)?;
        let open = |path: &PathBuf| open_layer(path).map_err(fail(path));
        let layers = Layers(lower.iter().map(open).collect::<Result<_, _>>()?);
        let mut changes = Vec::new();
        let top = open_layer(&upper).map_err(fail(&upper))?;
        walk(&top, &mut Vec::new(), &layers, &mut changes).map_err(fail(&upper))?;
        Ok(changes)
    }
}

/// Looks at what is in a directory of the writable layer. Answers whether anything differs there.
fn walk(
    directory: &OwnedFd,
    path: &mut Vec<u8>,
    layers: &Layers,
    changes: &mut Vec<Change>,
) -> io::Result<bool> {
    let before = changes.len();
    let mut names = names(directory)?;
    // What an opaque directory hides is gone as well.
    let hidden = if is_opaque(directory) { layers.names(path)? } else { BTreeSet::new() };
    names.extend(hidden);
    for name in &names {
        let length = path.len();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        look(directory, name, path, layers, changes)?;
        path.truncate(length);
    }
    Ok(changes.len() > before)
}

fn look(
    directory: &OwnedFd,
    name: &CString,
    path: &mut Vec<u8>,
    layers: &Layers,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let change = |kind, path: &[u8]| Change { kind, path: String::from_utf8_lossy(path).into_owned() };
    let old = layers.find(path)?;
    let new = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(data) if !is_whiteout(&data) => data,
        // Deleted, or only in a layer below an opaque directory.
        Ok(_) | Err(Errno::NOENT) => {
            changes.extend(old.map(|_| change(ChangeKind::Deleted, path)));
            return Ok(());
        }
        Err(errno) => return Err(errno.into()),
    };
    let is_directory = FileType::from_raw_mode(new.st_mode).is_dir();
    if OWN.contains(&path.as_slice()) && (is_directory || new.st_size == 0) {
        return Ok(());
    }
    let kind = match &old {
        None => Some(ChangeKind::Added),
        Some(old) if differs(old, &new) => Some(ChangeKind::Changed),
        Some(_) => None,
    };
    if !is_directory {
        changes.extend(kind.map(|kind| change(kind, path)));
        return Ok(());
    }
    let at = changes.len();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(inner) => inner,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let changed_inside = walk(&inner, path, layers, changes)?;
    // As Docker: a directory in which something differs has changed itself.
    if let Some(kind) = kind.or(changed_inside.then_some(ChangeKind::Changed)) {
        changes.insert(at, change(kind, path));
    }
    Ok(())
}

/// Whether somebody has changed it. A directory's time and size say nothing about itself.
fn differs(old: &Stat, new: &Stat) -> bool {
    let of = |data: &Stat| (data.st_mode, data.st_uid, data.st_gid, data.st_rdev);
    let content = |data: &Stat| (data.st_size, data.st_mtime, data.st_mtime_nsec);
    of(old) != of(new) || (!FileType::from_raw_mode(new.st_mode).is_dir() && content(old) != content(new))
}

/// The image's layers, the topmost first.
struct Layers(Vec<OwnedFd>);

impl Layers {
    /// What the image has at a path.
    fn find(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        for layer in &self.0 {
            // A mark on the way hides all layers below.
            let mut hides = false;
            let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            for end in ends.chain([path.len()]) {
                let Some(held) = hold(layer, &path[..end])? else { break };
                let data = rustix::fs::statat(&held, "", AtFlags::EMPTY_PATH)?;
                if is_whiteout(&data) {
                    return Ok(None);
                }
                if end == path.len() {
                    return Ok(Some(data));
                }
                // A file or a link where the path wants a directory.
                if !FileType::from_raw_mode(data.st_mode).is_dir() {
                    return Ok(None);
                }
                hides |= is_opaque_below(layer, &path[..end]);
            }
            if hides {
                break;
            }
        }
        Ok(None)
    }

    /// The names that the image has in a directory.
    fn names(&self, path: &[u8]) -> io::Result<BTreeSet<CString>> {
        let (mut found, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for layer in &self.0 {
            let Some(directory) = open_below(layer, path)? else { continue };
            for name in names(&directory)? {
                let data = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                if is_whiteout(&data) {
                    deleted.insert(name);
                } else if !deleted.contains(&name) {
                    found.insert(name);
                }
            }
            if is_opaque(&directory) {
                break;
            }
        }
        Ok(found)
    }
}

/// A deleted file's mark is a character device of the numbers 0 and 0.
pub(crate) fn is_whiteout(data: &Stat) -> bool {
    FileType::from_raw_mode(data.st_mode) == FileType::CharacterDevice && data.st_rdev == 0
}

pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    // An ordinary user's overlays are marked by the second.
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 2];
        matches!(rustix::fs::fgetxattr(directory, *name, &mut value), Ok(1)) && value[0] == b'y'
    })
}

fn is_opaque_below(layer: &OwnedFd, path: &[u8]) -> bool {
    open_below(layer, path).is_ok_and(|directory| directory.is_some_and(|directory| is_opaque(&directory)))
}

pub(crate) fn open_layer(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Holds what is at a path of a layer, if anything is; no link is followed.
fn hold(layer: &OwnedFd, path: &[u8]) -> io::Result<Option<OwnedFd>> {
    below(layer, path, OFlags::PATH | OFlags::NOFOLLOW)
}

fn open_below(layer: &OwnedFd, path: &[u8]) -> io::Result<Option<OwnedFd>> {
    below(layer, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

fn below(layer: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(layer, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(held) => Ok(Some(held)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn names(directory: &OwnedFd) -> io::Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.insert(name);
        }
    }
    Ok(names)
}
