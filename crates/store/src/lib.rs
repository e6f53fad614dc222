//! Blobs, layers, names and leases: one store for all that Onggi keeps of images.
//!
//! The files are the truth: blobs and layers named by digest, one sealed record for each image and each of its names. The SQLite
//! index beside them answers what files answer badly (which names are taken, all containers at once, who uses an image) and can be
//! thrown away at any time. An act first brings its data into a directory of its own under `tmp/`, syncs and renames it into place,
//! and only then writes the record that makes it count; whatever is cut short between two steps is found and removed by the next.

mod act;
mod blobs;
mod check;
mod confine;
mod confined;
mod containers;
mod error;
mod images;
mod import;
mod index;
mod layers;
mod layout;
mod load;
mod lower;
mod mounts;
mod owner;
mod pipe;
mod process;
mod quarantine;
mod receive;
mod records;
mod refetch;
mod remove;
mod room;
mod save;
mod send;
mod streamed;
mod trees;
mod types;
mod usage;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use onggi_archive::compress::Ceiling;
use onggi_image::{Digest, Reference};

pub use confined::unpack_confined;
pub use error::Error;
use index::Index;
use layout::Layout;
use load::Input;
pub use mounts::LayerForm;
use mounts::{EitherForm, ErofsMounts, Presenter};
/// For layers that are given away: the same layer gives the same bytes.
pub use onggi_archive::compress::gzip;
pub use owner::Owner;
pub use receive::{LayerLock, Received, Receiving};
use records::{LayerUse, Records};
pub use refetch::Refetch;
pub use save::{BlobSource, Consume};
pub use send::Sending;
use trees::UnpackedTrees;
pub use types::*;

/// The store of one data root and one run root. Cheap to open; any number of processes and threads may use it at once.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    index: Index,
    form: LayerForm,
    keeps_blobs: bool,
    /// For whom it gives names.
    owner: Owner,
    /// How far what comes may grow while it is decompressed.
    ceiling: Ceiling,
    /// What unpacks layers in a process of its own; none: this process does.
    unpacker: Option<PathBuf>,
    presenter: OnceLock<Box<dyn Presenter>>,
}

impl Store {
    /// Opens the store, making it if it is new. The index is opened when it is first needed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Record`] for a store that a newer program has written.
    pub fn open(data: &Path, run: &Path) -> Result<Store, Error> {
        Store::open_with(data, run, LayerForm::Auto)
    }

    /// As [`Store::open`], with the form that layers are presented in.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(data: &Path, run: &Path, form: LayerForm) -> Result<Store, Error> {
        let layout = Layout { data: data.to_owned(), run: run.to_owned() };
        layout.prepare()?;
        let for_index = layout.clone();
        let index = Index::new(
            layout.index(),
            layout.data.clone(),
            Box::new(move || containers::contents(&for_index)),
        );
        Ok(Store {
            layout,
            index,
            form,
            keeps_blobs: false,
            owner: Owner::default(),
            ceiling: Ceiling::default(),
            unpacker: None,
            presenter: OnceLock::new(),
        })
    }

    /// Whether layers that come from now on are kept compressed, too, as they come: more disk, and no registry is needed to give them on.
    #[must_use]
    pub fn keeping_blobs(self, keeps_blobs: bool) -> Store {
        Store { keeps_blobs, ..self }
    }

    /// Gives and takes away names for somebody else than a person.
    #[must_use]
    pub fn owned_by(self, owner: Owner) -> Store {
        Store { owner, ..self }
    }

    /// For whom it gives names.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The most bytes that a layer or an archive may be once it is decompressed; 0: as many as there is room for, unless they are nearly all the same
    /// (see [`Ceiling`]).
    #[must_use]
    pub fn limiting_layers(self, limit: u64) -> Store {
        Store { ceiling: Ceiling::of(limit), ..self }
    }

    /// Mends what keeps the store from being opened at all, before it is: what `VERSION` says. Says what was wrong, if anything was.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn mend_version(data: &Path, run: &Path) -> Result<Option<Finding>, Error> {
        check::mend_version(&Layout { data: data.to_owned(), run: run.to_owned() })
    }

    /// Has layers unpacked by a process of this program, which calls [`unpack_confined`] when its arguments are `image unpack-layer LOWER…`, in place of
    /// this one.
    #[must_use]
    pub fn unpacking_by(self, unpacker: Option<PathBuf>) -> Store {
        Store { unpacker, ..self }
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.layout.data
    }

    #[must_use]
    pub fn run(&self) -> &Path {
        &self.layout.run
    }

    /// Loads all images of an archive (`docker save`'s, an OCI layout in a tar; plain, gzip or zstd) that run on this host. The stream is read once,
    /// and spooled in the store since an archive's members come in any order.
    ///
    /// # Errors
    /// [`Error::NoImageInArchive`], [`Error::NoPlatform`], [`Error::WrongDigest`] and the like; then nothing of the image at fault exists.
    pub fn load(
        &self,
        reader: &mut dyn Read,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        load::load(self, Input::Stream(reader), options, progress)
    }

    /// As [`Store::load`], from a file: one that is not compressed is read in place.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_file(
        &self,
        file: File,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        load::load(self, Input::File(file), options, progress)
    }

    /// Loads all images of an OCI layout in a directory.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_directory(
        &self,
        path: &Path,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        load::load(self, Input::Directory(path), options, progress)
    }

    /// Makes an image of one layer from the tar of a root file system (plain, gzip or zstd). Returns its id.
    ///
    /// # Errors
    /// [`Error::Archive`] for what is no layer, [`Error::Image`] for a change that means nothing.
    pub fn import(
        &self,
        reader: &mut dyn Read,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Digest, Error> {
        import::import(self, reader, options, progress)
    }

    /// Writes images (names or ids; a repository without a tag means all its tags) as an archive, with their manifests as they came where their
    /// compressed layers are kept, or `blobs` has them; otherwise, and without `blobs`, with plain layers. The same images give the same bytes. Returns their ids.
    ///
    /// # Errors
    /// Those of [`Store::resolve`]; [`Error::Archive`] when writing fails; [`Error::WrongDigest`] for a layer that is damaged.
    pub fn save(
        &self,
        names: &[String],
        format: Format,
        blobs: Option<&dyn BlobSource>,
        progress: &dyn Progress,
        writer: &mut dyn Write,
    ) -> Result<Vec<Digest>, Error> {
        save::save(self, names, format, blobs, progress, writer)
    }

    /// Finds an image by name, `name:tag`, `name@digest`, id or the beginning of its id, in this order. Only by its whole digest is an image
    /// found that was removed by force and stays for the containers that use it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`], [`Error::Image`] for what is no name.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image, Error> {
        images::open(&self.layout, images::find(&self.layout, name_or_id)?)
    }

    /// The image with an id, also one that was removed by force and only stays for the containers that use it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`].
    pub fn image(&self, id: &Digest) -> Result<Image, Error> {
        let record = records::read_image(&self.layout, id)?;
        let record = record.ok_or_else(|| Error::NoSuchImage { name: id.to_string() })?;
        images::open(&self.layout, images::Found { record, name: None, digest: None })
    }

    /// All names of an image, sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self, id: &Digest) -> Result<Vec<Reference>, Error> {
        Ok(Records::read(&self.layout)?.names_of(id))
    }

    /// What `RepoDigests` shows of an image: for each repository among its names `name@sha256:…`, with the digest of the index or manifest that
    /// the name stands for. Sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn repo_digests(&self, id: &Digest) -> Result<Vec<Reference>, Error> {
        Ok(Records::read(&self.layout)?.repo_digests(id))
    }

    /// All images, the youngest first. One whose record is damaged is left out; [`Store::check`] names it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        self.sweep();
        images::list(&self.layout)
    }

    /// Gives an image (by name or id) one more name; a name that another image has is taken from it. Returns the image's id.
    ///
    /// # Errors
    /// Those of [`Store::resolve`], [`Error::TagWithDigest`].
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Digest, Error> {
        images::tag(self, source, target)
    }

    /// Takes a name away, and with the last name the image and all that only it needs; by Docker's rules. `is_running` is asked about the
    /// owners of leases on the image: a running container's image cannot be removed even by force, but by force its name can be taken away.
    ///
    /// A person may remove anything; for any other owner ([`Store::owned_by`]) only that one's names go, and the image only with nobody else's left.
    ///
    /// # Errors
    /// Those of [`Store::resolve`], [`Error::NotOwner`], [`Error::InUse`], [`Error::NameInUse`], [`Error::SeveralRepositories`].
    pub fn remove(
        &self,
        name_or_id: &str,
        force: bool,
        is_running: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Removed>, Error> {
        remove::remove(self, name_or_id, force, is_running)
    }

    /// Makes the image's layers available as directories, ready to be overlayfs' lower ones: the topmost first. Layers that are mounted already
    /// cost a system call each.
    ///
    /// # Errors
    /// [`Error::Mount`], [`Error::MissingLayer`].
    pub fn mount_layers(&self, image: &Image) -> Result<Vec<PathBuf>, Error> {
        let layers = image.layers.iter().zip(&image.variants);
        let layers: Vec<_> = layers
            .map(|(diff_id, variant)| LayerUse { diff_id: diff_id.clone(), variant: variant.clone() })
            .collect();
        self.present(&layers)
    }

    /// Bytes of each of the image's layers as a tar, the lowest first.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Record`].
    pub fn layer_sizes(&self, image: &Image) -> Result<Vec<u64>, Error> {
        let size = |diff_id| Ok(layers::read_record(&self.layout, diff_id)?.size);
        image.layers.iter().map(size).collect()
    }

    /// What each of the image's layers is and takes, the lowest first.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Record`].
    pub fn layer_details(&self, image: &Image) -> Result<Vec<LayerDetails>, Error> {
        let details = |diff_id| {
            let record = layers::read_record(&self.layout, diff_id)?;
            Ok(LayerDetails {
                diff_id: record.diff_id,
                size: record.size,
                entries: record.entries,
                inodes: record.inodes,
                disk_bytes: onggi_sys::usage::disk_bytes(&self.layout.layer(diff_id)),
            })
        };
        image.layers.iter().map(details).collect()
    }

    /// Unmounts every layer; what is in use stays until its last user is gone.
    ///
    /// # Errors
    /// [`Error::Unmount`], after all have been tried.
    pub fn unmount_all(&self) -> Result<(), Error> {
        self.presenter().withdraw_all()
    }

    /// Moves a damaged file or directory of the data root to `lost/N/`, and answers where it is now.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf, Error> {
        quarantine::Quarantine::new(&self.layout).set_aside(path)
    }

    /// Says that an image was wanted again by a name that it has: what goes first for the budget goes by that, and what a person wants is a person's from
    /// then on. `false`: the name does not stand for the image any more.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Record`].
    pub fn ask_for(&self, name: &Reference, id: &Digest) -> Result<bool, Error> {
        images::ask_for(self, name, id)
    }

    /// Keeps an image from being removed while `owner` (a container's id) uses it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] if it is gone already.
    pub fn lease(&self, owner: &str, image: &Digest) -> Result<(), Error> {
        // What cannot be swept now is no reason against a container.
        let _ = act::sweep_acts(&self.layout);
        self.index.lease(owner, &image.to_string())?;
        self.check_leased(owner, image)
    }

    /// Whoever removes an image looks at the leases first: either it saw the owner's, or the image is gone now.
    fn check_leased(&self, owner: &str, image: &Digest) -> Result<(), Error> {
        match records::read_image(&self.layout, image)? {
            Some(record) if !record.removed => {
                images::touch(&self.layout, image);
                Ok(())
            }
            _ => {
                self.index.release(owner)?;
                Err(Error::NoSuchImage { name: image.to_string() })
            }
        }
    }

    /// Ends an owner's lease, if it has one.
    ///
    /// # Errors
    /// [`Error::Index`], [`Error::Io`].
    pub fn release(&self, owner: &str) -> Result<(), Error> {
        let image = self.index.release(owner)?;
        self.after_release(image)
    }

    /// Takes a name for the thing with this id, before the thing exists; taking it again for the same id is no error. A name that a
    /// process has reserved and then died without making the thing is free.
    ///
    /// # Errors
    /// [`Error::NameTaken`] says who has it.
    pub fn reserve_name(&self, kind: NameKind, name: &str, id: &str) -> Result<(), Error> {
        let Some(holder) = self.index.reserve_name(kind, name, id, None)? else { return Ok(()) };
        if self.is_abandoned(kind, name, &holder)? && self.index.take_name(kind, name, &holder, id)? {
            return Ok(());
        }
        Err(Error::NameTaken { kind: kind.name(), name: name.to_owned(), holder })
    }

    /// [`Store::reserve_name`] for a container that is about to be made, and [`Store::lease`] on its image, in one turn at the index.
    ///
    /// # Errors
    /// Those of both. Without the name there is no lease; a name that was taken before the image turned out to be gone stays taken, for the
    /// caller to give back.
    pub fn reserve_container(&self, name: &str, id: &str, image: &Digest) -> Result<(), Error> {
        let _ = act::sweep_acts(&self.layout);
        let kind = NameKind::Container;
        match self.index.reserve_name(kind, name, id, Some(&image.to_string()))? {
            None => self.check_leased(id, image),
            Some(holder) => {
                if self.is_abandoned(kind, name, &holder)? && self.index.take_name(kind, name, &holder, id)? {
                    return self.lease(id, image);
                }
                Err(Error::NameTaken { kind: kind.name(), name: name.to_owned(), holder })
            }
        }
    }

    fn is_abandoned(&self, kind: NameKind, name: &str, holder: &str) -> Result<bool, Error> {
        let record = match kind {
            NameKind::Container => self.layout.containers().join(holder).join("container.json"),
        };
        let reserved_by = self.index.reserved_by(kind, name)?;
        // In this order: a process that is dead now can no longer make the record.
        Ok(reserved_by.is_none_or(|process| !process.is_alive()) && !onggi_record::is_there(&record))
    }

    /// Gives a name back, if it belongs to this id.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn release_name(&self, kind: NameKind, name: &str, id: &str) -> Result<(), Error> {
        self.index.release_name(kind, name, id)
    }

    /// Takes a new name for the id and gives its old one back, in one step; also in the container's row.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub fn rename(&self, kind: NameKind, new: &str, id: &str) -> Result<(), Error> {
        match self.index.rename(kind, new, id)? {
            None => Ok(()),
            Some(holder) => Err(Error::NameTaken { kind: kind.name(), name: new.to_owned(), holder }),
        }
    }

    /// Whose name it is.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn find_name(&self, kind: NameKind, name: &str) -> Result<Option<String>, Error> {
        self.index.find_name(kind, name)
    }

    /// All containers, the youngest first.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn containers(&self) -> Result<Vec<ContainerRow>, Error> {
        self.index.containers()
    }

    /// The ids of containers that begin so, two at most (more than one is ambiguous anyway).
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn containers_by_prefix(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.index.containers_by_prefix(prefix)
    }

    /// Adds or replaces a container's row.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn insert_container(&self, row: &ContainerRow) -> Result<(), Error> {
        self.index.insert_container(row)
    }

    /// Removes a container's row, its name and its lease, in one step.
    ///
    /// # Errors
    /// [`Error::Index`], [`Error::Io`].
    pub fn remove_container(&self, id: &str) -> Result<(), Error> {
        let image = self.index.remove_container(id)?;
        self.after_release(image)
    }

    /// Verifies everything: seals, blobs, tars against diff ids, EROFS indexes, records against what they name, the index against the files. Changes
    /// nothing without `repair`; with it mends what can be mended, sets aside under `lost/` what cannot, and removes what cut-short acts have left.
    ///
    /// # Errors
    /// Only when something cannot be looked at; what is wrong is in the report.
    pub fn check(&self, repair: bool) -> Result<Report, Error> {
        check::check(self, repair, None)
    }

    /// As [`Store::check`] with `repair`, and what is lost of an image that came from a registry is brought again by `origins`, before anything that
    /// needs it is set aside.
    ///
    /// # Errors
    /// As [`Store::check`].
    pub fn repair_from(&self, origins: &dyn Refetch) -> Result<Report, Error> {
        check::check(self, true, Some(origins))
    }

    /// What the store takes on disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        usage::disk_usage(&self.layout)
    }

    /// Makes the index anew from the files.
    ///
    /// # Errors
    /// [`Error::Index`], [`Error::Io`].
    pub fn rebuild_index(&self) -> Result<(), Error> {
        self.index.rebuild()
    }

    /// Removes what killed commands have left, in passing: what cannot be removed now is no reason to fail.
    fn sweep(&self) {
        let _ = act::sweep(&self.layout);
    }

    fn after_release(&self, image: Option<String>) -> Result<(), Error> {
        match image.and_then(|image| Digest::parse(&image).ok()) {
            Some(image) => remove::remove_if_unused(self, &image),
            None => Ok(()),
        }
    }

    fn presenter(&self) -> &dyn Presenter {
        self.presenter
            .get_or_init(|| {
                let erofs = ErofsMounts { layout: self.layout.clone() };
                match (self.form, self.only_trees()) {
                    (_, Some(trees)) => Box::new(trees),
                    (LayerForm::Erofs, None) => Box::new(erofs),
                    (_, None) => Box::new(EitherForm { erofs, trees: self.trees() }),
                }
            })
            .as_ref()
    }

    fn trees(&self) -> UnpackedTrees {
        UnpackedTrees { layout: self.layout.clone(), program: self.unpacker.clone() }
    }

    /// The trees, where layers can be presented in no other form: then they are unpacked as they come.
    fn only_trees(&self) -> Option<UnpackedTrees> {
        let only = match self.form {
            LayerForm::Directories => true,
            LayerForm::Erofs => false,
            LayerForm::Auto => !mounts::can_mount_erofs(),
        };
        only.then(|| self.trees())
    }

    /// Presents layers, given the lowest first; their directories, the topmost first.
    fn present(&self, layers: &[LayerUse]) -> Result<Vec<PathBuf>, Error> {
        let mut presented: Vec<PathBuf> = Vec::with_capacity(layers.len());
        for layer in layers {
            let path = match self.presenter().presented(layer) {
                Some(path) => path,
                None => {
                    // The record is read so that a layer that is gone is named, rather than a mount fail on a missing file.
                    layers::read_record(&self.layout, &layer.diff_id)?;
                    self.presenter().present(layer, &presented)?
                }
            };
            presented.insert(0, path);
        }
        Ok(presented)
    }

    /// Makes the variants of an image's layers anew and its record with them.
    fn replace_variants(&self, image: &records::ImageRecord) -> Result<bool, Error> {
        load::replace_variants(self, image)
    }

    fn withdraw(&self, diff_id: &Digest) -> Result<(), Error> {
        self.presenter().withdraw(diff_id)
    }

    fn withdraw_one(&self, layer: &LayerUse) -> Result<(), Error> {
        self.presenter().withdraw_one(layer)
    }
}
