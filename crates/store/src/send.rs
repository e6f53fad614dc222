//! Giving an image's layers and documents away, and remembering by which name a registry has it since: a push.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use onggi_image::{Descriptor, Digest, Hasher, Manifest, Reference};
use onggi_record::{Durability, Prepared, sync_directory};
use onggi_sys::fault;

use crate::Store;
use crate::act::{Act, Kept, StoreLock};
use crate::error::Error;
use crate::layers::{self, KnownBlob, TAR};
use crate::layout::{open_directory, open_file};
use crate::records::{self, NameRecord, Record};
use crate::types::Image;
use crate::{blobs, remove};

/// An image that is being given away: its layers stay meanwhile, even if it is removed.
#[derive(Debug)]
pub struct Sending<'s> {
    store: &'s Store,
    act: Act,
}

impl Store {
    /// Begins to give an image away.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Io`].
    pub fn send(&self, image: &Image) -> Result<Sending<'_>, Error> {
        let act = Act::begin(&self.layout, "push")?;
        for diff_id in &image.layers {
            if !act.keep(&self.layout, Kept::Layer, diff_id)? {
                return Err(Error::MissingLayer { diff_id: diff_id.clone() });
            }
        }
        for index in image.index_digest.iter() {
            act.keep(&self.layout, Kept::Blob, index)?;
        }
        Ok(Sending { store: self, act })
    }
}

impl Sending<'_> {
    /// Bytes of a layer's tar.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Record`].
    pub fn layer_size(&self, diff_id: &Digest) -> Result<u64, Error> {
        Ok(layers::read_record(&self.store.layout, diff_id)?.size)
    }

    /// A layer's tar. Reading fails at the end if it is not what its diff id says any more.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn layer(&self, diff_id: &Digest) -> Result<impl Read + use<>, Error> {
        let path = self.store.layout.layer(diff_id).join(TAR);
        let file = open_file(&path)?;
        let hasher = Some(Hasher::new(diff_id.algorithm()));
        Ok(Verified { file, hasher, diff_id: diff_id.clone() })
    }

    /// A layer's blob as it came, if it was kept.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn blob(&self, diff_id: &Digest, layer: &Descriptor) -> Result<Option<File>, Error> {
        let path = layers::kept_blob(&self.store.layout, diff_id, layer);
        path.map(|path| open_file(&path)).transpose()
    }

    /// The bytes of a document of the image: its index.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WrongDigest`].
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        blobs::get(&self.store.layout, digest)
    }

    /// Remembers that a registry has the image by this name, and with which manifest: the one that `inspect` shows from now on. A name that has
    /// come to mean another image meanwhile stays as it is.
    ///
    /// # Errors
    /// [`Error::Image`] for bytes that are no manifest of the image, [`Error::Io`].
    pub fn sent(
        self,
        image: &Image,
        name: &Reference,
        raw_manifest: &[u8],
        index: Option<&Digest>,
    ) -> Result<(), Error> {
        let layout = &self.store.layout;
        let parsed = Manifest::parse(raw_manifest).map_err(Error::image("the manifest"))?;
        if parsed.config.digest != image.id {
            let (what, wanted) = ("the manifest's config".to_owned(), image.id.clone());
            return Err(Error::WrongDigest { what, wanted, found: parsed.config.digest });
        }
        let manifest = Digest::of(raw_manifest);
        let known = records::read_name(layout, name).ok().flatten();
        let owner = known.map_or_else(|| self.store.owner.clone(), |known| known.owner);
        if manifest != image.manifest_digest {
            // Blobs that were made here for it, of the layers themselves.
            for (layer, diff_id) in parsed.layers.iter().zip(&image.layers) {
                let (digest, size) = (layer.digest.clone(), layer.size);
                layers::remember_blob(layout, diff_id, KnownBlob { digest, size })?;
            }
        }
        blobs::put(layout, &self.act, &manifest, raw_manifest)?;
        let record = NameRecord {
            version: records::VERSION,
            name: name.clone(),
            id: image.id.clone(),
            manifest,
            index: index.cloned(),
            origin: Some(name.clone()),
            owner,
            undigested: false,
        };
        let directory = open_directory(&layout.images())?;
        let prepare = |record: &NameRecord| {
            let record = Record::Name(record.clone());
            Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)
        };
        let prepared = prepare(&record)?;
        fault::point("store.sent.prepared");
        let guard = StoreLock::take(layout)?;
        match records::read_name(layout, name)? {
            Some(known) if known.id == image.id && known.owner == record.owner => prepared.publish()?,
            // A person has asked for it meanwhile.
            Some(known) if known.id == image.id => {
                drop(prepared);
                prepare(&NameRecord { owner: known.owner, ..record })?.publish()?;
            }
            _ => drop(prepared),
        }
        fault::point("store.sent.renamed");
        drop(guard);
        sync_directory(directory.as_fd(), "images")?;
        let store = self.store;
        drop(self.act);
        remove::tidy(store);
        Ok(())
    }
}

struct Verified {
    file: File,
    hasher: Option<Hasher>,
    diff_id: Digest,
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        match &mut self.hasher {
            Some(hasher) if count > 0 => hasher.update(&buffer[..count]),
            // Readers ask again after the end.
            hasher if !buffer.is_empty() => {
                if let Some(found) = hasher.take().map(Hasher::finish)
                    && found != self.diff_id
                {
                    let reason = format!("the layer {} is damaged: its digest is {found}", self.diff_id);
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
            }
            _ => {}
        }
        Ok(count)
    }
}
