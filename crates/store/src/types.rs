//! What the store tells and is told, as plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use onggi_image::{Config, Digest, Manifest, Platform, Reference};
use serde::{Deserialize, Serialize};

use crate::owner::Owner;

/// An image, with all that is needed to run it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its config.
    pub id: Digest,
    pub config: Config,
    /// The config's bytes, as they came.
    pub raw_config: Vec<u8>,
    pub manifest: Manifest,
    /// The manifest's bytes: as they came, or as they were made for an image that came without one.
    pub raw_manifest: Vec<u8>,
    pub manifest_digest: Digest,
    /// The index that the manifest was chosen from, if it came with one.
    pub index_digest: Option<Digest>,
    /// The name that it was found by; none if it was found by its id. [`crate::Store::names`] has them all.
    pub name: Option<Reference>,
    /// The name by which a registry has the manifest and its blobs, as far as is known.
    pub origin: Option<Reference>,
    /// The reference by digest that its name stands for as well was removed: a pull gives it back.
    pub undigested: bool,
    /// The diff ids of its layers, the lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of all its layers as tars.
    pub size: u64,
    /// RFC 3339, from the config; empty if it says nothing.
    pub created: String,
    /// Which index of each layer is mounted, beside `layers`: see [`crate::Store::mount_layers`].
    pub(crate) variants: Vec<Option<String>>,
}

impl ImageSummary {
    /// What one of its names stands for.
    #[must_use]
    pub fn digest_of(&self, name: &Reference) -> &Digest {
        let place = self.names.iter().position(|known| known == name);
        place.and_then(|place| self.name_digests.get(place)).unwrap_or(&self.digest)
    }

    /// Whose one of its names is.
    #[must_use]
    pub fn owner_of(&self, name: &Reference) -> &Owner {
        let place = self.names.iter().position(|known| known == name);
        place.and_then(|place| self.name_owners.get(place)).unwrap_or(&self.owner)
    }

    /// Whether nobody else has a part in it: what is collected for `owner` must be so.
    #[must_use]
    pub fn belongs_to(&self, owner: &Owner) -> bool {
        self.owner == *owner && self.name_owners.iter().all(|other| other == owner)
    }
}

/// One line of `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    pub id: Digest,
    /// Sorted; empty for an image that has lost its names.
    pub names: Vec<Reference>,
    /// The digest of the index that it came with, or of its manifest; a name may stand for another: see `name_digests`.
    pub digest: Digest,
    /// What each of `names` stands for, beside it: the digest of the index or manifest that its registry has.
    pub name_digests: Vec<Digest>,
    /// RFC 3339, from the config; empty if it says nothing.
    pub created: String,
    /// Bytes of all its layers as tars.
    pub size: u64,
    pub labels: Vec<(String, String)>,
    pub layers: Vec<Digest>,
    /// Whose each of `names` is, beside it.
    pub name_owners: Vec<Owner>,
    /// Whose it is when it has no name: who brought it, or a person who has asked for it since.
    pub owner: Owner,
    /// When a container was made of it last, or it came or was named.
    pub last_used: SystemTime,
    /// A pull of its names brings it back, all of them; true of one without a name.
    pub comes_back: bool,
}

/// A layer, as its record tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetails {
    pub diff_id: Digest,
    /// Bytes of its tar.
    pub size: u64,
    /// Entries of its tar; whiteouts and what a later entry replaces among them.
    pub entries: u64,
    pub inodes: u64,
    /// Bytes that it takes on disk: its tar, its indexes, its tree if it is unpacked.
    pub disk_bytes: u64,
}

/// One image that a load has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub id: Digest,
    /// The names that it was given; none means that it can only be found by its id.
    pub names: Vec<Reference>,
    /// Names in the archive that were left out: a tag alone, as an OCI layout may have it, or a reference by a digest that nothing here has.
    pub bare_tags: Vec<String>,
    pub platform: Platform,
    /// What else was there for other platforms, and was not loaded.
    pub other_platforms: Vec<Platform>,
}

/// How an image is made from the tar of a root file system.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What to call it; a name that another image has is taken from it.
    pub name: Option<Reference>,
    /// Dockerfile instructions, such as `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// The comment in its history.
    pub message: String,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// RFC 3339; `None`: now.
    pub created: Option<String>,
    /// Bytes of the stream, where somebody knows: for the progress alone.
    pub total: Option<u64>,
}

/// What `save` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Docker's since version 25: an OCI layout that also has a `manifest.json`, so that both kinds of readers read it.
    DockerArchive,
    /// An OCI layout alone, in a tar.
    OciArchive,
}

/// One effect of removing an image, as Docker tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// `Untagged: debian:latest`
    Untagged(Reference),
    /// `Deleted: sha256:…`: an image, or a layer that only it had.
    Deleted(Digest),
    /// The image's data stays for a container (`user`, the first of them by id) that has been made of it: under its id in lists if that runs,
    /// in no list and until the last such container is gone if none does.
    Kept { id: Digest, user: String, listed: bool },
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Removed::Untagged(name) => write!(f, "Untagged: {}", name.familiar()),
            Removed::Deleted(digest) => write!(f, "Deleted: {digest}"),
            Removed::Kept { id, user, listed } => {
                let (id, user) = (id.short(), user.get(..12).unwrap_or(user));
                match listed {
                    true => {
                        write!(f, "the image {id} stays without a name: the container {user} runs from it")
                    }
                    false => {
                        write!(
                            f,
                            "the data of the image {id} stays until the container {user}, made from it, is removed"
                        )
                    }
                }
            }
        }
    }
}

/// How an archive is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// What to call the image, in place of the names that the archive gives it; only for an archive of one image.
    pub name: Option<Reference>,
    /// Of images for several machines the one for this; otherwise the host's.
    pub platform: Option<Platform>,
}

/// What kind of thing has a name in the index. Volumes are not among them: a volume's name is that of its directory, which is unique by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    Container,
}

impl NameKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NameKind::Container => "container",
        }
    }
}

/// A container as lists show it. The truth is `containers/<id>/container.json`. Of
/// that record the store reads `id`, `name`, `created` and `image` when it makes its index anew, and `resolved.layers` (diff ids) when it looks for
/// what is used. A row that was made so has a null summary: its owner fills it in when it sees that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRow {
    pub id: String,
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// Whatever its owner wants to have at hand in lists.
    pub summary: serde_json::Value,
}

/// Bytes on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub images: u64,
    pub layers: u64,
    /// Of each layer by its diff id: its tar, its indexes, its tree if it is unpacked.
    pub layer_bytes: BTreeMap<Digest, u64>,
    /// For each image: its records, and its documents as far as no image before it has the same.
    pub document_bytes: BTreeMap<Digest, u64>,
    /// What checks have set aside.
    pub lost_bytes: u64,
    /// What is left of acts that were cut short, or of those that are in progress.
    pub leftover_bytes: u64,
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What there is, after any repair: records, blobs, layers.
    pub records: u64,
    pub blobs: u64,
    pub layers: u64,
    pub findings: Vec<Finding>,
    /// What the images were called that were set aside: what to bring again, and how.
    pub lost: Vec<LostImage>,
}

/// An image that a repair has set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostImage {
    /// One of its names as people see it, or its short id.
    pub name: String,
    /// A pull of that name brings it again; otherwise only who loaded, imported or made it.
    pub in_registry: bool,
}

impl LostImage {
    pub(crate) fn elsewhere(name: String) -> LostImage {
        LostImage { name, in_registry: false }
    }
}

impl Report {
    /// Nothing is wrong any more: whatever was found is dealt with, or does no harm.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.done.is_some() || finding.severity == Severity::Leftover)
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub path: PathBuf,
    /// What is, or was, wrong.
    pub message: String,
    /// What was done about it; nothing if the check was to look only, or nothing could be done.
    pub done: Option<Done>,
}

/// What a repair has done about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Made again from what is whole.
    Mended,
    /// Deleted: nobody needs it, or it will be made again.
    Removed,
    /// Moved there, because somebody may still want it.
    SetAside(PathBuf),
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An act was cut short and its remains do no harm.
    Leftover,
    /// Something derived is wrong and can be made again without loss.
    Derived,
    /// Something kept is damaged or missing.
    Lost,
}

/// Told how far a long act is. The default tells nobody.
pub trait Progress {
    /// Bytes of a layer that have been read, and how many there will be if that is known. `layer` is what the archive calls it.
    fn layer(&self, layer: &str, done: u64, total: Option<u64>) {
        let _ = (layer, done, total);
    }

    /// Whether the act is to stop here: it then fails, and leaves what any failure leaves, nothing.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// For those who do not want to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
