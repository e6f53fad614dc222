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
    let mut names = Vec::new();
    let mut bare_tags = Vec::new();
    for name in &image.repo_tags {
        let parsed = Reference::parse(name).map_err(Error::image("manifest.json"))?;
        // The image would be kept under a digest that it does not have: nothing here has that one.
        if parsed.digest().is_some() { bare_tags.push(name.clone()) } else { names.push(parsed) }
    }
    let diff_ids = diff_ids(&config, image.layers.len())?;
    let layers = image
        .layers
        .iter()
        .zip(diff_ids)
        .map(|(member, diff_id)| loading.ingest(member, None, Some(diff_id)));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    Ok(Brought { bare_tags, ..Brought::with_plain_manifest(raw_config, config, layers, names)? })
}

/// The digest that a config's member is named by: `<hex>.json`, or `blobs/sha256/<hex>`.
fn digest_in(member: &str) -> Option<Digest> {
    let name = member.rsplit('/').next()?;
    Digest::from_hex(Algorithm::Sha256, name.strip_suffix(".json").unwrap_or(name))
}
