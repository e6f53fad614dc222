//! Records of images and names made again of what is left: a record says little that the image's documents do not say, and those verify themselves.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use onggi_image::{Config, Digest, Manifest, Reference};
use onggi_record::{Durability, Prepared, sync_directory};
use onggi_sys::fault;
use serde_json::Value;

use super::{Bad, is_newer};
use crate::act::{Act, StoreLock};
use crate::error::Error;
use crate::layers::{self, Ingested};
use crate::layout::{Layout, open_directory};
use crate::load::{self, Brought};
use crate::records::{self, ImageRecord, NameRecord, Record};
use crate::{Store, blobs};

/// An image's record, made anew. `manifests`, with the index of each, are those that something says are the image's; if none of them is whole, any other in the
/// store is taken, and at last one of its plain layers is made. Nothing if not even the config and all layers are there.
pub(super) fn image(
    store: &Store,
    act: &Act,
    id: &Digest,
    manifests: Vec<(Digest, Option<Digest>)>,
    bad: &Bad,
) -> Result<Option<ImageRecord>, Error> {
    let layout = &store.layout;
    let whole = |digest: &Digest| blobs::get(layout, digest).ok().filter(|_| !bad.blobs.contains(digest));
    let Some(raw_config) = whole(id) else { return Ok(None) };
    let Ok(config) = Config::parse(&raw_config) else { return Ok(None) };
    let mut layers = Vec::new();
    for diff_id in &config.rootfs.diff_ids {
        let Ok(record) = layers::read_record(layout, diff_id) else { return Ok(None) };
        if bad.layers.contains(diff_id) {
            return Ok(None);
        }
        layers.push(Ingested { diff_id: diff_id.clone(), size: record.size });
    }
    let of_it = |digest: &Digest| {
        let bytes = whole(digest)?;
        let manifest = Manifest::parse(&bytes).ok()?;
        (manifest.config.digest == *id && manifest.layers.len() == layers.len()).then_some(bytes)
    };
    let known = manifests.into_iter().find_map(|(manifest, index)| Some((of_it(&manifest)?, index)));
    let found = match known {
        Some(known) => Some(known),
        None => blobs::list(layout)?.0.iter().find_map(|digest| Some((of_it(digest)?, None))),
    };
    let (raw_manifest, index) = match found {
        Some((bytes, index)) => (bytes, index.and_then(|index| whole(&index))),
        None => (load::plain_manifest(&raw_config, &layers)?, None),
    };
    let (names, bare_tags) = (Vec::new(), Vec::new());
    let image = Brought {
        id: id.clone(),
        raw_config,
        config,
        raw_manifest,
        raw_index: index,
        layers,
        names,
        bare_tags,
    };
    load::record(store, act, &image).map(Some)
}

/// What a damaged record of a name still says, as far as other files bear it out: the file is named by the name's digest, and a manifest names its image.
pub(super) fn name(layout: &Layout, path: &Path, bad: &Bad) -> Option<NameRecord> {
    let body = body(path)?;
    let field = |key: &str| body.get(key)?.as_str();
    let whole = |digest: &Digest| blobs::get(layout, digest).ok().filter(|_| !bad.blobs.contains(digest));
    let name = name_of(path, &body)?;
    let manifest = Digest::parse(field("manifest")?).ok()?;
    let id = Manifest::parse(&whole(&manifest)?).ok()?.config.digest;
    let index =
        field("index").and_then(|index| Digest::parse(index).ok()).filter(|index| whole(index).is_some());
    // Another origin than its own name has nothing that bears it out.
    let origin = (field("origin") == field("name")).then(|| name.clone());
    let owner = field("owner").and_then(|owner| owner.parse().ok()).unwrap_or_default();
    let (version, undigested) = (records::VERSION, false);
    Some(NameRecord { version, name, id, manifest, index, origin, owner, undigested })
}

/// The name that a damaged record of a name is of, as people see it.
pub(super) fn familiar_name(path: &Path) -> Option<String> {
    Some(name_of(path, &body(path)?)?.familiar())
}

/// Whether the damaged record of an image says that it was removed by force, or cannot be understood: one that is listed says nothing of it.
pub(super) fn is_removed(layout: &Layout, id: &Digest) -> bool {
    let body = body(&layout.images().join(Record::image_file(id)));
    body.is_none_or(|body| body.get("removed").is_some_and(|removed| removed == &Value::Bool(true)))
}

fn name_of(path: &Path, body: &Value) -> Option<Reference> {
    let name = Reference::parse(body.get("name")?.as_str()?).ok()?;
    (path.file_name()?.to_str()? == Record::name_file(&name)).then_some(name)
}

/// What follows the seal, which is broken.
fn body(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    serde_json::from_str(text.split_once('\n')?.1).ok()
}

/// Puts a record in its place, durably, and says whether. It does not if by then there is none of those files any more, which is what somebody leaves who
/// removes an image; nor over what was not `judged`: somebody has brought the image, or given the name, meanwhile. `None`: the record could not be read.
pub(super) fn write(
    layout: &Layout,
    record: Record,
    judged: Option<&Record>,
    because: &[PathBuf],
) -> Result<bool, Error> {
    let directory = open_directory(&layout.images())?;
    let prepared = Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?;
    fault::point("store.check.record-prepared");
    let guard = StoreLock::take(layout)?;
    let is_as_judged = match records::read_file(layout, &record.file()) {
        Ok(found) => found.is_none() || found.as_ref() == judged,
        Err(error) => !is_newer(&error),
    };
    let wanted = is_as_judged && because.iter().any(|path| path.exists());
    if wanted {
        prepared.publish()?;
    }
    drop(guard);
    fault::point("store.check.record-renamed");
    sync_directory(directory.as_fd(), "images")?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_somebody_has_changed_is_not_written_over() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout { data: place.path().join("data"), run: place.path().join("run") };
        layout.prepare().unwrap();
        let name = Reference::parse("name:1").unwrap();
        let record = |id: &[u8]| {
            let (id, manifest) = (Digest::of(id), Digest::of(b"manifest"));
            let (version, owner, name) = (records::VERSION, Default::default(), name.clone());
            Record::Name(NameRecord {
                version,
                name,
                id,
                manifest,
                index: None,
                origin: None,
                owner,
                undigested: false,
            })
        };
        let (judged, moved, mended) = (record(b"judged"), record(b"moved"), record(b"mended"));
        let path = layout.images().join(judged.file());
        let because = std::slice::from_ref(&path);
        // What stands there, what was judged, and whether the new one takes its place.
        let cases = [
            (None, Some(&judged), false),
            (Some(&judged), Some(&judged), true),
            (Some(&moved), Some(&judged), false),
            (Some(&moved), None, false),
        ];
        for (stands, was, written) in cases {
            if let Some(stands) = stands {
                onggi_record::write(&path, stands, Durability::Volatile).unwrap();
            }
            assert_eq!(write(&layout, mended.clone(), was, because).unwrap(), written);
            let found = records::read_file(&layout, &judged.file()).unwrap();
            assert_eq!(found.as_ref(), if written { Some(&mended) } else { stands });
        }
        std::fs::write(&path, "damaged").unwrap();
        assert!(write(&layout, mended.clone(), None, because).unwrap());
    }
}
