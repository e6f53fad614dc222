//! Which run root the containers of a data root live in.
//!
//! Only there can be seen that they live: another run root would take each for dead, and end it. So a data root has a link to its run root,
//! `run-root`, and while anything lives there no other is taken. A run root on a tmpfs is empty after a boot, and holds nobody.

use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "run-root";

/// The run root that `data` has been used with last.
#[must_use]
pub fn known(data: &Path) -> Option<PathBuf> {
    std::fs::read_link(data.join(NAME)).ok()
}

/// Whether something lives in a run root, or has been left by what died.
#[must_use]
pub fn is_inhabited(run: &Path) -> bool {
    std::fs::read_dir(run.join("sandboxes")).is_ok_and(|mut sandboxes| sandboxes.next().is_some())
}

/// Has `data` remember `run`. A system call where it does already.
///
/// # Errors
/// The link cannot be made.
pub fn remember(data: &Path, run: &Path) -> io::Result<()> {
    if known(data).is_some_and(|known| known == run) {
        return Ok(());
    }
    let new = data.join(format!("tmp/{NAME}.{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(run, &new)?;
    std::fs::rename(&new, data.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_root_is_known_and_has_somebody_or_not() {
        let roots = tempfile::tempdir().expect("a directory");
        let (data, run) = (roots.path().join("data"), roots.path().join("run"));
        std::fs::create_dir_all(data.join("tmp")).expect("a data root");
        assert_eq!(known(&data), None);
        for other in [&roots.path().join("before"), &run, &run] {
            remember(&data, other).expect("a link");
            assert_eq!(known(&data).as_ref(), Some(other));
        }
        assert!(!is_inhabited(&run));
        std::fs::create_dir_all(run.join("sandboxes")).expect("a run root");
        assert!(!is_inhabited(&run));
        std::fs::create_dir(run.join("sandboxes/one")).expect("a sandbox");
        assert!(is_inhabited(&run));
        assert_eq!(std::fs::read_dir(data.join("tmp")).expect("a list").count(), 0);
    }
}
