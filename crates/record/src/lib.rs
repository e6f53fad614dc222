//! Sealed records: small JSON files that say themselves whether they are whole.
//!
//! The first line is `onggi-record v1 sha256:<hex of the rest>`, the rest is the JSON. A record is written beside its place, synced
//! if it must survive a power cut, and renamed into it, so a reader sees the old one or the new one. The seal finds what a rename
//! cannot prevent: a file that a power cut or a hand has changed. What a record
//! says is its writer's business. The store and the monitor both stand on this crate, and neither brings the other in.

mod error;

use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use onggi_image::Digest;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use error::Error;

const MAGIC: &str = "onggi-record";
/// The version of the seal; what the body means has a version of its own, in the body.
const VERSION: u32 = 1;
/// The largest record that is read, in bytes; one that somebody blew up must not eat the memory.
const LIMIT: u64 = 16 << 20;

/// The mode of a record that need not survive a power cut, which a file system knows before it has any of the content.
const VOLATILE_MODE: u32 = 0o400;
const MODE: u32 = 0o600;

/// Whether a record must survive a power cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The file and its directory are synced before the call returns.
    #[default]
    Synced,
    /// It reaches the disk when the kernel likes: for what dies with the machine anyway. Of one whose name (or even whose length) has reached it and whose
    /// content has not, nothing is lost: it is read as one that is not there.
    Volatile,
}

/// Writes a record to a path.
///
/// # Errors
/// [`Error::Io`] names the step; the old record, if any, is then still there.
pub fn write<T: Serialize>(path: &Path, body: &T, durability: Durability) -> Result<(), Error> {
    let (directory, name) = open_parent(path)?;
    Prepared::new(directory.as_fd(), name, body, durability)?.publish()?;
    if durability == Durability::Synced {
        sync_directory(directory.as_fd(), name)?;
    }
    Ok(())
}

/// Whether there is a record at a path: damaged or not, if it was to survive a power cut, and whole otherwise.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    let Ok(data) = std::fs::symlink_metadata(path) else { return false };
    if !is_volatile(&data) {
        return true;
    }
    let bytes = File::open(path).map_err(Error::io("open", path)).and_then(|file| read_limited(&file, path));
    // One that cannot be read at all is there.
    bytes.map_or(true, |bytes| !matches!(unseal(path, &bytes, u32::MAX), Err(Error::Damaged { .. })))
}

fn is_volatile(data: &Metadata) -> bool {
    data.mode() & 0o777 == VOLATILE_MODE
}

/// Reads a record.
///
/// # Errors
/// [`Error::Io`] (a missing file is its kind not-found), [`Error::Damaged`], [`Error::Newer`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    read_up_to(path, u32::MAX)
}

/// As [`read`], of a record whose own field `version` the caller knows up to `newest`. It is looked at before all else: what a newer
/// program has written may hold words that are not known here, and is not damaged for that.
///
/// # Errors
/// As [`read`].
pub fn read_up_to<T: DeserializeOwned>(path: &Path, newest: u32) -> Result<T, Error> {
    // A pipe in its place would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::io("open", path))?;
    parse(path, &File::from(file), newest)
}

/// As [`read_up_to`], from an open directory.
///
/// # Errors
/// As [`read`].
pub fn read_at<T: DeserializeOwned>(directory: BorrowedFd<'_>, name: &str, newest: u32) -> Result<T, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(Error::io("open", name))?;
    parse(Path::new(name), &File::from(file), newest)
}

/// A record that is written and, if asked, synced, but not yet in its place: so that only a rename is left for the moment when a lock is held.
#[derive(Debug)]
pub struct Prepared<'a> {
    directory: BorrowedFd<'a>,
    temporary: String,
    name: String,
    published: bool,
}

impl<'a> Prepared<'a> {
    /// Writes the record beside its place.
    ///
    /// # Errors
    /// [`Error::Io`] names the step; what was written is removed again.
    pub fn new<T: Serialize>(
        directory: BorrowedFd<'a>,
        name: &str,
        body: &T,
        durability: Durability,
    ) -> Result<Prepared<'a>, Error> {
        let bytes =
            seal(body).map_err(|error| Error::Damaged { path: name.into(), reason: error.to_string() })?;
        let temporary = temporary_name(name);
        let prepared = Prepared { directory, temporary, name: name.to_owned(), published: false };
        let mut file = prepared.create(durability)?;
        file.write_all(&bytes).map_err(|error| prepared.failed("write", error))?;
        if durability == Durability::Synced {
            file.sync_all().map_err(|error| prepared.failed("fsync", error))?;
        }
        Ok(prepared)
    }

    fn create(&self, durability: Durability) -> Result<File, Error> {
        let mode = Mode::from_raw_mode(match durability {
            Durability::Synced => MODE,
            Durability::Volatile => VOLATILE_MODE,
        });
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || rustix::fs::openat(self.directory, &self.temporary, flags, mode);
        let file = match open() {
            // Left by a process of the same number that was killed.
            Err(rustix::io::Errno::EXIST) => {
                rustix::fs::unlinkat(self.directory, &self.temporary, AtFlags::empty())
                    .map_err(|error| self.failed("unlink", error.into()))?;
                open()
            }
            other => other,
        };
        Ok(File::from(file.map_err(|error| self.failed("create", error.into()))?))
    }

    /// Names the whole place: which file system is full is what a person has to know. Looked up only then.
    fn failed(&self, operation: &'static str, source: std::io::Error) -> Error {
        let directory = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        let path = std::fs::read_link(directory).unwrap_or_default().join(&self.temporary);
        Error::Io { operation, path, source }
    }

    /// Moves it into its place.
    ///
    /// # Errors
    /// [`Error::Io`]: the old record, if any, is then still there.
    pub fn publish(mut self) -> Result<(), Error> {
        rustix::fs::renameat(self.directory, &self.temporary, self.directory, &self.name)
            .map_err(|error| self.failed("rename", error.into()))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.published {
            // A leftover does no harm: its name is never read, and a check removes it.
            let _ = rustix::fs::unlinkat(self.directory, &self.temporary, AtFlags::empty());
        }
    }
}

/// Whether a file name is that of a record which was never moved into its place.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// The process that was writing the record under this temporary name; `None` for any other name.
#[must_use]
pub fn temporary_owner(name: &str) -> Option<u32> {
    if !is_temporary(name) {
        return None;
    }
    // `.NAME.PID.NUMBER.tmp`; one that is named otherwise is nobody's who runs.
    Some(name.rsplit('.').nth(2).and_then(|pid| pid.parse().ok()).unwrap_or(u32::MAX))
}

fn temporary_name(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(".{name}.{}.{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Makes what was renamed in a directory survive a power cut. `name` is what an error shall tell.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_directory(directory: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    rustix::fs::fsync(directory).map_err(Error::io("fsync the directory of", name))
}

fn seal<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = serde_json::to_vec(body)?;
    json.push(b'\n');
    let mut bytes = format!("{MAGIC} v{VERSION} {}\n", Digest::of(&json)).into_bytes();
    bytes.append(&mut json);
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(path: &Path, file: &File, newest: u32) -> Result<T, Error> {
    let bytes = read_limited(file, path)?;
    let body = match unseal(path, &bytes, newest) {
        // Where metadata may reach the disk before data, a power cut leaves the length, and for content whatever lay there before.
        Err(Error::Damaged { .. }) if file.metadata().is_ok_and(|data| is_volatile(&data)) => {
            return Err(Error::io("read", path)(std::io::ErrorKind::NotFound));
        }
        body => body?,
    };
    serde_json::from_slice(body).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        reason: format!("its content is not what it should be: {error}"),
    })
}

/// The body of a record whose seal fits.
fn unseal<'b>(path: &Path, bytes: &'b [u8], newest: u32) -> Result<&'b [u8], Error> {
    let damaged = |reason: &str| Error::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let end =
        bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("there is no first line"))?;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("its first line is not text"))?;
    let mut words = line.split(' ');
    let (magic, version, digest) = (words.next(), words.next(), words.next());
    let version = version.and_then(|version| version.strip_prefix('v')?.parse::<u32>().ok());
    let (Some(MAGIC), Some(version)) = (magic, version) else {
        return Err(damaged("its first line is not that of a record"));
    };
    if version > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    let digest = digest
        .and_then(|digest| Digest::parse(digest).ok())
        .ok_or_else(|| damaged("its seal is no digest"))?;
    let body = &bytes[end + 1..];
    if !digest.matches(body) {
        return Err(damaged("its content does not have the digest of its seal"));
    }
    if newest < u32::MAX
        && let Ok(Versioned { version }) = serde_json::from_slice(body)
        && version > newest
    {
        return Err(Error::Newer { path: path.to_owned(), found: version, known: newest });
    }
    Ok(body)
}

/// The only field that every version of a record has.
#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

fn read_limited(file: &File, path: &Path) -> Result<Vec<u8>, Error> {
    if !file.metadata().map_err(Error::io("look at", path))?.is_file() {
        return Err(Error::Damaged { path: path.to_owned(), reason: "it is no file".to_owned() });
    }
    let mut bytes = Vec::with_capacity(4096);
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::Damaged { path: path.to_owned(), reason: "it is too large".to_owned() });
    }
    Ok(bytes)
}

fn open_parent(path: &Path) -> Result<(File, &str), Error> {
    let invalid = || Error::io("use as the name of a record", path)(std::io::ErrorKind::InvalidFilename);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((File::open(parent).map_err(Error::io("open", parent))?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onggi_error::Diagnose as _;
    use serde_json::{Value, json};

    #[test]
    fn a_record_reads_back_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        for (number, durability) in [(1, Durability::Synced), (2, Durability::Volatile)] {
            write(&path, &json!({ "number": number }), durability).unwrap();
            assert_eq!(read::<Value>(&path).unwrap(), json!({ "number": number }));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("onggi-record v1 sha256:") && text.ends_with("\n{\"number\":2}\n"),
            "{text}"
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_a_power_cut_has_damaged_is_so_if_it_was_to_survive_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        assert!(!is_there(&path));
        // What is left of it: nothing, zeros, what lay there before, all but its end.
        type Cut = fn(&mut Vec<u8>);
        let cuts: [Cut; 4] = [
            |bytes| bytes.clear(),
            |bytes| bytes.fill(0),
            |bytes| bytes.fill(b'\n'),
            |bytes| bytes.truncate(bytes.len() - 2),
        ];
        let each =
            cuts.iter().flat_map(|cut| [(cut, Durability::Synced, true), (cut, Durability::Volatile, false)]);
        for (cut, durability, lost) in each {
            write(&path, &json!({}), durability).unwrap();
            assert!(is_there(&path));
            let mut bytes = std::fs::read(&path).unwrap();
            cut(&mut bytes);
            File::options().write(true).truncate(true).open(&path).unwrap().write_all(&bytes).unwrap();
            let error = read::<Value>(&path).unwrap_err();
            assert_eq!(matches!(error, Error::Damaged { .. }), lost, "{error}");
            assert_eq!(error.kind() == onggi_error::Kind::NotFound, !lost, "{error}");
            assert_eq!(is_there(&path), lost);
        }
    }

    #[test]
    fn what_is_no_file_is_damaged_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, place) = (directory.path().join("pipe"), directory.path().join("place"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::create_dir(&place).unwrap();
        let held = File::open(directory.path()).unwrap();
        for path in [pipe, place] {
            assert!(matches!(read::<Value>(&path), Err(Error::Damaged { .. })), "{}", path.display());
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(matches!(read_at::<Value>(held.as_fd(), name, 1), Err(Error::Damaged { .. })), "{name}");
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write(&path, &json!({ "a": "b" }), Durability::Synced).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 4;
            std::fs::write(&path, &changed).unwrap();
            assert!(read::<Value>(&path).is_err(), "the change at {place} was not noticed");
            std::fs::write(&path, &whole[..place]).unwrap();
            assert!(
                matches!(read::<Value>(&path), Err(Error::Damaged { .. })),
                "the cut at {place} was not noticed"
            );
        }
    }

    #[test]
    fn a_newer_seal_is_not_called_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        std::fs::write(&path, "onggi-record v9 blake3:whatever\nwhatever").unwrap();
        assert!(matches!(read::<Value>(&path), Err(Error::Newer { known: 1, .. })));
    }

    #[test]
    fn words_of_a_newer_version_are_not_damage() {
        #[derive(serde::Deserialize)]
        struct Known {
            #[allow(dead_code)]
            word: bool,
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write(&path, &json!({ "version": 3, "word": "unheard-of" }), Durability::Volatile).unwrap();
        assert!(matches!(read_up_to::<Known>(&path, 2), Err(Error::Newer { found: 3, known: 2, .. })));
        assert!(matches!(read_up_to::<Known>(&path, 3), Err(Error::Damaged { .. })));
        write(&path, &json!({ "version": 2, "word": true }), Durability::Volatile).unwrap();
        assert!(read_up_to::<Known>(&path, 2).is_ok());
    }
}
