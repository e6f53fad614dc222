//! `cpuset`: on v1 a new group has no processors and no memory nodes, and nothing can join it before it has both.

use std::io;
use std::os::fd::OwnedFd;

use crate::directory;

/// The files have the same names on both versions.
pub(super) use crate::v2::cpuset::limits;

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Fills what is empty from the parent, the parents first. What somebody has set is left alone.
pub(crate) fn inherit(root: &OwnedFd, path: &str) -> io::Result<()> {
    fill(root, path).map(drop)
}

/// The values of this group's files, filled if they were empty.
fn fill(root: &OwnedFd, path: &str) -> io::Result<[String; 2]> {
    let group = directory::open_beneath(root, path)?;
    let mut values = read(&group)?;
    if values.iter().any(String::is_empty) {
        let above = match path.rsplit_once('/') {
            Some((above, _)) => fill(root, above)?,
            None => read(root)?,
        };
        for ((file, value), above) in FILES.into_iter().zip(&mut values).zip(above) {
            if value.is_empty() {
                directory::write(&group, file, &above)?;
                *value = above;
            }
        }
    }
    Ok(values)
}

fn read(group: &OwnedFd) -> io::Result<[String; 2]> {
    let [processors, nodes] = FILES.map(|file| directory::read(group, file));
    Ok([processors?.trim().to_owned(), nodes?.trim().to_owned()])
}
