//! What the store takes on disk.

use std::collections::HashSet;

use onggi_sys::usage::disk_bytes;

use crate::act::Kept;
use crate::error::Error;
use crate::layers;
use crate::layout::Layout;
use crate::records::{ImageRecord, NameRecord, Record, Records};
use crate::types::DiskUsage;

/// Adds up what is on disk.
pub(crate) fn disk_usage(layout: &Layout) -> Result<DiskUsage, Error> {
    let records = Records::read(layout)?;
    let (layers, _) = layers::list(layout)?;
    let mut counted = HashSet::new();
    let mut documents = |image: &ImageRecord| {
        let names = records.names.iter().filter(|name| name.id == image.id);
        let files = std::iter::once(Record::image_file(&image.id))
            .chain(names.clone().map(|name| Record::name_file(&name.name)))
            .map(|file| layout.images().join(file));
        let blobs = image.needs().chain(names.flat_map(NameRecord::needs));
        let blobs = blobs.filter(|(kind, _)| *kind == Kept::Blob).map(|(_, blob)| layout.blob(&blob));
        // What two images share counts with the first.
        files.chain(blobs).filter(|path| counted.insert(path.clone())).map(|path| disk_bytes(&path)).sum()
    };
    Ok(DiskUsage {
        images: records.images.iter().filter(|image| !image.removed).count() as u64,
        layers: layers.len() as u64,
        document_bytes: records.images.iter().map(|image| (image.id.clone(), documents(image))).collect(),
        layer_bytes: layers
            .into_iter()
            .map(|layer| {
                let bytes = disk_bytes(&layout.layer(&layer));
                (layer, bytes)
            })
            .collect(),
        lost_bytes: disk_bytes(&layout.lost()),
        leftover_bytes: disk_bytes(&layout.tmp()),
    })
}
