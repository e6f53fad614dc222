//! The records of images in a check: what each needs must be there. One that has lost something is made again of what is left, or goes with what only it needs.

use std::path::{Path, PathBuf};

use onggi_image::{Config, Digest, Document, Reference};

use super::{Bad, Check, is_newer, readable, reason, remake};
use crate::act::{Act, Kept, StoreLock};
use crate::error::Error;
use crate::records::{self, ImageRecord, NameRecord, Record, Records};
use crate::remove::{self, Garbage};
use crate::types::{Done, LostImage, Severity};
use crate::{blobs, containers, layers};

/// Records that cannot stay: first those that cannot be read, then those of images that have lost something, then those of names that lead nowhere.
#[derive(Default)]
pub(super) struct Doomed(Vec<Doom>);

struct Doom {
    path: PathBuf,
    fault: String,
    /// What it said. None: it cannot be read, so it may have needed anything.
    judged: Option<Record>,
    /// What the image was called.
    lost: Vec<LostImage>,
}

impl Doomed {
    fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|doom| doom.path == path)
    }

    /// Whether somebody may want what is garbage without these records together with them.
    fn wants(&self, kind: Kept, digest: &Digest) -> bool {
        let thing = (kind, digest.clone());
        self.0.iter().any(|doom| match &doom.judged {
            None => true,
            Some(Record::Image(image)) => image.needs().any(|needed| needed == thing),
            Some(Record::Name(name)) => name.needs().any(|needed| needed == thing),
        })
    }
}

impl Check<'_> {
    /// Writes damaged records of names again, as far as other files bear out what they still say.
    pub(super) fn remake_names(&mut self, bad: &Bad) -> Result<(), Error> {
        for (path, error) in Records::read(self.layout)?.damaged {
            let Some(name) = remake::name(self.layout, &path, bad).filter(|_| !is_newer(&error)) else {
                continue;
            };
            let familiar = name.name.familiar();
            if !remake::write(self.layout, Record::Name(name), None, std::slice::from_ref(&path))? {
                continue;
            }
            let message = format!("the record of the name {familiar}: {}", reason(&error, &path));
            self.find(Severity::Lost, &path, message, Some(Done::Mended));
        }
        Ok(())
    }

    /// Looks at all records of images and names. `mending`: what can be made again of what is left, is.
    pub(super) fn images(&mut self, mending: Option<&Act>, bad: &Bad) -> Result<Doomed, Error> {
        let records = Records::read(self.layout)?;
        let mut doomed = Doomed::default();
        for (path, error) in &records.damaged {
            // What a newer program has written is not damaged; it stays, and so does all that it may need.
            if is_newer(error) {
                self.find(Severity::Lost, path, error.to_string(), None);
                continue;
            }
            let id = self.id_of(path, &records);
            let called = id.as_ref().map(|id| called(&records, id));
            let called = called.or_else(|| remake::familiar_name(path));
            let of = called.map(|called| format!("the record of {called}: ")).unwrap_or_default();
            let fault = format!("{of}{}", reason(error, path));
            if let (Some(id), Some(act)) = (&id, mending)
                && self.remake(act, id, &records, bad, &[])?
            {
                self.find(Severity::Lost, path, fault, Some(Done::Mended));
                continue;
            }
            let lost = match &id {
                Some(id) => lost_names(&records, id),
                None => remake::familiar_name(path).map(LostImage::elsewhere).into_iter().collect(),
            };
            doomed.0.push(Doom { path: path.clone(), fault, judged: None, lost });
        }
        for image in &records.images {
            let path = self.layout.images().join(Record::image_file(&image.id));
            match self.image_fault(image, bad) {
                None => {
                    self.variants(image)?;
                    self.trees_of_variants(mending, image)?;
                }
                // One that has gone meanwhile needs nothing.
                Some(_) if !path.exists() => {}
                Some(fault) => {
                    let fault = format!("{}: {fault}", called(&records, &image.id));
                    if let Some(act) = mending
                        && self.remake(act, &image.id, &records, bad, &[])?
                    {
                        self.find(Severity::Lost, &path, fault, Some(Done::Mended));
                        continue;
                    }
                    let (judged, lost) =
                        (Some(Record::Image(image.clone())), lost_names(&records, &image.id));
                    doomed.0.push(Doom { path, fault, judged, lost });
                }
            }
        }
        for name in &records.names {
            self.name(name, &records, mending, bad, &mut doomed)?;
        }
        self.images_of_containers(&records, mending, bad)?;
        Ok(doomed)
    }

    /// An image that was removed by force stays for its containers, under no name.
    fn images_of_containers(
        &mut self,
        records: &Records,
        mending: Option<&Act>,
        bad: &Bad,
    ) -> Result<(), Error> {
        // The engine names a container's record that cannot be read.
        let Some(images) = readable(containers::images_in_use(self.layout))? else { return Ok(()) };
        for (container, id) in images {
            let path = self.layout.images().join(Record::image_file(&id));
            if path.exists() || records.names.iter().any(|name| name.id == id) || !container.exists() {
                continue;
            }
            let (remade, done) = match mending {
                Some(act) => (self.remake(act, &id, records, bad, &[container])?, Some(Done::Mended)),
                None => (self.has_blob(&id, bad), None),
            };
            if remade {
                self.find(
                    Severity::Lost,
                    &path,
                    "the record of an image that a container is made of is gone",
                    done,
                );
            }
        }
        Ok(())
    }

    fn name(
        &mut self,
        name: &NameRecord,
        records: &Records,
        mending: Option<&Act>,
        bad: &Bad,
        doomed: &mut Doomed,
    ) -> Result<(), Error> {
        let path = self.layout.images().join(Record::name_file(&name.name));
        let (familiar, id) = (name.name.familiar(), name.id.short());
        let image = self.layout.images().join(Record::image_file(&name.id));
        let mut lost = Vec::new();
        let fault = if !path.exists() {
            return Ok(());
        } else if doomed.has(&image) {
            format!("{familiar} names the image {id}, which cannot be used")
        } else if !image.exists() {
            let fault = format!("{familiar} names the image {id}, which is not there");
            if let Some(act) = mending
                && self.remake(act, &name.id, records, bad, &[])?
            {
                self.find(Severity::Lost, &image, fault, Some(Done::Mended));
                return Ok(());
            }
            lost.push(lost_name(name));
            fault
        } else if name.needs().any(|(_, digest)| !self.has_blob(&digest, bad)) {
            let fault = format!("{familiar} has lost its manifest");
            if mending.is_some() && self.give_another_manifest(name, bad)? {
                let message = format!("{fault}, and stands for another of the same image now");
                self.find(Severity::Lost, &path, message, Some(Done::Mended));
                return Ok(());
            }
            lost.push(lost_name(name));
            fault
        } else {
            return Ok(());
        };
        doomed.0.push(Doom { path, fault, judged: Some(Record::Name(name.clone())), lost });
        Ok(())
    }

    /// Sets aside the records that cannot stay, and before them what only they need: a person who mends a layer by hand can put it all back. Whoever brings
    /// an image meanwhile finds the records either there or gone; those that he has mended so stay.
    pub(super) fn retire(&mut self, mut doomed: Doomed, bad: &Bad) -> Result<(), Error> {
        if !self.repair || doomed.0.is_empty() {
            for Doom { path, fault, .. } in doomed.0 {
                self.lost(&path, fault)?;
            }
            return Ok(());
        }
        let guard = StoreLock::take(self.layout)?;
        let mut still = Doomed::default();
        for doom in doomed.0.drain(..) {
            if self.is_still_doomed(&doom, &still, bad) {
                still.0.push(doom);
            }
        }
        let Some(Garbage { layers, blobs, .. }) =
            readable(remove::garbage(self.layout, &guard, |path| still.has(path)))?
        else {
            for Doom { path, fault, .. } in still.0 {
                let message = format!("{fault}; it stays until the records above are mended");
                self.find(Severity::Lost, &path, message, None);
            }
            return Ok(());
        };
        let reason = "of use only to what is set aside with it";
        let layers: Vec<_> = layers.iter().filter(|layer| still.wants(Kept::Layer, layer)).collect();
        for layer in &layers {
            self.lost(&self.layout.layer(layer), reason)?;
        }
        for blob in blobs.iter().filter(|blob| still.wants(Kept::Blob, blob)) {
            self.lost(&self.layout.blob(blob), reason)?;
        }
        for Doom { path, fault, lost, .. } in still.0 {
            self.lost(&path, fault)?;
            self.report.lost.extend(lost);
        }
        drop(guard);
        // What is mounted stands on what has been set aside. Whoever mounts a layer may wait for the mutex.
        for layer in layers {
            self.store.withdraw(layer)?;
        }
        Ok(())
    }

    /// Judges a record once more, now that nobody else can change it.
    fn is_still_doomed(&self, doom: &Doom, doomed: &Doomed, bad: &Bad) -> bool {
        let file = doom.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let found = match records::read_file(self.layout, file) {
            Err(error) => return doom.judged.is_none() && !is_newer(&error),
            Ok(found) => found,
        };
        match &doom.judged {
            Some(judged) if found.as_ref() != Some(judged) => false,
            Some(Record::Image(image)) => self.image_fault(image, bad).is_some(),
            Some(Record::Name(name)) => {
                let image = self.layout.images().join(Record::image_file(&name.id));
                let is_lost = |(_, digest): (Kept, Digest)| !self.has_blob(&digest, bad);
                doomed.has(&image) || !image.exists() || name.needs().any(is_lost)
            }
            None => false,
        }
    }

    /// Makes an image's record of what is left of it: whether that is enough. `containers`: the records of those for which alone it stays.
    fn remake(
        &self,
        act: &Act,
        id: &Digest,
        records: &Records,
        bad: &Bad,
        containers: &[PathBuf],
    ) -> Result<bool, Error> {
        let names: Vec<&NameRecord> = records.names.iter().filter(|name| name.id == *id).collect();
        let known = records.images.iter().find(|image| image.id == *id);
        let manifests = known.map(|image| (image.manifest.clone(), image.index.clone())).into_iter();
        let manifests = manifests.chain(names.iter().map(|name| (name.manifest.clone(), name.index.clone())));
        let Some(record) = remake::image(self.store, act, id, manifests.collect(), bad)? else {
            return Ok(false);
        };
        let removed = match known {
            Some(image) => image.removed,
            // Under no name it stays for its containers alone, unless what is left of the record says that it was never removed.
            None => names.is_empty() && self.has_container(id)? && remake::is_removed(self.layout, id),
        };
        // Who has named it has a part in it; of whom nothing is known is a person.
        let owner =
            known.map(|image| &image.owner).or_else(|| names.first().map(|name| &name.owner)).cloned();
        let record = ImageRecord { removed, owner: owner.unwrap_or_default(), ..record };
        let files = names.iter().map(|name| Record::name_file(&name.name)).chain([Record::image_file(id)]);
        let files = files.map(|file| self.layout.images().join(file)).chain(containers.iter().cloned());
        let files: Vec<PathBuf> = files.collect();
        remake::write(self.layout, Record::Image(record), known.cloned().map(Record::Image).as_ref(), &files)
    }

    fn has_container(&self, id: &Digest) -> Result<bool, Error> {
        let images = readable(containers::images_in_use(self.layout))?;
        Ok(images.is_some_and(|images| images.iter().any(|(_, image)| image == id)))
    }

    /// A name that has lost its manifest goes on with the one that its image's record has.
    fn give_another_manifest(&self, name: &NameRecord, bad: &Bad) -> Result<bool, Error> {
        let Some(image) = records::read_image(self.layout, &name.id)? else { return Ok(false) };
        if image.needs().any(|(kind, blob)| kind == Kept::Blob && !self.has_blob(&blob, bad)) {
            return Ok(false);
        }
        let record = if self.has_blob(&name.manifest, bad) {
            NameRecord { index: None, ..name.clone() }
        } else {
            // No registry is known to have this one by that name.
            let ImageRecord { manifest, index, .. } = image;
            NameRecord { manifest, index, origin: None, ..name.clone() }
        };
        let place = self.layout.images().join(Record::name_file(&name.name));
        remake::write(self.layout, Record::Name(record), Some(&Record::Name(name.clone())), &[place])
    }

    /// The image whose record a damaged file is, if it is one's and not a name's: there is a config, or a name, with that digest.
    fn id_of(&self, path: &Path, records: &Records) -> Option<Digest> {
        let id = Digest::from_hex(onggi_image::Algorithm::Sha256, path.file_stem()?.to_str()?)?;
        let is_named = records.names.iter().any(|name| name.id == id);
        (is_named || self.layout.blob(&id).exists()).then_some(id)
    }

    /// Why an image cannot be used, if so.
    fn image_fault(&self, image: &ImageRecord, bad: &Bad) -> Option<String> {
        let reason = |digest: &Digest| {
            let reason = self.unavailable.get(digest);
            reason.map(|reason| format!(", which could not be fetched again: {reason}")).unwrap_or_default()
        };
        let needed = [Some(&image.id), Some(&image.manifest), image.index.as_ref()];
        if let Some(missing) = needed.into_iter().flatten().find(|digest| !self.has_blob(digest, bad)) {
            return Some(format!("it has lost its blob {missing}{}", reason(missing)));
        }
        if let Some(missing) = image.layers.iter().find(|layer| !self.has_layer(&layer.diff_id, bad)) {
            let missing = &missing.diff_id;
            return Some(format!("it has lost its layer {missing}{}", reason(missing)));
        }
        let document = blobs::get(self.layout, &image.manifest).ok();
        let config = blobs::get(self.layout, &image.id).ok().and_then(|bytes| Config::parse(&bytes).ok());
        match (document.and_then(|bytes| Document::parse(&bytes, None).ok()), config) {
            (Some(Document::Manifest(manifest)), Some(config)) => {
                let diff_ids = config.rootfs.diff_ids.iter();
                let same = image.layers.len() == diff_ids.len()
                    && diff_ids.zip(&image.layers).all(|(diff_id, layer)| *diff_id == layer.diff_id);
                let of_it = manifest.config.digest == image.id;
                (!same || !of_it).then(|| "its record says other than its documents".to_owned())
            }
            _ => Some("its documents cannot be read".to_owned()),
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
}

/// What a person knows an image by: its names, or its id.
fn called(records: &Records, id: &Digest) -> String {
    let names: Vec<String> = records.names_of(id).iter().map(Reference::familiar).collect();
    if names.is_empty() { format!("the image {}", id.short()) } else { names.join(", ") }
}

fn lost_names(records: &Records, id: &Digest) -> Vec<LostImage> {
    let names: Vec<_> = records.names.iter().filter(|name| name.id == *id).map(lost_name).collect();
    if names.is_empty() { vec![LostImage::elsewhere(id.short().to_owned())] } else { names }
}

fn lost_name(name: &NameRecord) -> LostImage {
    match &name.origin {
        Some(origin) => LostImage { name: origin.familiar(), in_registry: true },
        None => LostImage::elsewhere(name.name.familiar()),
    }
}
