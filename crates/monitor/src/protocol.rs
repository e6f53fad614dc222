//! The words that a monitor and its clients exchange: one JSON object a packet, descriptors beside it.
//!
//! `docs/monitor-protocol.md` is the same thing in prose and binds both sides. Old monitors outlive many upgrades of the programs
//! around them, so a field may be added (with a default) but never change its meaning; anything else needs a new [`VERSION`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use onggi_net::attachment::Attachment;
use onggi_net::names::resolve::Config;
use serde::{Deserialize, Serialize};

use crate::events::Event;
use crate::policy::Restart;
/// What a power cut may take: whether final states are on the disk before they are reported.
pub use onggi_record::Durability;

/// The version spoken here.
pub const VERSION: u32 = 1;

/// The oldest version still spoken. A new program works with the monitors of the release before it.
pub const OLDEST_VERSION: u32 = 1;

/// No packet is larger (bytes). It fits the kernel's default socket buffer of 208 KiB.
pub const MAX_PACKET: usize = 128 * 1024;

/// No packet carries more descriptors.
pub const MAX_DESCRIPTORS: usize = 5;

/// The descriptor on which a freshly spawned monitor finds its first connection.
pub const CONTROL_DESCRIPTOR: i32 = 3;

/// The most bytes a client may hand over as already read from its stream.
pub const MAX_ALREADY_READ: usize = 16 * 1024;

/// The longest sequence of detach keys.
pub const MAX_DETACH_KEYS: usize = 16;

/// A request with the number that its answers will carry. The client chooses the number; it rises by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub number: u32,
    #[serde(flatten)]
    pub request: Request,
}

/// A reply and the number of the request that it answers. `wait`, `subscribe`, `attach` and `exec` may be answered more than once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub number: u32,
    #[serde(flatten)]
    pub reply: Reply,
}

/// What a client may ask. The comment names the descriptors that go with it and the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// → [`Reply::Hello`] with the version that both speak, or an error of kind `unsupported`.
    Hello { version: u32 },
    /// Only on the connection given at spawn, once. Descriptors: the plan, the container's directory, the sandbox's directory,
    /// the events directory and, if the caller holds one, the container's lock, which is let go when the state says that it runs.
    /// → [`Reply::Started`].
    Start { container: Box<Start> },
    /// Instead of [`Request::Start`]: takes over a container whose monitor died, from what `state.json` says of its first process.
    /// Descriptors: the container's directory, the sandbox's directory, the events directory, and with a restart policy the plan.
    /// → [`Reply::Started`].
    Adopt { pid: i32, pid_start_time: u64 },
    /// Descriptor: a stream socket that becomes the container's (or the exec session's) standard streams.
    /// → [`Reply::Ok`] when attached, and [`Reply::Detached`] if the keys were typed. Before `start` too.
    Attach {
        #[serde(default)]
        exec: Option<String>,
        #[serde(flatten)]
        streams: Streams,
    },
    /// Runs a second process. Descriptors: its plan and, unless `detach`, the stream socket.
    /// → [`Reply::Started`], and [`Reply::Detached`] if the keys were typed.
    Exec {
        /// Chosen by the client, unique in this monitor.
        id: String,
        #[serde(default)]
        terminal: bool,
        /// Rows and columns of the terminal.
        #[serde(default)]
        size: Option<(u16, u16)>,
        #[serde(default)]
        detach: bool,
        /// The command as events show it (`exec_start: sh -c ls`).
        #[serde(default)]
        command: String,
        #[serde(flatten)]
        streams: Streams,
    },
    /// → [`Reply::Exec`].
    ExecInspect { id: String },
    /// The size of a terminal, in characters. → [`Reply::Ok`].
    Resize {
        #[serde(default)]
        exec: Option<String>,
        rows: u16,
        columns: u16,
    },
    /// To the first process, to an exec session's, or with `all` to every process. → [`Reply::Ok`].
    Signal {
        signal: i32,
        #[serde(default)]
        exec: Option<String>,
        #[serde(default)]
        all: bool,
    },
    /// `signal` (0: the container's own stop signal), then SIGKILL after `timeout_ms`; never if there is none.
    /// → [`Reply::Exited`] when it has ended.
    Stop {
        #[serde(default)]
        signal: i32,
        #[serde(default)]
        timeout_ms: Option<u64>,
        /// The client starts it again itself at once; if it dies before, whoever comes next does (`starts_again` in `state.json`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        starts_again: bool,
    },
    /// → [`Reply::Ok`] when registered, then [`Reply::Exited`] once: after every byte of output was handed to the streams that
    /// were attached over this same connection.
    Wait {
        condition: Condition,
        /// This client removes the container itself. The monitor stays until the client hangs up, and looks whether it did.
        #[serde(default)]
        finish: bool,
    },
    /// Freezes every process. → [`Reply::Ok`].
    Pause,
    /// → [`Reply::Ok`].
    Resume,
    /// What may change while the container runs; what is left out stays. → [`Reply::Ok`].
    /// Descriptor, optional: the plan for new starts, needed with a restart policy.
    Update {
        /// What its events call it from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart: Option<Restart>,
    },
    /// → [`Reply::Status`].
    Status,
    /// Opens the log file again, after somebody moved it. → [`Reply::Ok`].
    ReopenLogs,
    /// → [`Reply::Ok`], then [`Reply::Event`] for each event of this container.
    Subscribe,
    /// Connects the running container to one network more. `names`: from what names are answered from now on. → [`Reply::Ok`].
    ConnectNetwork {
        attachment: Box<Attachment>,
        #[serde(default)]
        names: Option<Config>,
    },
    /// Takes it off a network, by its id. → [`Reply::Ok`].
    DisconnectNetwork {
        network: String,
        #[serde(default)]
        names: Option<Config>,
        /// Who comes after it, should it have been the way out.
        #[serde(default)]
        way_out: Option<WayOut>,
    },
    /// Executes a new program in place of this one. Descriptor, optional: the new program; else the file at the monitor's own path.
    /// → [`Reply::Ok`], from the new program.
    Reexec,
}

impl Request {
    /// The word on the wire, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Request::Hello { .. } => "hello",
            Request::Start { .. } => "start",
            Request::Adopt { .. } => "adopt",
            Request::Attach { .. } => "attach",
            Request::Exec { .. } => "exec",
            Request::ExecInspect { .. } => "exec-inspect",
            Request::Resize { .. } => "resize",
            Request::Signal { .. } => "signal",
            Request::Stop { .. } => "stop",
            Request::Wait { .. } => "wait",
            Request::Pause => "pause",
            Request::Resume => "resume",
            Request::Update { .. } => "update",
            Request::Status => "status",
            Request::ReopenLogs => "reopen-logs",
            Request::Subscribe => "subscribe",
            Request::ConnectNetwork { .. } => "connect-network",
            Request::DisconnectNetwork { .. } => "disconnect-network",
            Request::Reexec => "reexec",
        }
    }
}

/// A network of the container's by which the rest of the world is reached: its id, and the gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayOut {
    pub network: String,
    pub gateways: Vec<IpAddr>,
}

/// Which streams a client wants and in what form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    #[serde(default)]
    pub stdin: bool,
    #[serde(default)]
    pub stdout: bool,
    #[serde(default)]
    pub stderr: bool,
    /// Each piece of output behind Docker's header of 8 bytes: stream (1 or 2), three zeroes, length (big endian). Never with a
    /// terminal, whose one stream is raw.
    #[serde(default)]
    pub framed: bool,
    /// Typed in this order they detach the client. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detach_keys: Vec<u8>,
    /// Bytes of standard input that the client read before it handed its socket over; at most [`MAX_ALREADY_READ`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub already_read: Vec<u8>,
}

/// What a waiter waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The container's first process has ended.
    Exited,
    /// An exec session has ended.
    ExecExited { id: String },
}

/// What a monitor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Hello {
        version: u32,
        pid: i32,
        /// The version of the program, `0.1.0`.
        program: String,
    },
    Ok,
    Started {
        /// On the host.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
        /// Nanoseconds that each step of the plan took, by its index.
        #[serde(default)]
        timings: Vec<(u32, u64)>,
        /// The monitor's own parts, in order: name and nanoseconds.
        #[serde(default)]
        parts: Vec<(String, u64)>,
    },
    Exited {
        /// 0 to 255; 128 + n for the signal n.
        code: i32,
        #[serde(default)]
        oom_killed: bool,
        /// RFC 3339 with nanoseconds, UTC.
        finished_at: String,
        /// Why the end is not the process's own, when it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The client typed its detach keys; its stream is closed, the process goes on.
    Detached,
    Status(Box<Status>),
    Exec {
        running: bool,
        pid: i32,
        /// Once it has ended.
        #[serde(default)]
        code: Option<i32>,
    },
    Event {
        event: Box<Event>,
    },
    Error {
        /// `onggi_error::Kind::name`.
        kind: String,
        /// The step of the plan or of the monitor that failed.
        step: String,
        /// 0 if no system call failed.
        #[serde(default)]
        errno: i32,
        message: String,
    },
}

/// What a monitor says of itself and its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub id: String,
    /// `created`, `running`, `paused` or `exited`.
    pub status: String,
    /// 0 unless it runs.
    pub pid: i32,
    pub started_at: String,
    pub monitor_pid: i32,
    pub program: String,
    /// Whether this monitor took the container over from one that died.
    #[serde(default)]
    pub adopted: bool,
    /// Running exec sessions.
    pub execs: Vec<String>,
    /// Attached streams.
    pub attached: u32,
    /// The last thing that went wrong while nobody was there to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Everything that a monitor must know of a container to start it, watch it and end it with nobody else there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Of this record: [`VERSION`].
    pub version: u32,
    /// 64 lower-case hexadecimal digits.
    pub id: String,
    pub name: String,
    /// At the end run `<finish_program> <finish_args…> container finish <id>`: for `--rm`.
    #[serde(default)]
    pub finish: bool,
    #[serde(default)]
    pub finish_program: PathBuf,
    /// Flags that move the paths (`--root`, `--run-root`).
    #[serde(default)]
    pub finish_args: Vec<String>,
    /// Keep standard input open although nobody is attached (`-i`).
    #[serde(default)]
    pub stdin_open: bool,
    /// Close it when the first attached client has left or has closed its side.
    #[serde(default)]
    pub stdin_once: bool,
    #[serde(default)]
    pub terminal: bool,
    /// Rows and columns of the terminal.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
    /// User and group on the host that own the standard streams, so that the process may open `/dev/stdout`. Root if unknown.
    #[serde(default)]
    pub owner: Option<(u32, u32)>,
    #[serde(default)]
    pub log: LogConfig,
    /// The number of the signal that `stop` sends; 0 is SIGTERM.
    #[serde(default)]
    pub stop_signal: i32,
    /// Of the container's events: `image`, `name` and the labels.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub durability: Durability,
    #[serde(default)]
    pub restart_count: u32,
    #[serde(default)]
    pub restart: Restart,
    /// What the container is connected to, with its leases taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Attachment>,
    /// From what the sandbox's processes are answered at 127.0.0.11. None: its networks have no names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Config>,
}

/// Where the output goes besides the attached clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub driver: LogDriver,
    /// Bytes after which the file is rotated; 0: never.
    pub max_size: u64,
    /// How many files are kept, the current one among them; at least 1.
    pub max_file: u32,
}

impl Default for LogConfig {
    /// Three files of 10 MiB, so that no container fills the disk by default.
    fn default() -> Self {
        LogConfig { driver: LogDriver::JsonFile, max_size: 10 * 1024 * 1024, max_file: 3 }
    }
}

/// The log drivers that are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's `json-file`, at `log/json.log` in the container's directory.
    JsonFile,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_the_wire_is_flat() {
        let question = Question {
            number: 7,
            request: Request::Attach {
                exec: None,
                streams: Streams {
                    stdin: true,
                    stdout: true,
                    detach_keys: vec![16, 17],
                    ..Streams::default()
                },
            },
        };
        let text = serde_json::to_string(&question).unwrap();
        assert_eq!(
            text,
            r#"{"number":7,"op":"attach","exec":null,"stdin":true,"stdout":true,"stderr":false,"framed":false,"detach_keys":[16,17]}"#
        );
        assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), question);
    }

    #[test]
    fn a_missing_field_has_its_default_and_an_unknown_one_is_ignored() {
        let question: Question =
            serde_json::from_str(r#"{"number":1,"op":"stop","later":true,"timeout_ms":10000}"#).unwrap();
        assert_eq!(
            question.request,
            Request::Stop { signal: 0, timeout_ms: Some(10_000), starts_again: false }
        );
        let question: Question =
            serde_json::from_str(r#"{"number":1,"op":"wait","condition":"exited"}"#).unwrap();
        assert_eq!(question.request, Request::Wait { condition: Condition::Exited, finish: false });
    }

    #[test]
    fn replies_survive_the_wire() {
        for reply in [
            Reply::Ok,
            Reply::Detached,
            Reply::Started {
                pid: 1,
                started_at: "now".into(),
                timings: vec![(0, 5)],
                parts: vec![("clone".into(), 7)],
            },
            Reply::Exited { code: 137, oom_killed: true, finished_at: "then".into(), error: None },
            Reply::Error { kind: "not-found".into(), step: "exec".into(), errno: 2, message: "no".into() },
        ] {
            let answer = Answer { number: 3, reply };
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
        }
    }
}
