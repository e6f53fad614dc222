//! `docker save`'s own format: `manifest.json` names each image's config and its layers as members of the archive.

use onggi_image::{Algorithm, ArchivedImage, Config, Digest, Reference, parse_archive_manifest};

use super::{Brought, Loading, check_bytes, commit_all, diff_ids};
use crate::error::Error;
use crate::types::Loaded;

pub(super) fn load(loading: &Loading<'_>, manifest: &[u8]) -> Result<Vec<Loaded>, Error> {
    let images = parse_archive_manifest(manifest).map_err(Error::image("manifest.json"))?;
    if images.is_empty() {
        return Err(Error::NoImageInArchive);
    }
    loading.can_be_named(images.len())?;
    let brought = images.iter().map(|image| bring(loading, image)).collect::<Result<Vec<_>, _>>()?;
    commit_all(loading, brought, &[])
}

fn bring(loading: &Loading<'_>, image: &ArchivedImage) -> Result<Brought, Error> {
    let raw_config = loading.required(&image.config)?;
    if let Some(named) = digest_in(&image.config) {
        check_bytes(&image.config, &named, &raw_config)?;
    }
    let config = Config::parse(&raw_config).map_err(Error::image(image.config.clone()))?;
    let names = image.repo_tags.iter().map(|name| tag(name)).collect::<Result<Vec<_>, _>>()?;
    let diff_ids = diff_ids(&config, image.layers.len())?;
    let layers = image
        .layers
        .iter()
        .zip(diff_ids)
        .map(|(member, diff_id)| loading.ingest(member, None, Some(diff_id)));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    Brought::with_plain_manifest(raw_config, config, layers, names)
}

/// A name with a digest would be kept under one that the image does not have: nothing here has that digest.
fn tag(name: &str) -> Result<Reference, Error> {
    let parsed = Reference::parse(name).map_err(Error::image("manifest.json"))?;
    match parsed.digest() {
        None => Ok(parsed),
        Some(_) => {
            Err(Error::BadArchive { reason: format!("it calls the image {name:?}, and a digest is no tag") })
        }
    }
}

/// The digest that a config's member is named by: `<hex>.json`, or `blobs/sha256/<hex>`.
fn digest_in(member: &str) -> Option<Digest> {
    let name = member.rsplit('/').next()?;
    Digest::from_hex(Algorithm::Sha256, name.strip_suffix(".json").unwrap_or(name))
}
