//! `system df`: what images, containers and volumes take on disk, and how much of it nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onggi_store::ImageSummary;
use onggi_sys::usage::disk_bytes;

use crate::Engine;
use crate::error::Error;
use crate::request::{Filters, ListOptions};
use crate::summary::{Summary, Volume};

/// Everything that Onggi keeps on disk, in bytes that it takes there.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskUsage {
    pub images: Vec<ImageUsage>,
    /// All layers; those that images share count once. Their documents, a few KiB each, do not count.
    pub image_bytes: u64,
    /// Those of them that no container needs.
    pub image_reclaimable: u64,
    pub containers: Vec<ContainerUsage>,
    pub volumes: Vec<VolumeUsage>,
    /// What checks have set aside, and what killed commands have left.
    pub lost_bytes: u64,
    pub leftover_bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ImageUsage {
    pub image: ImageSummary,
    /// Its layers that other images have too, and those that only it has.
    pub shared: u64,
    pub unique: u64,
    /// How many containers are made of it.
    pub containers: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ContainerUsage {
    pub container: Summary,
    /// What it has written, its log and its records.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VolumeUsage {
    pub volume: Volume,
    pub bytes: u64,
    /// How many containers use it.
    pub links: u64,
}

impl Engine {
    /// Measures everything; a tree that changes meanwhile is measured as it is met.
    ///
    /// # Errors
    /// The store or the index cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let store = self.store.disk_usage()?;
        let containers = self.list(&ListOptions { all: true, ..ListOptions::default() })?;
        let images = self.store.images()?;
        let mut users: BTreeMap<&str, u64> = BTreeMap::new();
        for container in &containers {
            *users.entry(container.image_id.as_str()).or_default() += 1;
        }
        let mut having: BTreeMap<_, u64> = BTreeMap::new();
        for layer in images.iter().flat_map(|image| image.layers.iter().collect::<BTreeSet<_>>()) {
            *having.entry(layer.clone()).or_default() += 1;
        }
        let images = images.into_iter().map(|image| {
            let bytes = |shared: bool| {
                let layers: BTreeSet<_> = image.layers.iter().collect();
                let layers = layers.into_iter().filter(|layer| (having[*layer] > 1) == shared);
                layers.filter_map(|layer| store.layer_bytes.get(layer)).sum()
            };
            let containers = users.get(image.id.to_string().as_str()).copied().unwrap_or(0);
            ImageUsage { shared: bytes(true), unique: bytes(false), containers, image }
        });
        let images: Vec<_> = images.collect();
        let mut needed = BTreeSet::new();
        for container in &containers {
            let record = self.record(&container.id);
            needed.extend(record.map(|record| record.resolved.layers).unwrap_or_default());
        }
        let unneeded = store.layer_bytes.iter().filter(|(layer, _)| !needed.contains(layer));
        let unneeded: u64 = unneeded.map(|(_, bytes)| bytes).sum();
        let unused =
            store.document_bytes.iter().filter(|(id, _)| !users.contains_key(id.to_string().as_str()));
        let image_reclaimable = unneeded + unused.map(|(_, bytes)| bytes).sum::<u64>();
        let image_bytes =
            store.layer_bytes.values().sum::<u64>() + store.document_bytes.values().sum::<u64>();
        let volume_users = self.volume_users().unwrap_or_default();
        let volumes = self.volumes(&Filters::new())?.into_iter().map(|volume| VolumeUsage {
            bytes: disk_bytes(Path::new(&volume.mountpoint)),
            links: volume_users.get(&volume.name).map_or(0, |users| users.len() as u64),
            volume,
        });
        Ok(DiskUsage {
            images,
            image_bytes,
            image_reclaimable,
            volumes: volumes.collect(),
            containers: containers
                .into_iter()
                .map(|container| {
                    let bytes = disk_bytes(&self.paths.container(&container.id));
                    ContainerUsage { container, bytes }
                })
                .collect(),
            lost_bytes: store.lost_bytes,
            leftover_bytes: store.leftover_bytes,
        })
    }
}
