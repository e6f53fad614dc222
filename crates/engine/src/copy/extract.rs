//! A tar into a directory that is held. The archive may be anybody's: no name in it leads above the directory, nothing is written through
//! a link that stands there, and on the host no link at all is followed (CVE-2018-15664, CVE-2026-41567's kin).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use onggi_archive::tar::{Entry, Event, Kind, Parser};
use onggi_archive::{Limits, Timestamp};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::tree::{self, Tree};
use crate::error::Error;

/// Where the entries go.
#[derive(Debug)]
pub(super) struct Place<'t> {
    pub directory: OwnedFd,
    /// The container's tree and the directory's path in it: links in the way of an entry are followed within it, as its own
    /// programs would (`lib` is a link in many images). `None`, on the host: they are refused.
    pub inside: Option<(&'t Tree, &'t str)>,
    /// What the archive says about owners holds. Else all is the caller's, without setuid, setgid and devices.
    pub keep_owners: bool,
}

/// Reads an archive to its end and makes what it holds.
///
/// # Errors
/// What is wrong with the archive; what cannot be made.
pub(super) fn extract(input: &mut dyn Read, place: &Place<'_>) -> Result<(), Error> {
    let mut extraction = Extraction { place, file: None, directories: Vec::new() };
    let mut parser = Parser::new(Limits::default());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Kernel { act: "read the archive", source }),
        };
        let mut bytes = &buffer[..count];
        while let Some(event) = parser.next(&mut bytes)? {
            match event {
                Event::Entry(entry) => extraction.begin(*entry)?,
                Event::Data(data) => extraction.write(data)?,
                Event::EntryEnd => extraction.end()?,
                Event::End => {}
            }
        }
    }
    parser.finish()?;
    extraction.finish()
}

struct Extraction<'p> {
    place: &'p Place<'p>,
    /// The regular file whose data comes.
    file: Option<Unfinished>,
    /// Times of directories hold only when nothing is made in them any more.
    directories: Vec<(OwnedFd, Timestamp)>,
}

struct Unfinished {
    file: File,
    entry: Entry,
    /// For a sparse file: the segment being filled, and how much of it is.
    segment: usize,
    filled: u64,
}

impl Extraction<'_> {
    fn begin(&mut self, entry: Entry) -> Result<(), Error> {
        let names = names(&entry.path)?;
        let Some((name, parents)) = names.split_last() else {
            // The directory itself, which is there and stays as it is.
            return Ok(());
        };
        self.make(entry.clone(), parents, name)
            .map_err(|error| Error::io("copy to", String::from_utf8_lossy(&entry.path).into_owned())(error))
    }

    fn make(&mut self, entry: Entry, parents: &[&[u8]], name: &[u8]) -> io::Result<()> {
        let parent = self.parent(parents)?;
        let there = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(data) => Some(FileType::from_raw_mode(data.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let shown = String::from_utf8_lossy(name);
        let is_directory = entry.kind == Kind::Directory;
        match there {
            Some(FileType::Directory) if !is_directory => {
                return Err(io::Error::other(format!(
                    "cannot overwrite directory \"{shown}\" with non-directory \"{shown}\""
                )));
            }
            Some(kind) if kind != FileType::Directory && is_directory => {
                return Err(io::Error::other(format!(
                    "cannot overwrite non-directory \"{shown}\" with directory \"{shown}\""
                )));
            }
            // A device, pipe or socket may be in use, and as a file of this name would not be what it is used for.
            Some(kind)
                if matches!(entry.kind, Kind::File | Kind::Symlink(_) | Kind::HardLink(_))
                    && !matches!(kind, FileType::RegularFile | FileType::Symlink) =>
            {
                return Err(io::Error::other(format!("cannot overwrite {} \"{shown}\"", name_of(kind))));
            }
            Some(_) if !is_directory => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
            _ => {}
        }
        let mode = Mode::from_raw_mode(0o600);
        match &entry.kind {
            Kind::Directory => {
                if there.is_none() {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
                self.own(&directory, &entry)?;
                if self.directories.len() < MOST_HELD {
                    self.directories.push((directory, entry.mtime));
                } else {
                    set_times(&directory, entry.mtime)?;
                }
            }
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, mode)?.into();
                self.file = Some(Unfinished { file, entry, segment: 0, filled: 0 });
            }
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), &parent, name)?;
                self.own_name(&parent, name, &entry, false)?;
            }
            Kind::HardLink(target) => {
                let target = names(target).map_err(|error| io::Error::other(error.to_string()))?;
                let Some((first, parents)) = target.split_last() else { return Err(Errno::INVAL.into()) };
                rustix::fs::linkat(self.parent(parents)?, *first, &parent, name, AtFlags::empty())?;
            }
            Kind::Fifo => {
                rustix::fs::mknodat(&parent, name, FileType::Fifo, mode, 0)?;
                self.own_name(&parent, name, &entry, true)?;
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } if !self.place.keep_owners => {
                return Err(io::Error::other("a device is not made for who does not keep owners (-a)"));
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                let is_block = matches!(entry.kind, Kind::BlockDevice { .. });
                let kind = if is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
                rustix::fs::mknodat(&parent, name, kind, mode, rustix::fs::makedev(*major, *minor))?;
                self.own_name(&parent, name, &entry, true)?;
            }
        }
        Ok(())
    }

    /// Holds the directory of an entry, and makes what the archive has left out of it.
    fn parent(&self, parents: &[&[u8]]) -> io::Result<OwnedFd> {
        let path = parents.join(&b'/');
        match tree::below(self.place.directory.as_fd(), &path) {
            Ok(parent) => Ok(parent),
            Err(error) if is(&error, Errno::LOOP) => match self.place.inside {
                Some((tree, base)) => tree.directory(&[base.as_bytes(), &path].join(&b'/')),
                None => Err(io::Error::other("a symbolic link is in the way, and is not followed")),
            },
            Err(error) if is(&error, Errno::NOENT) => {
                let (last, above) = parents.split_last().ok_or(error)?;
                let above = self.parent(above)?;
                match rustix::fs::mkdirat(&above, *last, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => tree::below(above.as_fd(), last),
                    Err(errno) => Err(errno.into()),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, mut data: &[u8]) -> Result<(), Error> {
        let Some(unfinished) = &mut self.file else { return Ok(()) };
        let path = String::from_utf8_lossy(&unfinished.entry.path).into_owned();
        let mut write = || {
            let Some(segments) = &unfinished.entry.sparse else { return unfinished.file.write_all(data) };
            while let (false, Some(segment)) = (data.is_empty(), segments.get(unfinished.segment)) {
                let left = usize::try_from(segment.length - unfinished.filled).unwrap_or(usize::MAX);
                let (now, later) = data.split_at(left.min(data.len()));
                unfinished.file.seek(SeekFrom::Start(segment.offset + unfinished.filled))?;
                unfinished.file.write_all(now)?;
                unfinished.filled += now.len() as u64;
                if unfinished.filled == segment.length {
                    (unfinished.segment, unfinished.filled) = (unfinished.segment + 1, 0);
                }
                data = later;
            }
            Ok(())
        };
        write().map_err(Error::io("write", path))
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(Unfinished { file, entry, .. }) = self.file.take() else { return Ok(()) };
        let finish = || {
            file.set_len(entry.size)?;
            self.own(&file, &entry)?;
            let kept = entry
                .xattrs
                .iter()
                .filter(|(name, _)| self.place.keep_owners && name == b"security.capability");
            for (name, value) in kept {
                rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty())?;
            }
            set_times(&file, entry.mtime)
        };
        finish().map_err(Error::io("copy to", String::from_utf8_lossy(&entry.path).into_owned()))
    }

    fn finish(self) -> Result<(), Error> {
        for (directory, time) in self.directories.iter().rev() {
            set_times(directory, *time)
                .map_err(|source| Error::Kernel { act: "set a directory's time", source })?;
        }
        Ok(())
    }

    /// The owner first: changing it takes setuid away.
    fn own(&self, file: impl AsFd, entry: &Entry) -> io::Result<()> {
        if self.place.keep_owners {
            rustix::fs::fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        }
        Ok(rustix::fs::fchmod(file, self.mode(entry))?)
    }

    /// Of what was just made, and cannot be opened without consequences.
    fn own_name(&self, parent: &OwnedFd, name: &[u8], entry: &Entry, has_mode: bool) -> io::Result<()> {
        if self.place.keep_owners {
            let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if has_mode {
            let held =
                rustix::fs::openat(parent, name, tree::path_flags() | OFlags::NOFOLLOW, Mode::empty())?;
            // Whoever swapped it for a link gets nothing: it is the held thing that is changed.
            let kind = FileType::from_raw_mode(tree::stat(&held)?.st_mode);
            if kind != FileType::Symlink {
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
                rustix::fs::chmodat(rustix::fs::CWD, path, self.mode(entry), AtFlags::empty())?;
            }
        }
        let times = times(entry.mtime);
        Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// A program that was somebody else's in a container must not run as the caller on the host.
    fn mode(&self, entry: &Entry) -> Mode {
        let bits = if self.place.keep_owners { 0o7777 } else { 0o1777 };
        Mode::from_raw_mode(entry.mode & bits)
    }
}

/// The kind of a special file, in words.
fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        _ => "special file",
    }
}

/// As many directories are held until the end; of more the times are those of the last change in them.
const MOST_HELD: usize = 256;

/// The parts of a name in an archive; `..` is refused, wherever it would lead.
fn names(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let names: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.contains(&b"..".as_slice()) {
        let what = format!(
            "the archive names {:?}, which leads out of where it goes",
            String::from_utf8_lossy(path)
        );
        return Err(Error::Invalid { what });
    }
    Ok(names)
}

fn set_times(file: impl AsFd, time: Timestamp) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(time))?)
}

fn times(time: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
