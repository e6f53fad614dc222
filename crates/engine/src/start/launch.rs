//! The monitor of a start: spawned early, told what to carry out, asked for one message back.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use onggi_monitor::client::{self, Connection, Spawning};
use onggi_monitor::events::Event;
use onggi_monitor::protocol::{self, Condition, Durability, LogConfig, LogDriver, Reply, Request, Streams};
use onggi_runtime::plan::{self, Plan};

use super::ready::Ready;
use crate::Engine;
use crate::attach::keys_for;
use crate::container::StateLock;
use crate::error::Error;
use crate::networks::Connections;
use crate::record::Record;
use crate::request::{IpcMode, StartOptions};
use crate::session::{Session, Target, Timings, stream_pair};

impl Engine {
    /// A monitor that will wait for the word. It ends if that never comes.
    pub(super) fn spawn_monitor(&self) -> Result<Spawning, Error> {
        let program = self.monitor_program()?;
        let monitor =
            client::begin(&program, self.cgroups().ok()).map_err(|error| not_spawned(program, error))?;
        onggi_sys::fault::point("engine.start.monitor-spawned");
        Ok(monitor)
    }

    pub(super) fn not_executed(&self, error: onggi_monitor::Error) -> Error {
        self.monitor_program().map_or_else(|error| error, |program| not_spawned(program, error))
    }

    /// Has a monitor carry the plan out.
    pub(super) fn launch(
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
        // Whoever asks later has it passed on to the container.
        options.go_on()?;
        let start = connection.send(&request, &descriptors).map_err(fail)?;
        onggi_sys::fault::point("engine.start.sent");
        let (steps, parts) = self.started(&mut connection, start, record)?;
        onggi_sys::fault::point("engine.start.answered");
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
}

/// Why there is no monitor: its program, or what every process needs.
fn not_spawned(program: PathBuf, error: onggi_monitor::Error) -> Error {
    const NULL: &str = "/dev/null";
    let onggi_monitor::Error::Spawn { source, .. } = error else {
        return Error::MonitorProgram { program, message: error.to_string() };
    };
    match source.kind() {
        ErrorKind::NotFound if program.exists() && !Path::new(NULL).exists() => {
            Error::io("open", NULL)(source)
        }
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            Error::MonitorProgram { program, message: source.to_string() }
        }
        _ => Error::Kernel { act: "start the monitor", source },
    }
}

/// What a client gets of the container's streams.
pub(crate) fn wanted_streams(
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
fn name_timings(plan: &Plan, steps: Vec<(u32, u64)>, parts: Vec<(String, u64)>) -> Timings {
    let name = |index: u32| plan.steps.get(index as usize).map_or("?", plan::Step::name).to_owned();
    Timings { monitor: parts, process: steps.into_iter().map(|(index, time)| (name(index), time)).collect() }
}
