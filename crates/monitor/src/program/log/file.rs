//! The log file and its rotation: `json.log`, then `json.log.1`, `json.log.2` … from newer to older.
//!
//! A record is never split between two files nor left half written: when the disk is full, what was written of it is taken back
//! and the container goes on. As soon as there is room again, a record at the place of the loss says how much is missing.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::json;
use crate::clock::Moment;
use crate::protocol::LogConfig;

const DIRECTORY: &str = "log";
const NAME: &str = "json.log";
/// Records are gathered up to this size (bytes) before they are written; the memory stays within the monitor's budget so.
const BATCH: usize = 8 * 1024;

#[derive(Debug)]
pub(super) struct LogFile {
    directory: OwnedFd,
    file: OwnedFd,
    size: u64,
    max_size: u64,
    max_file: u32,
    /// Whole records that are not written yet.
    batch: Vec<u8>,
    /// The file ends in the middle of a record.
    torn: bool,
    lost: Option<Loss>,
}

/// Records that could not be written, and why.
#[derive(Debug, Clone, Copy)]
struct Loss {
    records: u64,
    why: Errno,
}

impl LogFile {
    pub(super) fn open(container: &OwnedFd, config: &LogConfig) -> io::Result<LogFile> {
        match rustix::fs::mkdirat(container, DIRECTORY, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(container, DIRECTORY, flags, Mode::empty())?;
        let (file, size, torn) = open_current(&directory)?;
        let (max_size, max_file) = (config.max_size, config.max_file.max(1));
        Ok(LogFile { directory, file, size, max_size, max_file, batch: Vec::new(), torn, lost: None })
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

    /// Writes what was gathered, and before it what was lost.
    pub(super) fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if let Some(words) = self.loss() {
            let mut notice = Vec::new();
            let ending = json::ending("stderr", Moment::now());
            json::record(&mut notice, format!("onggi: {words}\n").as_bytes(), &ending);
            if self.append(&notice).is_ok() {
                self.lost = None;
            }
        }
        // Behind a gap that is not said yet nothing may follow.
        let written = match self.lost {
            None => self.append(&batch),
            Some(loss) => Err((0, loss.why)),
        };
        if let Err((kept, why)) = written {
            // Each record is one line. They are lost, but none is left torn, and the container must not wait.
            let records = memchr::memchr_iter(b'\n', &batch[kept..]).count() as u64;
            self.lost = match self.lost {
                Some(loss) => Some(Loss { records: loss.records + records, ..loss }),
                None => Some(Loss { records, why }),
            };
        }
        self.batch = batch;
        self.batch.clear();
    }

    /// What is lost and could not be said in the log yet.
    pub(super) fn loss(&self) -> Option<String> {
        let Loss { records, why } = self.lost?;
        let why = io::Error::from(why);
        Some(format!("{records} records of the log could not be written and are lost: {why}"))
    }

    /// Writes whole records. If it fails, it takes back what is not whole, and answers how many bytes are left, and why.
    fn append(&mut self, records: &[u8]) -> Result<(), (usize, Errno)> {
        if self.torn && !records.is_empty() {
            self.size += rustix::io::write(&self.file, b"\n").map_err(|errno| (0, errno))? as u64;
            self.torn = false;
        }
        let mut written = 0;
        while written < records.len() {
            match rustix::io::write(&self.file, &records[written..]) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let whole = memchr::memrchr(b'\n', &records[..written]).map_or(0, |at| at + 1);
                    self.size += whole as u64;
                    self.torn = whole < written && rustix::fs::ftruncate(&self.file, self.size).is_err();
                    return Err((whole, errno));
                }
            }
        }
        self.size += records.len() as u64;
        Ok(())
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.flush();
        (self.file, self.size, self.torn) = open_current(&self.directory)?;
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
            (self.file, self.size, self.torn) = opened;
        }
    }
}

/// The file, its size, and whether a monitor was killed in the middle of a write.
fn open_current(directory: &OwnedFd) -> io::Result<(OwnedFd, u64, bool)> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, NAME, flags, Mode::from_raw_mode(0o640))?;
    let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
    let mut last = [b'\n'];
    if size > 0 {
        rustix::io::pread(&file, &mut last, size - 1)?;
    }
    Ok((file, size, last != [b'\n']))
}
