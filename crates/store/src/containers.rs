//! What the store reads of the records of containers, which are the engine's: enough to make the index anew and to know which
//! layers are in use. Everything else in them is none of its business.

use std::fs;
use std::path::{Path, PathBuf};

use onggi_image::Digest;
use serde::Deserialize;

use crate::error::Error;
use crate::index::Contents;
use crate::layout::Layout;
use crate::types::ContainerRow;

/// The fields of `container.json` that matter here.
#[derive(Debug, Deserialize)]
struct ContainerRecord {
    id: String,
    name: String,
    #[serde(default)]
    created: String,
    #[serde(default)]
    image: Option<Digest>,
    #[serde(default)]
    resolved: Resolved,
}

#[derive(Debug, Default, Deserialize)]
struct Resolved {
    #[serde(default)]
    layers: Vec<Digest>,
}

/// Reads what the index is made of. A record that cannot be read is left out; a check says so.
pub(crate) fn contents(layout: &Layout) -> Contents {
    let rows = list(&layout.containers()).into_iter().filter_map(|id| read(layout, &id).ok().flatten());
    let containers = rows.map(|record| {
        let row = ContainerRow {
            id: record.id,
            name: record.name,
            created: record.created,
            summary: serde_json::Value::Null,
        };
        (row, record.image.map(|image| image.to_string()))
    });
    Contents { containers: containers.collect() }
}

/// The layers that containers stand on, by their own records: true even where a lease was lost.
pub(crate) fn layers_in_use(layout: &Layout) -> Result<Vec<Digest>, Error> {
    let mut layers = Vec::new();
    for id in list(&layout.containers()) {
        // A damaged record may name any layer, so nothing can be collected before it is mended.
        layers.extend(read(layout, &id)?.into_iter().flat_map(|record| record.resolved.layers));
    }
    Ok(layers)
}

/// The images that containers were made of, each with the record that says so.
pub(crate) fn images_in_use(layout: &Layout) -> Result<Vec<(PathBuf, Digest)>, Error> {
    let mut images = Vec::new();
    for id in list(&layout.containers()) {
        let image = read(layout, &id)?.and_then(|record| record.image);
        images.extend(image.map(|image| (record_path(layout, &id), image)));
    }
    Ok(images)
}

/// Records of containers that cannot be read.
pub(crate) fn damaged(layout: &Layout) -> Vec<(PathBuf, Error)> {
    let path = |id: &String| record_path(layout, id);
    list(&layout.containers())
        .iter()
        .filter_map(|id| read(layout, id).err().map(|error| (path(id), error)))
        .collect()
}

/// How many containers there are.
pub(crate) fn count(layout: &Layout) -> u64 {
    list(&layout.containers()).len() as u64
}

/// `None` if the container has no record: it is being made, or going.
fn read(layout: &Layout, id: &str) -> Result<Option<ContainerRecord>, Error> {
    match onggi_record::read(&record_path(layout, id)) {
        Err(onggi_record::Error::Io { source, .. })
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

fn record_path(layout: &Layout, id: &str) -> PathBuf {
    layout.containers().join(id).join("container.json")
}

fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
