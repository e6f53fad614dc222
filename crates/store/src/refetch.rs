//! Bringing single layers, configs and manifests again from where their image came, for a check that has found them damaged or missing.
//!
//! Who asks registries is the engine; here it is decided what is asked for and by which names, and what comes is verified as at a load.

use std::collections::BTreeSet;
use std::io::Read;

use onggi_image::{Config, DOCUMENT_LIMIT, Descriptor, Digest, Document, Manifest, Reference};

use crate::Store;
use crate::act::Act;
use crate::blobs;
use crate::error::Error;
use crate::layers::{self, Expected};
use crate::records::Records;
use crate::types::Silent;

/// Where blobs can be had that the store has lost.
pub trait Refetch {
    /// Opens a blob of the repository that `from` names, and has `take` read it to its end.
    ///
    /// # Errors
    /// Why it cannot be had, in words; or what `take` has answered.
    fn blob(
        &self,
        from: &Reference,
        blob: &Descriptor,
        take: &mut dyn FnMut(&mut dyn Read) -> Result<(), Error>,
    ) -> Result<(), String>;

    /// The bytes of a manifest or an index of that repository.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    fn manifest(&self, from: &Reference, digest: &Digest) -> Result<Vec<u8>, String>;
}

/// What a try has come to.
#[derive(Debug)]
pub(crate) enum Refetched {
    /// It is here again, from there.
    From(Reference),
    /// Nothing says where it could be had: its images were loaded or imported.
    NoOrigin,
    /// No place has given it; what the last one said.
    Failed(String),
}

/// A name that a registry knows, and what its manifest says.
struct Origin {
    name: Reference,
    manifest: Manifest,
}

/// Tries every registry that an image with this layer came from.
pub(crate) fn layer(
    store: &Store,
    act: &Act,
    origins: &dyn Refetch,
    diff_id: &Digest,
) -> Result<Refetched, Error> {
    let records = Records::read(&store.layout)?;
    let mut places: Vec<(Origin, usize)> = Vec::new();
    for (id, diff_ids) in images(store, &records) {
        let Some(number) = diff_ids.iter().position(|layer| layer == diff_id) else { continue };
        places.extend(known(store, &records, &id).into_iter().map(|origin| (origin, number)));
    }
    let places = places.into_iter().filter_map(|(origin, number)| {
        let blob = origin.manifest.layers.get(number)?.clone();
        Some((origin.name, blob))
    });
    try_each(origins, places, |blob, stream| {
        let what = format!("the layer {diff_id}");
        let expected = Expected {
            what: &what,
            blob: Some((&blob.digest, blob.size)),
            diff_id: Some(diff_id),
            total: Some(blob.size),
            keep: store.keeps_blobs,
            ceiling: store.ceiling,
        };
        layers::ingest(store, act, stream, &expected, &Silent).map(|_| ())
    })
}

/// The images that there are, with their layers: also those that only their names still tell of, as far as their configs are whole.
pub(crate) fn images(store: &Store, records: &Records) -> Vec<(Digest, Vec<Digest>)> {
    let recorded = records.images.iter().map(|image| {
        let layers = image.layers.iter().map(|layer| layer.diff_id.clone());
        (image.id.clone(), layers.collect())
    });
    let mut images: Vec<(Digest, Vec<Digest>)> = recorded.collect();
    for name in &records.names {
        if images.iter().any(|(id, _)| *id == name.id) {
            continue;
        }
        let config = blobs::get(&store.layout, &name.id).ok().and_then(|bytes| Config::parse(&bytes).ok());
        images.extend(config.map(|config| (name.id.clone(), config.rootfs.diff_ids)));
    }
    images
}

/// As [`layer`], for a manifest or an index, which only the repository of its name has.
pub(crate) fn manifest(
    store: &Store,
    act: &Act,
    origins: &dyn Refetch,
    from: &Reference,
    digest: &Digest,
) -> Refetched {
    let put =
        |bytes: Vec<u8>| blobs::put(&store.layout, act, digest, &bytes).map_err(|error| error.to_string());
    match origins.manifest(from, digest).and_then(put) {
        Ok(()) => Refetched::From(from.clone()),
        Err(reason) => Refetched::Failed(format!("{}: {reason}", from.familiar())),
    }
}

/// As [`layer`], for the config of an image.
pub(crate) fn config(
    store: &Store,
    act: &Act,
    origins: &dyn Refetch,
    id: &Digest,
) -> Result<Refetched, Error> {
    let records = Records::read(&store.layout)?;
    let places = known(store, &records, id).into_iter().map(|origin| (origin.name, origin.manifest.config));
    try_each(origins, places, |blob, stream| {
        let mut bytes = Vec::new();
        let what = || format!("the config {}", blob.digest);
        stream
            .take(DOCUMENT_LIMIT)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::Input { what: what(), source })?;
        blobs::put(&store.layout, act, &blob.digest, &bytes)
    })
}

fn try_each(
    origins: &dyn Refetch,
    places: impl Iterator<Item = (Reference, Descriptor)>,
    take: impl Fn(&Descriptor, &mut dyn Read) -> Result<(), Error>,
) -> Result<Refetched, Error> {
    let mut failure = None;
    let mut tried = BTreeSet::new();
    for (name, blob) in places {
        // The same repository has the same blob, whatever the tag.
        if !tried.insert((name.familiar_repository(), blob.digest.clone())) {
            continue;
        }
        match origins.blob(&name, &blob, &mut |stream| take(&blob, stream)) {
            Ok(()) => return Ok(Refetched::From(name)),
            Err(reason) => failure = Some(format!("{}: {reason}", name.familiar())),
        }
    }
    Ok(failure.map_or(Refetched::NoOrigin, Refetched::Failed))
}

/// The names of an image by which a registry has it, with the manifest that each stands for, as far as that is whole.
fn known(store: &Store, records: &Records, id: &Digest) -> Vec<Origin> {
    let names = records.names.iter().filter(|name| name.id == *id);
    let origin = |name: &crate::records::NameRecord| {
        let bytes = blobs::get(&store.layout, &name.manifest).ok()?;
        match Document::parse(&bytes, None) {
            Ok(Document::Manifest(manifest)) => {
                Some(Origin { name: name.origin.clone()?, manifest: *manifest })
            }
            _ => None,
        }
    };
    names.filter_map(origin).collect()
}
