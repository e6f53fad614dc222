//! OCI layouts: `index.json`, and blobs by digest. Each entry of the index is an image, or an index of one image's platforms.

use onggi_image::{Config, Descriptor, Digest, Document, Index, Manifest, Platform, Reference, media_type};
use serde::Deserialize;

use super::{Brought, Loading, already_here, blob_member, commit_all, diff_ids};
use crate::error::Error;
use crate::types::Loaded;

/// Indexes in indexes that are followed.
const DEPTH: u32 = 4;

pub(super) fn load(loading: &Loading<'_>, index: &[u8]) -> Result<Vec<Loaded>, Error> {
    check_layout_version(loading)?;
    let host = loading.options.platform.clone().unwrap_or_else(Platform::host);
    let index = match Document::parse(index, Some("")).map_err(Error::image("index.json"))? {
        Document::Index(index) => index,
        Document::Manifest(_) => {
            return Err(Error::BadArchive { reason: "its index.json is a manifest".to_owned() });
        }
    };
    let mut found = Found::default();
    for entry in &index.manifests {
        if entry.platform.as_ref().is_some_and(|platform| platform.rank_for(&host).is_none()) {
            found.others.extend(entry.platform.clone().filter(|platform| platform.os != "unknown"));
            continue;
        }
        collect(loading, entry, None, &names_of(entry), &host, DEPTH, &mut found)?;
    }
    if found.images.is_empty() {
        return Err(match found.artifact {
            Some(kind) => {
                Error::Unsupported { what: format!("an artifact of the type {kind:?}, which is no image,") }
            }
            None => Error::NoPlatform { host: Box::new(host), others: found.others },
        });
    }
    loading.can_be_named(found.images.len())?;
    let brought =
        found.images.into_iter().map(|image| bring(loading, image)).collect::<Result<Vec<_>, _>>()?;
    commit_all(loading, brought, &found.others)
}

#[derive(Default)]
struct Found {
    images: Vec<FoundImage>,
    others: Vec<Platform>,
    /// The type of an artifact that was met, should there be nothing else.
    artifact: Option<String>,
}

struct FoundImage {
    digest: Digest,
    raw_manifest: Vec<u8>,
    manifest: Manifest,
    raw_index: Option<Vec<u8>>,
    names: Names,
}

/// What an entry of the index calls its image.
#[derive(Clone, Default)]
struct Names {
    whole: Vec<Reference>,
    /// A tag without a name.
    bare: Vec<String>,
}

/// Follows a descriptor to the image for this host.
fn collect(
    loading: &Loading<'_>,
    entry: &Descriptor,
    raw_index: Option<&[u8]>,
    names: &Names,
    host: &Platform,
    depth: u32,
    found: &mut Found,
) -> Result<(), Error> {
    if !media_type::is_manifest(&entry.media_type) && !media_type::is_index(&entry.media_type) {
        // Other things may lie in a layout beside images.
        found.artifact.get_or_insert_with(|| entry.media_type.clone());
        return Ok(());
    }
    let bytes = loading.blob(entry)?;
    let what = blob_member(&entry.digest);
    match Document::parse(&bytes, Some(&entry.media_type)).map_err(Error::image(what))? {
        Document::Manifest(manifest) if !manifest.is_image() => {
            found
                .artifact
                .get_or_insert_with(|| manifest.artifact_type.unwrap_or(manifest.config.media_type));
        }
        Document::Manifest(manifest) => found.images.push(FoundImage {
            digest: entry.digest.clone(),
            raw_manifest: bytes,
            manifest: *manifest,
            raw_index: raw_index.map(<[u8]>::to_vec),
            names: names.clone(),
        }),
        Document::Index(_) if depth == 0 => {
            return Err(Error::BadArchive { reason: "its indexes lie too deep in each other".to_owned() });
        }
        Document::Index(index) => {
            let (chosen, others) = Index::select(&index, host);
            found.others.extend(others);
            if let Some(chosen) = chosen {
                // The outermost is what the name stands for.
                let outermost = raw_index.unwrap_or(&bytes).to_vec();
                collect(loading, chosen, Some(&outermost), names, host, depth - 1, found)?;
            }
        }
    }
    Ok(())
}

fn bring(loading: &Loading<'_>, image: FoundImage) -> Result<Brought, Error> {
    let FoundImage { digest, raw_manifest, manifest, raw_index, names } = image;
    let raw_config = loading.blob(&manifest.config)?;
    let config = Config::parse(&raw_config).map_err(Error::image(blob_member(&manifest.config.digest)))?;
    let diff_ids = diff_ids(&config, manifest.layers.len())?;
    let layers = match already_here(loading, &digest, &manifest, &config)? {
        Some(layers) => layers,
        None => {
            let bring_layer = |(layer, diff_id): (&Descriptor, &Digest)| {
                if !media_type::is_layer(&layer.media_type) {
                    return Err(Error::Unsupported {
                        what: format!("a layer of the type {:?}", layer.media_type),
                    });
                }
                loading.ingest(&blob_member(&layer.digest), Some((&layer.digest, layer.size)), Some(diff_id))
            };
            manifest.layers.iter().zip(diff_ids).map(bring_layer).collect::<Result<_, _>>()?
        }
    };
    let (names, bare_tags) = (names.whole, names.bare);
    let id = manifest.config.digest;
    Ok(Brought { id, raw_config, config, raw_manifest, raw_index, layers, names, bare_tags })
}

/// The names of an entry. containerd and Docker write the whole name; the specification's own annotation may be a whole name (Podman) or
/// only a tag (Buildah), and a tag alone names nothing.
fn names_of(entry: &Descriptor) -> Names {
    const TAG: &str = "org.opencontainers.image.ref.name";
    let annotation = |key: &str| entry.annotations.get(key);
    let whole = annotation("io.containerd.image.name")
        .or_else(|| annotation(TAG).filter(|name| name.contains(['/', ':'])));
    // A name that is none does no harm to the image.
    let whole: Vec<Reference> = whole
        .and_then(|name| Reference::parse(name).ok())
        .map(|name| name.without_digest())
        .filter(|name| name.tag().is_some())
        .into_iter()
        .collect();
    let bare = annotation(TAG).filter(|_| whole.is_empty()).cloned().into_iter().collect();
    Names { whole, bare }
}

fn check_layout_version(loading: &Loading<'_>) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct LayoutFile {
        image_layout_version: String,
    }
    let bytes = loading.required("oci-layout")?;
    let layout: LayoutFile = serde_json::from_slice(&bytes)
        .map_err(|error| Error::BadArchive { reason: format!("its oci-layout cannot be read: {error}") })?;
    if layout.image_layout_version.split('.').next() != Some("1") {
        return Err(Error::Unsupported {
            what: format!("version {:?} of the OCI layout", layout.image_layout_version),
        });
    }
    Ok(())
}
