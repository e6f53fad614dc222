//! What a start needs but its monitor: files, mounts, endpoints and facts, and the plan that follows from them.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use onggi_image::Digest;
use onggi_runtime::plan::{self, Plan};
use onggi_store::Image;

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;
use crate::networks::{Connections, Leases};
use crate::paths::make_directory;
use crate::record::Record;
use crate::request::{IpcMode, Network, PidMode, RunRequest, StartOptions};
use crate::spec::{self, files};

/// What a start needs but its monitor.
pub(super) struct Ready {
    pub(super) connections: Connections,
    pub(super) plan: Plan,
    /// The plan for the monitor.
    pub(super) memory: OwnedFd,
}

impl Engine {
    /// The plan of a run, one sentence a step; writes nothing.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn explain(&self, request: &RunRequest) -> Result<Vec<String>, Error> {
        let image = self.image(request)?;
        let id = ContainerId::random().map_err(|source| Error::Kernel { act: "getrandom", source })?;
        let mut record = self.draft(request, &image, id)?;
        if record.name.is_empty() {
            record.name = crate::names::generate(0, 0);
        }
        self.remember(image);
        let plan = self.plan(&record, false)?;
        let connections = self.attach_networks(&record, Leases::Looked)?;
        Ok(connections.explain().chain(plan.explain()).collect())
    }

    /// The OCI configuration from which a container is started.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub fn inspect_oci(&self, id: &ContainerId) -> Result<serde_json::Value, Error> {
        let record = self.record(id)?;
        let facts = self.facts(&record)?;
        serde_json::to_value(spec::oci(&record, &facts))
            .map_err(|error| Error::Record { path: self.paths.record(id), message: error.to_string() })
    }

    /// All that a start needs but the monitor.
    pub(super) fn make_ready(&self, record: &Record, options: &StartOptions) -> Result<Ready, Error> {
        let connections = self.prepare(record)?;
        onggi_sys::fault::point("engine.start.prepared");
        let plan = self.plan(record, options.timings)?;
        let memory =
            onggi_runtime::encode(&plan).map_err(|source| Error::Kernel { act: "memfd_create", source })?;
        Ok(Ready { connections, plan, memory })
    }

    /// Files and directories that a start needs anew each time.
    fn prepare(&self, record: &Record) -> Result<Connections, Error> {
        let directory = self.paths.container(&record.id);
        let sandboxes = self.paths.sandboxes();
        make_directory(&sandboxes).map_err(Error::io("make the directory", &sandboxes))?;
        // The first thing there is of a start: who finds it and nobody in it clears away what else there may be.
        let sandbox = self.paths.sandbox(&record.id);
        make_directory(&sandbox).map_err(Error::io("make the directory", sandbox))?;
        crate::create::prepare_binds(record)?;
        crate::host::asked_devices(&record.request.devices)?;
        self.prepare_volumes(record)?;
        let host = |path: &str| match std::fs::read_to_string(path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(Error::io("read", path)(error)),
        };
        let connections = self.attach_networks(record, Leases::Taken)?;
        for (name, text) in [
            ("hosts", files::hosts(record, &host("/etc/hosts")?, &connections)),
            ("hostname", files::hostname(record)),
            ("resolv.conf", files::resolv_conf(record, &host("/etc/resolv.conf")?, &connections)),
        ] {
            write_public(&directory.join(name), &text)?;
        }
        self.mount_shared_memory(record)?;
        Ok(connections)
    }

    /// What the plan has to know of the host and of other containers.
    pub(crate) fn facts(&self, record: &Record) -> Result<spec::Facts, Error> {
        let request = &record.request;
        let limits = &request.resources;
        let swap_matters = limits.memory.is_some() && limits.memory_swap.is_none();
        let all_but_default = request.privileged || !request.cap_add.is_empty();
        let rootless = self.is_rootless();
        Ok(spec::Facts {
            rootless,
            pids_limit: rootless && self.cgroups()?.has_controller("pids"),
            host_queues: rootless && std::path::Path::new("/dev/mqueue").is_dir(),
            directory: self.paths.container(&record.id),
            volumes: self.paths.volumes(),
            pid_namespace: match &request.pid {
                PidMode::Container(id) => Some(self.namespace_of(id, "pid")?),
                _ => None,
            },
            ipc_namespace: match &request.ipc {
                IpcMode::Container(id) => Some(self.namespace_of(id, "ipc")?),
                _ => None,
            },
            network_namespace: match &request.network {
                Network::Container(id) => Some(self.namespace_of(id, "net")?),
                _ => None,
            },
            network_directory: match &request.network {
                Network::Container(id) => Some(self.paths.container(&self.neighbour_record(id)?.id)),
                _ => None,
            },
            shm: self.shared_memory(record)?,
            devices: if request.privileged { crate::host::devices()? } else { Vec::new() },
            // One that is gone stops a start (see `prepare`), and not who looks at the container or joins it.
            asked_devices: crate::host::asked_devices(&request.devices).unwrap_or_default(),
            block_devices: crate::host::block_devices(limits.block.of_devices())?,
            swap_limit: swap_matters && crate::host::can_limit_swap(self.cgroups()?),
            empty_volumes: record
                .volumes()
                .filter(|(name, _)| self.volume_wants_filling(name))
                .map(|(name, _)| name.to_owned())
                .collect(),
            bounding: if all_but_default { Some(crate::host::bounding_capabilities()?) } else { None },
        })
    }

    pub(crate) fn plan(&self, record: &Record, timings: bool) -> Result<Plan, Error> {
        let facts = self.facts(record)?;
        let image = self.leased_image(&record.image)?;
        let lower = self.store.mount_layers(&image)?;
        onggi_sys::fault::point("engine.start.layers-mounted");
        let spec = spec::oci(record, &facts);
        let input = plan::Input {
            id: record.id.as_str(),
            spec: &spec,
            root: spec::root(record, &facts.directory, lower, facts.rootless),
            cgroups: self.cgroups()?,
            extra: spec::extra(record, &facts, timings)?,
        };
        Ok(plan::container(&input)?)
    }

    /// The image that a container holds, by its id; from memory if this process has just created the container.
    pub(crate) fn leased_image(&self, id: &Digest) -> Result<Image, Error> {
        let mut remembered = self.image.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match remembered.take().filter(|image| image.id == *id) {
            Some(image) => Ok(image),
            None => Ok(self.store.resolve(&id.to_string())?),
        }
    }

    /// For a start right behind the creation.
    pub(crate) fn remember(&self, image: Image) {
        *self.image.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(image);
    }
}

/// A file that the container's users read, whatever the caller's umask. It is written anew, never through what lies there.
fn write_public(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("remove", path)(error)),
        _ => {}
    }
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .map_err(Error::io("create", path))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(Error::io("set the mode of", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))
}
