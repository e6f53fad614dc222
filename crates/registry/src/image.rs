//! From a tag or digest to one image: through indexes to the manifest for a platform, and its config. All of it verified documents.

use onggi_image::{
    Config, Descriptor, Digest, Document, Index, LAYER_LIMIT, Manifest, Platform, excerpt, media_type,
};

use crate::error::Error;
use crate::repository::{Fetched, Repository};

/// Indexes in indexes that are followed.
const DEPTH: u32 = 4;

/// An image of a registry, but for its layers.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// What the reference stands for: the digest of the index, or of the manifest.
    pub digest: Digest,
    /// The index that the manifest was chosen from, the outermost.
    pub raw_index: Option<Vec<u8>>,
    pub manifest: Manifest,
    pub raw_manifest: Vec<u8>,
    pub config: Config,
    pub raw_config: Vec<u8>,
    /// What else the index has.
    pub other_platforms: Vec<Platform>,
}

impl Repository<'_> {
    /// Finds the image that a tag or a digest stands for. `platform`: the one that was asked for; the host's otherwise, and then a single manifest
    /// for another machine is taken as well, since an emulator may run it.
    ///
    /// # Errors
    /// Those of [`Repository::manifest`]; [`Error::NoPlatform`]; [`Error::Image`] for a document that is not what it is said to be;
    /// [`Error::Unsupported`] for an artifact and for layers that are no tars.
    pub fn image(&self, reference: &str, platform: Option<&Platform>) -> Result<RemoteImage, Error> {
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let mut fetched = self.manifest(reference)?;
        let digest = fetched.digest.clone();
        let (mut raw_index, mut other_platforms) = (None, Vec::new());
        for _ in 0..DEPTH {
            let shown = self.with_reference(reference);
            let announced = fetched.media_type.as_str();
            match Document::parse(&fetched.bytes, Some(announced)).map_err(Error::image(&shown))? {
                Document::Manifest(manifest) => {
                    let found = Found { digest, raw_index, other_platforms, manifest: *manifest, fetched };
                    return self.complete(found, &shown, platform);
                }
                Document::Index(index) => {
                    let (chosen, others) = Index::select(&index, wanted);
                    let chosen = chosen.cloned().ok_or_else(|| Error::NoPlatform {
                        reference: shown,
                        wanted: Box::new(wanted.clone()),
                        others: others.clone(),
                    })?;
                    other_platforms.extend(others);
                    let inner = self.chosen(&chosen)?;
                    // The outermost is what the name stands for.
                    raw_index.get_or_insert(std::mem::replace(&mut fetched, inner).bytes);
                }
            }
        }
        Err(Error::Unsupported { what: format!("{reference}: indexes that lie so deep in each other") })
    }

    /// The manifest that an entry of an index points to, which must be what the entry says.
    fn chosen(&self, entry: &Descriptor) -> Result<Fetched, Error> {
        let mut fetched = self.manifest(&entry.digest.to_string())?;
        let found = fetched.bytes.len() as u64;
        if found != entry.size {
            let what = format!("the manifest {}", entry.digest);
            return Err(Error::WrongSize { what, wanted: entry.size, found });
        }
        if fetched.media_type.is_empty() {
            fetched.media_type.clone_from(&entry.media_type);
        } else if !entry.media_type.is_empty() && entry.media_type != fetched.media_type {
            let source = onggi_image::Error::MediaTypeMismatch {
                announced: excerpt(&entry.media_type),
                found: excerpt(&fetched.media_type),
            };
            return Err(Error::image(format!("the manifest {}", entry.digest))(source));
        }
        Ok(fetched)
    }

    fn complete(&self, found: Found, shown: &str, asked: Option<&Platform>) -> Result<RemoteImage, Error> {
        let Found { digest, raw_index, other_platforms, manifest, fetched } = found;
        let unsupported = |what: String| Err(Error::Unsupported { what: format!("{shown}: {what}") });
        if !manifest.is_image() {
            let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
            return unsupported(format!("an artifact of the type {:?}, which is no image,", excerpt(kind)));
        }
        for layer in &manifest.layers {
            if !media_type::is_layer(&layer.media_type) {
                return unsupported(format!("a layer of the type {:?}", excerpt(&layer.media_type)));
            }
        }
        let raw_config = self.document(&manifest.config)?;
        let what = format!("the config {}", manifest.config.digest);
        let config = Config::parse(&raw_config).map_err(Error::image(&what))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers > LAYER_LIMIT {
            return unsupported(format!(
                "an image of {layers} layers, where overlayfs stacks {LAYER_LIMIT},"
            ));
        }
        if layers != diff_ids {
            return unsupported(format!(
                "an image whose manifest has {layers} layers and whose config {diff_ids}"
            ));
        }
        let platform = config.platform();
        if let Some(asked) = asked.filter(|asked| !platform.agrees_with(asked)) {
            let (reference, wanted) = (shown.to_owned(), Box::new(asked.clone()));
            return Err(Error::NoPlatform { reference, wanted, others: vec![platform] });
        }
        Ok(RemoteImage {
            digest,
            raw_index,
            manifest,
            raw_manifest: fetched.bytes,
            config,
            raw_config,
            other_platforms,
        })
    }
}

struct Found {
    digest: Digest,
    raw_index: Option<Vec<u8>>,
    other_platforms: Vec<Platform>,
    manifest: Manifest,
    fetched: Fetched,
}
