//! An act in progress: a directory of its own under `tmp/`, and the promise that what it has found or brought is not collected meanwhile.
//!
//! The directory holds a file that the act keeps locked, so "in progress" ends with the process, however it ends; and a list of the blobs and
//! layers that the act counts on. Whoever collects reads those lists. Both sides hold the store's mutex while they do, and only then:
//! never while anything is read from or written to an archive.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use onggi_image::Digest;
use onggi_sys::fault;
use rustix::fs::OFlags;

use crate::error::Error;
use crate::layout::{Layout, make_directory};
use crate::process::Process;

const LOCK: &str = "lock";
const KEEPS: &str = "keeps";
/// What the names of things begin with that were moved into `tmp/` to be deleted. Who does that follows.
const GARBAGE: &str = "garbage-";

/// The store's mutex, held while this lives: for a look at what is there and a rename or two.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: Option<File>,
}

impl StoreLock {
    pub(crate) fn take(layout: &Layout) -> Result<StoreLock, Error> {
        let path = layout.data.join("lock");
        let file = match open_lock(&path) {
            // Nobody changes a store that is read-only.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::ReadOnlyFilesystem => {
                return Ok(StoreLock { _file: None });
            }
            other => other?,
        };
        onggi_sys::ofd::lock(file.as_fd()).map_err(Error::io("lock", path))?;
        Ok(StoreLock { _file: Some(file) })
    }
}

/// See the module's text. Dropping it ends the act and removes its directory.
#[derive(Debug)]
pub(crate) struct Act {
    directory: PathBuf,
    /// None where the store is read-only: then nothing has to be kept from anybody, and what would be made fails.
    held: Option<Held>,
    counter: AtomicU32,
}

#[derive(Debug)]
struct Held {
    keeps: File,
    _lock: File,
}

impl Act {
    /// Begins an act, after removing what dead ones have left.
    pub(crate) fn begin(layout: &Layout, kind: &str) -> Result<Act, Error> {
        // First, since what they hold may be the last space there is.
        sweep(layout)?;
        Act::begin_without_sweep(layout, kind)
    }

    /// As [`Act::begin`], for one that must only look.
    pub(crate) fn begin_without_sweep(layout: &Layout, kind: &str) -> Result<Act, Error> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let guard = StoreLock::take(layout)?;
        let directory = loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let directory = layout.tmp().join(format!("{kind}-{}-{number}", std::process::id()));
            match fs::create_dir(&directory) {
                Ok(()) => break directory,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                    return Ok(Act { directory, held: None, counter: AtomicU32::new(0) });
                }
                Err(error) => return Err(Error::io("make the directory", directory)(error)),
            }
        };
        let lock = open_lock(&directory.join(LOCK))?;
        onggi_sys::ofd::lock(lock.as_fd()).map_err(Error::io("lock", directory.join(LOCK)))?;
        let keeps_path = directory.join(KEEPS);
        let keeps = File::options()
            .create_new(true)
            .append(true)
            .open(&keeps_path)
            .map_err(Error::io("create", keeps_path))?;
        drop(guard);
        Ok(Act { directory, held: Some(Held { keeps, _lock: lock }), counter: AtomicU32::new(0) })
    }

    /// A new path in the act's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}-{}", self.counter.fetch_add(1, Ordering::Relaxed)))
    }

    /// Promises that a blob or layer stays if it is there, and says whether it is.
    pub(crate) fn keep(&self, layout: &Layout, kind: Kept, digest: &Digest) -> Result<bool, Error> {
        let _guard = StoreLock::take(layout)?;
        if let Some(Held { keeps, .. }) = &self.held {
            let line = format!("{} {digest}\n", kind.name());
            let written = (&mut &*keeps).write_all(line.as_bytes());
            written.map_err(Error::io("write", self.directory.join(KEEPS)))?;
        }
        let path = kind.path(layout, digest);
        path.try_exists().map_err(Error::io("look for", path))
    }

    /// Moves what the act has made into its place, unless the same thing has come there meanwhile. The act must have promised to keep it.
    pub(crate) fn publish(&self, from: &Path, to: &Path) -> Result<(), Error> {
        match rustix::fs::renameat_with(
            rustix::fs::CWD,
            from,
            rustix::fs::CWD,
            to,
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            // The name is a digest, so what is there is the same.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(Error::io("rename", from)(error)),
        }
        let parent = to.parent().unwrap_or(to);
        crate::layout::sync_directory(parent)
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        fault::point("store.act.ending");
        // What stays is found by the next act, since the lock goes with this one.
        let _ = remove_tree(&self.directory);
    }
}

/// What an act can promise to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kept {
    Blob,
    Layer,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Kept::Blob => "blob",
            Kept::Layer => "layer",
        }
    }

    pub(crate) fn path(self, layout: &Layout, digest: &Digest) -> PathBuf {
        match self {
            Kept::Blob => layout.blob(digest),
            Kept::Layer => layout.layer(digest),
        }
    }
}

/// What all acts in progress keep. The caller holds the store's mutex.
pub(crate) fn kept_by_acts(layout: &Layout, _guard: &StoreLock) -> Result<Vec<(Kept, Digest)>, Error> {
    let mut kept = Vec::new();
    for directory in act_directories(layout)? {
        // Garbage may be a layer's tree, with any file in it.
        if name_of(&directory).starts_with(GARBAGE) || !is_alive(&directory)? {
            continue;
        }
        let path = directory.join(KEEPS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        for line in text.lines() {
            let kind = [Kept::Blob, Kept::Layer].into_iter().find(|kind| line.starts_with(kind.name()));
            let digest = line.split(' ').nth(1).and_then(|digest| Digest::parse(digest).ok());
            kept.extend(kind.zip(digest));
        }
    }
    Ok(kept)
}

/// Removes what dead acts have left, and records that never came into their place, which takes a look at every image's name.
pub(crate) fn sweep(layout: &Layout) -> Result<(), Error> {
    if act_directories(layout)?.is_empty() && half_written(layout)?.is_empty() {
        return Ok(());
    }
    clear(layout, dead_acts)
}

/// Removes what dead acts have left. Where nothing is in progress and nothing is left that is one look into a directory, so that any
/// command can do it.
pub(crate) fn sweep_acts(layout: &Layout) -> Result<(), Error> {
    if act_directories(layout)?.is_empty() {
        return Ok(());
    }
    clear(layout, abandoned)
}

/// Removes what `dead` finds while nobody else changes the store.
fn clear(layout: &Layout, dead: fn(&Layout) -> Result<Vec<PathBuf>, Error>) -> Result<(), Error> {
    let guard = StoreLock::take(layout)?;
    let leftovers = dead(layout)?;
    drop(guard);
    for leftover in leftovers {
        // Another command may be removing it at the same time; whatever stays is found by the next.
        let _ = remove_tree(&leftover);
    }
    Ok(())
}

/// Directories of acts whose process is gone, anything else in `tmp/`, and records that never came into their place. The caller holds the store's mutex.
pub(crate) fn dead_acts(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let mut dead = abandoned(layout)?;
    dead.extend(half_written(layout)?);
    Ok(dead)
}

fn abandoned(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let mut dead = Vec::new();
    for directory in act_directories(layout)? {
        if !is_alive(&directory)? {
            dead.push(directory);
        }
    }
    Ok(dead)
}

/// Records in `images/` whose writer is gone.
fn half_written(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let images = layout.images();
    let entries = fs::read_dir(&images).map_err(Error::io("list", &images))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let dead = names.filter(|name| onggi_record::temporary_owner(name).is_some_and(|owner| !runs(owner)));
    Ok(dead.map(|name| images.join(name)).collect())
}

fn runs(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

fn act_directories(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let tmp = layout.tmp();
    let entries = fs::read_dir(&tmp).map_err(Error::io("list", &tmp))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("list", &tmp))).collect()
}

/// Not everything in `tmp/` is an act's: what is made in one go and then renamed says by its name, `NAME.PID`, whose it is.
fn is_alive(directory: &Path) -> Result<bool, Error> {
    let name = name_of(directory);
    if let Some(garbage) = name.strip_prefix(GARBAGE) {
        // Who has moved it here is deleting it, which takes its time, unless it was killed.
        let owner = garbage.rsplit_once('-').and_then(|(owner, _)| Process::parse(owner));
        return Ok(owner.is_some_and(|owner| owner.is_alive()));
    }
    let owner = name.rsplit_once('.').and_then(|(_, pid)| pid.parse::<u32>().ok());
    if owner.is_some_and(runs) {
        return Ok(true);
    }
    let path = directory.join(LOCK);
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let lock = match File::options().write(true).custom_flags(flags).open(&path) {
        Ok(lock) => lock,
        // Its owner removes it right now, or it never was an act.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let owner = name.split('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
            return Ok(owner.is_some_and(runs) && directory.is_dir());
        }
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    onggi_sys::ofd::is_held(lock.as_fd()).map_err(Error::io("ask for the lock of", path))
}

fn name_of(directory: &Path) -> &str {
    directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A path in `tmp/` for something that this process is about to delete. The caller holds the store's mutex.
pub(crate) fn garbage_path(layout: &Layout) -> Result<PathBuf, Error> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = layout.tmp().join(format!("{GARBAGE}{}-{number}", Process::own()));
        // Of a process of an earlier boot that had the same number and was as young.
        if !path.try_exists().map_err(Error::io("look for", &path))? {
            return Ok(path);
        }
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    onggi_sys::ofd::open(path).map_err(Error::io("open", path))
}

/// Removes a file or a tree; what is not there is removed already. No link is followed and no mount entered.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match onggi_sys::tree::remove(path).into_iter().next() {
        Some(left) => Err(Error::io("remove", left.path)(left.source)),
        None => Ok(()),
    }
}

/// Makes a directory under the act's, for a layer or for rubbish.
pub(crate) fn make_in(act: &Act, name: &str) -> Result<PathBuf, Error> {
    let path = act.path(name);
    make_directory(&path)?;
    Ok(path)
}
