//! Images into archives as they came: a layer that is not kept compressed is taken from where the image came from, so that the digest which was pulled
//! is the one that comes back. What is nowhere to be had any more is said, and the image goes with plain layers.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use onggi_image::{Descriptor, Digest, Reference};
use onggi_registry::{Access, Client, Repository, Watch};
use onggi_store::{BlobSource, Consume, Format, Image, Progress};

use crate::Engine;
use crate::error::Error;
use crate::pull::{LayerStep, TransferWatch, client};

impl Engine {
    /// Writes images as an archive; `uncompressed`: with plain layers, and without asking any registry. Event: `save`.
    ///
    /// # Errors
    /// As [`onggi_store::Store::save`].
    pub fn save(
        &self,
        names: &[String],
        format: Format,
        uncompressed: bool,
        watch: Arc<dyn TransferWatch>,
        writer: &mut dyn Write,
    ) -> Result<(), Error> {
        let client = client(&self.settings, Arc::clone(&watch) as Arc<dyn Watch>);
        let origins = Origins { client: &client, watch: &*watch, lost: RefCell::default() };
        let blobs = (!uncompressed).then_some(&origins as &dyn BlobSource);
        for id in self.store.save(names, format, blobs, &Written(&*watch), writer)? {
            self.tell_image("save", &id, &id.to_string());
        }
        Ok(())
    }
}

/// How far the archive is, as the store tells it.
struct Written<'w>(&'w dyn TransferWatch);

impl Progress for Written<'_> {
    fn layer(&self, layer: &str, done: u64, total: Option<u64>) {
        let (Ok(layer), Some(total)) = (Digest::parse(layer), total) else { return };
        self.0.layer(&layer, LayerStep::Moving { done, total });
        if done == total {
            self.0.layer(&layer, LayerStep::Done);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_interrupted()
    }
}

/// The registries that images came from.
struct Origins<'o> {
    client: &'o Client,
    watch: &'o dyn TransferWatch,
    /// Those that have failed to answer once; nobody wants to wait for the same for each layer.
    lost: RefCell<HashSet<Reference>>,
}

impl<'o> Origins<'o> {
    fn repository(&self, origin: &Reference) -> Result<Repository<'o>, onggi_registry::Error> {
        self.client.repository(origin, Access::Pull)
    }
}

impl BlobSource for Origins<'_> {
    fn has(&self, image: &Image, layer: &Descriptor) -> bool {
        let Some(origin) = image.origin.as_ref().filter(|origin| !self.lost.borrow().contains(origin)) else {
            return false;
        };
        let problem =
            match self.repository(origin).and_then(|there| there.impatient().has_blob(&layer.digest)) {
                Ok(true) => return true,
                Ok(false) => format!("no longer has the layer {}", layer.digest),
                Err(error) => format!("cannot be asked for its layers: {error}"),
            };
        self.watch.note(&format!("{}, from where the image came, {problem}", origin.familiar()));
        self.lost.borrow_mut().insert(origin.clone());
        false
    }

    fn read(
        &self,
        image: &Image,
        layer: &Descriptor,
        consume: Consume<'_>,
    ) -> Result<(), onggi_store::Error> {
        let gone = |reason: String| onggi_store::Error::Input {
            what: format!("the layer {}", layer.digest),
            source: io::Error::other(reason),
        };
        let origin = image.origin.as_ref().ok_or_else(|| gone("it is nowhere".to_owned()))?;
        let fetched = self.repository(origin).map_err(Failed::from).and_then(|there| {
            there.fetch_blob(&layer.digest, layer.size, |stream| consume(stream).map_err(Failed::Store))
        });
        fetched.map_err(|failed| match failed {
            Failed::Store(error) => error,
            Failed::Registry(error) => gone(error.to_string()),
        })
    }

    fn changes(&self, image: &Image) {
        let name = image.name.as_ref().map_or_else(|| image.id.short().to_owned(), Reference::familiar);
        let why = match &image.origin {
            Some(_) => "and are not to be had",
            None => "and no name of it says from which registry it came",
        };
        self.watch.note(&format!(
            "{name} is saved with plain layers and so by another digest than {}: its compressed layers were not kept (store.keep_blobs), {why}",
            image.manifest_digest
        ));
    }
}

/// Which side has failed.
enum Failed {
    Store(onggi_store::Error),
    Registry(onggi_registry::Error),
}

impl From<onggi_registry::Error> for Failed {
    fn from(error: onggi_registry::Error) -> Failed {
        Failed::Registry(error)
    }
}
