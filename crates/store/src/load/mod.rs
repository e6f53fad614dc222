//! Loading: from an archive's members to images that exist.
//!
//! An image exists from the moment when its record has its name, and that is the last step: layers and blobs come first, each verified and synced. A name
//! comes after its image. Whatever is cut short leaves layers and blobs that nothing names, and those go with the next collection.

mod docker;
mod legacy;
mod oci;
mod source;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use onggi_image::{
    Config, Descriptor, Digest, Document, LAYER_LIMIT, Manifest, Platform, Reference, media_type,
};
use onggi_sys::fault;

use crate::act::{Act, Kept, StoreLock};
use crate::error::Error;
use crate::layers::{self, Expected, Ingested};
use crate::layout::open_directory;
use crate::records::{self, ImageRecord, LayerUse, NameRecord, Record};
use crate::types::{LoadOptions, Loaded, Progress};
use crate::{Store, blobs, images, remove};
use onggi_record::{Durability, Prepared, sync_directory};
use source::{DirectorySource, Source, TarSource};

/// Where an archive is.
pub(crate) enum Input<'a> {
    Stream(&'a mut dyn Read),
    File(File),
    Directory(&'a Path),
}

pub(crate) fn load(
    store: &Store,
    input: Input<'_>,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, Error> {
    if options.name.as_ref().is_some_and(|name| name.digest().is_some()) {
        return Err(Error::TagWithDigest);
    }
    let loaded = load_in_act(store, input, options, progress);
    // A name that moved may have left the manifest that it had; a load that failed, layers.
    remove::tidy(store);
    loaded
}

fn load_in_act(
    store: &Store,
    input: Input<'_>,
    options: &LoadOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, Error> {
    let act = Act::begin(&store.layout, "load")?;
    let source: Box<dyn Source> = match input {
        Input::Stream(stream) => Box::new(TarSource::of_stream(stream, None, &act, store.ceiling, progress)?),
        Input::File(file) => Box::new(TarSource::of_file(file, &act, store.ceiling, progress)?),
        Input::Directory(path) => Box::new(DirectorySource::open(path)?),
    };
    let loading = Loading { store, act: &act, source: source.as_ref(), options, progress };
    // Docker's archives since version 25 are both; the OCI side has the manifests as they were.
    if let Some(index) = loading.source.document("index.json")? {
        return oci::load(&loading, &index);
    }
    if let Some(manifest) = loading.source.document("manifest.json")? {
        if let Ok(Document::Manifest(_)) = Document::parse(&manifest, None) {
            return Err(Error::DockerDirectory);
        }
        return docker::load(&loading, &manifest);
    }
    match loading.source.document("repositories")? {
        Some(repositories) => legacy::load(&loading, &repositories),
        None => Err(Error::NoImageInArchive),
    }
}

/// What all formats need.
struct Loading<'a> {
    store: &'a Store,
    act: &'a Act,
    source: &'a dyn Source,
    options: &'a LoadOptions,
    progress: &'a dyn Progress,
}

impl Loading<'_> {
    /// A name that is given with the load can be that of one image only.
    fn can_be_named(&self, images: usize) -> Result<(), Error> {
        match &self.options.name {
            Some(name) if images != 1 => Err(Error::OneName { name: name.familiar(), images }),
            _ => Ok(()),
        }
    }

    /// A document that must be there.
    fn required(&self, member: &str) -> Result<Vec<u8>, Error> {
        self.source.document(member)?.ok_or_else(|| Error::MissingMember { member: member.to_owned() })
    }

    /// A document by its descriptor, with size and digest verified.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let member = blob_member(&descriptor.digest);
        let bytes = self.required(&member)?;
        if bytes.len() as u64 != descriptor.size {
            return Err(Error::WrongSize {
                what: member,
                wanted: descriptor.size,
                found: bytes.len() as u64,
            });
        }
        check_bytes(&member, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    fn ingest(
        &self,
        member: &str,
        blob: Option<(&Digest, u64)>,
        diff_id: Option<&Digest>,
    ) -> Result<Ingested, Error> {
        let missing = || Error::MissingMember { member: member.to_owned() };
        let mut opened = self.source.open(member)?.ok_or_else(missing)?;
        if let Some((_, wanted)) = blob
            && wanted != opened.size
        {
            return Err(Error::WrongSize { what: member.to_owned(), wanted, found: opened.size });
        }
        let (keep, ceiling) = (self.store.keeps_blobs, self.store.ceiling);
        let expected = Expected { what: member, blob, diff_id, total: Some(opened.size), keep, ceiling };
        layers::ingest(self.store, self.act, &mut opened.reader, &expected, self.progress)
    }
}

/// The member of an OCI layout that holds a blob.
fn blob_member(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn check_bytes(what: &str, wanted: &Digest, bytes: &[u8]) -> Result<(), Error> {
    if wanted.matches(bytes) {
        return Ok(());
    }
    Err(Error::WrongDigest { what: what.to_owned(), wanted: wanted.clone(), found: Digest::of(bytes) })
}

/// An image whose layers are in the store and kept by the act; everything else is bytes in memory.
pub(crate) struct Brought {
    /// The digest of the config.
    pub(crate) id: Digest,
    pub(crate) raw_config: Vec<u8>,
    pub(crate) config: Config,
    pub(crate) raw_manifest: Vec<u8>,
    /// The index that the manifest was chosen from.
    pub(crate) raw_index: Option<Vec<u8>>,
    pub(crate) layers: Vec<Ingested>,
    pub(crate) names: Vec<Reference>,
    pub(crate) bare_tags: Vec<String>,
}

impl Brought {
    /// Of an image that came without a manifest: one is made for it.
    pub(crate) fn with_plain_manifest(
        raw_config: Vec<u8>,
        config: Config,
        layers: Vec<Ingested>,
        names: Vec<Reference>,
    ) -> Result<Brought, Error> {
        let raw_manifest = plain_manifest(&raw_config, &layers)?;
        let id = Digest::of(&raw_config);
        let bare_tags = Vec::new();
        Ok(Brought { id, raw_config, config, raw_manifest, raw_index: None, layers, names, bare_tags })
    }
}

/// As [`commit_from`], for an image that no registry is known to have.
pub(crate) fn commit(store: &Store, act: &Act, image: &Brought) -> Result<Digest, Error> {
    commit_from(store, act, image, None)
}

/// Makes a brought image exist: its blobs, then its record, then its names. `origin`: the repository that it was pulled from.
pub(crate) fn commit_from(
    store: &Store,
    act: &Act,
    image: &Brought,
    origin: Option<&Reference>,
) -> Result<Digest, Error> {
    let layout = &store.layout;
    let record = record(store, act, image)?;
    let ImageRecord { version, id, manifest, index, .. } = record.clone();
    let record = Record::Image(record);
    let directory = open_directory(&layout.images())?;
    let prepare =
        |record: &Record| Prepared::new(directory.as_fd(), &record.file(), record, Durability::Synced);
    let prepared = prepare(&record)?;
    let named = |name: &Reference| {
        let (name, id, manifest, index) = (name.clone(), id.clone(), manifest.clone(), index.clone());
        // Loaded again from an archive, it still is where it was pulled from.
        let known = records::read_name(layout, &name).ok().flatten();
        let owner = known.as_ref().map_or_else(|| store.owner.clone(), |known| known.owner.or(&store.owner));
        let known = known.filter(|known| known.manifest == manifest);
        let origin = origin.cloned().or_else(|| known.and_then(|known| known.origin));
        NameRecord { version, name, id, manifest, index, origin, owner, undigested: false }
    };
    let names = image.names.iter().map(|name| {
        let record = Record::Name(named(name));
        prepare(&record).map(|prepared| (name, record, prepared))
    });
    let names = names.collect::<Result<Vec<_>, _>>()?;
    fault::point("store.image.prepared");

    let guard = StoreLock::take(layout)?;
    match records::read_image(layout, &id) {
        // The same config with the same layers: what is there stays, with the manifest that it first came with. A name keeps the one that it
        // was given with; what neither keeps is collected.
        Ok(Some(existing)) if !existing.removed => {
            drop(prepared);
            images::adopt(store, &guard, existing)?;
            images::touch(layout, &id);
        }
        _ => prepared.publish()?,
    }
    fault::point("store.image.renamed");
    for (name, record, prepared) in names {
        // A person may have asked for it meanwhile.
        let now = Record::Name(named(name));
        let prepared = if now == record { prepared } else { prepare(&now)? };
        prepared.publish()?;
        fault::point("store.image.named");
    }
    drop(guard);
    sync_directory(directory.as_fd(), "images")?;
    fault::point("store.image.synced");
    Ok(id)
}

/// Puts a brought image's blobs into the store, and answers the record that makes it exist.
pub(crate) fn record(store: &Store, act: &Act, image: &Brought) -> Result<ImageRecord, Error> {
    let layout = &store.layout;
    let manifest = Digest::of(&image.raw_manifest);
    let index = image.raw_index.as_ref().map(|bytes| Digest::of(bytes));
    blobs::put(layout, act, &image.id, &image.raw_config)?;
    blobs::put(layout, act, &manifest, &image.raw_manifest)?;
    if let (Some(index), Some(bytes)) = (&index, &image.raw_index) {
        blobs::put(layout, act, index, bytes)?;
    }
    Ok(ImageRecord {
        version: records::VERSION,
        id: image.id.clone(),
        manifest,
        index,
        layers: place_layers(store, act, &image.layers)?,
        size: image.layers.iter().map(|layer| layer.size).sum(),
        created: image.config.created.clone().unwrap_or_default(),
        labels: image.config.config.labels.clone().into_iter().collect(),
        removed: false,
        owner: store.owner.clone(),
    })
}

/// Finds which form of each layer is right above the others.
fn place_layers(store: &Store, act: &Act, layers: &[Ingested]) -> Result<Vec<LayerUse>, Error> {
    let mut placed: Vec<LayerUse> = Vec::new();
    for layer in layers {
        let mut variant = None;
        // Most layers name all their directories but the root, and most roots are as the plain index has them.
        if layers::read_record(&store.layout, &layer.diff_id)?.depends_on_place(placed.is_empty()) {
            let lower = store.present(&placed)?;
            variant = layers::variant(&store.layout, act, &layer.diff_id, &lower)?;
        }
        placed.push(LayerUse { diff_id: layer.diff_id.clone(), variant });
    }
    Ok(placed)
}

/// Makes an image's variants anew. They are functions of the layers, so the record that names them need only change if an older
/// program has made others.
pub(crate) fn replace_variants(store: &Store, image: &ImageRecord) -> Result<bool, Error> {
    let act = Act::begin(&store.layout, "variants")?;
    let layers = image
        .layers
        .iter()
        .map(|layer| Ingested { diff_id: layer.diff_id.clone(), size: 0 })
        .collect::<Vec<_>>();
    let placed = place_layers(store, &act, &layers)?;
    if placed != image.layers {
        let record = Record::Image(ImageRecord { layers: placed, ..image.clone() });
        let directory = open_directory(&store.layout.images())?;
        let prepared = Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?;
        let _guard = StoreLock::take(&store.layout)?;
        prepared.publish()?;
    }
    Ok(true)
}

/// Whether this very manifest is in the store already with all its layers, which the act then keeps: they were verified when it came.
fn already_here(
    loading: &Loading<'_>,
    digest: &Digest,
    manifest: &Manifest,
    config: &Config,
) -> Result<Option<Vec<Ingested>>, Error> {
    let layout = &loading.store.layout;
    match records::read_image(layout, &manifest.config.digest) {
        Ok(Some(record)) if record.manifest == *digest => {}
        _ => return Ok(None),
    }
    let mut layers = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        if !loading.act.keep(layout, Kept::Layer, diff_id)? {
            return Ok(None);
        }
        let record = layers::read_record(layout, diff_id)?;
        if !record.is_held_by((&layer.digest, layer.size)) {
            return Ok(None);
        }
        layers.push(Ingested { diff_id: diff_id.clone(), size: record.size });
    }
    Ok(Some(layers))
}

/// The manifest of an image that came without one: its layers as the plain tars that the store has.
pub(crate) fn plain_manifest(raw_config: &[u8], layers: &[Ingested]) -> Result<Vec<u8>, Error> {
    let layer = |layer: &Ingested| Descriptor::new(media_type::OCI_LAYER, layer.diff_id.clone(), layer.size);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media_type::OCI_CONFIG, Digest::of(raw_config), raw_config.len() as u64),
        layers: layers.iter().map(layer).collect(),
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    serde_json::to_vec(&manifest).map_err(|error| Error::BadArchive { reason: error.to_string() })
}

/// Commits what was brought and tells what it was. Two entries of an archive with the same image become one with both names.
fn commit_all(
    loading: &Loading<'_>,
    brought: Vec<Brought>,
    others: &[Platform],
) -> Result<Vec<Loaded>, Error> {
    // An entry does not always say what its image is for; the image does.
    let asked = |image: &Brought| {
        let asked = loading.options.platform.as_ref();
        asked.is_none_or(|asked| image.config.platform().agrees_with(asked))
    };
    let (brought, wrong): (Vec<_>, Vec<_>) = brought.into_iter().partition(asked);
    let others: Vec<Platform> =
        others.iter().cloned().chain(wrong.iter().map(|image| image.config.platform())).collect();
    if let (true, Some(asked)) = (brought.is_empty(), &loading.options.platform) {
        return Err(Error::NoPlatform { host: Box::new(asked.clone()), others });
    }
    let mut loaded: Vec<Loaded> = Vec::new();
    let mut seen = HashSet::new();
    for mut image in brought {
        if let Some(name) = &loading.options.name {
            (image.names, image.bare_tags) = (vec![name.clone()], Vec::new());
        }
        let id = commit(loading.store, loading.act, &image)?;
        if !seen.insert(id.clone()) {
            if let Some(same) = loaded.iter_mut().find(|same| same.id == id) {
                same.names.extend(image.names);
                same.bare_tags.extend(image.bare_tags);
            }
            continue;
        }
        let platform = image.config.platform();
        let (names, bare_tags) = (image.names, image.bare_tags);
        loaded.push(Loaded { id, names, bare_tags, platform, other_platforms: others.clone() });
    }
    Ok(loaded)
}

/// The config's diff ids, which must be as many as there are layers, and no more than a container can stand on.
pub(crate) fn diff_ids(config: &Config, layers: usize) -> Result<&[Digest], Error> {
    let diff_ids = &config.rootfs.diff_ids;
    if layers > LAYER_LIMIT {
        let what = format!("an image of {layers} layers, where overlayfs stacks {LAYER_LIMIT},");
        return Err(Error::Unsupported { what });
    }
    if diff_ids.len() != layers {
        let reason = format!("the config names {} layers and the manifest {layers}", diff_ids.len());
        return Err(Error::BadArchive { reason });
    }
    Ok(diff_ids)
}
