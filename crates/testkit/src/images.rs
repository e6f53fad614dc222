//! Real root file systems, made by the project's own recipe (make-images beside this crate's manifest) and kept between runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they are kept when `ONGGI_TEST_IMAGES` does not say.
const DIRECTORY: &str = "/var/tmp/onggi-test-images";

/// The tar of the image `name` (busybox, debian, python), made now if this machine does not have it yet.
///
/// # Panics
/// If the recipe fails: it needs root and mmdebstrap, which `./test` installs.
#[must_use]
pub fn image(name: &str) -> PathBuf {
    let directory =
        std::env::var_os("ONGGI_TEST_IMAGES").map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from);
    let tar = directory.join(format!("{name}.tar"));
    if !tar.exists() {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("make-images");
        let status = Command::new(&recipe).arg(&directory).arg(name).status();
        assert!(
            status.as_ref().is_ok_and(std::process::ExitStatus::success),
            "{} {name}: {status:?}",
            recipe.display()
        );
    }
    tar
}
