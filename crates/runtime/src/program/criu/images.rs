//! The directory of a checkpoint's images, and the one for logs. Images come from elsewhere: whoever made them must not have CRIU, which is
//! root, write to or read from another place (CVE-2026-53489 was a log that is a link), nor hand it descriptors of its own choice.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::log::Log;
use super::error::Error;

/// What the first process's streams were; runc's name.
const DESCRIPTORS: &str = "descriptors.json";
/// The link to the images of an earlier dump, which CRIU itself makes.
const PARENT: &str = "parent";
const LAZY_PAGES: &str = "lazy-pages.socket";
/// As many dumps as may be built upon one another.
const MOST_PARENTS: usize = 64;
/// Three short texts need less.
const LARGEST_DESCRIPTORS: u64 = 64 << 10;
/// Of a log as much is looked through.
const LARGEST_LOG: u64 = 16 << 20;
/// Lines before an error that are shown with it.
const BEFORE: usize = 5;

/// A directory that is held.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens it, and makes it first if it is not there.
    pub(crate) fn make(path: &Path) -> Result<Directory, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Error::system(format!("mkdir {}", path.display()), error))?;
        Directory::open(path)
    }

    pub(crate) fn open(path: &Path) -> Result<Directory, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| Error::system(format!("open {}", path.display()), error))?;
        Ok(Directory { descriptor, path: path.to_owned() })
    }

    /// The same directory as it is in the caller's present mount namespace: CRIU mounts in it.
    pub(crate) fn again(&self) -> Result<Directory, Error> {
        let again = Directory::open(&self.path)?;
        let identity = |directory: &Directory| {
            rustix::fs::fstat(&directory.descriptor)
                .map(|data| (data.st_dev, data.st_ino))
                .map_err(|error| self.failed("stat", "", error))
        };
        if identity(self)? == identity(&again)? {
            Ok(again)
        } else {
            Err(Error::Unsafe { path: self.path.clone(), what: "not the directory that was looked at" })
        }
    }

    pub(crate) fn number(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// That CRIU, which follows links, finds none where it writes.
    pub(crate) fn check_outputs(&self, log: &str) -> Result<(), Error> {
        for name in [log, "stats-dump", "stats-restore"] {
            match self.kind(self.descriptor.as_fd(), name) {
                Ok(FileType::RegularFile) | Err(Errno::NOENT) => {}
                Ok(kind) => return Err(self.refused(name, kind)),
                Err(error) => return Err(self.failed("stat", name, error)),
            }
        }
        Ok(())
    }

    /// That there are plain files only; and in the images that these are built upon. What somebody changes while CRIU reads is not found:
    /// the directory must be the caller's own by then.
    pub(crate) fn check_images(&self, lazy_pages: bool) -> Result<(), Error> {
        let mut directory = self
            .descriptor
            .try_clone()
            .map_err(|error| Error::system(format!("open {}", self.path.display()), error))?;
        for _ in 0..MOST_PARENTS {
            if !self.check_level(&directory, lazy_pages)? {
                return Ok(());
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            directory = rustix::fs::openat(&directory, PARENT, flags, Mode::empty())
                .map_err(|error| self.failed("open", PARENT, error))?;
        }
        Err(self.refused(PARENT, FileType::Symlink))
    }

    /// Whether there are images below these.
    fn check_level(&self, directory: &OwnedFd, lazy_pages: bool) -> Result<bool, Error> {
        let mut has_parent = false;
        let entries = Dir::read_from(directory).map_err(|error| self.failed("read", "", error))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.failed("read", "", error))?;
            let name = entry.file_name().to_string_lossy();
            if matches!(name.as_ref(), "." | "..") {
                continue;
            }
            let kind = rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.failed("stat", &name, error))?
                .st_mode;
            match FileType::from_raw_mode(kind) {
                FileType::Symlink if name == PARENT => has_parent = true,
                // Of a `criu lazy-pages` of the caller's, which serves the pages that these images do not have.
                FileType::Socket if name == LAZY_PAGES && lazy_pages => {}
                // What an engine keeps beside them. CRIU opens no directories.
                FileType::RegularFile | FileType::Directory => {}
                kind => return Err(self.refused(&name, kind)),
            }
        }
        Ok(has_parent)
    }

    fn kind(&self, directory: impl AsFd, name: &str) -> Result<FileType, Errno> {
        let data = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(data.st_mode))
    }

    pub(crate) fn write_descriptors(&self, descriptors: &[String]) -> Result<(), Error> {
        let fail = |error: std::io::Error| {
            Error::system(format!("write {}", self.join(DESCRIPTORS).display()), error)
        };
        let text = serde_json::to_vec(descriptors).map_err(|error| fail(error.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(&self.descriptor, DESCRIPTORS, flags, mode)
            .map_err(|error| fail(error.into()))?;
        File::from(file).write_all(&text).map_err(fail)
    }

    /// The pipes among the first process's streams, by the numbers that they had.
    pub(crate) fn read_pipes(&self) -> Result<Vec<(i32, String)>, Error> {
        let fail = |error: std::io::Error| {
            Error::system(format!("open {}", self.join(DESCRIPTORS).display()), error)
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.descriptor, DESCRIPTORS, flags, Mode::empty())
            .map_err(|error| fail(error.into()))?;
        let mut bytes = Vec::new();
        File::from(file).take(LARGEST_DESCRIPTORS + 1).read_to_end(&mut bytes).map_err(fail)?;
        parse_pipes(&bytes).map_err(|reason| Error::Descriptors { path: self.join(DESCRIPTORS), reason })
    }

    /// Shows the errors of a log, each with the lines before it, as `grep -n -B5 Error` would.
    pub(crate) fn quote(&self, name: &str, log: &Log) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut bytes = Vec::new();
        let read = rustix::fs::openat(&self.descriptor, name, flags, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|file| File::from(file).take(LARGEST_LOG).read_to_end(&mut bytes));
        if let Err(error) = read {
            return log.warn(&format!("open {}: {error}", self.join(name).display()));
        }
        let lines = excerpt(&String::from_utf8_lossy(&bytes));
        if lines.is_empty() {
            return;
        }
        log.warn(&format!("--- Quoting {:?}", self.join(name)));
        lines.iter().for_each(|line| log.warn(line));
        log.warn("---");
    }

    fn failed(&self, act: &str, name: &str, error: Errno) -> Error {
        Error::system(format!("{act} {}", self.join(name).display()), error)
    }

    fn refused(&self, name: &str, kind: FileType) -> Error {
        let what = match kind {
            FileType::Symlink => "a symbolic link",
            FileType::Directory => "a directory",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Error::Unsafe { path: self.join(name), what }
    }
}

/// Up to three texts, of which those like `pipe:[4711]` are pipes. A fourth would name a descriptor that is no stream.
fn parse_pipes(bytes: &[u8]) -> Result<Vec<(i32, String)>, String> {
    if bytes.len() as u64 > LARGEST_DESCRIPTORS {
        return Err(format!("it is longer than {LARGEST_DESCRIPTORS} bytes"));
    }
    // Go writes an empty list so.
    let texts: Option<Vec<String>> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let texts = texts.unwrap_or_default();
    if texts.len() > 3 {
        return Err(format!("it names {} descriptors, and there are three streams", texts.len()));
    }
    Ok((0..).zip(texts).filter(|(_, text)| is_pipe(text)).collect())
}

/// As `/proc/PID/fd` shows one.
pub(crate) fn is_pipe(text: &str) -> bool {
    let inode = text.strip_prefix("pipe:[").and_then(|rest| rest.strip_suffix(']'));
    inode.is_some_and(|inode| {
        !inode.is_empty() && inode.len() <= 20 && inode.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn excerpt(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = 0;
    let mut excerpt = Vec::new();
    for (index, _) in lines.iter().enumerate().filter(|(_, line)| line.contains("Error")) {
        let first = index.saturating_sub(BEFORE).max(shown);
        if shown > 0 && first > shown {
            excerpt.push("...".to_owned());
        }
        excerpt.extend((first..=index).map(|index| format!("{}:{}", index + 1, lines[index])));
        shown = index + 1;
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_streams_that_are_pipes_are_connected() {
        let parse = |text: &str| parse_pipes(text.as_bytes());
        let pipes = parse(r#"["pipe:[12]","/dev/null","pipe:[7]"]"#).unwrap();
        assert_eq!(pipes, [(0, "pipe:[12]".to_owned()), (2, "pipe:[7]".to_owned())]);
        assert_eq!(parse("null").unwrap(), []);
        // runc takes whatever has `pipe:` in it for one.
        assert_eq!(parse(r#"["/x/pipe:[1]","pipe:[]","pipe:[1]]"]"#).unwrap(), []);
        assert!(parse(r#"["","","","pipe:[1]"]"#).unwrap_err().contains("three streams"));
        assert!(parse(&format!("[{:?}]", "x".repeat(70_000))).unwrap_err().contains("longer"));
        assert!(parse("{}").is_err());
    }

    #[test]
    fn images_that_lead_elsewhere_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (images, before) = (directory.path().join("images"), directory.path().join("before"));
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        std::fs::create_dir(&before).unwrap();
        let held = Directory::make(&images).unwrap();
        std::fs::write(images.join("pages-1.img"), "").unwrap();
        std::fs::create_dir(images.join("artifacts")).unwrap();
        symlink("../before", images.join(PARENT)).unwrap();
        held.check_images(false).unwrap();
        held.check_outputs("restore.log").unwrap();

        for (place, name) in [(&images, "pages-2.img"), (&before, "core-1.img")] {
            symlink(&victim, place.join(name)).unwrap();
            assert!(matches!(held.check_images(false), Err(Error::Unsafe { .. })), "{name}");
            std::fs::remove_file(place.join(name)).unwrap();
        }
        let _socket = std::os::unix::net::UnixListener::bind(images.join(LAZY_PAGES)).unwrap();
        held.check_images(true).unwrap();
        assert!(held.check_images(false).is_err(), "nobody has asked for its pages");
        std::fs::remove_file(images.join(LAZY_PAGES)).unwrap();
        symlink(".", before.join(PARENT)).unwrap();
        assert!(
            matches!(held.check_images(false), Err(Error::Unsafe { .. })),
            "images built upon themselves"
        );
        std::fs::remove_file(before.join(PARENT)).unwrap();

        symlink(&victim, images.join("restore.log")).unwrap();
        let error = held.check_outputs("restore.log").unwrap_err().to_string();
        assert!(error.contains("restore.log: it is a symbolic link"), "{error}");
        symlink(&victim, images.join(DESCRIPTORS)).unwrap();
        assert!(held.write_descriptors(&[]).is_err() && held.read_pipes().is_err());
        assert_eq!(std::fs::metadata(&victim).unwrap().len(), 0);
    }

    #[test]
    fn descriptors_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let held = Directory::open(directory.path()).unwrap();
        let streams = ["pipe:[1]", "/dev/null", "pipe:[2]"].map(str::to_owned);
        held.write_descriptors(&streams).unwrap();
        assert_eq!(held.read_pipes().unwrap(), [(0, streams[0].clone()), (2, streams[2].clone())]);
    }

    #[test]
    fn errors_are_quoted_with_what_led_to_them() {
        let text = "a\nb\nc\nd\ne\nf\n(1) Error (x.c:1): y\ng\nError\nh\ni\nj\nk\nl\nm\nn\nError z\no\n";
        let expected = [
            "2:b",
            "3:c",
            "4:d",
            "5:e",
            "6:f",
            "7:(1) Error (x.c:1): y",
            "8:g",
            "9:Error",
            "...",
            "12:j",
            "13:k",
            "14:l",
            "15:m",
            "16:n",
            "17:Error z",
        ];
        // Line 10 and 11 are neither.
        let found = excerpt(text);
        assert_eq!(found, expected);
        assert!(excerpt("all is well\n").is_empty());
    }
}
