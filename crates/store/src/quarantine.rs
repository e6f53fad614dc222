//! Setting things aside: `lost/N/` under the data root, one for each check that needs it, with the places that the things had in the store below it.
//!
//! Nothing of Onggi's ever looks into it or removes it but `system reset`. Whoever wants something back moves it to where it was.

use std::fs;
use std::path::{Path, PathBuf};

use onggi_sys::fault;

use crate::error::Error;
use crate::layout::{Layout, make_directory, sync_directory};

/// The quarantine of one check; its directory is made when it is first needed.
pub(crate) struct Quarantine<'a> {
    layout: &'a Layout,
    directory: Option<PathBuf>,
}

impl<'a> Quarantine<'a> {
    pub(crate) fn new(layout: &'a Layout) -> Quarantine<'a> {
        Quarantine { layout, directory: None }
    }

    /// Moves something of the store out of the way, durably. Returns where it is now.
    pub(crate) fn set_aside(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let below = path.strip_prefix(&self.layout.data).unwrap_or_else(|_| Path::new("strangers"));
        let aside = self.directory()?.join(below);
        let (from, to) = (path.parent().unwrap_or(path), aside.parent().unwrap_or(&aside));
        make_directory(to)?;
        fs::rename(path, &aside).map_err(Error::io("set aside", path))?;
        fault::point("store.check.set-aside");
        // First where it is, then where it no longer is: a power cut must not leave it nowhere.
        sync_directory(to)?;
        sync_directory(from)?;
        Ok(aside)
    }

    fn directory(&mut self) -> Result<&Path, Error> {
        if self.directory.is_none() {
            let lost = self.layout.lost();
            make_directory(&lost)?;
            let mut number = 1_u32;
            // Two checks at once must not take the same one.
            let directory = loop {
                let directory = lost.join(number.to_string());
                match fs::create_dir(&directory) {
                    Ok(()) => break directory,
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                    Err(error) => return Err(Error::io("make the directory", directory)(error)),
                }
            };
            sync_directory(&lost)?;
            self.directory = Some(directory);
        }
        Ok(self.directory.as_deref().unwrap_or(&self.layout.data))
    }
}
