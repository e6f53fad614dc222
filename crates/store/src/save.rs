//! Saving: images as an archive that other tools read, the same bytes for the same images.
//!
//! The archive is an OCI layout; for Docker's readers it also has a `manifest.json`, as `docker save` writes since version 25. Layers are written as the
//! plain tars that the store has. Where an image came with compressed layers its manifest names blobs that are not kept, so a manifest for the plain
//! ones goes into the archive instead; the config, and with it the image's id, stays what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
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
use crate::load::plain_manifest;
use crate::records::Records;
use crate::types::{Format, Image};

const NAME_ANNOTATION: &str = "io.containerd.image.name";
const TAG_ANNOTATION: &str = "org.opencontainers.image.ref.name";

pub(crate) fn save(
    store: &Store,
    names: &[String],
    format: Format,
    writer: &mut dyn Write,
) -> Result<Vec<Digest>, Error> {
    let act = Act::begin(&store.layout, "save")?;
    let mut blobs = BTreeMap::new();
    let mut entries = Vec::new();
    let mut archived = Vec::new();
    let chosen = chosen(store, names)?;
    let ids = chosen.keys().cloned().collect();
    for (image, names) in chosen.into_values() {
        let manifest = add_image(store, &act, &image, &mut blobs)?;
        entries.extend(index_entries(&manifest, &names));
        archived.push(ArchivedImage {
            config: member(&image.id),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers: image.layers.iter().map(member).collect(),
        });
    }
    let mut members: BTreeMap<String, Content> = blobs;
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
    write(members, writer)?;
    Ok(ids)
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
            names.extend(name);
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
            let found = images::find(&store.layout, text)?;
            let name = found.name.as_ref().filter(|_| !found.by_digest).map(|name| name.name.clone());
            add(found, name)?;
        }
        for name in of_repository {
            add(images::find(&store.layout, &name.to_string())?, Some(name))?;
        }
    }
    Ok(chosen)
}

/// What a member of the archive holds.
enum Content {
    Bytes(Vec<u8>),
    /// A layer's tar, whose digest is checked as it is written.
    Layer {
        path: PathBuf,
        diff_id: Digest,
        size: u64,
    },
}

/// Adds an image's blobs, kept by the act, and returns the descriptor of its manifest.
fn add_image(
    store: &Store,
    act: &Act,
    image: &Image,
    members: &mut BTreeMap<String, Content>,
) -> Result<Descriptor, Error> {
    let layout = &store.layout;
    let mut ingested = Vec::new();
    for diff_id in &image.layers {
        if !act.keep(layout, Kept::Layer, diff_id)? {
            return Err(Error::MissingLayer { diff_id: diff_id.clone() });
        }
        let size = layers::read_record(layout, diff_id)?.size;
        let content =
            Content::Layer { path: layout.layer(diff_id).join(TAR), diff_id: diff_id.clone(), size };
        members.insert(member(diff_id), content);
        ingested.push(Ingested { diff_id: diff_id.clone(), size });
    }
    let manifest = if is_plain(&image.manifest, &image.layers) {
        image.raw_manifest.clone()
    } else {
        plain_manifest(&image.raw_config, &ingested)?
    };
    let kind = Manifest::parse(&manifest).map_err(Error::image("the manifest"))?.media_type;
    let kind = kind.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
    let mut descriptor = Descriptor::new(&kind, Digest::of(&manifest), manifest.len() as u64);
    descriptor.platform = Some(image.config.platform()).filter(|platform| !platform.os.is_empty());
    members.insert(member(&image.id), Content::Bytes(image.raw_config.clone()));
    members.insert(member(&descriptor.digest), Content::Bytes(manifest));
    Ok(descriptor)
}

/// Whether the manifest names the very tars that the store has.
fn is_plain(manifest: &Manifest, diff_ids: &[Digest]) -> bool {
    let layers = manifest.layers.iter();
    layers.clone().all(|layer| media_type::is_plain_layer(&layer.media_type))
        && layers.map(|layer| &layer.digest).eq(diff_ids)
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

fn json<T: serde::Serialize>(value: &T) -> Result<Content, Error> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::Output { what: "JSON".to_owned(), source: error.into() })?;
    Ok(Content::Bytes(bytes))
}

fn write(members: BTreeMap<String, Content>, writer: &mut dyn Write) -> Result<(), Error> {
    // Nobody's clock and nobody's umask: the same images give the same bytes.
    let metadata = |mode| Metadata { mode, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() };
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
            Content::Layer { path, diff_id, size } => {
                let file = File::open(&path).map_err(Error::io("open", &path))?;
                let mut file = Hashing { file, hasher: Hasher::new(diff_id.algorithm()) };
                tar.file(name.as_bytes(), &metadata(0o644), size, &mut file).map_err(failed())?;
                let found = file.hasher.finish();
                if found != diff_id {
                    let what = format!("the layer {}", path.display());
                    return Err(Error::WrongDigest { what, wanted: diff_id, found });
                }
            }
        }
        fault::point("store.save.member-written");
    }
    tar.finish()
        .map_err(failed())?
        .flush()
        .map_err(|source| Error::Output { what: "the archive".to_owned(), source })
}

struct Hashing {
    file: File,
    hasher: Hasher,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
