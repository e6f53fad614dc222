//! Containers, sandboxes and volumes as things with a life: created, started, stopped, removed, listed, described.
//!
//! The engine turns a [`request::RunRequest`] into a record, a plan and a running monitor, and reads back what they left. It knows
//! no terminal and no flag; nothing of it stays resident. One file for each noun or act; [`Engine`] is their common door.

// The `json!` of an object with as many fields as Docker's recurses that deep.
#![recursion_limit = "256"]

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use onggi_error::{Diagnose as _, Kind};
use onggi_settings::{Layers, Settings, run_root};
use onggi_store::{Image, LayerForm, Owner, Store};

mod attach;
mod budget;
mod capabilities;
mod changes;
mod check;
mod container;
mod control;
mod copy;
mod create;
mod damaged;
mod disk;
mod disk_usage;
mod emulation;
mod error;
mod events;
mod exec;
mod fitness;
pub mod flags;
mod follow;
mod host;
pub mod human;
mod id;
mod image_diff;
mod images;
mod info;
mod inspect;
mod list;
mod logs;
mod names;
mod networks;
mod ordinary;
mod parents;
mod paths;
mod prune;
mod pull;
mod push;
mod reconcile;
mod record;
mod remove;
mod rename;
pub mod request;
mod reset;
mod resolve;
mod restart;
mod save;
mod sealed;
mod session;
mod shared;
mod spec;
mod start;
mod state;
mod summary;
mod top;
mod update;
mod upgrade;
mod usage;
mod volumes;

pub use budget::Trimmed;
pub use changes::{Change, ChangeKind};
pub use check::Finding;
pub use copy::{CopyOptions, CopySource, CopyTarget};
pub use disk_usage::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
pub use emulation::emulated;
pub use error::Error;
pub use id::ContainerId;
pub use images::Archive;
pub use networks::{FirewallFacts, NetworkSummary, PublishedPorts};
pub use prune::{PruneOptions, Pruned};
pub use pull::{LayerStep, Pulled, TransferWatch};
pub use push::Pushed;
pub use session::{Controller, Session, Timings};
pub use state::{Actor, Status};
pub use summary::{Created, Exit, LogLine, LogStream, Summary, Volume};
pub use top::Processes;
pub use usage::Usage;

/// The one door to containers. Opening it reads little more than the store's version; what an act needs besides is looked up by the act.
/// Cheap to clone: clones share what was looked up.
#[derive(Debug, Clone)]
pub struct Engine {
    settings: Arc<Settings>,
    paths: paths::Paths,
    store: Arc<Store>,
    cgroups: Arc<OnceLock<onggi_cgroup::Layout>>,
    /// The image of the container that this process has just created, for its start.
    image: Arc<Mutex<Option<Image>>>,
    /// A container that this process is about to make and to start.
    unwritten: Arc<Mutex<Option<container::Unwritten>>>,
    /// An ordinary user's namespace must not end while a command is in it.
    namespace: Arc<Option<onggi_rootless::Entered>>,
    home: Arc<OnceLock<onggi_net::home::Home>>,
}

/// Linux's capabilities without `CAP_`, in the kernel's order: what `--cap-add` and `--cap-drop` take.
pub fn capability_names() -> impl Iterator<Item = &'static str> {
    capabilities::ALL.iter().copied()
}

/// Whether this process is an ordinary user's: not root, or root of a user namespace only.
#[must_use]
pub fn is_ordinary_user() -> bool {
    !rustix::process::geteuid().is_root() || onggi_sys::namespace::in_user_namespace()
}

impl Engine {
    /// Opens the store under the settings' roots, and makes them if they are missing. An ordinary user's process enters the user's
    /// namespace and is root in it from here on; it must have one thread.
    ///
    /// # Errors
    /// The roots cannot be made or were written by a newer Onggi; the user's namespace cannot be entered.
    pub fn open(settings: Settings) -> Result<Engine, Error> {
        let owner: Owner = settings
            .store_owner
            .parse()
            .map_err(|problem| Error::Invalid { what: format!("store.owner: {problem}") })?;
        let paths = paths::Paths { data: settings.root.clone(), run: settings.run_root.clone() };
        let is_root = rustix::process::geteuid().is_root();
        refuse_other_run_root(&paths)?;
        let namespace = if is_root {
            None
        } else {
            Some(onggi_rootless::enter(&paths.run, &paths.data, &monitor_program(&settings)?)?)
        };
        let form = match settings.layers {
            Layers::Auto => LayerForm::Auto,
            Layers::Directories => LayerForm::Directories,
        };
        let store = Store::open_with(&paths.data, &paths.run, form).map_err(|error| match error.kind() {
            // Root's own directories.
            Kind::PermissionDenied if !is_root => {
                Error::NeedsRoot { what: format!("the data root {}", paths.data.display()) }
            }
            _ => Error::from(error),
        })?;
        // On a full disk nobody can start anything either.
        let _ = run_root::remember(&paths.data, &paths.run);
        let (keep_blobs, layer_limit) = (settings.keep_blobs, settings.layer_limit);
        let store = store.unpacking_by(settings.unpack_program.clone()).owned_by(owner);
        Ok(Engine {
            settings: Arc::new(settings),
            paths,
            store: Arc::new(store.keeping_blobs(keep_blobs).limiting_layers(layer_limit)),
            cgroups: Arc::default(),
            image: Arc::default(),
            unwritten: Arc::default(),
            namespace: Arc::new(namespace),
            home: Arc::default(),
        })
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// For what is about images alone.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Calls `each` for every line in order, and with `follow` until the container has ended. An error of `each` ends it and is answered.
    ///
    /// # Errors
    /// The container keeps no log, or what `each` says.
    pub fn logs(
        &self,
        id: &ContainerId,
        options: &request::LogOptions,
        each: &mut dyn FnMut(LogLine) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let record = self.record(id)?;
        if record.resolved.log.driver == "none" {
            return Err(Error::Invalid {
                what: "configured logging driver does not support reading".to_owned(),
            });
        }
        let live = options.follow && container::status(&self.state(id)?).is_live();
        // A monitor hangs up on everybody when its container has ended.
        let connection = if live { self.connect(id).ok() } else { None };
        let path = self.paths.log(id);
        logs::read(&path, options, connection.as_ref().map(AsFd::as_fd), each)
            .map_err(Error::io("read", path))
    }

    /// Whether root is an ordinary user in the user's own namespace. A command that a monitor runs is in it from its birth.
    fn is_rootless(&self) -> bool {
        self.namespace.is_some() || onggi_sys::namespace::in_user_namespace()
    }

    fn cgroups(&self) -> Result<&onggi_cgroup::Layout, Error> {
        if let Some(layout) = self.cgroups.get() {
            return Ok(layout);
        }
        let layout = onggi_cgroup::detect()?;
        Ok(self.cgroups.get_or_init(|| layout))
    }

    fn monitor_program(&self) -> Result<PathBuf, Error> {
        monitor_program(&self.settings)
    }
}

/// Seen from another run root every container would be dead, and be ended.
fn refuse_other_run_root(paths: &paths::Paths) -> Result<(), Error> {
    let other = run_root::known(&paths.data).filter(|known| !is_same(known, &paths.run));
    match other.filter(|known| run_root::is_inhabited(known)) {
        Some(known) => Err(Error::OtherRunRoot { data: paths.data.clone(), known, asked: paths.run.clone() }),
        None => Ok(()),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// The monitor beside this program, or the one that the settings name.
fn monitor_program(settings: &Settings) -> Result<PathBuf, Error> {
    if let Some(program) = &settings.monitor_program {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().map_err(|source| Error::Kernel { act: "find this program", source })?;
    Ok(own.with_file_name("onggi-monitor"))
}
