//! The config of an image: what to run and the diff ids of its layers, with Docker's additions to OCI's fields.
//!
//! Reading is lenient where Docker's writers are loose (`null` for nothing), but what is read is never written back in place of the original:
//! the id of an image is the digest of the config's bytes. Only [`Config`]s that Onggi itself makes are serialised.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{check_size, null_is_default, read};
use crate::platform::Platform;

/// An image's config document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// RFC 3339, as it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub author: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What containers of this image run with unless told otherwise.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// Docker's free text, shown by `inspect`.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub comment: String,
}

impl Config {
    /// Reads a config's bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Document`] (also for a `rootfs` that is not made of layers).
    pub fn parse(bytes: &[u8]) -> Result<Config, Error> {
        check_size("the config", bytes)?;
        let config: Config = read("the config", bytes)?;
        if config.rootfs.kind != "layers" {
            let message = format!("its rootfs is of the type {:?}, not \"layers\"", config.rootfs.kind);
            return Err(Error::Document { what: "the config", message });
        }
        Ok(config)
    }

    /// The machine that the image is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: Vec::new(),
            variant: self.variant.clone(),
        }
    }
}

/// The defaults of a container: OCI's fields, and Docker's `Healthcheck`, `OnBuild`, `Shell` and `ArgsEscaped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub user: String,
    /// `80/tcp` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub working_dir: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// A name (`SIGTERM`) or a number, as it stands there.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Windows: the command is already quoted.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub args_escaped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds that start from this image.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// What runs commands that are written as a line; `/bin/sh -c` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// The value of a set that is written as a map: always `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Empty, D::Error> {
        // Docker writes {}; old writers wrote null or an empty string.
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Empty {})
    }
}

/// How to tell whether a container is well. Times are in nanoseconds, and 0 means Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", line]`; empty inherits.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers by the digests of their uncompressed tars, the lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step that made the image; those without a layer only changed the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub created_by: String,
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub author: String,
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub comment: String,
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub empty_layer: bool,
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

// serde passes references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dockers_fields_are_read() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","config":{"Hostname":"x","User":"1000:1000",
          "ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Entrypoint":["/e"],"Cmd":null,"Volumes":{"/data":{}},"WorkingDir":"/w",
          "Labels":{"a":"b"},"StopSignal":"SIGQUIT","ArgsEscaped":true,"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],
          "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000,"StartInterval":5,"Retries":3}},
          "container_config":{"Cmd":["old"]},"rootfs":{"type":"layers","diff_ids":["DIFF"]},
          "history":[{"created_by":"/bin/sh -c #(nop) CMD","empty_layer":true}]}"#;
        let config = Config::parse(text.replace("DIFF", &Digest::of(b"x").to_string()).as_bytes()).unwrap();
        let run = &config.config;
        assert_eq!(
            (run.user.as_str(), run.working_dir.as_str(), run.stop_signal.as_str()),
            ("1000:1000", "/w", "SIGQUIT")
        );
        assert_eq!(run.cmd, None);
        assert_eq!(run.entrypoint.as_deref(), Some(&["/e".to_owned()][..]));
        assert_eq!(run.volumes.keys().collect::<Vec<_>>(), ["/data"]);
        assert_eq!(run.shell.as_ref().map(Vec::len), Some(2));
        let health = run.healthcheck.as_ref().unwrap();
        assert_eq!((health.interval, health.start_interval, health.retries), (30_000_000_000, 5, 3));
        assert!(run.args_escaped && config.history[0].empty_layer);
        assert_eq!(config.platform().to_string(), "linux/amd64");
    }

    #[test]
    fn a_config_without_layers_is_no_image() {
        for text in [
            "{}",
            r#"{"rootfs":{"type":"squash","diff_ids":[]}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
        ] {
            assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Config::parse(br#"{"config":null,"rootfs":{"type":"layers","diff_ids":null}}"#).is_ok());
        assert!(Config::parse(&vec![b' '; 5 << 20]).is_err());
    }

    #[test]
    fn what_onggi_writes_has_no_empty_fields() {
        let rootfs = RootFs { kind: "layers".into(), diff_ids: vec![] };
        let config = Config { architecture: "amd64".into(), os: "linux".into(), rootfs, ..Config::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            text,
            r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::parse(&bytes);
        }
    }
}
