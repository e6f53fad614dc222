//! Blobs, layers, names and leases: one store for all that Onggi keeps of images.
//!
//! The files are the truth: blobs and layers named by digest, one sealed record for each image and each of its names. The SQLite
//! index beside them answers what files answer badly (which names are taken, all containers at once, who uses an image) and can be
//! thrown away at any time. An act first brings its data into a directory of its own under `tmp/`, syncs and renames it into place,
//! and only then writes the record that makes it count; whatever is cut short between two steps is found and removed by the next.

mod error;
mod layout;
pub mod sealed;
mod types;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use onggi_image::{Digest, Reference};

pub use error::Error;
use layout::Layout;
pub use types::*;

/// The store of one data root and one run root. Cheap to open; any number of processes may have it open at once.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
}

impl Store {
    /// Opens the store, making it if it is new. The index is opened when it is first needed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NewerVersion`] for a store that a newer program has written.
    pub fn open(data: &Path, run: &Path) -> Result<Store, Error> {
        let layout = Layout { data: data.to_owned(), run: run.to_owned() };
        layout.prepare()?;
        Ok(Store { layout })
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.layout.data
    }

    #[must_use]
    pub fn run(&self) -> &Path {
        &self.layout.run
    }

    /// Loads all images of an archive (`docker save`'s, an OCI layout in a tar; plain, gzip or zstd) that run on this host.
    pub fn load(&self, reader: &mut dyn Read, progress: &dyn Progress) -> Result<Vec<Loaded>, Error> {
        let _ = (reader, progress);
        Err(Error::Unsupported { what: "load".into() })
    }

    /// Loads all images of an OCI layout in a directory.
    pub fn load_directory(&self, path: &Path, progress: &dyn Progress) -> Result<Vec<Loaded>, Error> {
        let _ = (path, progress);
        Err(Error::Unsupported { what: "load".into() })
    }

    /// Makes an image of one layer from the tar of a root file system. Returns its id.
    pub fn import(
        &self,
        reader: &mut dyn Read,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Digest, Error> {
        let _ = (reader, options, progress);
        Err(Error::Unsupported { what: "import".into() })
    }

    /// Writes images (names or ids) as an archive. The same images give the same bytes.
    pub fn save(&self, names: &[String], format: Format, writer: &mut dyn Write) -> Result<(), Error> {
        let _ = (names, format, writer);
        Err(Error::Unsupported { what: "save".into() })
    }

    /// Finds an image by name, `name:tag`, `name@digest`, id or the beginning of its id.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image, Error> {
        Err(Error::NoSuchImage { name: name_or_id.to_owned() })
    }

    /// All images, the youngest first.
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        Err(Error::Unsupported { what: "images".into() })
    }

    /// Gives an image (by name or id) one more name; a name that another image has is taken from it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), Error> {
        let _ = (source, target);
        Err(Error::Unsupported { what: "tag".into() })
    }

    /// Takes a name away, and with the last name the image and all that only it needs; by Docker's rules.
    pub fn remove(&self, name_or_id: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let _ = (name_or_id, force);
        Err(Error::Unsupported { what: "rmi".into() })
    }

    /// Makes the image's layers available as directories, ready to be overlayfs' lower ones: the topmost first.
    pub fn mount_layers(&self, image: &Image) -> Result<Vec<PathBuf>, Error> {
        let _ = image;
        Err(Error::Unsupported { what: "mounting layers".into() })
    }

    /// Unmounts every layer; what is in use stays until its last user is gone.
    pub fn unmount_all(&self) -> Result<(), Error> {
        Err(Error::Unsupported { what: "unmounting layers".into() })
    }

    /// Keeps an image from being removed while `owner` (a container's id) uses it. Fails if the image is gone.
    pub fn lease(&self, owner: &str, image: &Digest) -> Result<(), Error> {
        let _ = (owner, image);
        Err(Error::Unsupported { what: "leases".into() })
    }

    /// Ends an owner's lease, if it has one.
    pub fn release(&self, owner: &str) -> Result<(), Error> {
        let _ = owner;
        Err(Error::Unsupported { what: "leases".into() })
    }

    /// Takes a name for the thing with this id. [`Error::NameTaken`] says who has it; taking it again for the same id is no error.
    pub fn reserve_name(&self, kind: NameKind, name: &str, id: &str) -> Result<(), Error> {
        let _ = (kind, name, id);
        Err(Error::Unsupported { what: "names".into() })
    }

    /// Gives a name back, if it belongs to this id.
    pub fn release_name(&self, kind: NameKind, name: &str, id: &str) -> Result<(), Error> {
        let _ = (kind, name, id);
        Err(Error::Unsupported { what: "names".into() })
    }

    /// Takes a new name for the id and gives its old one back, in one step; also in the container's row.
    pub fn rename(&self, kind: NameKind, new: &str, id: &str) -> Result<(), Error> {
        let _ = (kind, new, id);
        Err(Error::Unsupported { what: "names".into() })
    }

    /// Whose name it is.
    pub fn find_name(&self, kind: NameKind, name: &str) -> Result<Option<String>, Error> {
        let _ = (kind, name);
        Err(Error::Unsupported { what: "names".into() })
    }

    /// All containers, the youngest first.
    pub fn containers(&self) -> Result<Vec<ContainerRow>, Error> {
        Err(Error::Unsupported { what: "the list of containers".into() })
    }

    /// The ids of containers that begin so, two at most (more than one is ambiguous anyway).
    pub fn containers_by_prefix(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let _ = prefix;
        Err(Error::Unsupported { what: "the list of containers".into() })
    }

    /// Adds or replaces a container's row.
    pub fn insert_container(&self, row: &ContainerRow) -> Result<(), Error> {
        let _ = row;
        Err(Error::Unsupported { what: "the list of containers".into() })
    }

    /// Removes a container's row, its name and its lease, in one step.
    pub fn remove_container(&self, id: &str) -> Result<(), Error> {
        let _ = id;
        Err(Error::Unsupported { what: "the list of containers".into() })
    }

    /// Verifies everything; with `repair` mends what can be mended and sets aside what is lost.
    pub fn check(&self, repair: bool) -> Result<Report, Error> {
        let _ = repair;
        Err(Error::Unsupported { what: "check".into() })
    }

    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        Err(Error::Unsupported { what: "disk usage".into() })
    }

    /// Makes the index anew from the files.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        Err(Error::Unsupported { what: "the index".into() })
    }
}
