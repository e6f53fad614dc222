//! Saving: images as an archive that other tools read, the same bytes for the same images.
//!
//! The archive is an OCI layout; for Docker's readers it also has a `manifest.json`, as `docker save` writes since version 25. An image that came with
//! compressed layers has a manifest that names them. It goes into the archive as it is if all of them are to be had, kept here or where the image came
//! from. Otherwise the layers are written as the plain tars that the store has, with a manifest for those; the config, and with it the image's id, stays what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::PathBuf;

use onggi_archive::tar::Kind;
use onggi_archive::write::Writer;
use onggi_archive::{Metadata, Timestamp};
use onggi_image::{ArchivedImage, Descriptor, Digest, Hasher, Index, Manifest, Reference, media_type};
use onggi_sys::fault;

use crate::Store;
use crate::act::{Act, Kept};
use crate::error::Error;
use crate::images::{self, Found};
use crate::layers::{self, Ingested, TAR};
use crate::layout::open_file;
use crate::load::plain_manifest;
use crate::pipe::check_digest;
use crate::records::{ImageRecord, NameRecord, Records};
use crate::types::{Format, Image, Progress};

const NAME_ANNOTATION: &str = "io.containerd.image.name";
const TAG_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Who reads a layer. It is called once.
pub type Consume<'c> = &'c mut dyn FnMut(&mut dyn Read) -> Result<(), Error>;

/// Where compressed layers come from that are not kept here.
pub trait BlobSource {
    /// Whether the blob of a layer is to be had.
    fn has(&self, image: &Image, layer: &Descriptor) -> bool;

    /// Has `consume` read it from its beginning to its end.
    ///
    /// # Errors
    /// Those of `consume`; [`Error::Input`] if it is not to be had after all.
    fn read(&self, image: &Image, layer: &Descriptor, consume: Consume<'_>) -> Result<(), Error>;

    /// The image goes into the archive with plain layers, and so by another digest.
    fn changes(&self, image: &Image);
}

pub(crate) fn save(
    store: &Store,
    names: &[String],
    format: Format,
    source: Option<&dyn BlobSource>,
    progress: &dyn Progress,
    writer: &mut dyn Write,
) -> Result<Vec<Digest>, Error> {
    let act = Act::begin(&store.layout, "save")?;
    let mut members = BTreeMap::new();
    let mut entries = Vec::new();
    let mut archived = Vec::new();
    let chosen = chosen(store, names)?;
    for (image, names) in chosen.values() {
        let (manifest, layers) = add_image(store, &act, image, source, &mut members)?;
        entries.extend(index_entries(&manifest, names));
        archived.push(ArchivedImage {
            config: member(&image.id),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers,
        });
    }
    members.insert("oci-layout".to_owned(), Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests: entries,
        subject: None,
        annotations: BTreeMap::new(),
    };
    members.insert("index.json".to_owned(), json(&index)?);
    if format == Format::DockerArchive {
        members.insert("manifest.json".to_owned(), json(&archived)?);
    }
    write(members, source, progress, writer)?;
    Ok(chosen.into_keys().collect())
}

/// The images that are asked for, each with the names that it goes under, by id.
fn chosen(store: &Store, texts: &[String]) -> Result<BTreeMap<Digest, (Image, BTreeSet<Reference>)>, Error> {
    let mut chosen: BTreeMap<Digest, (Image, BTreeSet<Reference>)> = BTreeMap::new();
    let mut add = |found: Found, name: Option<Reference>| -> Result<(), Error> {
        let id = found.record.id.clone();
        if !chosen.contains_key(&id) {
            chosen.insert(id.clone(), (images::open(&store.layout, found)?, BTreeSet::new()));
        }
        if let Some((_, names)) = chosen.get_mut(&id) {
            // A digest is no tag: Docker and Podman refuse an archive that names an image so, and save one without the name.
            names.extend(name.filter(|name| name.digest().is_none()));
        }
        Ok(())
    };
    for text in texts {
        // A repository without a tag means all of its tags, as for docker save.
        let repository =
            Reference::parse_bare(text).ok().filter(|name| name.tag().is_none() && name.digest().is_none());
        let of_repository: Vec<Reference> = match &repository {
            Some(repository) => {
                let names = Records::read(&store.layout)?.names.into_iter().map(|record| record.name);
                names.filter(|name| name.same_repository(repository)).collect()
            }
            None => Vec::new(),
        };
        if of_repository.is_empty() {
            let mut found = images::find(&store.layout, text)?;
            let name = found.name.as_ref().filter(|_| found.digest.is_none()).map(|name| name.name.clone());
            if found.name.is_none() {
                found.name = came_by(store, &found.record)?;
            }
            add(found, name)?;
        }
        for name in of_repository {
            add(images::find(&store.layout, &name.to_string())?, Some(name))?;
        }
    }
    Ok(chosen)
}

/// The name that says where an image that is asked for by its id came from: rather one with the manifest that the image came with.
fn came_by(store: &Store, image: &ImageRecord) -> Result<Option<NameRecord>, Error> {
    let names = Records::read(&store.layout)?.names.into_iter();
    let pulled = names.filter(|name| name.id == image.id && name.origin.is_some());
    Ok(pulled.min_by_key(|name| name.manifest != image.manifest))
}

/// What a member of the archive holds.
enum Content<'i> {
    Bytes(Vec<u8>),
    /// A layer as it is here, whose digest is checked as it is written.
    Kept {
        path: PathBuf,
        digest: Digest,
        size: u64,
    },
    /// A layer as it is where the image came from; checked as well.
    Elsewhere {
        image: &'i Image,
        layer: &'i Descriptor,
    },
}

/// Adds an image's blobs, kept by the act. Returns the descriptor of its manifest, and the members that are its layers.
fn add_image<'i>(
    store: &Store,
    act: &Act,
    image: &'i Image,
    source: Option<&dyn BlobSource>,
    members: &mut BTreeMap<String, Content<'i>>,
) -> Result<(Descriptor, Vec<String>), Error> {
    let layout = &store.layout;
    let mut ingested = Vec::new();
    for diff_id in &image.layers {
        if !act.keep(layout, Kept::Layer, diff_id)? {
            return Err(Error::MissingLayer { diff_id: diff_id.clone() });
        }
        let size = layers::read_record(layout, diff_id)?.size;
        ingested.push(Ingested { diff_id: diff_id.clone(), size });
    }
    let as_it_came: Option<Vec<(String, Content<'i>)>> = image
        .manifest
        .layers
        .iter()
        .zip(&ingested)
        .map(|(layer, tar)| Some((member(&layer.digest), as_it_came(store, image, layer, tar, source)?)))
        .collect();
    let (manifest, layers) = match as_it_came {
        Some(layers) => (image.raw_manifest.clone(), layers),
        None => {
            if let Some(source) = source {
                source.changes(image);
            }
            let layers = ingested.iter().map(|tar| (member(&tar.diff_id), plain(store, tar))).collect();
            (plain_manifest(&image.raw_config, &ingested)?, layers)
        }
    };
    let kind = Manifest::parse(&manifest).map_err(Error::image("the manifest"))?.media_type;
    let kind = kind.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
    let mut descriptor = Descriptor::new(&kind, Digest::of(&manifest), manifest.len() as u64);
    descriptor.platform = Some(image.config.platform()).filter(|platform| !platform.os.is_empty());
    members.insert(member(&image.id), Content::Bytes(image.raw_config.clone()));
    members.insert(member(&descriptor.digest), Content::Bytes(manifest));
    let names = layers.iter().map(|(name, _)| name.clone()).collect();
    members.extend(layers);
    Ok((descriptor, names))
}

/// A layer as the manifest names it, if it is to be had.
fn as_it_came<'i>(
    store: &Store,
    image: &'i Image,
    layer: &'i Descriptor,
    tar: &Ingested,
    source: Option<&dyn BlobSource>,
) -> Option<Content<'i>> {
    if layer.digest == tar.diff_id {
        return Some(plain(store, tar));
    }
    let source = source?;
    if let Some(path) = layers::kept_blob(&store.layout, &tar.diff_id, layer) {
        return Some(Content::Kept { path, digest: layer.digest.clone(), size: layer.size });
    }
    source.has(image, layer).then_some(Content::Elsewhere { image, layer })
}

fn plain<'i>(store: &Store, tar: &Ingested) -> Content<'i> {
    let path = store.layout.layer(&tar.diff_id).join(TAR);
    Content::Kept { path, digest: tar.diff_id.clone(), size: tar.size }
}

/// One entry for each name, or one without any.
fn index_entries(manifest: &Descriptor, names: &BTreeSet<Reference>) -> Vec<Descriptor> {
    let named = |name: &Reference| {
        let mut entry = manifest.clone();
        entry.annotations.insert(NAME_ANNOTATION.to_owned(), name.to_string());
        entry.annotations.extend(name.tag().map(|tag| (TAG_ANNOTATION.to_owned(), tag.to_owned())));
        entry
    };
    if names.is_empty() { vec![manifest.clone()] } else { names.iter().map(named).collect() }
}

fn member(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn json<'i, T: serde::Serialize>(value: &T) -> Result<Content<'i>, Error> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::Output { what: "JSON".to_owned(), source: error.into() })?;
    Ok(Content::Bytes(bytes))
}

fn write(
    members: BTreeMap<String, Content<'_>>,
    source: Option<&dyn BlobSource>,
    progress: &dyn Progress,
    writer: &mut dyn Write,
) -> Result<(), Error> {
    let failed = || Error::archive("writing the archive");
    let mut tar = Writer::new(writer);
    let mut directories = BTreeSet::new();
    for (name, content) in members {
        let parents = name.match_indices('/').map(|(end, _)| &name[..=end]);
        for parent in parents.map(str::to_owned) {
            if directories.insert(parent.clone()) {
                tar.entry(parent.as_bytes(), &metadata(0o755), &Kind::Directory).map_err(failed())?;
            }
        }
        match content {
            Content::Bytes(bytes) => {
                tar.file(name.as_bytes(), &metadata(0o644), bytes.len() as u64, &mut bytes.as_slice())
                    .map_err(failed())?;
            }
            Content::Kept { path, digest, size } => {
                let file = open_file(&path)?;
                put(&mut tar, &name, size, &digest, progress, &mut &file)?;
            }
            Content::Elsewhere { image, layer } => {
                let Some(source) = source else { continue };
                source.read(image, layer, &mut |content| {
                    put(&mut tar, &name, layer.size, &layer.digest, progress, content)
                })?;
            }
        }
        fault::point("store.save.member-written");
    }
    tar.finish()
        .map_err(failed())?
        .flush()
        .map_err(|source| Error::Output { what: "the archive".to_owned(), source })
}

/// Writes a layer, and sees that it is what it should be.
fn put<W: Write>(
    tar: &mut Writer<W>,
    name: &str,
    size: u64,
    digest: &Digest,
    progress: &dyn Progress,
    content: &mut dyn Read,
) -> Result<(), Error> {
    let told = |done| progress.layer(&digest.to_string(), done, Some(size));
    let hasher = Hasher::new(digest.algorithm());
    let mut content = Hashing { content, hasher, done: 0, told: &told, progress };
    tar.file(name.as_bytes(), &metadata(0o644), size, &mut content)
        .map_err(Error::archive("writing the archive"))?;
    check_digest(&format!("the layer {digest}"), digest, Some(content.hasher.finish()))
}

/// Nobody's clock and nobody's umask: the same images give the same bytes.
fn metadata(mode: u32) -> Metadata {
    Metadata { mode, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() }
}

struct Hashing<'c> {
    content: &'c mut dyn Read,
    hasher: Hasher,
    done: u64,
    told: &'c dyn Fn(u64),
    progress: &'c dyn Progress,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.done += count as u64;
        if count > 0 {
            (self.told)(self.done);
        }
        if self.progress.is_cancelled() {
            return Err(std::io::Error::other("cancelled"));
        }
        Ok(count)
    }
}
