//! `cpuset`: on v1 a new group has no processors and no memory nodes, and nothing can join it before it has both.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::directory;

/// The files have the same names on both versions.
pub(super) use crate::v2::cpuset::limits;

/// Fills what is empty from the parent, the parents first. What somebody has set is left alone.
pub(crate) fn inherit(root: &OwnedFd, path: &str) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fill(root, path, file)?;
    }
    Ok(())
}

/// The value of the file in this group, filled if it was empty.
fn fill(root: &OwnedFd, path: &str, file: &str) -> io::Result<String> {
    let group = if path.is_empty() {
        root.as_fd().try_clone_to_owned()?
    } else {
        directory::open_beneath(root, path)?
    };
    let value = directory::read(&group, file)?;
    let value = value.trim();
    if !value.is_empty() || path.is_empty() {
        return Ok(value.to_owned());
    }
    let value = fill(root, path.rsplit_once('/').map_or("", |(parent, _)| parent), file)?;
    directory::write(&group, file, &value)?;
    Ok(value)
}
