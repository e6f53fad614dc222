//! Verifying the whole store, and mending it from what is left.
//!
//! Without `repair` nothing is changed. With it, what is derived is made again: the index from the files, an EROFS index from its tar, a variant from the
//! layers. What is damaged is set aside (`quarantine`), never deleted, and so is what is of use only with it: an image that has lost a layer goes with its
//! names, its documents and its other layers, and comes back whole when it is loaded again. Remains of acts that were cut short are removed: they are nobody's.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use onggi_error::{Diagnose, Kind};
use onggi_image::{Config, Digest, Document};

use crate::Store;
use crate::act::{Act, Kept, StoreLock, dead_acts, remove_tree};
use crate::error::Error;
use crate::layers::{self, INDEX, LayerRecord, TAR};
use crate::layout::Layout;
use crate::mounts::Presenter;
use crate::quarantine::Quarantine;
use crate::records::{ImageRecord, LayerUse, Record, Records};
use crate::refetch::{self, Refetch, Refetched};
use crate::remove::{self, Garbage};
use crate::types::{Done, Finding, Report, Severity};
use crate::{blobs, containers, trees};

/// `origins`: who brings again what is lost, if it came from a registry.
pub(crate) fn check(store: &Store, repair: bool, origins: Option<&dyn Refetch>) -> Result<Report, Error> {
    let layout = &store.layout;
    let (report, quarantine) = (Report::default(), Quarantine::new(layout));
    let mut check = Check { store, layout, repair, report, quarantine, looked_at: HashSet::new() };
    check.leftovers()?;
    let act = match Act::begin_without_sweep(layout, "check") {
        Ok(act) => Some(act),
        // A full disk is looked at all the same; what is removed below may make room for the next check to mend the rest.
        Err(error) if error.kind() == Kind::Exhausted => {
            check.repair = false;
            if repair {
                check.find(Severity::Derived, &layout.tmp(), format!("nothing can be mended: {error}"), None);
            }
            None
        }
        Err(error) => return Err(error),
    };
    check.index()?;
    let mut bad_blobs = check.blobs()?;
    let mut bad_layers = check.layers(act.as_ref())?;
    if let (true, Some(act), Some(origins)) = (check.repair, &act, origins) {
        check.refetch(act, origins, &mut bad_blobs, &mut bad_layers)?;
    }
    let doomed = check.images(&bad_blobs, &bad_layers)?;
    check.containers();
    // This act has kept every layer that it looked at.
    drop(act);
    check.retire(doomed)?;
    // On a full disk removing is what helps.
    check.repair = repair;
    check.garbage()?;
    check.count()?;
    Ok(check.report)
}

/// Records that cannot stay: of images that have lost something, of names that lead nowhere, and those that cannot be read.
#[derive(Default)]
struct Doomed {
    paths: Vec<(PathBuf, String)>,
    needed: HashSet<(Kept, Digest)>,
    /// One cannot be read, so it may have needed anything.
    unreadable: bool,
}

struct Check<'a> {
    store: &'a Store,
    layout: &'a Layout,
    repair: bool,
    report: Report,
    quarantine: Quarantine<'a>,
    /// Trees of variants, which several images may have.
    looked_at: HashSet<LayerUse>,
}

impl Check<'_> {
    fn find(&mut self, severity: Severity, path: &Path, message: impl Into<String>, done: Option<Done>) {
        self.report.findings.push(Finding { severity, path: path.to_owned(), message: message.into(), done });
    }

    /// Sets something aside if repairing, and says so.
    fn lost(&mut self, path: &Path, message: impl std::fmt::Display) -> Result<(), Error> {
        let done = match self.repair {
            true => Some(Done::SetAside(self.quarantine.set_aside(path)?)),
            false => None,
        };
        self.find(Severity::Lost, path, message.to_string(), done);
        Ok(())
    }

    fn leftovers(&mut self) -> Result<(), Error> {
        let guard = StoreLock::take(self.layout)?;
        for path in dead_acts(self.layout)? {
            self.leftover(&path, "left by a command that was cut short");
        }
        drop(guard);
        Ok(())
    }

    fn leftover(&mut self, path: &Path, message: &str) {
        let removed = if self.repair { Some(remove_tree(path)) } else { None };
        let (message, done) = match removed {
            Some(Err(error)) => (format!("{message}, and cannot be removed: {error}"), None),
            removed => (message.to_owned(), removed.map(|_| Done::Removed)),
        };
        self.find(Severity::Leftover, path, message, done);
    }

    fn mended(&self) -> Option<Done> {
        self.repair.then_some(Done::Mended)
    }

    fn index(&mut self) -> Result<(), Error> {
        let Some(damage) = self.store.index.damage()? else { return Ok(()) };
        if self.repair {
            self.store.index.rebuild()?;
        }
        self.find(Severity::Derived, &self.layout.index(), damage, self.mended());
        Ok(())
    }

    /// Checks every blob's digest. Returns those that are not whole.
    fn blobs(&mut self) -> Result<BTreeSet<Digest>, Error> {
        let (digests, strangers) = blobs::list(self.layout)?;
        for path in strangers {
            self.lost(&path, "not a blob's name")?;
        }
        let mut bad = BTreeSet::new();
        for digest in digests {
            match blobs::get(self.layout, &digest) {
                Err(error) if !is_missing(&error) => {
                    self.lost(&self.layout.blob(&digest), error)?;
                    bad.insert(digest);
                }
                // One that has gone meanwhile was removed with its image.
                _ => {}
            }
        }
        Ok(bad)
    }

    /// Checks every layer's tar against its diff id, and its indexes. Returns those that cannot be used.
    fn layers(&mut self, act: Option<&Act>) -> Result<BTreeSet<Digest>, Error> {
        let (diff_ids, strangers) = layers::list(self.layout)?;
        for path in strangers {
            self.lost(&path, "not a layer's name")?;
        }
        let mut bad = BTreeSet::new();
        for diff_id in diff_ids {
            // So that it is not removed while it is looked at. A full disk has no room for the promise.
            let kept = act.map(|act| act.keep(self.layout, Kept::Layer, &diff_id));
            match kept {
                Some(Ok(false)) => continue,
                Some(Err(error)) if error.kind() != Kind::Exhausted => return Err(error),
                _ => {}
            }
            let directory = self.layout.layer(&diff_id);
            let fault = match layers::read_record(self.layout, &diff_id) {
                Err(error) => Some(error.to_string()),
                Ok(record) => match layers::digest_file(&directory.join(TAR), diff_id.algorithm()) {
                    Ok(found) if found == diff_id => {
                        self.layer_indexes(act, &record)?;
                        self.tree(&LayerUse { diff_id: diff_id.clone(), variant: None }, &[])?;
                        None
                    }
                    Ok(found) => Some(format!("its tar has the digest {found}")),
                    Err(error) => Some(error.to_string()),
                },
            };
            if let Some(fault) = fault {
                if !directory.exists() {
                    // Without the promise it could go meanwhile, and has.
                    continue;
                }
                if self.repair {
                    self.store.withdraw(&diff_id)?;
                }
                self.lost(&directory, fault)?;
                bad.insert(diff_id);
            }
        }
        Ok(bad)
    }

    /// Brings again what images need and have lost, where it came from. What comes is no longer bad.
    fn refetch(
        &mut self,
        act: &Act,
        origins: &dyn Refetch,
        bad_blobs: &mut BTreeSet<Digest>,
        bad_layers: &mut BTreeSet<Digest>,
    ) -> Result<(), Error> {
        let (mut configs, mut layers) = (BTreeSet::new(), BTreeSet::new());
        for image in Records::read(self.layout)?.images {
            configs.insert(image.id);
            layers.extend(image.layers.into_iter().map(|layer| layer.diff_id));
        }
        configs.retain(|id| !self.has_blob(id, bad_blobs));
        layers.retain(|layer| bad_layers.contains(layer) || !self.layout.layer(layer).exists());
        for id in configs {
            let tried = refetch::config(self.store, act, origins, &id)?;
            if self.refetched(&self.layout.blob(&id), tried) {
                bad_blobs.remove(&id);
            }
        }
        for diff_id in layers {
            let tried = refetch::layer(self.store, act, origins, &diff_id)?;
            if self.refetched(&self.layout.layer(&diff_id), tried) {
                bad_layers.remove(&diff_id);
            }
        }
        Ok(())
    }

    /// Tells what a try has come to. Whether the thing is whole again.
    fn refetched(&mut self, path: &Path, tried: Refetched) -> bool {
        match tried {
            Refetched::From(name) => {
                let message = format!("was lost, and was fetched again from {}", name.familiar());
                self.find(Severity::Lost, path, message, Some(Done::Mended));
                true
            }
            Refetched::NoOrigin => false,
            Refetched::Failed(reason) => {
                let message = format!("could not be fetched again: {reason}");
                // What hangs on it is set aside below, and named there.
                self.find(Severity::Leftover, path, message, None);
                false
            }
        }
    }

    fn layer_indexes(&mut self, act: Option<&Act>, record: &LayerRecord) -> Result<(), Error> {
        let directory = self.layout.layer(&record.diff_id);
        let plain = directory.join(INDEX);
        if !layers::digest_file(&plain, record.index.algorithm()).is_ok_and(|found| found == record.index) {
            let mending = act.filter(|_| self.repair);
            if let Some(act) = mending {
                // What is mounted reads from the damaged file, also after it has lost its name.
                self.store.withdraw(&record.diff_id)?;
                layers::repair_index(self.layout, act, record)?;
            }
            let done = mending.map(|_| Done::Mended);
            self.find(Severity::Derived, &plain, "the EROFS index is missing or damaged", done);
        }
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let path = entry.map_err(Error::io("list", &directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(blob) = layers::digest_of_kept(name) {
                self.kept_blob(&path, &blob)?;
                continue;
            }
            let Some(hex) = name.strip_suffix(".erofs").filter(|hex| *hex != "layer") else { continue };
            let found = layers::digest_file(&path, onggi_image::Algorithm::Sha256);
            if !found.is_ok_and(|found| found.hex() == hex) {
                if self.repair {
                    self.store.withdraw(&record.diff_id)?;
                    remove_tree(&path)?;
                }
                // `images` makes it anew, for it knows above which layers it is used.
                let done = self.repair.then_some(Done::Removed);
                self.find(Severity::Derived, &path, "a variant of the EROFS index is damaged", done);
            }
        }
        Ok(())
    }

    /// Compares the tree of a layer, if it has one, with its tar, from which it is made again. Containers that stand on a damaged one keep it.
    fn tree(&mut self, layer: &LayerUse, lower: &[PathBuf]) -> Result<(), Error> {
        let Some(fault) = trees::fault(self.layout, layer, lower)? else { return Ok(()) };
        let path = layers::tree(self.layout, layer);
        let mut done = None;
        if self.repair {
            let in_use = containers::layers_in_use(self.layout);
            if in_use.is_ok_and(|layers| !layers.contains(&layer.diff_id)) {
                remove_tree(&path)?;
            } else {
                self.quarantine.set_aside(&path)?;
            }
            done = Some(Done::Removed);
            if let Some(trees) = self.store.only_trees() {
                trees.present(layer, lower)?;
                done = Some(Done::Mended);
            }
        }
        self.find(Severity::Derived, &path, format!("the unpacked layer is damaged: {fault}"), done);
        Ok(())
    }

    /// The trees of an image's layers that are made for their places, which hang on those below.
    fn trees_of_variants(&mut self, image: &ImageRecord) -> Result<(), Error> {
        let mut lower: Vec<PathBuf> = Vec::new();
        for layer in &image.layers {
            let tree = layers::tree(self.layout, layer);
            if layer.variant.is_some() && self.looked_at.insert(layer.clone()) {
                self.tree(layer, &lower)?;
            }
            if !tree.is_dir() {
                // Where layers are presented otherwise, or before the first use.
                break;
            }
            lower.insert(0, tree);
        }
        Ok(())
    }

    /// A layer as it came is of use for pushing only, and there are other ways to that.
    fn kept_blob(&mut self, path: &Path, blob: &Digest) -> Result<(), Error> {
        if layers::digest_file(path, blob.algorithm()).is_ok_and(|found| found == *blob) {
            return Ok(());
        }
        if self.repair {
            remove_tree(path)?;
        }
        let done = self.repair.then_some(Done::Removed);
        self.find(Severity::Derived, path, "a layer that was kept compressed is damaged", done);
        Ok(())
    }

    fn images(
        &mut self,
        bad_blobs: &BTreeSet<Digest>,
        bad_layers: &BTreeSet<Digest>,
    ) -> Result<Doomed, Error> {
        let records = Records::read(self.layout)?;
        let mut doomed = Doomed::default();
        for (path, error) in records.damaged {
            // What a newer program has written is not damaged; it stays, and so does all that it may need.
            if matches!(error, Error::Record(onggi_record::Error::Newer { .. })) {
                self.find(Severity::Lost, &path, error.to_string(), None);
                continue;
            }
            doomed.unreadable = true;
            doomed.paths.push((path, error.to_string()));
        }
        let mut lost_images = BTreeSet::new();
        for image in &records.images {
            let path = self.layout.images().join(Record::image_file(&image.id));
            match self.image_fault(image, bad_blobs, bad_layers) {
                None => {
                    self.variants(image)?;
                    self.trees_of_variants(image)?;
                }
                // One that has gone meanwhile needs nothing.
                Some(_) if !path.exists() => {}
                Some(fault) => {
                    lost_images.insert(&image.id);
                    doomed.needed.extend(image.needs());
                    doomed.paths.push((path, fault));
                }
            }
        }
        for name in &records.names {
            let path = self.layout.images().join(Record::name_file(&name.name));
            let lost_manifest = name.needs().any(|(_, digest)| !self.has_blob(&digest, bad_blobs));
            let (familiar, id) = (name.name.familiar(), name.id.short());
            let fault = if !path.exists() {
                continue;
            } else if lost_images.contains(&name.id) {
                format!("{familiar} names the image {id}, which cannot be used")
            } else if !self.layout.images().join(Record::image_file(&name.id)).exists() {
                format!("{familiar} names the image {id}, which is not there")
            } else if lost_manifest {
                format!("{familiar} has lost its manifest")
            } else {
                continue;
            };
            doomed.needed.extend(name.needs());
            doomed.paths.push((path, fault));
        }
        Ok(doomed)
    }

    /// Sets aside the records that cannot stay, and before them what only they need: a person who mends a layer by hand can put it all back.
    fn retire(&mut self, doomed: Doomed) -> Result<(), Error> {
        if self.repair && !doomed.paths.is_empty() {
            let guard = StoreLock::take(self.layout)?;
            let gone: HashSet<&Path> = doomed.paths.iter().map(|(path, _)| path.as_path()).collect();
            let Some(Garbage { layers, blobs, .. }) =
                readable(remove::garbage(self.layout, &guard, |path| gone.contains(path)))?
            else {
                for (path, fault) in doomed.paths {
                    let message = format!("{fault}; it stays until the records above are mended");
                    self.find(Severity::Lost, &path, message, None);
                }
                return Ok(());
            };
            let wanted =
                |kind, digest: &Digest| doomed.unreadable || doomed.needed.contains(&(kind, digest.clone()));
            let reason = "of use only to what is set aside with it";
            for layer in layers.iter().filter(|layer| wanted(Kept::Layer, layer)) {
                self.store.withdraw(layer)?;
                self.lost(&self.layout.layer(layer), reason)?;
            }
            for blob in blobs.iter().filter(|blob| wanted(Kept::Blob, blob)) {
                self.lost(&self.layout.blob(blob), reason)?;
            }
            drop(guard);
        }
        for (path, fault) in doomed.paths {
            self.lost(&path, fault)?;
        }
        Ok(())
    }

    fn has_blob(&self, digest: &Digest, bad: &BTreeSet<Digest>) -> bool {
        !bad.contains(digest) && self.layout.blob(digest).exists()
    }

    /// Why an image cannot be used, if so.
    fn image_fault(
        &self,
        image: &ImageRecord,
        bad_blobs: &BTreeSet<Digest>,
        bad_layers: &BTreeSet<Digest>,
    ) -> Option<String> {
        let needed = [Some(&image.id), Some(&image.manifest), image.index.as_ref()];
        if let Some(missing) = needed.into_iter().flatten().find(|digest| !self.has_blob(digest, bad_blobs)) {
            return Some(format!("the image {} has lost its blob {missing}", image.id.short()));
        }
        let has_layer =
            |diff_id: &Digest| !bad_layers.contains(diff_id) && self.layout.layer(diff_id).exists();
        if let Some(missing) = image.layers.iter().find(|layer| !has_layer(&layer.diff_id)) {
            return Some(format!("the image {} has lost its layer {}", image.id.short(), missing.diff_id));
        }
        let config = blobs::get(self.layout, &image.id).ok().and_then(|bytes| Config::parse(&bytes).ok());
        let manifest = blobs::get(self.layout, &image.manifest)
            .ok()
            .and_then(|bytes| Document::parse(&bytes, None).ok());
        match (config, manifest) {
            (Some(config), Some(Document::Manifest(manifest))) => {
                let same = config.rootfs.diff_ids.iter().eq(image.layers.iter().map(|layer| &layer.diff_id));
                let of_it = manifest.config.digest == image.id;
                (!same || !of_it).then(|| {
                    format!("the record of the image {} says other than its documents", image.id.short())
                })
            }
            _ => Some(format!("the documents of the image {} cannot be read", image.id.short())),
        }
    }

    /// The variants that an image uses must be there.
    fn variants(&mut self, image: &ImageRecord) -> Result<(), Error> {
        for layer in &image.layers {
            let Some(variant) = &layer.variant else { continue };
            let path = self.layout.layer(&layer.diff_id).join(layers::index_file(Some(variant)));
            if path.exists() {
                continue;
            }
            let mended = self.repair && self.store.replace_variants(image)?;
            let done = mended.then_some(Done::Mended);
            self.find(Severity::Derived, &path, "a variant of the EROFS index is missing", done);
        }
        Ok(())
    }

    fn containers(&mut self) {
        for (path, error) in containers::damaged(self.layout) {
            // It is the engine's; only the engine knows what hangs on it.
            self.find(Severity::Lost, &path, error.to_string(), None);
        }
    }

    /// What no record needs: the data of acts that were cut short before their record.
    fn garbage(&mut self) -> Result<(), Error> {
        let guard = StoreLock::take(self.layout)?;
        // Without mending, what the images above need stays needed.
        let Some(garbage) = readable(remove::garbage(self.layout, &guard, |_| false))? else {
            return Ok(());
        };
        let paths = garbage.paths(self.layout);
        let collected = if self.repair { Some(remove::collect(self.layout, &guard)?) } else { None };
        drop(guard);
        let done = collected.map(|collected| {
            collected.delete(self.store);
            Done::Removed
        });
        for path in paths {
            self.find(Severity::Leftover, &path, "no image needs it", done.clone());
        }
        Ok(())
    }

    /// What there is now.
    fn count(&mut self) -> Result<(), Error> {
        let records = Records::read(self.layout)?;
        let images = records.images.len() + records.names.len() + records.damaged.len();
        self.report.records = images as u64 + containers::count(self.layout);
        self.report.blobs = blobs::list(self.layout)?.0.len() as u64;
        self.report.layers = layers::list(self.layout)?.0.len() as u64;
        Ok(())
    }
}

/// Nothing if a record cannot be read, since that may need anything. It has been named already.
fn readable<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::Record(_)) => Ok(None),
        other => other.map(Some),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
