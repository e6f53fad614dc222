//! What the store takes on disk.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::layers;
use crate::layout::Layout;
use crate::records::Records;
use crate::types::DiskUsage;

/// Adds up what is on disk.
pub(crate) fn disk_usage(layout: &Layout) -> Result<DiskUsage, Error> {
    let records = Records::read(layout)?;
    let (layers, _) = layers::list(layout)?;
    Ok(DiskUsage {
        images: records.images.iter().filter(|image| !image.removed).count() as u64,
        layers: layers.len() as u64,
        layer_bytes: layers
            .into_iter()
            .map(|layer| {
                let bytes = bytes_in(&layout.layer(&layer));
                (layer, bytes)
            })
            .collect(),
        blob_bytes: bytes_in(&layout.blobs()),
        lost_bytes: bytes_in(&layout.lost()),
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
