//! What is mounted in a container: binds, volumes, file systems in memory, and what other containers lend.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum MountRequest {
    Bind {
        /// Absolute on the host.
        source: String,
        destination: String,
        #[serde(default)]
        read_only: bool,
        #[serde(default)]
        propagation: Propagation,
        /// `--mount …,bind-recursive=disabled` makes this false: only the mount itself, none below it.
        #[serde(default = "yes")]
        recursive: bool,
        /// `-v` makes a missing source directory, `--mount` refuses (as Docker).
        #[serde(default)]
        create_source: bool,
        /// `:z` or `:Z`: asks for SELinux's label of containers, which matters on hosts with SELinux only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relabel: Option<Relabel>,
    },
    Volume {
        /// `None`: an anonymous volume.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        destination: String,
        #[serde(default)]
        read_only: bool,
        /// Do not fill an empty volume with what the image has at the destination.
        #[serde(default)]
        no_copy: bool,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        /// As for a bind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relabel: Option<Relabel>,
        /// Asked with `--mount`, which `inspect` shows elsewhere, as Docker.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_mount: bool,
    },
    Tmpfs {
        destination: String,
        /// Bytes; `None`: half of the memory, the kernel's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Permission bits; `None`: those of the image's directory there, or 1777.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Further mount options as `--tmpfs` takes them (`noexec`, `uid=…`).
        #[serde(default)]
        options: Vec<String>,
        /// What `--tmpfs` had behind the path; `None` for `--mount`, which `inspect` shows elsewhere, as Docker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
}

impl MountRequest {
    /// Where it is in the container.
    #[must_use]
    pub fn destination(&self) -> &str {
        match self {
            MountRequest::Bind { destination, .. }
            | MountRequest::Volume { destination, .. }
            | MountRequest::Tmpfs { destination, .. } => destination,
        }
    }
}

/// `:z` and `:Z` of `-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relabel {
    Shared,
    Private,
}

/// One `--volumes-from CONTAINER[:ro|rw]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    pub container: String,
    #[serde(default)]
    pub read_only: bool,
}

/// Whether mounts made later on one side show on the other. `--mount …,bind-propagation=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rshared,
    Shared,
    Rslave,
    Slave,
}

impl Propagation {
    /// The mount option's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Propagation::Rprivate => "rprivate",
            Propagation::Private => "private",
            Propagation::Rshared => "rshared",
            Propagation::Shared => "shared",
            Propagation::Rslave => "rslave",
            Propagation::Slave => "slave",
        }
    }
}

fn yes() -> bool {
    true
}
