//! Starting a container: files and facts, the plan, a monitor to carry it out and to be its parent, one message back.
//!
//! The container's lock is held until the monitor has answered, by the command and by the monitor, which is given it with the word to
//! start; from then on the monitor's `alive` lock says that it runs. A command that dies in between leaves a monitor that either never got
//! the word, and ends, or one that runs the container, and nobody can take the container away under it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use onggi_image::Digest;
use onggi_monitor::client::{self, Connection, Spawning};
use onggi_monitor::events::Event;
use onggi_monitor::protocol::{self, Condition, Durability, LogConfig, LogDriver, Reply, Request, Streams};
use onggi_monitor::state::State;
use onggi_runtime::plan::{self, Plan};
use onggi_store::Image;

use crate::Engine;
use crate::container::{StateLock, Unwritten, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::networks::{Connections, Leases};
use crate::paths::make_directory;
use crate::record::Record;
use crate::request::{AttachOptions, IpcMode, Network, PidMode, RunRequest, StartOptions};
use crate::session::{Session, Target, Timings, stream_pair};
use crate::spec::{self, files};
use crate::state::{Actor, Status};

/// What a start needs but its monitor.
struct Ready {
    connections: Connections,
    plan: Plan,
    /// The plan for the monitor.
    memory: OwnedFd,
}

impl Engine {
    /// Starts a container that is created or has ended.
    ///
    /// # Errors
    /// It runs, or a step failed: [`Error::Start`] says which.
    pub fn start(&self, id: &ContainerId, options: &StartOptions) -> Result<Session, Error> {
        match self.take_unwritten(id) {
            // Nobody but this process has had a hand in it.
            Some(unwritten) => self.begin_new(unwritten, options),
            None => self.start_locked(id, options, self.lock(id)?, 0),
        }
    }

    /// Starts a container that was just made: what its creation has to wait for the disk for, and the monitor's own beginning, go on while the
    /// start is prepared. Before the monitor is told to start it the record is where it survives whatever comes.
    fn begin_new(&self, unwritten: Unwritten, options: &StartOptions) -> Result<Session, Error> {
        let record = &unwritten.record;
        // Before there is a second thread, with which it would not be born where it belongs.
        let monitor = self.spawn_monitor();
        let write_first = || {
            let written = self.write_down(&unwritten);
            let ready = written.is_ok().then(|| self.make_ready(record, options));
            (written, ready)
        };
        let makes_volumes = record.volumes().next().is_some();
        let (written, ready) = if makes_volumes || self.is_rootless() {
            // A volume must not be there before the container that it is for; and an ordinary user's networks are reached by a child that shares
            // this process's memory, so nobody else may be at work in it.
            write_first()
        } else {
            std::thread::scope(|scope| {
                let writer = std::thread::Builder::new();
                let Ok(writing) = writer.spawn_scoped(scope, || self.write_down(&unwritten)) else {
                    // The caller may have no more processes.
                    return write_first();
                };
                let ready = self.make_ready(record, options);
                let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (written, Some(ready))
            })
        };
        let Unwritten { record, lock, mark, .. } = unwritten;
        match (written, ready) {
            (Ok(()), Some(ready)) => self.begin(&record, lock, options, 0, monitor, ready),
            (written, _) => {
                self.abandon(&record.id, lock, &mark);
                written.and_then(|()| Err(Error::NoSuchContainer { name: record.id.to_string() }))
            }
        }
    }

    /// As [`Engine::start`], for who has the container's lock already. `restarts`: how often its policy has started it.
    pub(crate) fn start_locked(
        &self,
        id: &ContainerId,
        options: &StartOptions,
        lock: StateLock,
        restarts: u32,
    ) -> Result<Session, Error> {
        let record = self.record(id)?;
        let mut state = self.written_state(id)?;
        if status(&state).is_live() {
            if self.is_watched(id) {
                return Err(Error::AlreadyRunning { id: id.to_string() });
            }
            drop(lock);
            state = self.reconcile(id)?;
            if status(&state).is_live() {
                return Err(Error::AlreadyRunning { id: id.to_string() });
            }
            return self.start(id, options);
        }
        let from = status(&state);
        if !from.may_become(Status::Running, Actor::Monitor) {
            return Err(Error::State { id: id.to_string(), status: from.name(), wanted: "running" });
        }
        self.press_for_end(&record)?;
        self.await_departure(id)?;
        // Its creation was cut short behind the record.
        if self.store.containers_by_prefix(id.as_str())?.is_empty() {
            self.put_back(&record)?;
        }
        // What a monitor that died at its start has left: nobody lives there, since the state says so and we have the lock.
        if self.paths.sandbox(id).exists() {
            self.clear_kernel(&record)?;
        }
        let monitor = self.spawn_monitor();
        let ready = self.make_ready(&record, options);
        self.begin(&record, lock, options, restarts, monitor, ready)
    }

    /// All that a start needs but the monitor.
    fn make_ready(&self, record: &Record, options: &StartOptions) -> Result<Ready, Error> {
        let connections = self.prepare(record)?;
        onggi_sys::fault::point("engine.start.prepared");
        let plan = self.plan(record, options.timings)?;
        let memory =
            onggi_runtime::encode(&plan).map_err(|source| Error::Kernel { act: "memfd_create", source })?;
        Ok(Ready { connections, plan, memory })
    }

    /// Starts a container that does not run and has left nothing of an earlier life.
    fn begin(
        &self,
        record: &Record,
        lock: StateLock,
        options: &StartOptions,
        restarts: u32,
        monitor: Result<Spawning, Error>,
        ready: Result<Ready, Error>,
    ) -> Result<Session, Error> {
        let started = ready.and_then(|ready| {
            let monitor = monitor?;
            let monitor = monitor.finish().map_err(|error| self.not_executed(error))?;
            let _parents = self.mark_parents(record)?;
            self.settle_ports(&ready.connections);
            let claimed = ready.connections.clone();
            self.launch(record, &lock, options, restarts, monitor, ready)
                .map_err(|error| self.name_holder(error, &claimed))
        });
        match started {
            Ok(session) => Ok(session),
            Err(error) => {
                // The error is what matters; what cannot be written or cleared now is found by the next command.
                let _ = self.note_failed_start(record, &error);
                drop(lock);
                if record.request.remove {
                    let _ = self.finish(&record.id);
                }
                Err(error)
            }
        }
    }

    /// As Docker: a container that did not come to run stays as it was, with the error and its exit code beside.
    fn note_failed_start(&self, record: &Record, error: &Error) -> Result<(), Error> {
        let id = &record.id;
        if matches!(error, Error::Monitor { .. }) {
            // It died over it, and may have left a process that has been born already.
            self.await_departure(id)?;
        }
        let mut state = self.written_state(id)?;
        if !self.is_watched(id) {
            if status(&state).is_live() {
                state = self.write_lost_end(record, state)?;
            } else {
                self.clear_kernel(record)?;
            }
        }
        self.unmount_shared_memory(id)?;
        if status(&state).is_live() {
            return Ok(());
        }
        let state = State {
            exit_code: error.exit_code().into(),
            error: error.to_string(),
            starts_again: false,
            ..state
        };
        self.write_state(record, &state)
    }

    /// Attaches to a container that runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session, Error> {
        let record = self.record(id)?;
        match status(&self.state(id)?) {
            Status::Restarting => return Err(crate::exec::restarting(id, &record.name)),
            status if status.is_live() => {}
            _ => {
                // In the words of Docker's client.
                let message = "You cannot attach to a stopped container, start it first".to_owned();
                return Err(Error::Refused { id: id.to_string(), message });
            }
        }
        let mut connection = self.connect(id)?;
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let (ours, theirs) = stream_pair()?;
        let streams = wanted_streams(&record, options.streams, options.detach_keys.as_ref());
        let request = Request::Attach { exec: None, streams };
        // Before the attach, so that an end right behind it is heard on this connection with all output before it.
        let wait = connection
            .order(&Request::Wait { condition: Condition::Exited, finish: false }, &[])
            .map_err(fail)?;
        let attach = connection.order(&request, &[theirs.as_fd()]).map_err(fail)?;
        Ok(Session {
            id: id.clone(),
            name: record.name,
            tty: record.request.tty,
            stream: Some(ours),
            timings: Timings::default(),
            warnings: Vec::new(),
            connection,
            wait: Some(wait),
            attach: Some(attach),
            remove: false,
            target: Target { sandbox: self.paths.sandbox(id), id: id.clone(), exec: None },
            engine: self.clone(),
        })
    }

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

    /// A monitor that will wait for the word. It ends if that never comes.
    fn spawn_monitor(&self) -> Result<Spawning, Error> {
        let program = self.monitor_program()?;
        let monitor =
            client::begin(&program, self.cgroups().ok()).map_err(|error| not_spawned(program, error))?;
        onggi_sys::fault::point("engine.start.monitor-spawned");
        Ok(monitor)
    }

    fn not_executed(&self, error: onggi_monitor::Error) -> Error {
        self.monitor_program().map_or_else(|error| error, |program| not_spawned(program, error))
    }

    /// Has a monitor carry the plan out.
    fn launch(
        &self,
        record: &Record,
        lock: &StateLock,
        options: &StartOptions,
        restarts: u32,
        mut connection: Connection,
        ready: Ready,
    ) -> Result<Session, Error> {
        let id = &record.id;
        let Ready { mut connections, plan, memory } = ready;
        let warnings = std::mem::take(&mut connections.warnings);
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let (container, sandbox, events) = self.directories(id)?;
        let stream = if options.attach.any() {
            let (ours, theirs) = stream_pair()?;
            let streams = wanted_streams(record, options.attach, options.detach_keys.as_ref());
            let attach =
                connection.send(&Request::Attach { exec: None, streams }, &[theirs.as_fd()]).map_err(fail)?;
            Some((ours, attach))
        } else {
            None
        };
        // Whoever attaches means to stay; with `--rm` the waiter removes the container, which saves a process.
        let finish = record.request.remove && stream.is_some();
        let wait = match &stream {
            Some(_) => Some(
                connection
                    .send(&Request::Wait { condition: Condition::Exited, finish }, &[])
                    .map_err(fail)?,
            ),
            None => None,
        };
        let message = self.start_message(record, options, restarts, connections)?;
        let request = Request::Start { container: Box::new(message) };
        let descriptors = [memory.as_fd(), container.as_fd(), sandbox.as_fd(), events.as_fd(), lock.as_fd()];
        let start = connection.send(&request, &descriptors).map_err(fail)?;
        onggi_sys::fault::point("engine.start.sent");
        let (steps, parts) = self.started(&mut connection, start, record)?;
        let timings = name_timings(&plan, steps, parts);
        let (stream, attach) = stream.unzip();
        Ok(Session {
            id: id.clone(),
            name: record.name.clone(),
            tty: record.request.tty,
            stream,
            timings,
            warnings,
            connection,
            wait,
            attach,
            remove: finish,
            target: Target { sandbox: self.paths.sandbox(id), id: id.clone(), exec: None },
            engine: self.clone(),
        })
    }

    /// Waits for the one message back.
    #[allow(clippy::type_complexity, reason = "the protocol's own lists, named by the caller")]
    fn started(
        &self,
        connection: &mut Connection,
        question: u32,
        record: &Record,
    ) -> Result<(Vec<(u32, u64)>, Vec<(String, u64)>), Error> {
        match connection.reply_to(question) {
            Ok(Reply::Started { timings, parts, .. }) => Ok((timings, parts)),
            Ok(other) => Err(self.monitor_error(&record.id, &client::unexpected("start", &other))),
            Err(onggi_monitor::Error::Refused { step, errno, message, .. }) => {
                Err(Error::Start { id: record.id.to_string(), step, errno, message })
            }
            Err(error) => Err(self.monitor_error(&record.id, &error)),
        }
    }

    fn start_message(
        &self,
        record: &Record,
        options: &StartOptions,
        restarts: u32,
        connections: Connections,
    ) -> Result<protocol::Start, Error> {
        let (request, log) = (&record.request, &record.resolved.log);
        let program =
            std::env::current_exe().map_err(|source| Error::Kernel { act: "find this program", source })?;
        let path = |flag: &str, path: &PathBuf| [flag.to_owned(), path.to_string_lossy().into_owned()];
        let roots = [path("--root", &self.paths.data), path("--run-root", &self.paths.run)];
        Ok(protocol::Start {
            version: protocol::VERSION,
            id: record.id.to_string(),
            name: record.name.clone(),
            // What is shared with others is a mount of the host, which only a command can take away.
            finish: request.remove || request.ipc == IpcMode::Shareable,
            finish_program: program,
            finish_args: roots.into_iter().flatten().collect(),
            stdin_open: request.interactive,
            stdin_once: request.stdin_once,
            terminal: request.tty,
            size: options.size,
            owner: None,
            log: LogConfig {
                driver: if log.driver == "none" { LogDriver::None } else { LogDriver::JsonFile },
                max_size: log.max_size,
                max_file: log.max_file,
            },
            stop_signal: record.stop_signal(),
            // No more than an event would show: they travel in one packet with the request.
            attributes: Event::now("container", "start", record.id.as_str(), record.event_attributes())
                .cut()
                .actor
                .attributes,
            durability: if request.remove { Durability::Volatile } else { Durability::Synced },
            restart_count: restarts,
            restart: request.restart,
            networks: connections.attachments,
            names: connections.names,
        })
    }

    /// The image that a container holds, by its id; from memory if this process has just created the container.
    pub(crate) fn leased_image(&self, id: &Digest) -> Result<Image, Error> {
        let mut remembered = self.image.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match remembered.take().filter(|image| image.id == *id) {
            Some(image) => Ok(image),
            None => Ok(self.store.resolve(&id.to_string())?),
        }
    }

    /// The container that this engine has just decided on, once.
    fn take_unwritten(&self, id: &ContainerId) -> Option<Unwritten> {
        let mut kept = self.unwritten.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.take_if(|unwritten| unwritten.record.id == *id)
    }

    pub(crate) fn keep_unwritten(&self, unwritten: Unwritten) {
        *self.unwritten.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(unwritten);
    }

    /// For a start right behind the creation.
    pub(crate) fn remember(&self, image: Image) {
        *self.image.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(image);
    }
}

/// Why there is no monitor: its program, or what every process needs.
fn not_spawned(program: std::path::PathBuf, error: onggi_monitor::Error) -> Error {
    const NULL: &str = "/dev/null";
    let onggi_monitor::Error::Spawn { source, .. } = error else {
        return Error::MonitorProgram { program, message: error.to_string() };
    };
    match source.kind() {
        ErrorKind::NotFound if program.exists() && !std::path::Path::new(NULL).exists() => {
            Error::io("open", NULL)(source)
        }
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            Error::MonitorProgram { program, message: source.to_string() }
        }
        _ => Error::Kernel { act: "start the monitor", source },
    }
}

/// What a client gets of the container's streams.
fn wanted_streams(
    record: &Record,
    streams: crate::request::Streams,
    detach_keys: Option<&Vec<u8>>,
) -> Streams {
    Streams {
        stdin: streams.stdin && record.request.interactive,
        stdout: streams.stdout,
        stderr: streams.stderr,
        framed: !record.request.tty,
        detach_keys: keys_for(record.request.tty, detach_keys, &record.resolved.detach_keys),
        already_read: Vec::new(),
    }
}

/// Detach keys are typed on a terminal. In a pipe the same bytes are data, as for Docker (`copyEscapable` only with a TTY).
pub(crate) fn keys_for(terminal: bool, asked: Option<&Vec<u8>>, default: &[u8]) -> Vec<u8> {
    if terminal { asked.map_or_else(|| default.to_vec(), Clone::clone) } else { Vec::new() }
}

fn name_timings(plan: &Plan, steps: Vec<(u32, u64)>, parts: Vec<(String, u64)>) -> Timings {
    let name = |index: u32| plan.steps.get(index as usize).map_or("?", plan::Step::name).to_owned();
    Timings { monitor: parts, process: steps.into_iter().map(|(index, time)| (name(index), time)).collect() }
}

/// A file that the container's users read, whatever the caller's umask. It is written anew, never through what lies there.
fn write_public(path: &std::path::Path, text: &str) -> Result<(), Error> {
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
