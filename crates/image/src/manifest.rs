//! Manifests and indexes, OCI's and Docker's (schema 2), read strictly.
//!
//! Strictly means: one document is one kind of thing. A document that can be read as a manifest *and* as an index gives two tools two
//! different images under one digest (CVE-2021-41190), so it is refused, and so are keys that only differ in capitals, which Go's
//! reader takes for the same and others do not.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::DOCUMENT_LIMIT;
use crate::digest::Digest;
use crate::error::Error;
use crate::media_type;
use crate::platform::Platform;

/// A pointer to bytes: what they are, what they hash to and how many they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A pointer with nothing but what every one has.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            artifact_type: None,
            platform: None,
        }
    }
}

/// One image: its config and its layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Several manifests under one name: one for each platform, and attestations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads the bytes of a manifest.
    ///
    /// # Errors
    /// As [`Document::parse`]; an index is [`Error::UnknownManifest`].
    pub fn parse(bytes: &[u8]) -> Result<Manifest, Error> {
        match Document::parse(bytes, None)? {
            Document::Manifest(manifest) => Ok(*manifest),
            Document::Index(_) => {
                Err(Error::UnknownManifest { media_type: media_type::OCI_INDEX.to_owned() })
            }
        }
    }

    /// Whether it is an image that can be run, rather than an artifact.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.artifact_type.is_none() && media_type::is_config(&self.config.media_type)
    }
}

/// What a blob of one of the manifest media types holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(Box<Manifest>),
    Index(Box<Index>),
}

impl Document {
    /// Reads a manifest or an index. `announced` is the media type by which somebody (a descriptor, a server's header) pointed to it;
    /// an empty one announces nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`DOCUMENT_LIMIT`]; [`Error::Ambiguous`]; [`Error::SchemaOne`]; [`Error::MediaTypeMismatch`] when the
    /// document, or its content, is not what was announced; [`Error::UnknownManifest`]; [`Error::Document`] for anything that does not parse.
    pub fn parse(bytes: &[u8], announced: Option<&str>) -> Result<Document, Error> {
        check_size("the manifest", bytes)?;
        let outline: Outline = read("the manifest", bytes)?;
        outline.check_keys()?;
        let (has_index, has_manifest) =
            (outline.has("manifests"), outline.has("config") || outline.has("layers"));
        if outline.has("fsLayers") || outline.has("signatures") || outline.schema_version == Some(1) {
            return Err(Error::SchemaOne);
        }
        if has_index && has_manifest {
            return Err(Error::Ambiguous);
        }
        let found = outline.media_type.as_deref().filter(|found| !found.is_empty());
        let announced = announced.filter(|announced| !announced.is_empty());
        if let (Some(found), Some(announced)) = (found, announced)
            && found != announced
        {
            return Err(mismatch(announced, found));
        }
        let named = found.or(announced);
        if let Some(named) = named {
            if !media_type::is_index(named) && !media_type::is_manifest(named) {
                return Err(Error::UnknownManifest { media_type: crate::error::excerpt(named) });
            }
            if media_type::is_index(named) != has_index {
                let content = if has_index { "an index" } else { "a manifest" };
                return Err(mismatch(named, content));
            }
        }
        if has_index {
            return Ok(Document::Index(Box::new(read("the index", bytes)?)));
        }
        Ok(Document::Manifest(Box::new(read("the manifest", bytes)?)))
    }
}

fn mismatch(announced: &str, found: &str) -> Error {
    Error::MediaTypeMismatch {
        announced: crate::error::excerpt(announced),
        found: crate::error::excerpt(found),
    }
}

impl Index {
    /// The entry to run on `host`, and the platforms of all others that are images. Without any platform named at all the first image is
    /// taken, as other tools do.
    #[must_use]
    pub fn select(&self, host: &Platform) -> (Option<&Descriptor>, Vec<Platform>) {
        let images = || self.manifests.iter().filter(|entry| entry.is_platform_image());
        let ranked = images().filter_map(|entry| Some((entry.platform.as_ref()?.rank_for(host)?, entry)));
        let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
        let chosen = best.or_else(|| images().find(|entry| entry.platform.is_none()));
        let others = images().filter(|entry| chosen.is_none_or(|chosen| !std::ptr::eq(*entry, chosen)));
        let others = others.filter_map(|entry| entry.platform.clone()).collect();
        (chosen, others)
    }
}

impl Descriptor {
    /// Not an attestation or another thing that rides along in an index.
    fn is_platform_image(&self) -> bool {
        let unknown = self.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        !unknown
            && self.artifact_type.is_none()
            && !self.annotations.contains_key("vnd.docker.reference.type")
    }
}

/// The keys of a document and the two values that say what it is, before it is believed to be anything.
#[derive(Debug)]
struct Outline {
    keys: Vec<String>,
    media_type: Option<String>,
    schema_version: Option<u64>,
}

impl Outline {
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|have| have == key)
    }

    /// Each key that matters may be there once, in its own spelling.
    fn check_keys(&self) -> Result<(), Error> {
        const KNOWN: [&str; 11] = [
            "schemaVersion",
            "mediaType",
            "artifactType",
            "config",
            "layers",
            "manifests",
            "subject",
            "annotations",
            "fsLayers",
            "history",
            "signatures",
        ];
        for known in KNOWN {
            let mut same = self.keys.iter().filter(|key| key.eq_ignore_ascii_case(known));
            let first = same.next();
            if first.is_some_and(|key| key != known) || same.next().is_some() {
                let message = format!("the key {known:?} is there twice or spelled differently");
                return Err(Error::Document { what: "the manifest", message });
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Outline, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Outline;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut outline = Outline { keys: Vec::new(), media_type: None, schema_version: None };
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "mediaType" => outline.media_type = map.next_value()?,
                        "schemaVersion" => outline.schema_version = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    outline.keys.push(key);
                }
                Ok(outline)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

pub(crate) fn check_size(what: &'static str, bytes: &[u8]) -> Result<(), Error> {
    let size = bytes.len() as u64;
    if size > DOCUMENT_LIMIT {
        return Err(Error::TooLarge { what, size, limit: DOCUMENT_LIMIT });
    }
    Ok(())
}

pub(crate) fn read<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Document {
        what,
        // It quotes what it does not expect.
        message: crate::error::excerpt(&error.to_string()),
    })
}

/// Go writes `null` for an empty list or map.
pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn descriptor(media_type: &str, extra: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":2{extra}}}"#, Digest::of(b"{}"))
    }

    fn manifest(extra: &str) -> String {
        let (config, layer) =
            (descriptor(media_type::OCI_CONFIG, ""), descriptor(media_type::OCI_LAYER_GZIP, ""));
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]{extra}}}"#)
    }

    #[test]
    fn one_document_is_one_thing() {
        let good = manifest("");
        let typed = manifest(&format!(r#","mediaType":"{}""#, media_type::DOCKER_MANIFEST));
        let parse = |text: &str, announced| Document::parse(text.as_bytes(), announced);
        assert!(matches!(parse(&good, None), Ok(Document::Manifest(_))));
        assert!(matches!(parse(&good, Some("")), Ok(Document::Manifest(_))));
        assert!(matches!(parse(&good, Some(media_type::OCI_MANIFEST)), Ok(Document::Manifest(_))));
        assert!(matches!(parse(&typed, Some(media_type::DOCKER_MANIFEST)), Ok(Document::Manifest(_))));
        assert!(matches!(parse(r#"{"schemaVersion":2,"manifests":null}"#, None), Ok(Document::Index(_))));
        assert!(matches!(parse(&manifest(r#","manifests":[]"#), None), Err(Error::Ambiguous)));
        assert!(matches!(
            parse(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, None),
            Err(Error::Ambiguous)
        ));
        assert!(matches!(parse(&good, Some(media_type::OCI_INDEX)), Err(Error::MediaTypeMismatch { .. })));
        assert!(matches!(
            parse(&typed, Some(media_type::OCI_MANIFEST)),
            Err(Error::MediaTypeMismatch { .. })
        ));
        assert!(matches!(parse(&good, Some("text/html")), Err(Error::UnknownManifest { .. })));
        assert!(matches!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#, None), Err(Error::SchemaOne)));
        for wrong in [
            "",
            "[]",
            "null",
            "{",
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"manifests":[{}]}"#,
            &manifest(r#","Manifests":[]"#),
            &manifest(r#","layers":[]"#),
            &good.replace("sha256:", "sha256:/"),
            &good.replace("\"size\":2", "\"size\":-2"),
            &"[".repeat(100_000),
        ] {
            assert!(matches!(parse(wrong, None), Err(Error::Document { .. })), "{wrong:.80}");
        }
        let huge = manifest(&format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(5 << 20)));
        assert!(matches!(parse(&huge, None), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn the_hosts_platform_is_chosen_and_the_others_are_named() {
        let entry = |platform: &str| {
            let (os, architecture) = platform.split_once('/').unwrap();
            let platform = format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#);
            descriptor(media_type::OCI_MANIFEST, &platform)
        };
        let host = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let index = |entries: &[String]| -> Index {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
            match Document::parse(text.as_bytes(), None).unwrap() {
                Document::Index(index) => *index,
                Document::Manifest(_) => unreachable!(),
            }
        };
        let several = index(&[entry("linux/arm64"), entry("linux/amd64"), entry("unknown/unknown")]);
        let (chosen, others) = several.select(&host);
        assert_eq!(chosen, Some(&several.manifests[1]));
        assert_eq!(others.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/arm64"]);
        let foreign = index(&[entry("linux/arm64")]);
        assert_eq!(foreign.select(&host).0, None);
        let unnamed = index(&[descriptor(media_type::OCI_MANIFEST, "")]);
        assert_eq!(unnamed.select(&host).0, Some(&unnamed.manifests[0]));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Document::parse(&bytes, None);
        }
    }
}
