//! A bundle: a directory with `config.json` and, usually, the root file system.

use std::path::{Path, PathBuf};

use onggi_oci as oci;
pub(crate) use onggi_oci::parse;
use onggi_runtime::plan::clean;

use super::error::Error;

#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) spec: oci::Spec,
}

impl Bundle {
    /// Reads the configuration and goes to the bundle, as hooks expect it.
    pub(crate) fn enter(path: Option<&str>) -> Result<Bundle, Error> {
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            std::env::set_current_dir(path).map_err(|error| Error::io(format!("chdir {path}"), error))?;
        }
        let path = std::env::current_dir().map_err(|error| Error::io("getcwd", error))?;
        let spec = read(&path)?;
        Ok(Bundle { path, spec })
    }

    /// The directory of the root file system, which must be there.
    pub(crate) fn rootfs(&self) -> Result<PathBuf, Error> {
        let root = self.spec.root.as_ref().ok_or_else(|| Error::usage("root: it is missing"))?;
        let path = self.path.join(&root.path);
        let fail = |error| Error::io(format!("invalid rootfs: {}", path.display()), error);
        let canonical = path.canonicalize().map_err(fail)?;
        // As runc: what a link leads to may be another directory at the next look.
        if path.to_str().map(clean).as_deref() != canonical.to_str() {
            return Err(Error::usage("invalid rootfs: not an absolute path, or a symlink"));
        }
        Ok(canonical)
    }
}

/// The configuration in a bundle's directory.
pub(crate) fn read(bundle: &Path) -> Result<oci::Spec, Error> {
    let path = bundle.join("config.json");
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoConfiguration),
        other => other.map_err(|error| Error::io(format!("read {}", path.display()), error))?,
    };
    parse(&bytes).map_err(|source| Error::Json { path: path.display().to_string(), source })
}
