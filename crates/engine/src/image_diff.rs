//! How the files of one image differ from those of another: `image diff`.
//!
//! Both stacks of layers are read side by side by descriptors, as overlayfs would show them, and no link is followed. Nothing is mounted over another
//! for it. What comes from one and the same layer is not looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use onggi_store::Image;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::Engine;
use crate::changes::{Change, ChangeKind, is_opaque, is_whiteout, names, open_layer};
use crate::error::Error;

/// How much of two files is compared at once.
const PIECE: usize = 64 << 10;

impl Engine {
    /// What one must do to the first image's files to have the second's, sorted; a directory is named before what is in it. Two files of the same
    /// content, owner and permissions are the same whatever their times say.
    ///
    /// # Errors
    /// The layers of one cannot be mounted or read.
    pub fn image_changes(&self, from: &Image, to: &Image) -> Result<Vec<Change>, Error> {
        let (old, new) = (self.store.mount_layers(from)?, self.store.mount_layers(to)?);
        let fail = |layers: &[PathBuf]| Error::io("read", layers.first().cloned().unwrap_or_default());
        let mut changes = Vec::new();
        let (left, right) = (stack(&old).map_err(fail(&old))?, stack(&new).map_err(fail(&new))?);
        compare(&left, &right, &mut Vec::new(), &mut changes).map_err(fail(&new))?;
        Ok(changes)
    }
}

/// A directory in one of the layers that show it.
struct Part<'p> {
    directory: OwnedFd,
    /// The layer's own place, by which the same layer in two images is known.
    layer: &'p PathBuf,
}

/// A name in a merged directory: what shows, and in which of the parts it is, the topmost first; several for a directory alone.
struct Entry {
    data: Stat,
    parts: Vec<usize>,
}

fn stack(layers: &[PathBuf]) -> io::Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    for layer in layers {
        let directory = open_layer(layer)?;
        let hides = is_opaque(&directory);
        parts.push(Part { directory, layer });
        if hides {
            break;
        }
    }
    Ok(parts)
}

fn compare(
    old: &[Part<'_>],
    new: &[Part<'_>],
    path: &mut Vec<u8>,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    if old.iter().map(|part| part.layer).eq(new.iter().map(|part| part.layer)) {
        return Ok(());
    }
    let (left, right) = (entries(old)?, entries(new)?);
    let all: BTreeSet<&CString> = left.keys().chain(right.keys()).collect();
    for name in all {
        let length = path.len();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        compare_one(name, (old, left.get(name)), (new, right.get(name)), path, changes)?;
        path.truncate(length);
    }
    Ok(())
}

/// One side of a comparison: the directory, and what it has under the name.
type Side<'s> = (&'s [Part<'s>], Option<&'s Entry>);

fn compare_one(
    name: &CString,
    (old, left): Side<'_>,
    (new, right): Side<'_>,
    path: &mut Vec<u8>,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let change = |kind| Change { kind, path: String::from_utf8_lossy(path).into_owned() };
    let Some(right) = right else {
        changes.push(change(ChangeKind::Deleted));
        return Ok(());
    };
    let is_directory = |entry: &Entry| FileType::from_raw_mode(entry.data.st_mode).is_dir();
    let kind = match left {
        None => Some(ChangeKind::Added),
        Some(left) => differs(name, (old, left), (new, right))?.then_some(ChangeKind::Changed),
    };
    let (at, place) = (changes.len(), kind.map(change));
    if is_directory(right) {
        let inner = open(new, name, right)?;
        // What stood there and was no directory has nothing in it.
        let before = match left.filter(|left| is_directory(left)) {
            Some(left) => open(old, name, left)?,
            None => Vec::new(),
        };
        compare(&before, &inner, path, changes)?;
    }
    let changed_inside = changes.len() > at;
    let place = place.or_else(|| {
        let path = String::from_utf8_lossy(path).into_owned();
        // As Docker: a directory in which something differs has changed itself.
        changed_inside.then_some(Change { kind: ChangeKind::Changed, path })
    });
    if let Some(place) = place {
        changes.insert(at, place);
    }
    Ok(())
}

/// What a directory that several layers have holds.
fn entries(parts: &[Part<'_>]) -> io::Result<BTreeMap<CString, Entry>> {
    let mut found: BTreeMap<CString, Entry> = BTreeMap::new();
    // Names of which nothing further down shows.
    let mut closed: BTreeSet<CString> = BTreeSet::new();
    for (number, part) in parts.iter().enumerate() {
        for name in names(&part.directory)? {
            if closed.contains(&name) {
                continue;
            }
            let data = rustix::fs::statat(&part.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_directory = FileType::from_raw_mode(data.st_mode).is_dir();
            if !is_directory {
                closed.insert(name.clone());
            }
            match found.get_mut(&name) {
                Some(entry) if is_directory => entry.parts.push(number),
                Some(_) => {}
                None if is_whiteout(&data) => {}
                None => {
                    found.insert(name, Entry { data, parts: vec![number] });
                }
            }
        }
    }
    Ok(found)
}

/// The directory under a name, in all layers that show it.
fn open<'p>(parts: &[Part<'p>], name: &CString, entry: &Entry) -> io::Result<Vec<Part<'p>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut opened = Vec::new();
    for number in &entry.parts {
        let part = &parts[*number];
        let directory = rustix::fs::openat(&part.directory, name, flags, Mode::empty())?;
        let hides = is_opaque(&directory);
        opened.push(Part { directory, layer: part.layer });
        if hides {
            break;
        }
    }
    Ok(opened)
}

/// Whether two things of one name differ in themselves.
fn differs(
    name: &CString,
    (old, left): (&[Part<'_>], &Entry),
    (new, right): (&[Part<'_>], &Entry),
) -> io::Result<bool> {
    let (before, after) = (&old[left.parts[0]], &new[right.parts[0]]);
    if before.layer == after.layer {
        return Ok(false);
    }
    let of = |data: &Stat| (data.st_mode, data.st_uid, data.st_gid, data.st_rdev);
    if of(&left.data) != of(&right.data) {
        return Ok(true);
    }
    match FileType::from_raw_mode(left.data.st_mode) {
        FileType::RegularFile if left.data.st_size != right.data.st_size => Ok(true),
        FileType::RegularFile => {
            let (before, after) = (open_file(before, name)?, open_file(after, name)?);
            Ok(attributes(&before)? != attributes(&after)? || contents_differ(before, after)?)
        }
        FileType::Symlink => {
            let target = |part: &Part<'_>| rustix::fs::readlinkat(&part.directory, name, Vec::new());
            Ok(target(before)? != target(after)?)
        }
        _ => Ok(false),
    }
}

fn open_file(part: &Part<'_>, name: &CString) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(&part.directory, name, flags, Mode::empty())?))
}

/// Extended attributes, by name.
fn attributes(file: &File) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    // The kernel's own limits on a list and on a value.
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(file.as_fd(), &mut list[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut found = BTreeMap::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(file.as_fd(), name, &mut value[..])?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

fn contents_differ(mut left: File, mut right: File) -> io::Result<bool> {
    let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let length = left.read(&mut one)?;
        if length == 0 {
            return Ok(right.read(&mut other)? != 0);
        }
        match right.read_exact(&mut other[..length]) {
            Ok(()) if one[..length] == other[..length] => {}
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}
