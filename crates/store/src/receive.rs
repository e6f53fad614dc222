//! Bringing an image in piece by piece, for a caller that fetches its layers itself and several at once: a pull.
//!
//! Everything is verified as a load verifies it, and nothing of the image exists before [`Receiving::commit`]. Two who want one layer at the same
//! time, in one process or in two, share one download: whoever holds the layer's lock fetches it, the other finds it there.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use onggi_image::{Config, Digest, Manifest, Reference};

use crate::act::{Act, Kept};
use crate::error::Error;
use crate::layers::{self, Expected, Ingested};
use crate::load::{self, Brought};
use crate::remove;
use crate::types::Progress;
use crate::{Store, blobs};

/// An image on its way in. What it has brought is kept while it lives; dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct Receiving<'s> {
    store: &'s Store,
    act: Option<Act>,
}

/// A layer that nobody else fetches while this lives.
#[derive(Debug)]
pub struct LayerLock {
    _file: File,
}

/// The documents of an image, all of whose layers have been brought.
#[derive(Debug)]
pub struct Received<'a> {
    pub raw_config: &'a [u8],
    pub raw_manifest: &'a [u8],
    /// The index that the manifest was chosen from.
    pub raw_index: Option<&'a [u8]>,
    pub name: &'a Reference,
    /// The name by which a registry has the manifest and its blobs, as they are.
    pub origin: &'a Reference,
}

impl Store {
    /// Begins to bring an image in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn receive(&self) -> Result<Receiving<'_>, Error> {
        Ok(Receiving { store: self, act: Some(Act::begin(&self.layout, "pull")?) })
    }
}

impl Receiving<'_> {
    /// Whether the layer is here, and the blob of this digest and size was found to hold it; then it stays. A blob that nobody has looked into has to be brought by
    /// [`Receiving::layer`], also where the layer is here: a manifest that names another layer's blob would otherwise be believed, and passed on.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Record`].
    pub fn has_layer(&self, diff_id: &Digest, blob: (&Digest, u64)) -> Result<bool, Error> {
        let layout = &self.store.layout;
        Ok(self.act()?.keep(layout, Kept::Layer, diff_id)? && layers::is_held_by(layout, diff_id, blob)?)
    }

    /// Takes the layer's lock; `None` while another has it. It ends with its holder, however that ends.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn try_lock_layer(&self, diff_id: &Digest) -> Result<Option<LayerLock>, Error> {
        // One byte of one file for each layer: nothing to clean up. Two layers that share a byte only wait for each other.
        let place = u64::from_str_radix(&diff_id.hex()[..15], 16).unwrap_or_default();
        let path = self.store.layout.data.join("layers.lock");
        let file = onggi_sys::ofd::open(&path).map_err(Error::io("open", &path))?;
        let taken = onggi_sys::ofd::try_lock_byte(file.as_fd(), place).map_err(Error::io("lock", path))?;
        Ok(taken.then_some(LayerLock { _file: file }))
    }

    /// Brings a layer in one pass: both digests and the size are verified before it is here. `blob` is what the manifest says of the stream.
    ///
    /// # Errors
    /// [`Error::WrongDigest`], [`Error::WrongSize`], [`Error::Archive`] for what is no layer; [`Error::Input`] when the stream fails.
    pub fn layer(
        &self,
        stream: &mut dyn Read,
        blob: (&Digest, u64),
        diff_id: &Digest,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let what = format!("the layer {}", blob.0);
        let expected = Expected {
            what: &what,
            blob: Some(blob),
            diff_id: Some(diff_id),
            total: Some(blob.1),
            keep: self.store.keeps_blobs,
            ceiling: self.store.ceiling,
        };
        layers::ingest(self.store, self.act()?, stream, &expected, progress).map(|_| ())
    }

    /// Puts the image's documents in the store, where they wait for its commit: while its layers are on their way nobody waits for the disk.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Io`].
    pub fn documents(&self, received: &Received<'_>) -> Result<(), Error> {
        let put = |digest: &Digest, bytes: &[u8]| blobs::put(&self.store.layout, self.act()?, digest, bytes);
        let manifest = Manifest::parse(received.raw_manifest).map_err(Error::image("the manifest"))?;
        put(&manifest.config.digest, received.raw_config)?;
        for bytes in received.raw_index.into_iter().chain([received.raw_manifest]) {
            put(&Digest::of(bytes), bytes)?;
        }
        Ok(())
    }

    /// Makes the image exist and gives it its name. Returns its id.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Image`], [`Error::BadArchive`] for documents that do not fit each other.
    pub fn commit(mut self, received: &Received<'_>) -> Result<Digest, Error> {
        let act = self.act()?;
        let config = Config::parse(received.raw_config).map_err(Error::image("the config"))?;
        let manifest = Manifest::parse(received.raw_manifest).map_err(Error::image("the manifest"))?;
        if !manifest.config.digest.matches(received.raw_config) {
            let found = Digest::of(received.raw_config);
            let what = "the config".to_owned();
            return Err(Error::WrongDigest { what, wanted: manifest.config.digest, found });
        }
        let mut brought = Vec::new();
        let diff_ids = load::diff_ids(&config, manifest.layers.len())?;
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            if !act.keep(&self.store.layout, Kept::Layer, diff_id)? {
                return Err(Error::MissingLayer { diff_id: diff_id.clone() });
            }
            let record = layers::read_record(&self.store.layout, diff_id)?;
            if !record.is_held_by((&layer.digest, layer.size)) {
                let reason = format!("nobody has found the layer {diff_id} in the blob {}", layer.digest);
                return Err(Error::BadArchive { reason });
            }
            brought.push(Ingested { diff_id: diff_id.clone(), size: record.size });
        }
        let image = Brought {
            id: manifest.config.digest,
            raw_config: received.raw_config.to_vec(),
            config,
            raw_manifest: received.raw_manifest.to_vec(),
            raw_index: received.raw_index.map(<[u8]>::to_vec),
            layers: brought,
            names: vec![received.name.clone()],
            bare_tags: Vec::new(),
        };
        let id = load::commit_from(self.store, act, &image, Some(received.origin))?;
        self.act = None;
        // The name may have moved from an image that nobody else names.
        remove::tidy(self.store);
        Ok(id)
    }

    fn act(&self) -> Result<&Act, Error> {
        // There is one from the beginning to the end of a commit, which takes `self`.
        self.act.as_ref().ok_or_else(|| Error::LostRace { what: "an image on its way in".to_owned() })
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        // A pull that was cut short has kept layers that no image names.
        if self.act.take().is_some() {
            remove::tidy(self.store);
        }
    }
}
