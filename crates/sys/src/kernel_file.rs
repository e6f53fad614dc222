//! Files of procfs and sysfs in few calls: they say that they are empty, and what reads them by that begins with 32 bytes.

use std::io;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags};

/// Most of these files fit; the kernel gives a page at a time of the others.
const FIRST: usize = 4096;

/// The whole file.
///
/// # Errors
/// `open(2)`'s and `read(2)`'s.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(FIRST);
    while rustix::io::retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut bytes)))? > 0 {
        // Never a buffer without room, whose read is an end.
        bytes.reserve(FIRST);
    }
    Ok(bytes)
}

/// The same for a file that holds text.
///
/// # Errors
/// As [`read`], and `InvalidData` for what is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_standard_library_reads() {
        for path in ["/proc/self/mountinfo", "/proc/self/uid_map", "/proc/kallsyms", "/dev/null"] {
            assert_eq!(read(path.as_ref()).unwrap(), std::fs::read(path).unwrap(), "{path}");
        }
        assert_eq!(
            read_text("/proc/self/comm".as_ref()).unwrap(),
            std::fs::read_to_string("/proc/self/comm").unwrap()
        );
        assert!(read("/proc/none".as_ref()).is_err());
    }
}
