//! Room on the disk that what comes from outside may not take: a layer says its size only once it has come, and may be a thousand times what was
//! downloaded. Whoever else writes there, the store's own records first, finds some left.

use std::os::fd::AsFd;
use std::path::Path;

use crate::error::Error;

/// The part of a file system that stays free, in hundredths, and the most of it in bytes: 5 % up to 512 MiB, as ext4 keeps 5 % for root.
const HUNDREDTHS: u64 = 5;
const MOST: u64 = 512 << 20;

/// Refuses to go on with a file once little is left where it lies. Asked every few megabytes: it is one system call.
pub(crate) fn check(file: impl AsFd, path: &Path) -> Result<(), Error> {
    let room = rustix::fs::fstatvfs(file).map_err(Error::io("look at the room for", path))?;
    // What is kept for root alone (ext4) is not for images either. Some file systems do not know their size.
    let (left, size) = (room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize);
    let kept = kept(size);
    if size > 0 && left < kept {
        return Err(Error::NoRoom { path: path.to_owned(), left, kept });
    }
    Ok(())
}

fn kept(size: u64) -> u64 {
    (size / 100 * HUNDREDTHS).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_kept_of_a_small_disk_and_not_much_of_a_large_one() {
        for (size, kept_of_it) in [(0, 0), (64 << 20, 3_355_440), (8 << 30, 429_496_725), (1 << 40, MOST)] {
            assert_eq!(kept(size), kept_of_it, "{size}");
        }
    }
}
