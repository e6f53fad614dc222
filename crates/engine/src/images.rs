//! What is done to images, told in the event log with Docker's names. The acts themselves are the store's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use onggi_image::{Digest, Reference};
use onggi_store::{ImportOptions, LoadOptions, Loaded, Progress, Removed};

use crate::Engine;
use crate::error::Error;

/// Where images are loaded from.
#[allow(missing_debug_implementations, reason = "a stream has nothing to show")]
pub enum Archive<'a> {
    Stream(&'a mut dyn Read),
    /// A regular file; read in place if it is not compressed.
    File(File),
    /// An OCI layout.
    Directory(&'a Path),
}

impl Engine {
    /// Loads all images of an archive that run on this host. Event: `load`.
    ///
    /// # Errors
    /// As [`onggi_store::Store::load`].
    pub fn load(
        &self,
        archive: Archive<'_>,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        let loaded = match archive {
            Archive::Stream(stream) => self.store.load(stream, options, progress),
            Archive::File(file) => self.store.load_file(file, options, progress),
            Archive::Directory(path) => self.store.load_directory(path, options, progress),
        }?;
        for image in &loaded {
            self.tell_image("load", &image.id, &image.id.to_string());
        }
        Ok(loaded)
    }

    /// Makes an image of a root file system's tar. Event: `import`.
    ///
    /// # Errors
    /// As [`onggi_store::Store::import`].
    pub fn import(
        &self,
        reader: &mut dyn Read,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Digest, Error> {
        let id = self.store.import(reader, options, progress)?;
        let name = options.name.as_ref().map_or_else(|| id.to_string(), Reference::familiar);
        self.tell_image("import", &id, &name);
        Ok(id)
    }

    /// Gives an image one more name. Event: `tag`.
    ///
    /// # Errors
    /// As [`onggi_store::Store::tag`].
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), Error> {
        let id = self.store.tag(source, target)?;
        self.tell_image("tag", &id, &target.familiar());
        Ok(())
    }

    /// Takes a name away from an image, and with the last one the image. Events: `untag`, `delete`.
    ///
    /// # Errors
    /// As [`onggi_store::Store::remove`].
    pub fn image_remove(&self, name: &str, force: bool) -> Result<Vec<Removed>, Error> {
        // What runs keeps its image even by force.
        let is_running = |id: &str| {
            let state = id.parse().ok().and_then(|id| self.state(&id).ok());
            state.is_some_and(|state| crate::container::status(&state).is_live())
        };
        self.image_remove_unless(name, force, &is_running)
    }

    /// As [`Engine::image_remove`], with another's word for which containers run.
    pub(crate) fn image_remove_unless(
        &self,
        name: &str,
        force: bool,
        is_running: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Removed>, Error> {
        let id = self.store.resolve(name).map(|image| image.id);
        let removed = self.store.remove(name, force, is_running)?;
        if let Ok(id) = id {
            for effect in &removed {
                match effect {
                    Removed::Untagged(name) => self.tell_image("untag", &id, &name.familiar()),
                    Removed::Deleted(digest) if *digest == id => {
                        self.tell_image("delete", &id, &id.to_string());
                    }
                    Removed::Deleted(_) | Removed::Kept { .. } => {}
                }
            }
        }
        Ok(removed)
    }

    pub(crate) fn tell_image(&self, action: &str, id: &Digest, name: &str) {
        self.tell("image", action, &id.to_string(), BTreeMap::from([("name".to_owned(), name.to_owned())]));
    }
}
