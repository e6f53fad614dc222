//! A file system of one file, which is its root: as much of the FUSE protocol as a loop device over that file needs.
//!
//! The messages are those of Linux' `include/uapi/linux/fuse.h`, version 7.31. The file asks for direct I/O, so that the kernel keeps none
//! of it and everything that the loop device writes comes here at once, in the order in which the device sends it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, mount};

use super::recording::Recording;

const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const FORGET: u32 = 2;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const ENOSYS: i32 = 38;
/// `FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES`
const FLAGS: u32 = 1 | 1 << 5 | 1 << 22;
/// `FOPEN_DIRECT_IO`
const DIRECT: u32 = 1;
const LARGEST_WRITE: usize = 1 << 20;
const REQUEST_HEADER: usize = 40;
const WRITE_HEADER: usize = 40;

/// Mounts the disk over a file and serves it from a thread, which ends when the last user of the mount is gone.
pub(super) fn serve(over: &Path, recording: Arc<Mutex<Recording>>) -> JoinHandle<()> {
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("this kernel has FUSE");
    let options = format!("fd={},rootmode=100600,user_id=0,group_id=0", device.as_raw_fd());
    let options = std::ffi::CString::new(options).expect("no zero byte");
    mount("onggi-disk", over, "fuse", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
        .expect("root may mount FUSE");
    let now = recording.lock().unwrap_or_else(PoisonError::into_inner).first().to_vec();
    std::thread::spawn(move || Server { device, recording, now }.run())
}

struct Server {
    device: File,
    recording: Arc<Mutex<Recording>>,
    /// The disk as whoever reads it sees it.
    now: Vec<u8>,
}

impl Server {
    fn run(mut self) {
        let mut buffer = vec![0; LARGEST_WRITE + 2 * 4096];
        loop {
            match self.device.read(&mut buffer) {
                Ok(length) if length >= REQUEST_HEADER => self.answer(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // ENODEV: unmounted.
                _ => return,
            }
        }
    }

    fn answer(&mut self, request: &[u8]) {
        let (operation, unique) = (number(request, 4), &request[8..16]);
        let body = &request[REQUEST_HEADER..];
        let (error, reply) = match operation {
            // Nobody waits for an answer to these.
            FORGET | BATCH_FORGET | INTERRUPT => return,
            INIT => (0, initial()),
            GETATTR => (0, self.attributes()),
            OPEN => (0, [&[0; 8][..], &DIRECT.to_ne_bytes(), &[0; 4]].concat()),
            STATFS => (0, vec![0; 80]),
            READ => (0, self.read(body)),
            WRITE => (0, self.write(body)),
            FSYNC => {
                self.recording.lock().unwrap_or_else(PoisonError::into_inner).flush();
                (0, Vec::new())
            }
            RELEASE | FLUSH => (0, Vec::new()),
            _ => (-ENOSYS, Vec::new()),
        };
        let length = u32::try_from(16 + reply.len()).expect("a small reply");
        let message = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), unique, &reply].concat();
        // ENOENT: whoever asked has gone.
        let _ = self.device.write(&message);
    }

    fn read(&self, body: &[u8]) -> Vec<u8> {
        let (offset, length) = (position(body), number(body, 16) as usize);
        let end = (offset + length).min(self.now.len());
        self.now.get(offset..end).unwrap_or_default().to_vec()
    }

    fn write(&mut self, body: &[u8]) -> Vec<u8> {
        let offset = position(body);
        let bytes = &body[WRITE_HEADER..];
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).write(offset, bytes.to_vec());
        [&number(body, 16).to_ne_bytes()[..], &[0; 4]].concat()
    }

    /// `struct fuse_attr_out`: a regular file of the disk's size, true for a minute.
    fn attributes(&self) -> Vec<u8> {
        let size = self.now.len() as u64;
        let mut reply = Vec::with_capacity(104);
        for word in [60, 0, 1, size, size / 512, 0, 0, 0] {
            reply.extend(u64::to_ne_bytes(word));
        }
        // Nanoseconds of three times, mode, links, user, group, device, block size, flags.
        for word in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0] {
            reply.extend(u32::to_ne_bytes(word));
        }
        reply
    }
}

/// `struct fuse_init_out`
fn initial() -> Vec<u8> {
    let mut reply = Vec::with_capacity(64);
    for word in [7, 31, 0, FLAGS] {
        reply.extend(u32::to_ne_bytes(word));
    }
    // Requests in the background, and from where on it is congested.
    for word in [64, 48] {
        reply.extend(u16::to_ne_bytes(word));
    }
    for word in [LARGEST_WRITE as u32, 1] {
        reply.extend(u32::to_ne_bytes(word));
    }
    reply.extend(u16::to_ne_bytes((LARGEST_WRITE / 4096) as u16));
    reply.resize(64, 0);
    reply
}

/// The offset of a read or a write.
fn position(body: &[u8]) -> usize {
    let bytes = body[8..16].try_into().expect("eight bytes");
    usize::try_from(u64::from_ne_bytes(bytes)).expect("a disk in memory")
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
