//! Having the kernel write a file to its disk while more of it comes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write `length` bytes from `offset` on (0: all that follow), as far as they are in memory only, and does not wait for the disk (`sync_file_range(2)`,
/// `SYNC_FILE_RANGE_WRITE`). This makes nothing durable: an `fsync` must follow, which then has less to wait for.
///
/// # Errors
/// `sync_file_range(2)`'s; file systems that keep nothing to be written say `EINVAL` or nothing.
pub fn begin(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let number =
        |value: u64| libc::off64_t::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
    let (offset, length) = (number(offset)?, number(length)?);
    // SAFETY: the call takes numbers alone, and the descriptor is open as long as it is borrowed.
    let answer =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_written_on_the_way_can_be_synced_as_before() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 64 << 10]).unwrap();
        begin(file.as_fd(), 0, 64 << 10).unwrap();
        file.sync_all().unwrap();
        let pipe = std::io::pipe().unwrap().1;
        assert_eq!(begin(pipe.as_fd(), 0, 1).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
    }
}
