//! Trees on disk: how large they are, and away with them; and files that are there to be locked.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use onggi_error::{Diagnose, Kind};

use crate::error::Error;

/// Bytes of a tree's files as Docker counts them for `ps -s`: their lengths, none for directories, one of several hard links.
pub(crate) fn content(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(root) = path.symlink_metadata() else { return 0 };
    let (mut bytes, mut linked) = (0, std::collections::BTreeSet::new());
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() && data.dev() == root.dev() {
                directories.push(entry.path());
            } else if !data.is_dir() && (data.nlink() == 1 || linked.insert(data.ino())) {
                bytes += data.len();
            }
        }
    }
    bytes
}

/// Removes a tree; one that is not there is fine. No link is followed and no mount entered, so that neither what a container has put
/// into it nor what somebody has mounted there leads elsewhere (CVE-2022-21658).
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match onggi_sys::tree::remove(path).into_iter().next() {
        Some(left) => Err(Error::io("remove", left.path)(left.source)),
        None => Ok(()),
    }
}

/// Waits for the lock on a file, which is made if it is not there. Ends with the value.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let file = onggi_sys::ofd::open(path).map_err(Error::io("open", path))?;
    onggi_sys::ofd::lock(file.as_fd()).map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Whether a record is simply not there.
pub(crate) fn is_missing(error: &impl Diagnose) -> bool {
    error.kind() == Kind::NotFound
}
