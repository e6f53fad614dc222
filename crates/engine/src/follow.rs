//! Waiting for files to grow, by inotify: what `logs -f` and `events` share. It knows nothing of what is in the files.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;

/// Watches one directory.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Something in the directory may have changed.
    Changed,
    /// The other descriptor hung up or became readable.
    Other,
    TimedOut,
}

impl Watch {
    /// Begins to watch; what changes from now on wakes the next wait.
    pub(crate) fn new(directory: &Path) -> io::Result<Watch> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF;
        inotify::add_watch(&inotify, directory, events)?;
        Ok(Watch { inotify })
    }

    /// Waits for a change, for `other`, or for so many milliseconds (`None`: for ever).
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, milliseconds: Option<i64>) -> io::Result<Woken> {
        let timeout = milliseconds
            .map(|ms| Timespec { tv_sec: ms.max(0) / 1000, tv_nsec: ms.max(0) % 1000 * 1_000_000 });
        let mut descriptors = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        descriptors.extend(other.as_ref().map(|other| PollFd::new(other, PollFlags::IN)));
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut descriptors, timeout.as_ref()))?;
        if ready == 0 {
            return Ok(Woken::TimedOut);
        }
        if descriptors.get(1).is_some_and(|other| !other.revents().is_empty()) {
            return Ok(Woken::Other);
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        while reader.next().is_ok() {}
        Ok(Woken::Changed)
    }
}

/// Whole lines out of a file that grows. What has no line end yet stays until it has.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    pending: Vec<u8>,
    /// Where in `pending` the next line begins.
    start: usize,
}

impl Lines {
    pub(crate) fn new(file: File) -> Lines {
        Lines { file, pending: Vec::new(), start: 0 }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The next line without its end; `None` when there is no more for now.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        const CHUNK: u64 = 64 * 1024;
        let mut searched = self.start;
        loop {
            if let Some(length) = self.pending[searched..].iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.start, searched + length);
                self.start = end + 1;
                return Ok(Some(&self.pending[start..end]));
            }
            self.pending.drain(..self.start);
            self.start = 0;
            searched = self.pending.len();
            if (&mut self.file).take(CHUNK).read_to_end(&mut self.pending)? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_of_a_growing_file_come_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut lines = Lines::new(file.reopen().unwrap());
        assert_eq!(lines.next().unwrap(), None);
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(lines.next().unwrap(), Some(b"one".as_slice()));
        assert_eq!(lines.next().unwrap(), None);
        file.write_all(b"o\n\nthree").unwrap();
        assert_eq!(lines.next().unwrap(), Some(b"two".as_slice()));
        assert_eq!(lines.next().unwrap(), Some(b"".as_slice()));
        assert_eq!(lines.next().unwrap(), None);
        let long = vec![b'x'; 200_000];
        file.write_all(&long).unwrap();
        file.write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().map(<[u8]>::len), Some(200_005));
    }

    #[test]
    fn a_wait_ends_with_a_change_another_descriptor_or_time() {
        let directory = tempfile::tempdir().unwrap();
        let watch = Watch::new(directory.path()).unwrap();
        assert_eq!(watch.wait(None, Some(0)).unwrap(), Woken::TimedOut);
        std::fs::write(directory.path().join("a"), "x").unwrap();
        assert_eq!(watch.wait(None, None).unwrap(), Woken::Changed);
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(watch.wait(Some(reader.as_fd()), Some(0)).unwrap(), Woken::TimedOut);
        drop(writer);
        assert_eq!(watch.wait(Some(reader.as_fd()), None).unwrap(), Woken::Other);
    }
}
