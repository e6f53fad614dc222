//! Verifying the whole store, and mending it from what is left.
//!
//! Without `repair` nothing is changed. With it, what is derived is made again: the index from the files, an EROFS index from its tar, a variant from the
//! layers, an image's record from its documents. What is damaged is set aside (`quarantine`), never deleted, and so is what is of use only with it: an image
//! that has lost a layer goes with its names, its documents and its other layers, and comes back whole when it is loaded again. Remains of acts that were cut
//! short are removed: they are nobody's. A repair that has changed anything looks again before it says that all is sound.

mod images;
mod remake;
mod trees;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use onggi_error::{Diagnose, Kind};
use onggi_image::Digest;

use crate::Store;
use crate::act::{Act, Kept, StoreLock, dead_acts, remove_tree};
use crate::error::Error;
use crate::layers::{self, INDEX, LayerRecord, TAR};
use crate::layout::{Layout, make_directory};
use crate::quarantine::Quarantine;
use crate::records::{LayerUse, Records};
use crate::refetch::{self, Refetch, Refetched};
use crate::remove;
use crate::types::{Done, Finding, Report, Severity};
use crate::{blobs, containers};

/// Looks, all in all, of a repair: the second mends what the first has brought to light, and the third only looks.
const LOOKS: usize = 3;

/// Mends what keeps every command from opening the store: a version that is none. There has been one layout only, and each record says its own version.
pub(crate) fn mend_version(layout: &Layout) -> Result<Option<Finding>, Error> {
    let Some(fault) = layout.version_fault()? else { return Ok(None) };
    let path = layout.version();
    let aside = Quarantine::new(layout).set_aside(&path)?;
    layout.write_version()?;
    let message = format!("{fault}; it was written again, and what it was is now {}", aside.display());
    Ok(Some(Finding { severity: Severity::Derived, path, message, done: Some(Done::Mended) }))
}

/// `origins`: who brings again what is lost, if it came from a registry.
pub(crate) fn check(store: &Store, repair: bool, origins: Option<&dyn Refetch>) -> Result<Report, Error> {
    let mut all = look(store, repair, origins)?;
    let mut changed = all.findings.iter().any(is_change);
    for number in 1..LOOKS {
        if !changed {
            break;
        }
        let Report { records, blobs, layers, findings, lost } = look(store, number + 1 < LOOKS, origins)?;
        changed = findings.iter().any(is_change);
        // What was not dealt with is found again, if it is still there.
        all.findings.retain(|finding| finding.done.is_some());
        all.findings.extend(findings);
        all.lost.extend(lost);
        (all.records, all.blobs, all.layers) = (records, blobs, layers);
    }
    Ok(all)
}

/// Whether something was done that other things may hang on.
fn is_change(finding: &Finding) -> bool {
    finding.done.is_some() && finding.severity != Severity::Leftover
}

fn look(store: &Store, repair: bool, origins: Option<&dyn Refetch>) -> Result<Report, Error> {
    let layout = &store.layout;
    let (report, quarantine, unavailable) = (Report::default(), Quarantine::new(layout), BTreeMap::new());
    let (looked_at, bad_trees) = (HashSet::new(), HashSet::new());
    let mut check = Check { store, layout, repair, report, quarantine, looked_at, bad_trees, unavailable };
    if !layout.images().is_dir() && !check.no_records()? {
        return Ok(check.report);
    }
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
    let mut bad = Bad { blobs: check.blobs()?, layers: check.layers(act.as_ref())? };
    let mending = act.as_ref().filter(|_| check.repair);
    if mending.is_some() {
        check.remake_names(&bad)?;
    }
    if let (Some(act), Some(origins)) = (mending, origins) {
        check.refetch(act, origins, &mut bad)?;
    }
    let doomed = check.images(mending, &bad)?;
    check.containers();
    // This act has kept every layer that it looked at.
    drop(act);
    check.retire(doomed, &bad)?;
    // On a full disk removing is what helps.
    check.repair = repair;
    check.garbage()?;
    check.count()?;
    Ok(check.report)
}

/// Blobs and layers that are there and not whole. What was set aside is none of them: what is in its place by then was brought, and verified, meanwhile.
struct Bad {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

struct Check<'a> {
    store: &'a Store,
    layout: &'a Layout,
    repair: bool,
    report: Report,
    quarantine: Quarantine<'a>,
    /// Trees of variants, which several images may have.
    looked_at: HashSet<LayerUse>,
    /// Trees that are there and not what they should be: nothing above them can be compared.
    bad_trees: HashSet<LayerUse>,
    /// Why something could not be fetched again.
    unavailable: BTreeMap<Digest, String>,
}

impl Check<'_> {
    fn find(&mut self, severity: Severity, path: &Path, message: impl Into<String>, done: Option<Done>) {
        self.report.findings.push(Finding { severity, path: path.to_owned(), message: message.into(), done });
    }

    /// Sets something aside if repairing, and says so. Whether it stays where it is: else what is found there from now on has come since.
    fn lost(&mut self, path: &Path, message: impl std::fmt::Display) -> Result<bool, Error> {
        let done = match self.repair {
            true => match self.quarantine.set_aside(path) {
                // Another check was faster, and tells of it.
                Err(_) if path.symlink_metadata().is_err() => return Ok(false),
                other => Some(Done::SetAside(other?)),
            },
            false => None,
        };
        let stays = done.is_none();
        self.find(Severity::Lost, path, message.to_string(), done);
        Ok(stays)
    }

    /// Nobody knows what the layers and blobs are for: they are set aside, before somebody takes them for garbage, but for those that containers or acts
    /// in progress need. Whether there is a directory for records now.
    fn no_records(&mut self) -> Result<bool, Error> {
        let guard = StoreLock::take(self.layout)?;
        let images = self.layout.images();
        if images.is_dir() {
            return Ok(true);
        }
        let missing = "the directory is missing";
        let Some(needed) = readable(remove::needed_by_the_living(self.layout, &guard))? else {
            let message =
                format!("{missing}, and it cannot be made before the records of containers are mended");
            self.find(Severity::Lost, &images, message, None);
            return Ok(false);
        };
        let reason = "the records of images are gone, so nothing says what this is for";
        if needed.is_empty() {
            for path in [self.layout.layers(), self.layout.blobs()] {
                if path.is_dir() {
                    self.lost(&path, reason)?;
                }
            }
        } else {
            let layers = layers::list(self.layout)?.0.into_iter().map(|layer| (Kept::Layer, layer));
            let blobs = blobs::list(self.layout)?.0.into_iter().map(|blob| (Kept::Blob, blob));
            for (kind, digest) in layers.chain(blobs).filter(|thing| !needed.contains(thing)) {
                self.lost(&kind.path(self.layout, &digest), reason)?;
            }
        }
        if self.repair {
            for path in [self.layout.blobs().join("sha256"), self.layout.layers(), images.clone()] {
                make_directory(&path)?;
            }
        }
        self.find(Severity::Lost, &images, missing, self.mended());
        Ok(self.repair)
    }

    fn leftovers(&mut self) -> Result<(), Error> {
        let guard = StoreLock::take(self.layout)?;
        let dead = dead_acts(self.layout)?;
        // Others need not wait for what may be long.
        drop(guard);
        for path in dead {
            if path.symlink_metadata().is_err() {
                // Its owner has just removed it.
                continue;
            }
            self.leftover(&path, "left by a command that was cut short");
        }
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

    /// Checks every blob's digest. Returns those that are there and not whole.
    fn blobs(&mut self) -> Result<BTreeSet<Digest>, Error> {
        let (digests, strangers) = blobs::list(self.layout)?;
        for path in strangers {
            self.lost(&path, "not a blob's name")?;
        }
        let mut bad = BTreeSet::new();
        for digest in digests {
            match blobs::get(self.layout, &digest) {
                Err(error) if !is_missing(&error) => {
                    let path = self.layout.blob(&digest);
                    if self.lost(&path, reason(&error, &path))? {
                        bad.insert(digest);
                    }
                }
                // One that has gone meanwhile was removed with its image.
                _ => {}
            }
        }
        Ok(bad)
    }

    /// Checks every layer's tar against its diff id, and its indexes. Returns those that are there and cannot be used.
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
                Err(error) => Some(reason(&error, &directory)),
                Ok(record) => match layers::digest_file(&directory.join(TAR), diff_id.algorithm()) {
                    Ok(found) if found == diff_id => {
                        self.layer_indexes(act, &record)?;
                        self.tree(act, &LayerUse { diff_id: diff_id.clone(), variant: None }, &[])?;
                        None
                    }
                    Ok(found) => Some(format!("its tar has the digest {found}")),
                    Err(error) => Some(reason(&error, &directory)),
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
                if self.lost(&directory, fault)? {
                    bad.insert(diff_id);
                }
            }
        }
        Ok(bad)
    }

    /// Brings again what images need and have lost, where it came from. What comes is no longer bad.
    fn refetch(&mut self, act: &Act, origins: &dyn Refetch, bad: &mut Bad) -> Result<(), Error> {
        let records = Records::read(self.layout)?;
        for name in &records.names {
            let Some(origin) = &name.origin else { continue };
            let lost = name.needs().map(|(_, digest)| digest).filter(|digest| !self.has_blob(digest, bad));
            for digest in lost.collect::<Vec<_>>() {
                let tried = refetch::manifest(self.store, act, origins, origin, &digest);
                if self.refetched(&self.layout.blob(&digest), &digest, tried) {
                    bad.blobs.remove(&digest);
                }
            }
        }
        let ids: BTreeSet<&Digest> = (records.images.iter().map(|image| &image.id))
            .chain(records.names.iter().map(|name| &name.id))
            .collect();
        for id in ids {
            if self.has_blob(id, bad) {
                continue;
            }
            let tried = refetch::config(self.store, act, origins, id)?;
            if self.refetched(&self.layout.blob(id), id, tried) {
                bad.blobs.remove(id);
            }
        }
        let layers = refetch::images(self.store, &records).into_iter().flat_map(|(_, diff_ids)| diff_ids);
        for diff_id in layers.collect::<BTreeSet<_>>() {
            if self.has_layer(&diff_id, bad) {
                continue;
            }
            let tried = refetch::layer(self.store, act, origins, &diff_id)?;
            if self.refetched(&self.layout.layer(&diff_id), &diff_id, tried) {
                bad.layers.remove(&diff_id);
            }
        }
        Ok(())
    }

    /// Tells what a try has come to. Whether the thing is whole again.
    fn refetched(&mut self, path: &Path, digest: &Digest, tried: Refetched) -> bool {
        match tried {
            Refetched::From(name) => {
                let message = format!("was lost, and was fetched again from {}", name.familiar());
                self.find(Severity::Lost, path, message, Some(Done::Mended));
                true
            }
            Refetched::NoOrigin => false,
            Refetched::Failed(reason) => {
                // Told of what hangs on it.
                self.unavailable.insert(digest.clone(), reason);
                false
            }
        }
    }

    fn has_blob(&self, digest: &Digest, bad: &Bad) -> bool {
        !bad.blobs.contains(digest) && self.layout.blob(digest).exists()
    }

    fn has_layer(&self, diff_id: &Digest, bad: &Bad) -> bool {
        !bad.layers.contains(diff_id) && self.layout.layer(diff_id).exists()
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

    fn containers(&mut self) {
        for (path, error) in containers::damaged(self.layout) {
            // It is the engine's; only the engine knows what hangs on it.
            let message = reason(&error, &path);
            self.find(Severity::Lost, &path, message, None);
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

/// What is wrong with the thing at a path, without the path: whoever shows a finding has it.
fn reason(error: &Error, path: &Path) -> String {
    match error {
        Error::Record(onggi_record::Error::Damaged { reason, path: record }) if record.starts_with(path) => {
            format!("its record is damaged: {reason}")
        }
        Error::WrongDigest { found, .. } => format!("its digest is {found}"),
        Error::Io { operation, source, path: of } if of.starts_with(path) => format!("{operation}: {source}"),
        other => other.to_string(),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

fn is_newer(error: &Error) -> bool {
    matches!(error, Error::Record(onggi_record::Error::Newer { .. }))
}
