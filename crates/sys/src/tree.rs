//! Removing a tree of files: by descriptors, following no link and entering no mount.
//!
//! Each directory is opened by the kernel with `RESOLVE_NO_XDEV` from the one above it, so a file system that somebody has mounted
//! in the tree, also a bind of a directory on the same disk, keeps all its files (`openat2(2)`). What cannot be removed does not
//! keep the rest.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

/// Directories below one another that are held open at once. What lies deeper is moved up and removed there, so that no depth
/// exhausts the descriptors.
const MOST_OPEN: u32 = 64;

/// Something that stays, and why.
#[derive(Debug)]
pub struct Left {
    pub path: PathBuf,
    pub source: io::Error,
    /// Somebody else's, which nothing should remove: an error it is only for who wanted everything to go.
    pub foreign: bool,
}

/// What [`empty`] may remove of an entry.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    /// It, and all that is in it.
    Whole,
    /// Of what is in it the entries with such names, and itself when nothing else is there.
    Those(fn(&str) -> bool),
}

/// Removes a file or a directory with all that is in it; what is not there is removed already. Answers what stays: a mount point, or
/// what the kernel refuses.
#[must_use = "something may be left"]
pub fn remove(path: &Path) -> Vec<Left> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(c_string)) else {
        return vec![stays(path, Errno::INVAL)];
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(parent) => remove_at(parent.as_fd(), &name, path),
        Err(Errno::NOENT) => Vec::new(),
        Err(errno) => vec![stays(path, errno)],
    }
}

/// Removes what is known in a directory, and leaves the directory, which may be a mount point. Answers what stays, what is unknown
/// among it.
///
/// # Errors
/// The directory cannot be read; that it is not there is none.
pub fn empty(directory: &Path, known: &dyn Fn(&str) -> Option<Known>) -> io::Result<Vec<Left>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match rustix::fs::open(directory, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let mut left = Vec::new();
    for Entry { name, .. } in list(&root)? {
        let path = directory.join(OsStr::from_bytes(name.to_bytes()));
        match name.to_str().ok().and_then(known) {
            None => left.push(foreign(&path)),
            Some(Known::Whole) => left.extend(remove_at(root.as_fd(), &name, &path)),
            Some(Known::Those(is_known)) => left.extend(remove_those(root.as_fd(), &name, &path, is_known)),
        }
    }
    Ok(left)
}

fn remove_those(parent: BorrowedFd<'_>, name: &CStr, path: &Path, is_known: fn(&str) -> bool) -> Vec<Left> {
    let mut left = Vec::new();
    let names = match open(parent, name) {
        Ok(directory) => list(&directory).map(|names| (directory, names)),
        Err(errno) => Err(errno),
    };
    let (directory, names) = match names {
        Ok(found) => found,
        Err(errno) => return vec![stays(path, errno)],
    };
    for Entry { name, .. } in names {
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        match name.to_str() {
            Ok(text) if is_known(text) => left.extend(remove_at(directory.as_fd(), &name, &path)),
            _ => left.push(foreign(&path)),
        }
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(errno) if left.is_empty() => left.push(stays(path, errno)),
        _ => {}
    }
    left
}

fn remove_at(parent: BorrowedFd<'_>, name: &CStr, path: &Path) -> Vec<Left> {
    let mut left = Vec::new();
    let entry = Entry { name: name.to_owned(), is_directory: false };
    Removal { top: None, moved: 0, has_moved: false }.remove(parent, &entry, path, 0, &mut left);
    left
}

/// One removal under way.
struct Removal {
    /// The directory that everything is in, to which the deepest are moved.
    top: Option<OwnedFd>,
    moved: u64,
    /// Since the top was last looked through.
    has_moved: bool,
}

impl Removal {
    fn remove(
        &mut self,
        parent: BorrowedFd<'_>,
        entry: &Entry,
        path: &Path,
        depth: u32,
        left: &mut Vec<Left>,
    ) {
        let name = &entry.name;
        if !entry.is_directory {
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return,
                // POSIX says EPERM for a directory, Linux EISDIR.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return left.push(stays(path, errno)),
            }
        }
        if depth >= MOST_OPEN && self.moved_up(parent, name) {
            return;
        }
        let directory = match open(parent, name) {
            Ok(directory) => directory,
            // Somebody else is removing it as well.
            Err(Errno::NOENT) => return,
            Err(errno) => return left.push(stays(path, errno)),
        };
        if depth == 0 {
            self.top = directory.try_clone().ok();
        }
        let before = left.len();
        loop {
            left.truncate(before);
            self.empty(&directory, path, depth, left);
            // A name that stays has said why; where something was moved up to, there is more.
            if left.len() > before && (depth > 0 || !std::mem::take(&mut self.has_moved)) {
                return;
            }
            match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return,
                // Others are still putting things there, or what was deep has been moved here.
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return left.push(stays(path, errno)),
            }
        }
    }

    /// Removes what is in a directory now.
    fn empty(&mut self, directory: &OwnedFd, path: &Path, depth: u32, left: &mut Vec<Left>) {
        let entries = match list(directory) {
            Ok(entries) => entries,
            Err(Errno::NOENT) => return,
            Err(errno) => return left.push(stays(path, errno)),
        };
        for entry in &entries {
            let below = path.join(OsStr::from_bytes(entry.name.to_bytes()));
            self.remove(directory.as_fd(), entry, &below, depth + 1, left);
        }
    }

    /// Moves a directory to the top of the tree. A mount point cannot be moved.
    fn moved_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> bool {
        let Some(top) = &self.top else { return false };
        loop {
            self.moved += 1;
            self.has_moved = true;
            let target = format!("moved-up-{}", self.moved);
            match rustix::fs::renameat_with(parent, name, top, target, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other.is_ok(),
            }
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    loop {
        match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
            // A rename somewhere on the machine came in between.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What is in a directory. A file system that does not say what is one leaves it to be found out.
struct Entry {
    name: CString,
    is_directory: bool,
}

fn list(directory: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    // From its beginning, whatever was read of it before.
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 4096];
    let mut found = RawDir::new(directory, &mut buffer);
    while let Some(entry) = found.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            let is_directory = entry.file_type() == FileType::Directory;
            entries.push(Entry { name: entry.file_name().to_owned(), is_directory });
        }
    }
    Ok(entries)
}

fn stays(path: &Path, errno: Errno) -> Left {
    let mounted = matches!(errno, Errno::XDEV | Errno::BUSY);
    let source = match mounted {
        true => io::Error::new(io::ErrorKind::ResourceBusy, "something is mounted there"),
        false => errno.into(),
    };
    Left { path: path.to_owned(), source, foreign: mounted }
}

fn foreign(path: &Path) -> Left {
    Left { path: path.to_owned(), source: io::Error::other("it is not known"), foreign: true }
}

fn c_string(name: &OsStr) -> Option<CString> {
    CString::new(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_links_and_directories_go_and_what_links_lead_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("tree/a/b")).unwrap();
        fs::write(path("tree/a/b/file"), "x").unwrap();
        fs::create_dir(path("outside")).unwrap();
        fs::write(path("outside/kept"), "x").unwrap();
        std::os::unix::fs::symlink(path("outside"), path("tree/a/link")).unwrap();
        assert!(remove(&path("tree")).is_empty());
        assert!(!path("tree").exists() && path("outside/kept").exists());
        std::os::unix::fs::symlink(path("outside"), path("link")).unwrap();
        assert!(remove(&path("link")).is_empty());
        assert!(!path("link").is_symlink() && path("outside/kept").exists());
        assert!(remove(&path("nothing")).is_empty() && remove(&path("no/where")).is_empty());
        fs::write(path("file"), "x").unwrap();
        assert!(remove(&path("file")).is_empty() && !path("file").exists());
    }

    #[test]
    fn a_tree_that_is_deeper_than_there_are_descriptors_goes() {
        // In memory, since it is many steps.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "moved-up-1", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        assert!(remove(&tree).is_empty());
        assert!(!tree.exists());
    }

    #[test]
    fn what_is_mounted_in_it_keeps_its_files_and_the_rest_goes() {
        assert!(rustix::process::geteuid().is_root(), "mounting needs root");
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["tree/a/bind", "tree/b", "outside"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["outside/kept", "tree/a/file", "tree/b/file"] {
            fs::write(path(name), "x").unwrap();
        }
        // On the same file system, so that device numbers say nothing.
        rustix::mount::mount_bind(path("outside"), path("tree/a/bind")).unwrap();
        rustix::mount::mount_bind(path("outside/kept"), path("tree/a/file")).unwrap();
        let left: Vec<PathBuf> = remove(&path("tree")).into_iter().map(|left| left.path).collect();
        for name in ["tree/a/bind", "tree/a/file"] {
            rustix::mount::unmount(path(name), rustix::mount::UnmountFlags::DETACH).unwrap();
            assert!(left.contains(&path(name)), "{left:?}");
        }
        assert!(path("outside/kept").exists());
        assert!(path("tree/a/bind").exists() && !path("tree/b").exists());
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn only_what_is_known_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["whole/any", "those/1", "those/other/deep", "other", "all/1"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let known = |name: &str| match name {
            "whole" => Some(Known::Whole),
            "those" | "all" => Some(Known::Those(|name| name == "1")),
            _ => None,
        };
        let left: Vec<_> = empty(directory.path(), &known).unwrap();
        let mut paths: Vec<PathBuf> = left.iter().map(|left| left.path.clone()).collect();
        paths.sort();
        assert_eq!(paths, [path("other"), path("those/other")]);
        assert!(left.iter().all(|left| left.foreign) && path("those/other/deep").exists());
        assert!(!path("whole").exists() && !path("those/1").exists() && !path("all").exists());
        assert!(empty(&path("nothing"), &known).unwrap().is_empty());
    }
}
