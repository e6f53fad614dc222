//! Disks whose power can be cut: a disk in memory that notes every write and flush that the kernel sends it, and the states in which such a
//! disk may be found when the power fails somewhere in between.
//!
//! The disk is one file, served over FUSE by a thread of the test's; a loop device on it carries a file system. The kernel passes the file
//! system's writes to the loop device, the device to the file, and its flushes as `fsync`: so the record is that of a disk with a volatile
//! write cache, and needs no module that a kernel may lack (dm-log-writes, ublk, nbd).

mod fuse;
mod recording;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::mount::{UnmountFlags, unmount};

pub use recording::{Recording, Survival, write_image};

/// A disk with a fresh ext4 on it, which records what is written from now on.
#[derive(Debug)]
pub struct RecordedDisk {
    directory: tempfile::TempDir,
    recording: Arc<Mutex<Recording>>,
    server: Option<JoinHandle<()>>,
}

impl RecordedDisk {
    /// A disk of so many MiB.
    ///
    /// # Panics
    /// If there is no FUSE, or `mkfs.ext4` fails.
    #[must_use]
    pub fn new(mebibytes: u64) -> RecordedDisk {
        let directory = tempfile::Builder::new().prefix("onggi-disk-").tempdir().expect("a directory");
        let image = formatted(&directory.path().join("image"), mebibytes);
        let recording = Arc::new(Mutex::new(Recording::new(image)));
        let disk = directory.path().join("disk");
        File::create(&disk).expect("a file to mount on");
        let server = fuse::serve(&disk, Arc::clone(&recording));
        RecordedDisk { directory, recording, server: Some(server) }
    }

    /// The file that is the disk, for a loop device.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// How many writes and flushes there have been: a moment at which the power may fail.
    #[must_use]
    pub fn now(&self) -> usize {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was written until now.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RecordedDisk {
    fn drop(&mut self) {
        let gone = unmount(self.path(), UnmountFlags::DETACH);
        // The last reference is a loop device's, if the file system was not unmounted; then the thread ends with the process.
        if let (Ok(()), Some(server), false) = (gone, self.server.take(), std::thread::panicking()) {
            let _ = server.join();
        }
    }
}

/// The bytes of an empty ext4, with nothing left for the kernel to initialise later.
fn formatted(path: &Path, mebibytes: u64) -> Vec<u8> {
    File::create(path).and_then(|file| file.set_len(mebibytes << 20)).expect("room for a disk");
    let status = Command::new("mkfs.ext4")
        .args(["-q", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
        .arg(path)
        .status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "mkfs.ext4: {status:?}");
    let image = fs::read(path).expect("the image");
    fs::remove_file(path).expect("the image can go");
    image
}
