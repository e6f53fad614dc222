//! Verifying the whole store, and mending it from what is left.
//!
//! What is derived is made again: the index from the files, an EROFS index from its tar, a variant by dropping it. What is lost is set aside under
//! `lost/`, never deleted, and named; an image that has lost a layer is set aside with its names, since it cannot run. Remains of acts that were cut short are
//! removed by any check: they are nobody's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use onggi_error::{Diagnose, Kind};
use onggi_image::{Config, Digest, Document};

use crate::Store;
use crate::act::{Act, Kept, StoreLock, dead_acts, remove_tree};
use crate::error::Error;
use crate::layers::{self, INDEX, LayerRecord, TAR};
use crate::layout::{Layout, make_directory};
use crate::records::{ImageRecord, Record, Records};
use crate::types::{DiskUsage, Finding, Report, Severity};
use crate::{blobs, containers, remove};

pub(crate) fn check(store: &Store, repair: bool) -> Result<Report, Error> {
    let mut check = Check { store, layout: &store.layout, repair, report: Report::default() };
    check.leftovers()?;
    let act = match Act::begin(&store.layout, "check") {
        Ok(act) => Some(act),
        // A full disk is looked at all the same; what is removed below may make room for the next check to mend the rest.
        Err(error) if error.kind() == Kind::Exhausted => {
            check.repair = false;
            if repair {
                let path = store.layout.tmp();
                check.find(Severity::Derived, &path, format!("nothing can be mended: {error}"), false);
            }
            None
        }
        Err(error) => return Err(error),
    };
    check.index()?;
    let bad_blobs = check.blobs()?;
    let bad_layers = check.layers(act.as_ref())?;
    check.images(&bad_blobs, &bad_layers)?;
    check.containers();
    // This act has kept every layer that it looked at.
    drop(act);
    check.garbage()?;
    Ok(check.report)
}

struct Check<'a> {
    store: &'a Store,
    layout: &'a Layout,
    repair: bool,
    report: Report,
}

impl Check<'_> {
    fn find(&mut self, severity: Severity, path: &Path, message: impl Into<String>, mended: bool) {
        self.report.findings.push(Finding {
            severity,
            path: path.to_owned(),
            message: message.into(),
            mended,
        });
    }

    /// Sets something aside if repairing, and says so.
    fn lost(&mut self, path: &Path, message: impl std::fmt::Display) -> Result<(), Error> {
        if !self.repair {
            self.find(Severity::Lost, path, message.to_string(), false);
            return Ok(());
        }
        let aside = set_aside(self.layout, path)?;
        self.find(Severity::Lost, path, format!("{message}; set aside as {}", aside.display()), true);
        Ok(())
    }

    fn leftovers(&mut self) -> Result<(), Error> {
        let guard = StoreLock::take(self.layout)?;
        let mut dead = dead_acts(self.layout)?;
        dead.extend(Records::read(self.layout)?.leftovers);
        for path in dead {
            let removed = remove_tree(&path);
            let message = match &removed {
                Ok(()) => "left by a command that was cut short; removed".to_owned(),
                Err(error) => format!("left by a command that was cut short, and cannot be removed: {error}"),
            };
            self.find(Severity::Leftover, &path, message, removed.is_ok());
        }
        drop(guard);
        Ok(())
    }

    fn index(&mut self) -> Result<(), Error> {
        let differences = self.store.index.differences()?;
        if differences.is_empty() {
            return Ok(());
        }
        if self.repair {
            self.store.index.rebuild()?;
        }
        let path = self.layout.index();
        for difference in differences {
            let done = if self.repair { "; made anew from the files" } else { "" };
            self.find(Severity::Derived, &path, format!("{difference}{done}"), self.repair);
        }
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
            self.report.blobs += 1;
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
            // So that it is not removed while it is looked at.
            if let Some(act) = act
                && !act.keep(self.layout, Kept::Layer, &diff_id)?
            {
                continue;
            }
            self.report.layers += 1;
            let directory = self.layout.layer(&diff_id);
            let fault = match layers::read_record(self.layout, &diff_id) {
                Err(error) => Some(error.to_string()),
                Ok(record) => match layers::digest_file(&directory.join(TAR), diff_id.algorithm()) {
                    Ok(found) if found == diff_id => {
                        self.layer_indexes(act, &record)?;
                        None
                    }
                    Ok(found) => Some(format!("its tar has the digest {found}")),
                    Err(error) => Some(error.to_string()),
                },
            };
            if let Some(fault) = fault {
                if act.is_none() && !directory.exists() {
                    // Without an act it could go meanwhile, and has.
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
            let done = if mending.is_some() { "; made anew from the tar" } else { "" };
            self.find(
                Severity::Derived,
                &plain,
                format!("the EROFS index is missing or damaged{done}"),
                mending.is_some(),
            );
        }
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let path = entry.map_err(Error::io("list", &directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(hex) = name.strip_suffix(".erofs").filter(|hex| *hex != "layer") else { continue };
            let found = layers::digest_file(&path, onggi_image::Algorithm::Sha256);
            if !found.is_ok_and(|found| found.hex() == hex) {
                if self.repair {
                    self.store.withdraw(&record.diff_id)?;
                    remove_tree(&path)?;
                }
                // `images` makes it anew, for it knows above which layers it is used.
                let done = if self.repair { "; removed, to be made anew" } else { "" };
                self.find(
                    Severity::Derived,
                    &path,
                    format!("a variant of the EROFS index is damaged{done}"),
                    self.repair,
                );
            }
        }
        Ok(())
    }

    fn images(&mut self, bad_blobs: &BTreeSet<Digest>, bad_layers: &BTreeSet<Digest>) -> Result<(), Error> {
        let records = Records::read(self.layout)?;
        self.report.records += (records.images.len() + records.names.len() + records.damaged.len()) as u64;
        for (path, error) in records.damaged {
            self.lost(&path, error)?;
        }
        for image in &records.images {
            let path = self.layout.images().join(Record::image_file(&image.id));
            match self.image_fault(image, bad_blobs, bad_layers) {
                None => self.variants(image)?,
                // One that has gone meanwhile needs nothing.
                Some(_) if !path.exists() => {}
                Some(fault) => self.lost(&path, fault)?,
            }
        }
        for name in &records.names {
            let path = self.layout.images().join(Record::name_file(&name.name));
            let manifests = [Some(&name.manifest), name.index.as_ref()];
            let lost_manifest =
                manifests.into_iter().flatten().any(|digest| !self.has_blob(digest, bad_blobs));
            if !path.exists() {
                continue;
            }
            if !self.layout.images().join(Record::image_file(&name.id)).exists() {
                self.lost(
                    &path,
                    format!(
                        "{} names the image {}, which is not there",
                        name.name.familiar(),
                        name.id.short()
                    ),
                )?;
            } else if lost_manifest {
                self.lost(&path, format!("{} has lost its manifest", name.name.familiar()))?;
            }
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
            let done = if mended { "; made anew" } else { "" };
            self.find(
                Severity::Derived,
                &path,
                format!("a variant of the EROFS index is missing{done}"),
                mended,
            );
        }
        Ok(())
    }

    fn containers(&mut self) {
        self.report.records += containers::count(self.layout);
        for (path, error) in containers::damaged(self.layout) {
            // It is the engine's; only the engine knows what hangs on it.
            self.find(Severity::Lost, &path, error.to_string(), false);
        }
    }

    /// What no record needs: the data of acts that were cut short before their record.
    fn garbage(&mut self) -> Result<(), Error> {
        let guard = StoreLock::take(self.layout)?;
        let collected = match remove::collect(self.layout, &guard) {
            Ok(collected) => collected,
            // A damaged record may need anything. It has been named above.
            Err(Error::DamagedRecord { .. } | Error::NewerVersion { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        drop(guard);
        let layers = collected.layers.iter().map(|layer| self.layout.layer(layer));
        let paths: Vec<PathBuf> =
            layers.chain(collected.blobs.iter().map(|blob| self.layout.blob(blob))).collect();
        collected.delete(self.store);
        for path in paths {
            self.find(Severity::Leftover, &path, "no image needs it; removed", true);
        }
        Ok(())
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// Moves something out of the way, to `lost/`, under its own name with a number.
fn set_aside(layout: &Layout, path: &Path) -> Result<PathBuf, Error> {
    let lost = layout.data.join("lost");
    make_directory(&lost)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = (0..)
        .map(|number| lost.join(format!("{name}.{number}")))
        .find(|aside| !aside.exists())
        .unwrap_or(lost);
    fs::rename(path, &aside).map_err(Error::io("set aside", path))?;
    Ok(aside)
}

/// Adds up what is on disk.
pub(crate) fn disk_usage(layout: &Layout) -> Result<DiskUsage, Error> {
    let records = Records::read(layout)?;
    let (layers, _) = layers::list(layout)?;
    Ok(DiskUsage {
        images: records.images.iter().filter(|image| !image.removed).count() as u64,
        layers: layers.len() as u64,
        layer_bytes: bytes_in(&layout.layers()),
        blob_bytes: bytes_in(&layout.blobs()),
        leftover_bytes: bytes_in(&layout.tmp()),
    })
}

/// Bytes that a tree takes, as far as it can be read: it changes while it is looked at.
fn bytes_in(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let below: u64 = match metadata.is_dir() {
        true => fs::read_dir(path).into_iter().flatten().flatten().map(|entry| bytes_in(&entry.path())).sum(),
        false => 0,
    };
    below + metadata.blocks() * 512
}
