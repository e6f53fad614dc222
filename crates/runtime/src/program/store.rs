//! The directory of containers: one directory each, with its state, the FIFO of its start and its seccomp program.
//!
//! Whoever changes a container holds the lock on its directory; whoever only looks reads files that are replaced as a whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};

use super::birth::{self, Birth, Known, Made};
use super::error::Error;
use super::record::{Record, VERSION};

const STATE: &str = "state.json";
const FILTER: &str = "seccomp.bpf";
/// Nobody else has anything to do there: who could open the FIFO would take the word that starts a container. What the container itself
/// needs of it, it has as a descriptor.
const PRIVATE: u32 = 0o700;

#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// Somebody has named it, and so means one that is there.
    is_given: bool,
}

/// A container's directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

/// The same with its lock, for who changes something.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) directory: Directory,
    lock: OwnedFd,
    /// For who makes it: the file of its [`Birth`].
    birth: Option<File>,
}

impl Store {
    pub(crate) fn new(root: PathBuf, is_given: bool) -> Store {
        Store { root, is_given }
    }

    /// A new container's place, with an empty file for its [`Birth`].
    pub(crate) fn create(&self, id: &str) -> Result<Locked, Error> {
        check_id(id)?;
        self.make_root()?;
        let path = self.root.join(id);
        let fail = |error| Error::io(format!("make {}", path.display()), error);
        loop {
            match DirBuilder::new().mode(PRIVATE).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::AlreadyExists);
                }
                other => other.map_err(fail)?,
            }
            onggi_sys::fault::point("runtime.create.directory");
            // Before it is locked anybody may delete it, and make another one: it is ours if the file is made by us.
            let locked = match self.lock(id) {
                Err(Error::DoesNotExist) => continue,
                // Nothing is in it, unless it is another's after all.
                other => other.inspect_err(|_| drop(std::fs::remove_dir(&path)))?,
            };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            return match rustix::fs::openat(&locked.lock, birth::NAME, flags, mode) {
                Ok(file) => Ok(Locked { birth: Some(file.into()), ..locked }),
                Err(rustix::io::Errno::EXIST) => Err(Error::AlreadyExists),
                Err(error) => {
                    // As above.
                    let _ = std::fs::remove_dir(&path);
                    Err(fail(error.into()))
                }
            };
        }
    }

    /// A container to change.
    pub(crate) fn lock(&self, id: &str) -> Result<Locked, Error> {
        let directory = self.find(id)?;
        loop {
            let path = &directory.path;
            let fail = |error: rustix::io::Errno| match error {
                rustix::io::Errno::NOENT => Error::DoesNotExist,
                error => Error::io(format!("lock {}", path.display()), error),
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let lock = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(fail)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))
                .map_err(fail)?;
            // While we waited it may have been deleted, and another one of the same name made.
            let (held, now) =
                (rustix::fs::fstat(&lock).map_err(fail)?, rustix::fs::stat(path).map_err(fail)?);
            if (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino) {
                return Ok(Locked { directory, lock, birth: None });
            }
        }
    }

    /// A container to look at.
    pub(crate) fn find(&self, id: &str) -> Result<Directory, Error> {
        check_id(id)?;
        let directory = Directory { path: self.root.join(id) };
        if directory.path.is_dir() { Ok(directory) } else { Err(Error::DoesNotExist) }
    }

    /// Every container, by name.
    pub(crate) fn ids(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_given => return Ok(Vec::new()),
            other => other.map_err(|error| Error::io(format!("open {}", self.root.display()), error))?,
        };
        let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter(|name| check_id(name).is_ok()).collect();
        ids.sort();
        Ok(ids)
    }

    fn make_root(&self) -> Result<(), Error> {
        if self.root.is_dir() {
            return Ok(());
        }
        let fail = |error| Error::io(format!("make {}", self.root.display()), error);
        DirBuilder::new().recursive(true).mode(PRIVATE).create(&self.root).map_err(fail)?;
        if !rustix::process::geteuid().is_root() {
            // The sticky bit keeps what cleans up $XDG_RUNTIME_DIR away (XDG Base Directory Specification).
            let private = std::fs::Permissions::from_mode(0o1700);
            std::fs::set_permissions(&self.root, private).map_err(fail)?;
        }
        Ok(())
    }
}

impl Directory {
    pub(crate) fn fifo(&self) -> PathBuf {
        self.path.join("exec.fifo")
    }

    /// Where the container's own notify socket is.
    pub(crate) fn notify(&self) -> PathBuf {
        self.path.join("notify")
    }

    pub(crate) fn read(&self) -> Result<Record, Error> {
        let path = self.path.join(STATE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::DoesNotExist),
            other => other.map_err(|error| Error::io(format!("read {}", path.display()), error))?,
        };
        let json = |source| Error::Json { path: path.display().to_string(), source };
        /// Read first: the rest of a newer one may look different.
        #[derive(serde::Deserialize)]
        struct Head {
            version: u32,
            id: String,
        }
        let head: Head = serde_json::from_slice(&bytes).map_err(json)?;
        if head.version > VERSION {
            return Err(Error::Version { id: head.id, found: head.version, known: VERSION });
        }
        serde_json::from_slice(&bytes).map_err(json)
    }

    /// Of a state that is damaged the first process, as far as it can still be found in it.
    pub(crate) fn salvage(&self) -> Option<(i32, u64)> {
        let bytes = std::fs::read(self.path.join(STATE)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let number = |name: &str| {
            let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse::<u64>().ok()
        };
        Some((i32::try_from(number("pid")?).ok()?, number("start_time")?))
    }

    /// What is known of a container that has no state.
    pub(crate) fn birth(&self) -> Result<Option<Known>, Error> {
        Known::read(&self.path)
    }

    /// The compiled seccomp program.
    pub(crate) fn read_filter(&self) -> Result<Vec<u8>, Error> {
        let path = self.path.join(FILTER);
        std::fs::read(&path).map_err(|error| Error::io(format!("read {}", path.display()), error))
    }
}

impl Locked {
    /// Replaces the state as a whole. It lives no longer than the machine runs: nothing waits for a disk.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Error> {
        let path = self.directory.path.join(STATE);
        let new = self.directory.path.join(".state.json.new");
        let fail = |error| Error::io(format!("write {}", path.display()), error);
        let json = |source| Error::Json { path: path.display().to_string(), source };
        write_private(&new, &serde_json::to_vec(record).map_err(json)?).map_err(fail)?;
        onggi_sys::fault::point("runtime.state.written");
        std::fs::rename(&new, &path).map_err(fail)
    }

    /// Writes down how to find what is about to be made.
    pub(crate) fn write_birth(&self, birth: &Birth) -> Result<(), Error> {
        self.write_line(birth)
    }

    /// And what has been made, before anything is born in it.
    pub(crate) fn mark_birth(&self, made: &Made) -> Result<(), Error> {
        self.write_line(made)
    }

    fn write_line(&self, line: &impl serde::Serialize) -> Result<(), Error> {
        let fail =
            |error| Error::io(format!("write {}", self.directory.path.join(birth::NAME).display()), error);
        let file = self.birth.as_ref().ok_or_else(|| fail(io::ErrorKind::Unsupported.into()))?;
        birth::write(file, line).map_err(fail)
    }

    /// The state of a new container and its seccomp program, which may be empty: there is then no file of it.
    pub(crate) fn write_all(&self, record: &Record, filter: &[u8]) -> Result<(), Error> {
        self.write_filter(filter)?;
        self.write(record)
    }

    pub(crate) fn write_filter(&self, filter: &[u8]) -> Result<(), Error> {
        if filter.is_empty() {
            return Ok(());
        }
        let path = self.directory.path.join(FILTER);
        write_private(&path, filter).map_err(|error| Error::io(format!("write {}", path.display()), error))
    }

    /// Takes the container out of the world.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let path = &self.directory.path;
        // As a rule these are all that is in it. What outlives an end in between is stopped, and never half made.
        let _ = std::fs::remove_file(path.join(birth::NAME));
        let _ = std::fs::remove_file(path.join(STATE));
        std::fs::remove_dir(path).or_else(|_| remove_tree(path))
    }
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Who created what is at a path.
pub(crate) fn owner(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |data| data.uid())
}

/// runc's rule: the id becomes a file's name.
fn check_id(id: &str) -> Result<(), Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if id.is_empty() {
        return Err(Error::usage("container id cannot be empty"));
    }
    if id.len() > 255 || !id.bytes().all(is_plain) || matches!(id, "." | "..") {
        return Err(Error::usage("invalid container ID format"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_files() {
        for id in ["a", "A-b_c.d+e", "0", "...", "-x"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\n", "*"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_name_is_taken_once_and_free_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("root"), false);
        assert!(matches!(store.find("jar"), Err(Error::DoesNotExist)));
        let jar = store.create("jar").unwrap();
        assert!(matches!(store.create("jar"), Err(Error::AlreadyExists)));
        assert!(matches!(jar.directory.read(), Err(Error::DoesNotExist)), "half made");
        assert_eq!(store.ids().unwrap(), ["jar"]);
        jar.remove().unwrap();
        assert!(store.ids().unwrap().is_empty());
    }

    #[test]
    fn a_newer_state_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().into(), true);
        let jar = store.create("jar").unwrap();
        let newer = serde_json::json!({ "version": VERSION + 1, "id": "jar", "unknown": true });
        std::fs::write(jar.directory.path.join(STATE), newer.to_string()).unwrap();
        assert!(matches!(jar.directory.read(), Err(Error::Version { .. })));
    }
}
