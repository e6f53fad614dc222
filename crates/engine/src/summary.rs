//! What lists and acts answer: plain data for the command line and the other doors to show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use onggi_monitor::state::State;

use crate::id::ContainerId;
use crate::record::{MountKind, Record};
use crate::request::Network;
use crate::state::Status;

/// What `create` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub id: ContainerId,
    pub name: String,
    /// Sentences for a person: what was asked and has no effect here.
    pub warnings: Vec<String>,
}

/// One line of `ps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub id: ContainerId,
    pub name: String,
    /// As the user named it.
    pub image: String,
    pub image_id: String,
    /// The whole command line as one text.
    pub command: String,
    /// RFC 3339 with nanoseconds, and the same in seconds since 1970.
    pub created: String,
    pub created_unix: i64,
    pub state: Status,
    /// Docker's sentence: `Up 3 hours`, `Exited (0) 2 minutes ago`.
    pub status: String,
    pub exit_code: Option<i32>,
    pub labels: BTreeMap<String, String>,
    /// Destinations and sources (volume names or paths) of what is mounted.
    pub mounts: Vec<String>,
    pub networks: Vec<String>,
    /// Docker's column: `0.0.0.0:8080->80/tcp, 443/tcp`. Only of one that runs.
    pub ports: String,
    /// Bytes in the writable layer; only when asked for.
    pub size_rw: Option<u64>,
    /// Bytes of image and writable layer together; only when asked for.
    pub size_root: Option<u64>,
}

/// What the index keeps of a container for lists, so that they read no record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub image: String,
    pub image_id: String,
    pub command: String,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<MountRow>,
    pub networks: Vec<String>,
    /// `80/tcp`
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// Whether any of them may be published.
    #[serde(default)]
    pub publishes: bool,
    /// It goes when it has ended.
    pub remove: bool,
}

/// A mount in a [`Row`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MountRow {
    /// A volume's name or a path on the host; empty for a tmpfs.
    pub source: String,
    pub destination: String,
}

impl Row {
    /// Of a container whose record cannot be read.
    pub(crate) fn damaged() -> Row {
        Row {
            image: "<damaged record>".to_owned(),
            image_id: String::new(),
            command: String::new(),
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            networks: Vec::new(),
            exposed_ports: Vec::new(),
            publishes: false,
            remove: false,
        }
    }

    pub(crate) fn of(record: &Record) -> Row {
        let mount = |mount: &crate::record::MountPoint| MountRow {
            source: match &mount.kind {
                MountKind::Bind { source, .. } => source.clone(),
                MountKind::Volume { name, .. } => name.clone(),
                MountKind::Tmpfs { .. } => String::new(),
            },
            destination: mount.destination.clone(),
        };
        Row {
            image: record.request.image.clone(),
            image_id: record.image.to_string(),
            command: shown_command(&record.args()),
            labels: record.resolved.labels.clone(),
            mounts: record.resolved.mounts.iter().map(mount).collect(),
            networks: match &record.request.network {
                Network::Bridge => {
                    record.resolved.networks.iter().map(|wanted| wanted.name.clone()).collect()
                }
                Network::Container(_) => Vec::new(),
                mode @ (Network::None | Network::Host) => vec![mode.name()],
            },
            exposed_ports: record.resolved.exposed_ports.clone(),
            publishes: !record.request.publish.is_empty() || record.request.publish_all,
            remove: record.request.remove,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255; 128 + n for signal n.
    pub code: i32,
    pub oom_killed: bool,
    /// RFC 3339; empty when it is not known.
    pub finished_at: String,
    /// Why the end is not the process's own, when it is not.
    pub error: Option<String>,
    /// It has not ended: the client of a session typed its detach keys, and the process goes on. `code` is 0 then.
    pub detached: bool,
}

impl Exit {
    pub(crate) fn of(state: &State) -> Exit {
        Exit {
            code: state.exit_code,
            oom_killed: state.oom_killed,
            finished_at: state.finished_at.clone(),
            error: Some(state.error.clone()).filter(|error| !error.is_empty()),
            detached: false,
        }
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub stream: LogStream,
    /// RFC 3339 with nanoseconds, as it was written.
    pub time: String,
    /// The bytes, with their newline if they had one.
    pub text: Vec<u8>,
}

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    /// RFC 3339.
    pub created: String,
    pub labels: BTreeMap<String, String>,
    /// Made for one container's VOLUME or nameless `-v`, and goes with it.
    pub anonymous: bool,
}

/// As Docker's daemon tells it: arguments with a space in single quotes, the program as it is.
fn shown_command(args: &[String]) -> String {
    let quoted = args
        .iter()
        .enumerate()
        .map(|(at, word)| if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::shown_command;

    #[test]
    fn commands_are_quoted_as_docker_quotes_them() {
        for (args, shown) in [
            (vec!["sh"], "sh"),
            (vec!["sh", "-c", "echo hello; sleep 1"], "sh -c 'echo hello; sleep 1'"),
            (vec!["a program", "x y", "z", ""], "a program 'x y' z "),
        ] {
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            assert_eq!(shown_command(&args), shown);
        }
    }
}
