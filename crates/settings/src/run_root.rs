//! Which run root the containers of a data root live in.
//!
//! Only there can be seen that they live: another run root would take each for dead, and end it. So a data root has a link to its run root,
//! `run-root`, and while anything lives there no other is taken. A run root on a tmpfs is empty after a boot, and holds nobody.

use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "run-root";

/// The run root in which something of `data` lives, or has been left by what died.
#[must_use]
pub fn in_use(data: &Path) -> Option<PathBuf> {
    let run = std::fs::read_link(data.join(NAME)).ok()?;
    let mut sandboxes = std::fs::read_dir(run.join("sandboxes")).ok()?;
    sandboxes.next().is_some().then_some(run)
}

/// Has `data` remember `run`. A system call where it does already.
///
/// # Errors
/// The link cannot be made.
pub fn remember(data: &Path, run: &Path) -> io::Result<()> {
    let link = data.join(NAME);
    if std::fs::read_link(&link).is_ok_and(|known| known == run) {
        return Ok(());
    }
    let new = data.join(format!("tmp/{NAME}.{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(run, &new)?;
    std::fs::rename(&new, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_something_lives_is_in_use() {
        let roots = tempfile::tempdir().expect("a directory");
        let (data, run) = (roots.path().join("data"), roots.path().join("run"));
        std::fs::create_dir_all(data.join("tmp")).expect("a data root");
        assert_eq!(in_use(&data), None);
        for known in [&roots.path().join("before"), &run, &run] {
            remember(&data, known).expect("a link");
            assert_eq!(in_use(&data), None);
        }
        std::fs::create_dir_all(run.join("sandboxes")).expect("a run root");
        assert_eq!(in_use(&data), None);
        std::fs::create_dir(run.join("sandboxes/one")).expect("a sandbox");
        assert_eq!(in_use(&data), Some(run));
        assert_eq!(std::fs::read_dir(data.join("tmp")).expect("a list").count(), 0);
    }
}
