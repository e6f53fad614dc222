//! What trees of files take on disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that a file or a tree takes, counted as `du -x` does: a file of several names once, no link followed, no other file system entered. What cannot be
/// read counts nothing, since a tree may change while it is looked at.
#[must_use]
pub fn disk_bytes(path: &Path) -> u64 {
    let Ok(root) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = root.blocks() * 512;
    let mut linked = HashSet::new();
    let mut directories = Vec::new();
    if root.is_dir() {
        directories.push(path.to_owned());
    }
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.dev() != root.dev() || !data.is_dir() && data.nlink() > 1 && !linked.insert(data.ino()) {
                continue;
            }
            bytes += data.blocks() * 512;
            if data.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_two_names_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let (first, below) = (directory.path().join("first"), directory.path().join("below"));
        fs::create_dir(&below).unwrap();
        fs::write(&first, vec![1; 1 << 20]).unwrap();
        let before = disk_bytes(directory.path());
        assert!((1 << 20..2 << 20).contains(&before), "{before}");
        fs::hard_link(&first, below.join("second")).unwrap();
        std::os::unix::fs::symlink(&first, below.join("link")).unwrap();
        // On some file systems a link's target lies in a block of its own.
        assert!(disk_bytes(directory.path()) - before <= 64 << 10);
        fs::write(below.join("third"), vec![2; 1 << 20]).unwrap();
        assert!(disk_bytes(directory.path()) >= before + (1 << 20));
        assert_eq!(
            (disk_bytes(&first), disk_bytes(&below.join("none"))),
            (disk_bytes(&below.join("second")), 0)
        );
    }
}
