//! Containers, sandboxes and volumes as things with a life: created, started, stopped, removed, listed, described.
//!
//! The engine turns a [`request::RunRequest`] into a record, a plan and a running monitor, and reads back what they left. It knows
//! no terminal and no flag; nothing of it stays resident. One file for each noun or act.

use onggi_settings::Settings;

mod error;
pub mod flags;
mod id;
pub mod names;
pub mod request;
mod session;
mod state;
mod summary;

pub use error::Error;
pub use id::ContainerId;
pub use session::{Controller, Session};
pub use state::Status;
pub use summary::{Created, Exit, LogLine, LogStream, Summary, Volume};

use request::{
    AttachOptions, EventOptions, ExecRequest, ListOptions, LogOptions, RemoveOptions, RunRequest,
    StartOptions, StopOptions, WaitCondition,
};

/// The one door to containers. Opening it reads nothing but the store's version.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
}

type Result<T, E = Error> = std::result::Result<T, E>;

fn not_built<T>(what: &str) -> Result<T> {
    Err(Error::NotBuilt { what: what.to_owned() })
}

impl Engine {
    /// Opens the store under the settings' roots, and makes them if they are missing.
    ///
    /// # Errors
    /// The roots cannot be made or were written by a newer Onggi.
    pub fn open(settings: Settings) -> Result<Engine> {
        Ok(Engine { settings })
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The container that a name, an id or the unique beginning of an id means.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn resolve(&self, _name: &str) -> Result<ContainerId> {
        not_built("resolve")
    }

    /// Reserves the name, resolves the image, writes the record.
    ///
    /// # Errors
    /// The name is taken, the image is not here, the request means nothing on this host.
    pub fn create(&self, _request: &RunRequest) -> Result<Created> {
        not_built("create")
    }

    /// The plan of a run, one sentence a step; writes nothing.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn explain(&self, _request: &RunRequest) -> Result<Vec<String>> {
        not_built("explain")
    }

    /// Starts a container that is created or has ended.
    ///
    /// # Errors
    /// It runs, or a step failed: [`Error::Start`] says which.
    pub fn start(&self, _id: &ContainerId, _options: &StartOptions) -> Result<Session> {
        not_built("start")
    }

    /// Attaches to a container that runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn attach(&self, _id: &ContainerId, _options: &AttachOptions) -> Result<Session> {
        not_built("attach")
    }

    /// Starts a second process in a container.
    ///
    /// # Errors
    /// It does not run, or a step failed: [`Error::Exec`].
    pub fn exec(&self, _id: &ContainerId, _request: &ExecRequest) -> Result<Session> {
        not_built("exec")
    }

    /// Sends the stop signal, waits, kills. `Ok(false)`: it did not run.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub fn stop(&self, _id: &ContainerId, _options: &StopOptions) -> Result<bool> {
        not_built("stop")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, _id: &ContainerId, _signal: i32) -> Result<()> {
        not_built("kill")
    }

    /// Removes a container.
    ///
    /// # Errors
    /// It runs and `force` is not set; what could not be removed.
    pub fn remove(&self, _id: &ContainerId, _options: &RemoveOptions) -> Result<()> {
        not_built("rm")
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// The name is taken or invalid.
    pub fn rename(&self, _id: &ContainerId, _name: &str) -> Result<()> {
        not_built("rename")
    }

    /// Waits for the condition and says how the container ended.
    ///
    /// # Errors
    /// There is no such container.
    pub fn wait(&self, _id: &ContainerId, _condition: WaitCondition) -> Result<Exit> {
        not_built("wait")
    }

    /// The containers, newest first.
    ///
    /// # Errors
    /// A filter that means nothing, an index that cannot be read.
    pub fn list(&self, _options: &ListOptions) -> Result<Vec<Summary>> {
        not_built("ps")
    }

    /// Docker's description of a container.
    ///
    /// # Errors
    /// Its record is damaged.
    pub fn inspect(&self, _id: &ContainerId) -> Result<serde_json::Value> {
        not_built("inspect")
    }

    /// The OCI configuration from which it is started.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub fn inspect_oci(&self, _id: &ContainerId) -> Result<serde_json::Value> {
        not_built("inspect --oci")
    }

    /// Calls `each` for every line in order, and with `follow` until the container has ended. An error of `each` ends it.
    ///
    /// # Errors
    /// The container keeps no log, or what `each` says.
    pub fn logs(
        &self,
        _id: &ContainerId,
        _options: &LogOptions,
        _each: &mut dyn FnMut(LogLine) -> std::io::Result<()>,
    ) -> Result<()> {
        not_built("logs")
    }

    /// Calls `each` with every event as Docker's JSON object, in order. An error of `each` ends it.
    ///
    /// # Errors
    /// A filter that means nothing, or what `each` says.
    pub fn events(
        &self,
        _options: &EventOptions,
        _each: &mut dyn FnMut(serde_json::Value) -> std::io::Result<()>,
    ) -> Result<()> {
        not_built("events")
    }

    /// Does what is left to do for a container that has ended: removes it if it was started with `--rm`. Idempotent: the monitor runs
    /// `onggi container finish ID` when nobody waits.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn finish(&self, _id: &ContainerId) -> Result<()> {
        not_built("finish")
    }

    /// Docker's `info`.
    ///
    /// # Errors
    /// The host or the store cannot be read.
    pub fn info(&self) -> Result<serde_json::Value> {
        not_built("info")
    }

    /// Compares records, index and live files. With `repair` it mends what it can.
    ///
    /// # Errors
    /// The roots cannot be read at all.
    pub fn check(&self, _repair: bool) -> Result<Vec<Finding>> {
        not_built("check")
    }

    /// Makes a volume; one of the name that exists already is answered as it is, as Docker does.
    ///
    /// # Errors
    /// An invalid name.
    pub fn volume_create(
        &self,
        _name: Option<&str>,
        _labels: &std::collections::BTreeMap<String, String>,
    ) -> Result<Volume> {
        not_built("volume create")
    }

    /// Every volume by name. Filters: `name`, `label`, `dangling`, `driver`.
    ///
    /// # Errors
    /// A filter that means nothing.
    pub fn volumes(&self, _filters: &request::Filters) -> Result<Vec<Volume>> {
        not_built("volume ls")
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none of the name.
    pub fn volume(&self, _name: &str) -> Result<Volume> {
        not_built("volume inspect")
    }

    /// Removes a volume that no container uses. With `force` a missing one is no error.
    ///
    /// # Errors
    /// It is in use.
    pub fn volume_remove(&self, _name: &str, _force: bool) -> Result<()> {
        not_built("volume rm")
    }

    /// Removes the volumes that no container uses: the anonymous ones, or `all`. Answers their names and bytes.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn volume_prune(&self, _all: bool) -> Result<(Vec<String>, u64)> {
        not_built("volume prune")
    }
}

/// Something that [`Engine::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a container's id, a path.
    pub subject: String,
    pub problem: String,
    /// What was done about it, or `None` when nothing could be or was asked for.
    pub repaired: Option<String>,
}
