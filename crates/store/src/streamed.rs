//! A file that is written once, from front to back, and goes to the disk while more of it comes.
//!
//! Left to itself the kernel begins to write after seconds, so that all of a layer would be waited for at its end, when nothing else is left to be done.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use onggi_sys::writeback;

use crate::error::Error;
use crate::room;

/// Bytes that the kernel is asked to write at once: few calls, and long extents.
const STRETCH: u64 = 4 << 20;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct StreamedFile {
    file: File,
    path: PathBuf,
    written: u64,
    /// How far the kernel has been asked to write.
    asked: u64,
}

impl StreamedFile {
    /// Makes the file, which must not be there.
    pub(crate) fn create(path: &Path) -> Result<StreamedFile, Error> {
        let file = File::create_new(path).map_err(Error::io("create", path))?;
        Ok(StreamedFile { file, path: path.to_owned(), written: 0, asked: 0 })
    }

    /// A file that has been written otherwise.
    pub(crate) fn of(file: File, path: &Path) -> StreamedFile {
        StreamedFile { file, path: path.to_owned(), written: 0, asked: 0 }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.written += bytes.len() as u64;
        let waiting = self.written - self.asked;
        if waiting >= STRETCH {
            room::check(&self.file, &self.path)?;
            self.ask(waiting);
            self.asked = self.written;
        }
        Ok(())
    }

    /// Asks for the next bytes to be written; for all that are left, with 0.
    fn ask(&self, length: u64) {
        // Where this is not to be had, and when it fails, the fsync at the end does all and tells.
        let _ = writeback::begin(self.file.as_fd(), self.asked, length);
    }

    /// Returns when all of it is on the disk.
    pub(crate) fn sync(self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("fsync", self.path))
    }
}

/// Returns when all of all files is on the disk. All are on their way before the first is waited for, so that a file system writes its journal once.
pub(crate) fn sync_together(files: impl IntoIterator<Item = StreamedFile>) -> Result<(), Error> {
    let files: Vec<_> = files.into_iter().collect();
    files.iter().for_each(|file| file.ask(0));
    files.into_iter().try_for_each(StreamedFile::sync)
}
