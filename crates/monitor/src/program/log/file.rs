//! The log file and its rotation: `json.log`, then `json.log.1`, `json.log.2` … from newer to older.
//!
//! A record is never split between two files nor left half written: when the disk is full, what was written of it is taken back
//! and the container goes on.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::json;
use crate::protocol::LogConfig;

const DIRECTORY: &str = "log";
const NAME: &str = "json.log";
/// Records are gathered up to this size (bytes) before they are written.
const BATCH: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct LogFile {
    directory: OwnedFd,
    file: OwnedFd,
    size: u64,
    max_size: u64,
    max_file: u32,
    /// Whole records that are not written yet.
    batch: Vec<u8>,
}

impl LogFile {
    pub(super) fn open(container: &OwnedFd, config: &LogConfig) -> io::Result<LogFile> {
        match rustix::fs::mkdirat(container, DIRECTORY, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(container, DIRECTORY, flags, Mode::empty())?;
        let (file, size) = open_current(&directory)?;
        let (max_size, max_file) = (config.max_size, config.max_file.max(1));
        Ok(LogFile { directory, file, size, max_size, max_file, batch: Vec::new() })
    }

    /// Adds a record; it is in the file after the next [`LogFile::flush`].
    pub(super) fn record(&mut self, text: &[u8], ending: &str) {
        let before = self.batch.len();
        json::record(&mut self.batch, text, ending);
        let after = self.batch.len();
        let full = self.max_size > 0 && self.size + after as u64 > self.max_size;
        if full && self.size + before as u64 > 0 {
            let record = self.batch.split_off(before);
            self.flush();
            self.rotate();
            self.batch = record;
        } else if after >= BATCH {
            self.flush();
        }
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) {
        let mut rest = &self.batch[..];
        while !rest.is_empty() {
            match rustix::io::write(&self.file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(_) => {
                    // The disk is full or gone. The records are lost, but none is left torn, and the container must not wait.
                    let _ = rustix::fs::ftruncate(&self.file, self.size);
                    self.batch.clear();
                    return;
                }
            }
        }
        self.size += self.batch.len() as u64;
        self.batch.clear();
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.flush();
        (self.file, self.size) = open_current(&self.directory)?;
        Ok(())
    }

    pub(super) fn shrink(&mut self) {
        self.batch.shrink_to_fit();
    }

    /// Any step may be the last before a crash: a missing number is a hole that the next rotation moves along. If a step fails,
    /// the current file goes on growing, which loses nothing.
    fn rotate(&mut self) {
        let moved = if self.max_file == 1 {
            // Another file, not the same cut to nothing: whoever follows it can read the old one to its end.
            rustix::fs::unlinkat(&self.directory, NAME, AtFlags::empty())
        } else {
            for number in (1..self.max_file - 1).rev() {
                let (from, to) = (format!("{NAME}.{number}"), format!("{NAME}.{}", number + 1));
                // Not there: a hole.
                let _ = rustix::fs::renameat(&self.directory, from, &self.directory, to);
            }
            onggi_sys::fault::point("monitor.log.shifted");
            rustix::fs::renameat(&self.directory, NAME, &self.directory, format!("{NAME}.1"))
        };
        onggi_sys::fault::point("monitor.log.renamed");
        if matches!(moved, Ok(()) | Err(Errno::NOENT))
            && let Ok(opened) = open_current(&self.directory)
        {
            (self.file, self.size) = opened;
        }
    }
}

fn open_current(directory: &OwnedFd) -> io::Result<(OwnedFd, u64)> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, NAME, flags, Mode::from_raw_mode(0o640))?;
    let mut size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
    let mut last = [b'\n'];
    if size > 0 {
        rustix::io::pread(&file, &mut last, size - 1)?;
    }
    if last != [b'\n'] {
        // A monitor was killed in the middle of a write.
        size += rustix::io::write(&file, b"\n")? as u64;
    }
    Ok((file, size))
}
