//! The records of images: one for each image, which makes it exist, and one for each of its names.
//!
//! Both lie in `images/`: an image's under its id, a name's under the SHA-256 of the name. The two cannot meet, since the id is the
//! SHA-256 of a JSON document and no name is one. So a name, an id and the beginning of an id are found without any index.

use std::fs;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};
use onggi_image::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::act::Kept;
use crate::error::Error;
use crate::layout::Layout;
use crate::owner::Owner;

/// The version of the records' bodies.
pub(crate) const VERSION: u32 = 1;

/// What a file in `images/` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Record {
    Image(ImageRecord),
    Name(NameRecord),
}

/// An image. It exists from the moment that this is renamed into place until it is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) version: u32,
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Digest>,
    /// The lowest first.
    pub(crate) layers: Vec<LayerUse>,
    /// Bytes of all layers as tars.
    pub(crate) size: u64,
    /// From the config, for lists.
    #[serde(default)]
    pub(crate) created: String,
    #[serde(default)]
    pub(crate) labels: Vec<(String, String)>,
    /// Removed by force while containers used it: it is in no list and goes with the last of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) removed: bool,
    /// Who brought it: whose it is once it has no name.
    #[serde(default, skip_serializing_if = "Owner::is_person")]
    pub(crate) owner: Owner,
}

/// A layer in its place above others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LayerUse {
    pub(crate) diff_id: Digest,
    /// Which form of the layer is mounted, if not the plain one: see `layers::variant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) version: u32,
    pub(crate) name: Reference,
    pub(crate) id: Digest,
    /// What the name stood for when it was given; the image's own record may know another manifest with the same config.
    pub(crate) manifest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Digest>,
    /// The name by which a registry has this manifest and its blobs: it was pulled from there, or pushed to there last. None: the manifest was
    /// made here, or came in an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Reference>,
    #[serde(default, skip_serializing_if = "Owner::is_person")]
    pub(crate) owner: Owner,
    /// It stands for no `NAME@DIGEST` beside itself any more, since that was removed. It does again when the name is given anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) undigested: bool,
}

impl ImageRecord {
    /// The blobs and layers that it keeps.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (Kept, Digest)> {
        let layers = self.layers.iter().map(|layer| (Kept::Layer, layer.diff_id.clone()));
        let blobs = [Some(&self.id), Some(&self.manifest), self.index.as_ref()];
        layers.chain(blobs.into_iter().flatten().map(|blob| (Kept::Blob, blob.clone())))
    }
}

impl NameRecord {
    /// Whether it was given by digest, so that its one reference is that.
    pub(crate) fn is_digest(&self) -> bool {
        self.name.digest().is_some()
    }

    /// Whether `repository@digest` leads to it: by the digest of its manifest, or of the index that this was chosen from.
    pub(crate) fn answers_to(&self, repository: &Reference, digest: &Digest) -> bool {
        self.name.same_repository(repository)
            && (self.is_digest() || !self.undigested)
            && (self.manifest == *digest || self.index.as_ref() == Some(digest))
    }

    /// The blobs that it keeps.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (Kept, Digest)> {
        [Some(&self.manifest), self.index.as_ref()]
            .into_iter()
            .flatten()
            .map(|blob| (Kept::Blob, blob.clone()))
    }
}

impl Record {
    /// The file name of an image's record.
    pub(crate) fn image_file(id: &Digest) -> String {
        format!("{}.json", id.hex())
    }

    /// The file name of a name's record.
    pub(crate) fn name_file(name: &Reference) -> String {
        format!("{}.json", Digest::of(name.to_string().as_bytes()).hex())
    }

    pub(crate) fn file(&self) -> String {
        match self {
            Record::Image(image) => Record::image_file(&image.id),
            Record::Name(name) => Record::name_file(&name.name),
        }
    }

    fn version(&self) -> u32 {
        match self {
            Record::Image(image) => image.version,
            Record::Name(name) => name.version,
        }
    }
}

/// All records, as far as they can be read.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) images: Vec<ImageRecord>,
    pub(crate) names: Vec<NameRecord>,
    pub(crate) damaged: Vec<(PathBuf, Error)>,
}

impl Records {
    /// Reads them all. One that is damaged does not keep the others from being read.
    pub(crate) fn read(layout: &Layout) -> Result<Records, Error> {
        let mut records = Records::default();
        for file in list(layout)? {
            let path = layout.images().join(&file);
            if onggi_record::is_temporary(&file) {
                continue;
            }
            match read_file(layout, &file) {
                Ok(Some(Record::Image(image))) => records.images.push(image),
                Ok(Some(Record::Name(name))) => records.names.push(name),
                Ok(None) => {}
                Err(error) => records.damaged.push((path, error)),
            }
        }
        records.images.sort_by(|a, b| a.id.cmp(&b.id));
        records.names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// The references by digest of an image, as `RepoDigests` shows them.
    pub(crate) fn repo_digests(&self, id: &Digest) -> Vec<Reference> {
        let names = self.names.iter().filter(|name| name.id == *id && (name.is_digest() || !name.undigested));
        let digests = names.map(|name| name.name.with_digest(name.index.as_ref().unwrap_or(&name.manifest)));
        let mut digests: Vec<Reference> = digests.collect();
        digests.sort();
        digests.dedup();
        digests
    }

    /// Each name of an image with what it stands for, sorted by name.
    pub(crate) fn digests_of<'r>(
        &'r self,
        id: &'r Digest,
    ) -> impl Iterator<Item = (&'r Reference, &'r Digest)> {
        let names = self.names.iter().filter(move |name| name.id == *id);
        names.map(|name| (&name.name, name.index.as_ref().unwrap_or(&name.manifest)))
    }

    /// Whose the names of an image are, beside [`Records::digests_of`].
    pub(crate) fn owners_of(&self, id: &Digest) -> Vec<Owner> {
        self.names.iter().filter(|name| name.id == *id).map(|name| name.owner.clone()).collect()
    }

    pub(crate) fn names_of(&self, id: &Digest) -> Vec<Reference> {
        self.names.iter().filter(|name| name.id == *id).map(|name| name.name.clone()).collect()
    }

    /// Fails if a record cannot be read: whoever removes what no record names must know all of them.
    pub(crate) fn complete(mut self) -> Result<Records, Error> {
        match self.damaged.pop() {
            Some((_, error)) => Err(error),
            None => Ok(self),
        }
    }
}

pub(crate) fn read_image(layout: &Layout, id: &Digest) -> Result<Option<ImageRecord>, Error> {
    match read_file(layout, &Record::image_file(id))? {
        Some(Record::Image(image)) => Ok(Some(image)),
        _ => Ok(None),
    }
}

pub(crate) fn read_name(layout: &Layout, name: &Reference) -> Result<Option<NameRecord>, Error> {
    match read_file(layout, &Record::name_file(name))? {
        Some(Record::Name(record)) => Ok(Some(record)),
        _ => Ok(None),
    }
}

/// The ids of images that begin with some hexadecimal digits.
pub(crate) fn ids_by_prefix(layout: &Layout, prefix: &str) -> Result<Vec<Digest>, Error> {
    let mut ids = Vec::new();
    for file in list(layout)?.into_iter().filter(|file| file.starts_with(prefix)) {
        if let Ok(Some(Record::Image(image))) = read_file(layout, &file)
            && !image.removed
        {
            ids.push(image.id);
        }
    }
    ids.sort();
    Ok(ids)
}

fn list(layout: &Layout) -> Result<Vec<String>, Error> {
    let directory = layout.images();
    let entries = fs::read_dir(&directory).map_err(Error::io("list", &directory))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(Error::io("list", &directory))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// `None` if it is gone.
pub(crate) fn read_file(layout: &Layout, file: &str) -> Result<Option<Record>, Error> {
    let path = layout.images().join(file);
    let record: Record = match onggi_record::read(&path) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        other => other?,
    };
    if record.version() > VERSION {
        return Err(Error::newer(path, record.version(), VERSION));
    }
    if record.file() != file {
        return Err(Error::damaged(path, "it is the record of something else"));
    }
    Ok(Some(record))
}
