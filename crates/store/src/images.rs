//! Finding, listing and naming images.

use onggi_image::{Algorithm, Config, Digest, Manifest, Reference};
use onggi_sys::fault;

use crate::act::StoreLock;
use crate::error::Error;
use crate::layout::{Layout, open_directory};
use crate::owner::Owner;
use crate::records::{self, ImageRecord, NameRecord, Record, Records};
use crate::types::{Image, ImageSummary};
use crate::{Store, blobs, remove};
use onggi_record::{Durability, Prepared, sync_directory};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW};
use std::os::fd::AsFd;
use std::time::SystemTime;

/// What a user's word for an image leads to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: ImageRecord,
    /// The name that it was found by; none if by id.
    pub(crate) name: Option<NameRecord>,
    /// It was asked for by `name@digest`.
    pub(crate) digest: Option<Digest>,
}

/// Finds an image by name, `name@digest`, id or the beginning of its id, in this order, as Docker does.
pub(crate) fn find(layout: &Layout, text: &str) -> Result<Found, Error> {
    let no_such = || Error::NoSuchImage { name: text.to_owned() };
    let by_id = |id: &Digest| {
        let record = records::read_image(layout, id)?.ok_or_else(no_such)?;
        Ok(Found { record, name: None, digest: None })
    };
    // The whole digest also finds an image that was removed by force: the records of the containers that still use it name it so.
    if let Ok(id) = Digest::parse(text) {
        return by_id(&id);
    }
    if let Some(id) = Digest::from_hex(Algorithm::Sha256, text) {
        return by_id(&id).and_then(|found| if found.record.removed { Err(no_such()) } else { Ok(found) });
    }
    let reference = Reference::parse(text);
    if let Ok(reference) = &reference
        && let Some(found) = find_name(layout, reference)?
    {
        return Ok(found);
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if !prefix.is_empty() && prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        let mut candidates = records::ids_by_prefix(layout, prefix)?;
        if candidates.len() > 1 {
            return Err(Error::Ambiguous { name: text.to_owned(), candidates });
        }
        if let Some(id) = candidates.pop() {
            return by_id(&id);
        }
    }
    match reference {
        Ok(reference) => Err(Error::NoSuchImage { name: reference.familiar() }),
        Err(error) => Err(Error::image(format!("{text:?} is no name of an image"))(error)),
    }
}

fn find_name(layout: &Layout, reference: &Reference) -> Result<Option<Found>, Error> {
    let name = match reference.digest() {
        None => records::read_name(layout, reference)?,
        // Whatever the tag says: the digest says it exactly.
        Some(digest) => {
            Records::read(layout)?.names.into_iter().find(|record| record.answers_to(reference, digest))
        }
    };
    let Some(name) = name else { return Ok(None) };
    let record = records::read_image(layout, &name.id)?.filter(|record| !record.removed);
    Ok(record.map(|record| Found { record, name: Some(name), digest: reference.digest().cloned() }))
}

/// Reads all that is needed to run an image.
pub(crate) fn open(layout: &Layout, found: Found) -> Result<Image, Error> {
    let Found { record, name, .. } = found;
    let (manifest_digest, index_digest) = match &name {
        Some(name) => (name.manifest.clone(), name.index.clone()),
        None => (record.manifest.clone(), record.index.clone()),
    };
    let raw_config = blobs::get(layout, &record.id)?;
    let raw_manifest = blobs::get(layout, &manifest_digest)?;
    let config = Config::parse(&raw_config).map_err(Error::image(format!("the image {}", record.id)))?;
    let manifest =
        Manifest::parse(&raw_manifest).map_err(Error::image(format!("the image {}", record.id)))?;
    let (layers, variants) = record.layers.into_iter().map(|layer| (layer.diff_id, layer.variant)).unzip();
    Ok(Image {
        id: record.id,
        config,
        raw_config,
        manifest,
        raw_manifest,
        manifest_digest,
        index_digest,
        origin: name.as_ref().and_then(|name| name.origin.clone()),
        undigested: name.as_ref().is_some_and(|name| name.undigested),
        name: name.map(|name| name.name),
        layers,
        variants,
        size: record.size,
        created: record.created,
    })
}

/// All images that are not on their way out, the youngest first.
pub(crate) fn list(layout: &Layout) -> Result<Vec<ImageSummary>, Error> {
    let records = Records::read(layout)?;
    let mut summaries: Vec<_> = records
        .images
        .iter()
        .filter(|image| !image.removed)
        .map(|image| ImageSummary {
            id: image.id.clone(),
            names: records.names_of(&image.id),
            name_digests: records.digests_of(&image.id).map(|(_, digest)| digest.clone()).collect(),
            digest: image.index.as_ref().unwrap_or(&image.manifest).clone(),
            created: image.created.clone(),
            size: image.size,
            labels: image.labels.clone(),
            layers: image.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            name_owners: records.owners_of(&image.id),
            owner: image.owner.clone(),
            last_used: last_used(layout, &image.id),
            comes_back: records
                .names
                .iter()
                .filter(|name| name.id == image.id)
                .all(|name| name.origin.as_ref() == Some(&name.name)),
        })
        .collect();
    summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(summaries)
}

/// Notes that an image is used now: as the time of its record, which costs one call and no write that anybody waits for.
pub(crate) fn touch(layout: &Layout, id: &Digest) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let path = layout.images().join(Record::image_file(id));
    // What is not noted is not worth an error: the image counts as less used than it is.
    let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// An image that a person has come to name or to bring is a person's from then on, also when it loses its names.
pub(crate) fn adopt(store: &Store, guard: &StoreLock, image: ImageRecord) -> Result<(), Error> {
    let owner = image.owner.or(&store.owner);
    if owner == image.owner { Ok(()) } else { give(&store.layout, guard, image, owner) }
}

/// Writes whose an image is when it has no name. Its place is the caller's to sync.
pub(crate) fn give(
    layout: &Layout,
    _guard: &StoreLock,
    image: ImageRecord,
    owner: Owner,
) -> Result<(), Error> {
    let directory = open_directory(&layout.images())?;
    let record = Record::Image(ImageRecord { owner, ..image });
    Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?.publish()?;
    fault::point("store.image.adopted");
    Ok(())
}

/// An image that was asked for by a name that it has already: it and the name get the owner that they would get if they came now. Nothing is written
/// where that is theirs.
pub(crate) fn ask_for(store: &Store, name: &Reference, id: &Digest) -> Result<bool, Error> {
    let layout = &store.layout;
    let becomes_other = |owner: &Owner| owner.or(&store.owner) != *owner;
    let read = || {
        let known = records::read_name(layout, name)?.filter(|known| known.id == *id);
        Ok::<_, Error>(known.zip(records::read_image(layout, id)?.filter(|image| !image.removed)))
    };
    let Some((known, image)) = read()? else { return Ok(false) };
    if becomes_other(&known.owner) || becomes_other(&image.owner) {
        let guard = StoreLock::take(layout)?;
        let Some((known, image)) = read()? else { return Ok(false) };
        let directory = open_directory(&layout.images())?;
        let record = Record::Name(NameRecord { owner: known.owner.or(&store.owner), ..known });
        Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?.publish()?;
        fault::point("store.image.asked-for");
        adopt(store, &guard, image)?;
        drop(guard);
        sync_directory(directory.as_fd(), "images")?;
    }
    touch(layout, id);
    Ok(true)
}

fn last_used(layout: &Layout, id: &Digest) -> SystemTime {
    let record = std::fs::metadata(layout.images().join(Record::image_file(id)));
    record.and_then(|record| record.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Gives an image one more name.
pub(crate) fn tag(store: &Store, source: &str, target: &Reference) -> Result<Digest, Error> {
    let layout = &store.layout;
    if target.digest().is_some() {
        return Err(Error::TagWithDigest);
    }
    // The image must not go between finding and naming it.
    let guard = StoreLock::take(layout)?;
    let found = find(layout, source)?;
    let (manifest, index, origin) = match found.name {
        Some(name) => (name.manifest, name.index, name.origin),
        None => (found.record.manifest.clone(), found.record.index.clone(), None),
    };
    let version = records::VERSION;
    let id = found.record.id.clone();
    let before = records::read_name(layout, target).ok().flatten();
    let leaves = before.as_ref().is_some_and(|before| before.manifest != manifest);
    let owner = before.map_or_else(|| store.owner.clone(), |before| before.owner.or(&store.owner));
    let record = Record::Name(NameRecord {
        version,
        name: target.clone(),
        id: id.clone(),
        manifest,
        index,
        origin,
        owner,
        undigested: false,
    });
    let directory = open_directory(&layout.images())?;
    let prepared = Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?;
    fault::point("store.tag.prepared");
    prepared.publish()?;
    fault::point("store.tag.renamed");
    adopt(store, &guard, found.record)?;
    touch(layout, &id);
    drop(guard);
    sync_directory(directory.as_fd(), "images")?;
    if leaves {
        // The manifest that the name had may have been its alone.
        remove::tidy(store);
    }
    Ok(id)
}
