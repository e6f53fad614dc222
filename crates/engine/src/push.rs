//! Images to registries. The manifest goes as it came, byte for byte, if every blob that it names can be had: there already, from another
//! repository of the same registry, as the tar that is kept here, or from where the image was pulled. Only a layer that none of these
//! has is compressed anew; its digest is then another one, and so the manifest's, and the push says so (docs/decisions/0009-registry.md).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use onggi_image::{Descriptor, Digest, Platform, Reference, media_type};
use onggi_registry::{Access, Client, Repository, Watch};
use onggi_store::{Image, Sending};
use serde_json::{Value, json};

use crate::Engine;
use crate::error::Error;
use crate::pull::{Ended, LayerStep, TransferWatch, client};

/// Layers that are sent at once.
const AT_ONCE: usize = 3;
/// Repositories that are tried as the source of a mount: each costs a request.
const MOST_MOUNTS: usize = 3;

/// What a push has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the tag stands for at the registry now.
    pub digest: Digest,
    /// Bytes of that document.
    pub size: usize,
    /// Why it is not the digest that the name had here before, if it is not.
    pub changed: Option<String>,
}

impl Engine {
    /// Gives the image of this name to the name's registry.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is here for no image; [`Error::Registry`], [`Error::Store`].
    pub fn push(&self, name: &Reference, watch: Arc<dyn TransferWatch>) -> Result<Pushed, Error> {
        self.give(name, watch).map_err(|error| error.of_transfer("push", name))
    }

    fn give(&self, name: &Reference, watch: Arc<dyn TransferWatch>) -> Result<Pushed, Error> {
        let image = self.store.resolve(&name.to_string()).map_err(|error| match error {
            onggi_store::Error::NoSuchImage { .. } => Error::Invalid {
                what: format!("An image does not exist locally with the tag: {}", name.familiar()),
            },
            other => other.into(),
        })?;
        let tag = name.tag().filter(|_| name.digest().is_none()).ok_or_else(|| Error::Invalid {
            what: "a push needs a tag: a digest follows from what is pushed".to_owned(),
        })?;
        let ended = Arc::new(Ended { watch: Arc::clone(&watch), failed: AtomicBool::new(false) });
        let client = client(&self.settings, Arc::clone(&ended) as Arc<dyn Watch>);
        let target = client.repository(name, Access::Push)?;
        let sending = self.store.send(&image)?;
        let push = Push {
            image: &image,
            sending: &sending,
            target: &target,
            origin: origin(&client, &image, name),
            mounts: self.mounts(&image, name)?,
            ended: &ended,
        };
        let manifest = push.manifest()?;
        onggi_sys::fault::point("engine.push.blobs-there");
        let (document, kind, index) = push.document(&manifest)?;
        let digest = target.put_manifest(tag, &kind, &document)?;
        onggi_sys::fault::point("engine.push.manifest-there");
        let changed = push.changed(&manifest, index.as_ref());
        sending.sent(&image, name, &manifest, index.as_ref())?;
        let attributes = BTreeMap::from([("name".to_owned(), name.familiar_repository())]);
        self.tell("image", "push", &name.familiar(), attributes);
        Ok(Pushed { digest, size: document.len(), changed })
    }

    /// Repositories of the same registry that have the image by another name, as far as is known here.
    fn mounts(&self, image: &Image, name: &Reference) -> Result<Vec<String>, Error> {
        let known = image.origin.iter().cloned().chain(self.store.names(&image.id)?);
        let mut paths: Vec<String> = Vec::new();
        for other in known.filter(|other| other.domain() == name.domain() && other.path() != name.path()) {
            if !paths.iter().any(|path| path == other.path()) {
                paths.push(other.path().to_owned());
            }
        }
        paths.truncate(MOST_MOUNTS);
        Ok(paths)
    }
}

/// Where the image was pulled from, if that is another repository.
fn origin<'c>(
    client: &'c Client,
    image: &Image,
    name: &Reference,
) -> Option<(Reference, Result<Repository<'c>, onggi_registry::Error>)> {
    let origin = image.origin.as_ref().filter(|origin| !origin.same_repository(name))?;
    Some((origin.clone(), client.repository(origin, Access::Pull)))
}

struct Push<'p> {
    image: &'p Image,
    sending: &'p Sending<'p>,
    target: &'p Repository<'p>,
    origin: Option<(Reference, Result<Repository<'p>, onggi_registry::Error>)>,
    mounts: Vec<String>,
    ended: &'p Ended,
}

impl Push<'_> {
    /// Whether the manifest was made here and names plain tars: nobody has seen its digest yet, and layers travel better compressed.
    fn is_new(&self) -> bool {
        let mut layers = self.image.manifest.layers.iter();
        self.image.origin.is_none() && layers.all(|layer| media_type::is_plain_layer(&layer.media_type))
    }

    /// Brings all blobs there, and answers the manifest that names them.
    fn manifest(&self) -> Result<Vec<u8>, Error> {
        let image = self.image;
        let (mut seen, mut queue) = (HashMap::new(), VecDeque::new());
        for (layer, diff_id) in image.manifest.layers.iter().zip(&image.layers) {
            if seen.insert(&layer.digest, ()).is_none() {
                self.ended.watch.layer(diff_id, LayerStep::Queued);
                queue.push_back((layer, diff_id));
            }
        }
        let there = self.all(queue)?;
        let config = &image.manifest.config;
        if !self.target.has_blob(&config.digest)? {
            let bytes = image.raw_config.clone();
            let mut open = || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read>);
            self.target.upload("the config", Some((&config.digest, bytes.len() as u64)), &mut open)?;
        }
        if image.manifest.layers.iter().all(|layer| there[&layer.digest].digest == layer.digest) {
            return Ok(image.raw_manifest.clone());
        }
        renamed(&image.raw_manifest, &there)
    }

    /// Delivers layers, a few at once; the descriptors that they have there, by those that they had.
    fn all(&self, queue: VecDeque<(&Descriptor, &Digest)>) -> Result<HashMap<Digest, Descriptor>, Error> {
        let threads = queue.len().min(AT_ONCE);
        let (queue, failure, there) = (Mutex::new(queue), Mutex::new(None), Mutex::new(HashMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((layer, diff_id)) =
                        queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
                    {
                        match self.deliver(layer, diff_id) {
                            Ok(descriptor) => {
                                let mut there = there.lock().unwrap_or_else(PoisonError::into_inner);
                                there.insert(layer.digest.clone(), descriptor);
                            }
                            Err(error) => {
                                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                                first.get_or_insert(error);
                                self.ended.failed.store(true, Ordering::Relaxed);
                                return;
                            }
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(there.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn deliver(&self, layer: &Descriptor, diff_id: &Digest) -> Result<Descriptor, Error> {
        let step = |step| self.ended.watch.layer(diff_id, step);
        if !self.is_new() {
            // What may not be given away stays where the manifest says that it is.
            if media_type::is_foreign_layer(&layer.media_type) && !layer.urls.is_empty()
                || self.target.has_blob(&layer.digest)?
            {
                step(LayerStep::Exists);
                return Ok(layer.clone());
            }
            for from in &self.mounts {
                if self.target.mount(&layer.digest, from)? {
                    step(LayerStep::Mounted { from: from.clone() });
                    return Ok(layer.clone());
                }
            }
            if media_type::is_plain_layer(&layer.media_type) && layer.digest == *diff_id {
                let mut open = || self.counted(diff_id, layer.size, self.sending.layer(diff_id));
                self.target.upload(
                    &format!("the layer {diff_id}"),
                    Some((diff_id, layer.size)),
                    &mut open,
                )?;
                step(LayerStep::Done);
                return Ok(layer.clone());
            }
            if self.send_kept(layer, diff_id)? || self.copy(layer, diff_id)? {
                step(LayerStep::Done);
                return Ok(layer.clone());
            }
        }
        let size = self.sending.layer_size(diff_id)?;
        let mut open = || {
            let tar = self.counted(diff_id, size, self.sending.layer(diff_id))?;
            Ok(Box::new(onggi_store::gzip(tar)) as Box<dyn Read>)
        };
        let (digest, size) = self.target.upload(&format!("the layer {diff_id}"), None, &mut open)?;
        step(LayerStep::Done);
        let docker = layer.media_type.starts_with("application/vnd.docker.");
        let kind = if docker { media_type::DOCKER_LAYER_GZIP } else { media_type::OCI_LAYER_GZIP };
        Ok(Descriptor { annotations: layer.annotations.clone(), ..Descriptor::new(kind, digest, size) })
    }

    /// Sends the blob as it came, if it was kept. `false`: it was not, or is damaged.
    fn send_kept(&self, layer: &Descriptor, diff_id: &Digest) -> Result<bool, Error> {
        if self.sending.blob(diff_id, layer)?.is_none() {
            return Ok(false);
        }
        let mut open = || {
            let file = self.sending.blob(diff_id, layer).map(|file| file.map(io::BufReader::new));
            let file = file.and_then(|file| {
                file.ok_or_else(|| onggi_store::Error::MissingLayer { diff_id: diff_id.clone() })
            });
            self.counted(diff_id, layer.size, file)
        };
        let blob = (&layer.digest, layer.size);
        match self.target.upload(&format!("the layer {diff_id}"), Some(blob), &mut open) {
            Ok(_) => Ok(true),
            Err(
                error @ (onggi_registry::Error::WrongDigest { .. } | onggi_registry::Error::Source { .. }),
            ) => {
                self.ended.watch.note(&format!("what was kept of it cannot be used: {error}"));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the very blob from where the image was pulled. `false`: it cannot be had there.
    fn copy(&self, layer: &Descriptor, diff_id: &Digest) -> Result<bool, Error> {
        let Some((name, origin)) = &self.origin else { return Ok(false) };
        let has = match origin {
            Ok(origin) => origin.has_blob(&layer.digest).map(|has| has.then_some(origin)),
            Err(error) => {
                self.note_unreachable(name, error);
                return Ok(false);
            }
        };
        let origin = match has {
            Ok(Some(origin)) => origin,
            Ok(None) => {
                self.ended.watch.note(&format!(
                    "{} no longer has the layer {}",
                    name.familiar(),
                    layer.digest
                ));
                return Ok(false);
            }
            Err(onggi_registry::Error::Interrupted) => return Err(onggi_registry::Error::Interrupted.into()),
            Err(error) => {
                self.note_unreachable(name, &error);
                return Ok(false);
            }
        };
        let mut open = || {
            self.counted::<_, onggi_registry::Error>(
                diff_id,
                layer.size,
                Ok(origin.blob(&layer.digest, layer.size)),
            )
        };
        let blob = (&layer.digest, layer.size);
        self.target.upload(&format!("the layer {diff_id}"), Some(blob), &mut open)?;
        Ok(true)
    }

    fn note_unreachable(&self, name: &Reference, error: &onggi_registry::Error) {
        let name = name.familiar();
        self.ended
            .watch
            .note(&format!("{name}, from where the image came, cannot be asked for its layers: {error}"));
    }

    /// A stream whose progress is told.
    fn counted<'s, R: Read + 's, E: std::fmt::Display>(
        &'s self,
        diff_id: &'s Digest,
        total: u64,
        stream: Result<R, E>,
    ) -> Result<Box<dyn Read + 's>, onggi_registry::Error> {
        match stream {
            Ok(inner) => Ok(Box::new(Counted { inner, diff_id, done: 0, total, ended: self.ended })),
            Err(error) => Err(onggi_registry::Error::Source {
                what: format!("the layer {diff_id}"),
                reason: error.to_string(),
            }),
        }
    }

    /// What the tag is to stand for: the index that the image was chosen from, if the registry has it and nothing of ours has changed;
    /// otherwise the manifest. Its bytes, its type, and the index's digest if it is one.
    fn document(&self, manifest: &[u8]) -> Result<(Vec<u8>, String, Option<Digest>), Error> {
        let own = self.image.manifest.media_type.clone();
        let own = own.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
        let Some(index) = self.image.index_digest.as_ref().filter(|_| manifest == self.image.raw_manifest)
        else {
            return Ok((manifest.to_vec(), own, None));
        };
        let bytes = self.sending.document(index)?;
        let kind = index_type(&bytes);
        // A registry takes an index only if it has what the index names; it has that if it has the index.
        if self.target.has_manifest(index, &kind)? {
            return Ok((bytes, kind, Some(index.clone())));
        }
        Ok((manifest.to_vec(), own, None))
    }

    /// Why the digest is not the one that the name had.
    fn changed(&self, manifest: &[u8], index: Option<&Digest>) -> Option<String> {
        let image = self.image;
        if manifest != image.raw_manifest && !self.is_new() {
            return Some(format!(
                "the layers are kept uncompressed, and the compressed ones that the manifest {} names were not to be had from any registry; they were compressed anew",
                image.manifest_digest
            ));
        }
        let known = image.index_digest.as_ref().filter(|_| index.is_none())?;
        let platform: Platform = image.config.platform();
        Some(format!(
            "the name stood for {known}, an index of several platforms, which the registry does not have; what was pushed is its manifest for {platform}"
        ))
    }
}

fn index_type(bytes: &[u8]) -> String {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    document["mediaType"].as_str().unwrap_or(media_type::OCI_INDEX).to_owned()
}

/// The manifest with other blobs for its layers; everything else in it stays as it is.
fn renamed(raw_manifest: &[u8], there: &HashMap<Digest, Descriptor>) -> Result<Vec<u8>, Error> {
    let unreadable = |error: &dyn std::fmt::Display| Error::Invalid {
        what: format!("the manifest cannot be written anew: {error}"),
    };
    let mut document: Value = serde_json::from_slice(raw_manifest).map_err(|error| unreadable(&error))?;
    for layer in document["layers"].as_array_mut().into_iter().flatten() {
        let digest = layer["digest"].as_str().and_then(|text| Digest::parse(text).ok());
        let new = digest
            .and_then(|digest| there.get(&digest))
            .ok_or_else(|| unreadable(&"a layer of it is unknown"))?;
        layer["mediaType"] = json!(new.media_type);
        layer["digest"] = json!(new.digest);
        layer["size"] = json!(new.size);
    }
    serde_json::to_vec(&document).map_err(|error| unreadable(&error))
}

struct Counted<'c, R> {
    inner: R,
    diff_id: &'c Digest,
    done: u64,
    total: u64,
    ended: &'c Ended,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.ended.watch.layer(self.diff_id, LayerStep::Moving { done: self.done, total: self.total });
        Ok(count)
    }
}
