//! What separates a container from the host and from other containers, and which of their things it may use all the same.

pub use onggi_runtime::plan::Isolation;
use serde::{Deserialize, Serialize};

/// `--pid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    #[default]
    Private,
    Host,
    /// A name or id.
    Container(String),
}

/// `--ipc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcMode {
    #[default]
    Private,
    /// Private, and others may join it.
    Shareable,
    /// Private, and without `/dev/shm`.
    None,
    Host,
    /// A name or id.
    Container(String),
}

/// `--uts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UtsMode {
    #[default]
    Private,
    Host,
}

/// `--security-opt`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    pub seccomp: SeccompChoice,
    pub no_new_privileges: bool,
    /// `unmask=PATH[:PATH…]`, `unmask=ALL`: take these off the list of masked and read-only paths.
    pub unmask: Vec<String>,
    /// `systempaths=unconfined`: no masked and no read-only paths at all.
    pub unconfined_paths: bool,
}

/// Which system call filter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompChoice {
    #[default]
    Default,
    Unconfined,
    /// The content of a profile: the OCI object, or Docker's profile with `archMap`, `includes` and `excludes`.
    Profile(serde_json::Value),
}

/// One `--device`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// A device of the host, or a directory of them.
    pub host: String,
    /// Where it is in the container.
    pub container: String,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// One `--device-cgroup-rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRuleRequest {
    /// `a`, `b` or `c`.
    pub kind: String,
    /// `None`: all.
    pub major: Option<i64>,
    pub minor: Option<i64>,
    /// Of `r`, `w` and `m`.
    pub access: String,
}
