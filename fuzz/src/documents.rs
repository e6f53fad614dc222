//! Manifests, indexes and configs, and the table of contents of `docker save`'s archives.

use onggi_image::{Config, Document, Platform};

/// What is taken for a document is never two, and what is read from it can be written and read again.
pub fn check(bytes: &[u8]) {
    if let Ok(document) = Document::parse(bytes, None) {
        let (again, announced) = match &document {
            Document::Manifest(manifest) => (serde_json::to_vec(manifest), manifest.media_type.clone()),
            Document::Index(index) => {
                let (chosen, others) = index.select(&Platform::host());
                assert!(usize::from(chosen.is_some()) + others.len() <= index.manifests.len());
                (serde_json::to_vec(index), index.media_type.clone())
            }
        };
        let again = again.expect("it was read from JSON");
        let read = Document::parse(&again, announced.as_deref()).expect("it is what it was");
        assert_eq!(read, document);
    }
    if let Ok(config) = Config::parse(bytes) {
        let _ = config.platform().to_string();
    }
    let _ = onggi_image::parse_archive_manifest(bytes);
    let _ = onggi_image::legacy_repositories(bytes);
}
