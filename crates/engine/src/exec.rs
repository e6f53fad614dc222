//! A second process in a container that runs: planned here from the container's record, started and kept by its monitor.

use std::os::fd::AsFd;

use onggi_monitor::protocol::{Condition, Reply, Request, Streams};
use onggi_oci as oci;
use onggi_runtime::plan;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{ExecRequest, Interruption};
use crate::session::{Session, Target, Timings, stream_pair};
use crate::spec;
use crate::state::Status;

impl Engine {
    /// Starts a second process in a container.
    ///
    /// # Errors
    /// It does not run, or a step failed: [`Error::Exec`].
    pub fn exec(&self, id: &ContainerId, request: &ExecRequest) -> Result<Session, Error> {
        if request.command.is_empty() {
            return Err(Error::Invalid { what: "No exec command specified".to_owned() });
        }
        let record = self.record(id)?;
        match status(&self.state(id)?) {
            Status::Running => {}
            Status::Paused => {
                let what = format!("container {} is paused, unpause the container before exec", record.name);
                return Err(Error::Refused { id: id.to_string(), message: what });
            }
            Status::Restarting => return Err(restarting(id, &record.name)),
            _ => return Err(Error::NotRunning { id: id.to_string() }),
        }
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let plan = self.plan_exec(&record, request)?;
        let memory =
            onggi_runtime::encode(&plan).map_err(|source| Error::Kernel { act: "memfd_create", source })?;
        let exec: String =
            ContainerId::random().map_err(|source| Error::Kernel { act: "getrandom", source })?.into();
        let mut connection = self.connect(id)?;
        let (stream, theirs) = if request.detach {
            (None, None)
        } else {
            let (ours, theirs) = stream_pair()?;
            (Some(ours), Some(theirs))
        };
        let question = Request::Exec {
            id: exec.clone(),
            terminal: request.tty,
            size: request.size,
            detach: request.detach,
            command: shown(&request.command),
            streams: Streams {
                stdin: request.interactive && !request.detach,
                stdout: !request.detach,
                stderr: !request.detach,
                framed: !request.tty,
                detach_keys: crate::attach::keys_for(
                    request.tty,
                    request.detach_keys.as_ref(),
                    &record.resolved.detach_keys,
                ),
                already_read: Vec::new(),
            },
        };
        let mut descriptors = vec![memory.as_fd()];
        descriptors.extend(theirs.as_ref().map(AsFd::as_fd));
        request.interruption.as_ref().map_or(Ok(()), Interruption::go_on)?;
        let start = connection.send(&question, &descriptors).map_err(fail)?;
        // Right behind it, so that even the end of a process that lives for a millisecond is heard.
        let condition = Condition::ExecExited { id: exec.clone() };
        let wait = connection.send(&Request::Wait { condition, finish: false }, &[]).map_err(fail)?;
        onggi_sys::fault::point("engine.exec.sent");
        match connection.reply_to(start) {
            Ok(Reply::Started { .. }) => {}
            Ok(other) => return Err(fail(onggi_monitor::client::unexpected("exec", &other))),
            Err(onggi_monitor::Error::Refused { step, errno, message, .. }) => {
                return Err(Error::Exec { id: id.to_string(), step, errno, message });
            }
            Err(error) => return Err(fail(error)),
        }
        Ok(Session {
            id: id.clone(),
            name: record.name,
            tty: request.tty,
            stream,
            timings: Timings::default(),
            warnings: Vec::new(),
            connection,
            wait: Some(wait),
            attach: Some(start),
            remove: false,
            target: Target { sandbox: self.paths.sandbox(id), id: id.clone(), exec: Some(exec) },
            engine: self.clone(),
        })
    }

    fn plan_exec(&self, record: &Record, request: &ExecRequest) -> Result<plan::Plan, Error> {
        let facts = self.facts(record)?;
        let spec = spec::oci(record, &facts);
        let main = spec.process.clone().unwrap_or_default();
        let mut env = main.env;
        env.retain(|entry| {
            request.tty
                || record.request.tty
                || crate::resolve::variable(entry) != "TERM"
                || record.resolved.env.contains(entry)
        });
        if request.tty && !env.iter().any(|entry| crate::resolve::variable(entry) == "TERM") {
            env.push("TERM=xterm".to_owned());
        }
        spec::set_variables(&mut env, &request.env);
        let capabilities = if request.privileged {
            // Every one that this host has to give: a virtual machine's root may lack some.
            let bounding = crate::host::bounding_capabilities()?;
            let held =
                crate::capabilities::ALL.iter().enumerate().filter(|(bit, _)| bounding & (1 << bit) != 0);
            let names: Vec<String> = held.map(|(_, name)| format!("CAP_{name}")).collect();
            Some(spec::capability_sets(&names))
        } else {
            main.capabilities
        };
        let process = oci::Process {
            terminal: request.tty,
            console_size: request
                .size
                .map(|(rows, columns)| oci::ConsoleSize { height: rows.into(), width: columns.into() }),
            args: request.command.clone(),
            env,
            cwd: match &request.workdir {
                Some(path) if path.starts_with('/') => path.clone(),
                Some(path) => {
                    return Err(Error::Invalid {
                        what: format!(
                            "the working directory '{path}' is invalid, it needs to be an absolute path"
                        ),
                    });
                }
                None => main.cwd,
            },
            capabilities,
            // With `exec --privileged` a program may gain what it was just given.
            no_new_privileges: main.no_new_privileges && !request.privileged,
            rlimits: main.rlimits,
            oom_score_adj: main.oom_score_adj,
            ..oci::Process::default()
        };
        let extra = spec::extra(record, &facts, false)?;
        let input = plan::JoinInput {
            id: record.id.as_str(),
            spec: &spec,
            process: &process,
            cgroups: self.cgroups()?,
            extra: plan::Extra {
                user: Some(request.user.clone().unwrap_or_else(|| record.resolved.user.clone())),
                populate: Vec::new(),
                loopback: false,
                await_network: false,
                init: false,
                ..extra
            },
            privileged: request.privileged,
        };
        Ok(plan::join(&input)?)
    }
}

/// Docker's sentence for what is between two lives.
pub(crate) fn restarting(id: &ContainerId, name: &str) -> Error {
    let message = format!("Container {name} is restarting, wait until the container is running");
    Error::Refused { id: id.to_string(), message }
}

/// The command as events show it: no longer than they would show it anyway, since it travels in one packet with the request.
fn shown(command: &[String]) -> String {
    const MOST: usize = 512;
    let mut text = String::new();
    for word in command {
        if text.len() > MOST {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(word.chars().take(MOST));
    }
    text
}
