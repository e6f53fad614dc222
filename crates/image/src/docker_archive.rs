//! What `docker save` writes beside the blobs: `manifest.json`, and the `repositories` file of Docker before 1.10.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::manifest::{check_size, null_is_default, read};
use crate::reference::Reference;

/// One image of the archive. `config` and `layers` are paths inside it: names of members, never of files on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedImage {
    #[serde(rename = "Config")]
    pub config: String,
    #[serde(rename = "RepoTags", default, deserialize_with = "null_is_default")]
    pub repo_tags: Vec<String>,
    #[serde(rename = "Layers", default, deserialize_with = "null_is_default")]
    pub layers: Vec<String>,
}

/// Reads `manifest.json`.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Document`].
pub fn parse_archive_manifest(bytes: &[u8]) -> Result<Vec<ArchivedImage>, Error> {
    check_size("manifest.json", bytes)?;
    read("manifest.json", bytes)
}

/// Reads `repositories`: repository → tag → the legacy id of the top layer, which is a directory of the archive.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Document`], and those of [`Reference::parse`] for the names in it.
pub fn legacy_repositories(bytes: &[u8]) -> Result<Vec<(Reference, String)>, Error> {
    check_size("repositories", bytes)?;
    let repositories: BTreeMap<String, BTreeMap<String, String>> = read("repositories", bytes)?;
    let mut names = Vec::new();
    for (repository, tags) in repositories {
        for (tag, id) in tags {
            names.push((Reference::parse(&format!("{repository}:{tag}"))?, id));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_empty() {
        let images = parse_archive_manifest(
            br#"[{"Config":"a.json","RepoTags":null,"Layers":["l/layer.tar"],"Parent":""}]"#,
        )
        .unwrap();
        assert_eq!(
            images,
            [ArchivedImage {
                config: "a.json".into(),
                repo_tags: vec![],
                layers: vec!["l/layer.tar".into()]
            }]
        );
        assert!(parse_archive_manifest(b"{}").is_err());
        assert!(parse_archive_manifest(&vec![b' '; 5 << 20]).is_err());
    }

    #[test]
    fn legacy_names() {
        let names = legacy_repositories(br#"{"busybox":{"1":"aa","2":"bb"},"h:5/x":{"y":"cc"}}"#).unwrap();
        let names: Vec<_> = names.iter().map(|(name, id)| format!("{} {id}", name.familiar())).collect();
        assert_eq!(names, ["busybox:1 aa", "busybox:2 bb", "h:5/x:y cc"]);
        assert!(legacy_repositories(br#"{"../..":{"1":"aa"}}"#).is_err());
    }
}
