//! The record of a container, `container.json`: the request word for word, and what it resolved to.
//!
//! It is written once at creation (and again only for a new name) and holds everything that any later command needs to start,
//! describe or undo the container, whatever has become of the image's name or the settings since.

use std::collections::BTreeMap;

use onggi_image::Digest;
use onggi_image::config::Healthcheck;
use serde::{Deserialize, Serialize};

use crate::id::ContainerId;
use crate::request::{NetworkRequest, Propagation, Relabel, RunRequest};

/// The version that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// `container.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub version: u32,
    pub id: ContainerId,
    pub name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The config digest. At the top, where the store looks for what is used.
    pub image: Digest,
    /// With `--rm`: made to be started at once by the same process, so that it goes when that one dies before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run: bool,
    /// As it was asked.
    pub request: RunRequest,
    pub resolved: Resolved,
}

/// What the request, the image and the settings come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    /// Diff ids, lowest first.
    pub layers: Vec<Digest>,
    /// `None`: no entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    pub command: Vec<String>,
    /// The user's and the image's, without what Onggi adds at the start.
    pub env: Vec<String>,
    pub working_dir: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Vec<String>,
    /// The request's at first; `network connect` and `disconnect` change them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// As it was given; empty: none was.
    pub stop_signal: String,
    /// Seconds, −1 for ever.
    pub stop_timeout: i64,
    pub mounts: Vec<MountPoint>,
    /// With `CAP_`, in the kernel's order.
    pub capabilities: Vec<String>,
    pub shm_size: u64,
    /// −1 is no limit.
    pub pids_limit: i64,
    /// From the root of each hierarchy, `/onggi/<id>`.
    pub cgroup: String,
    pub log: Log,
    pub detach_keys: Vec<u8>,
}

/// Where the output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    /// `json-file` or `none`.
    pub driver: String,
    /// Bytes; 0 never rotates.
    pub max_size: u64,
    pub max_file: u32,
}

/// One mount that the user or the image asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountPoint {
    pub destination: String,
    pub read_only: bool,
    #[serde(flatten)]
    pub kind: MountKind,
}

/// What is behind a mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum MountKind {
    Bind {
        source: String,
        propagation: Propagation,
        recursive: bool,
        create_source: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relabel: Option<Relabel>,
    },
    Volume {
        name: String,
        /// Goes with the container.
        anonymous: bool,
        no_copy: bool,
        /// For the volume, should it be made now.
        labels: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relabel: Option<Relabel>,
    },
    Tmpfs {
        /// Mount options, `size=` and `mode=` among them.
        options: Vec<String>,
    },
}

impl Record {
    /// What is executed.
    pub(crate) fn args(&self) -> Vec<String> {
        self.resolved.entrypoint.iter().flatten().chain(&self.resolved.command).cloned().collect()
    }

    /// The volumes that are mounted, with whether each is anonymous.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (&str, bool)> {
        self.resolved.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, anonymous, .. } => Some((name.as_str(), *anonymous)),
            _ => None,
        })
    }

    /// The number of the signal that `stop` sends. It was checked when the record was made.
    pub(crate) fn stop_signal(&self) -> i32 {
        match self.resolved.stop_signal.as_str() {
            "" => 15,
            text => crate::flags::signal(text).unwrap_or(15),
        }
    }

    /// The attributes of the container's events: its labels, image and name.
    pub(crate) fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.resolved.labels.clone();
        attributes.insert("image".to_owned(), self.request.image.clone());
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }
}
