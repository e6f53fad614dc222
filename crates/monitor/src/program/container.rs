//! Isolation by namespaces: `onggi-runtime` and a control group.

use std::os::fd::{BorrowedFd, OwnedFd};

use onggi_cgroup::Cgroup;
use onggi_error::{Diagnose, Kind};
use onggi_runtime::exec::{self, StartError};
use onggi_runtime::plan::Launch;

use super::isolation::{Isolation, Process, Refusal, Report, Stdio};

/// A container in namespaces and a cgroup.
#[derive(Debug, Default)]
pub struct Container {
    cgroup: Option<Cgroup>,
    /// As JSON, until it has been asked for.
    launch: Vec<u8>,
}

impl Container {
    fn cgroup(&self, step: &str) -> Result<&Cgroup, Refusal> {
        self.cgroup.as_ref().ok_or_else(|| Refusal::new(Kind::Conflict, step, "the container has no cgroup"))
    }
}

impl Isolation for Container {
    fn start(&mut self, plan: BorrowedFd<'_>, stdio: Stdio) -> Result<Process, Refusal> {
        let launch = launch(plan)?;
        self.launch = serde_json::to_vec(&launch).unwrap_or_default();
        let running = exec::start(&launch, plan, convert(stdio)).map_err(refusal)?;
        let exec::Running { pid, pidfd, terminal, network, report, cgroup, .. } = running;
        self.cgroup = Some(cgroup);
        Ok(Process { pid, pidfd, terminal, network, report })
    }

    fn join(
        &mut self,
        first: BorrowedFd<'_>,
        plan: BorrowedFd<'_>,
        stdio: Stdio,
    ) -> Result<Process, Refusal> {
        let running = exec::join(first, &launch(plan)?, plan, convert(stdio)).map_err(refusal)?;
        let exec::Running { pid, pidfd, terminal, network, report, .. } = running;
        Ok(Process { pid, pidfd, terminal, network, report })
    }

    fn report(&self, text: &str) -> Report {
        match exec::parse_report(text) {
            Ok(report) => Report {
                was_killed: report.was_killed(),
                timings: report.timings,
                failure: report.failure.map(failure),
            },
            Err(error) => Report {
                timings: Vec::new(),
                failure: Some(Refusal::io("monitor.report", "read the report", &error)),
                was_killed: false,
            },
        }
    }

    fn signal_all(&mut self, signal: i32) -> Result<(), Refusal> {
        let pids = self.cgroup("signal")?.pids().map_err(|error| of("signal", &error))?;
        for pid in pids {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed());
            let pidfd = pid
                .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
            // One that has ended since it was listed needs no signal.
            if let Some(pidfd) = pidfd {
                let _ = onggi_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), signal);
            }
        }
        Ok(())
    }

    fn freeze(&mut self, frozen: bool) -> Result<(), Refusal> {
        self.cgroup("freeze")?.freeze(frozen).map_err(|error| of("freeze", &error))
    }

    fn watch_memory(&mut self) -> Option<OwnedFd> {
        // Without a memory controller there are no such kills to hear of.
        self.cgroup.as_ref()?.watch_oom().ok()
    }

    fn memory_kills(&mut self) -> u64 {
        self.cgroup.as_ref().and_then(|cgroup| cgroup.oom_kills().ok()).unwrap_or(0)
    }

    fn kill(&mut self) -> Result<(), Refusal> {
        match &self.cgroup {
            Some(cgroup) => cgroup.kill().map_err(|error| of("monitor.kill", &error)),
            None => Ok(()),
        }
    }

    fn remove(&mut self) -> Result<(), Refusal> {
        match self.cgroup.take() {
            Some(cgroup) => cgroup.remove().map_err(|error| of("monitor.remove", &error)),
            None => Ok(()),
        }
    }

    fn description(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.launch)
    }

    fn find(&mut self, description: &[u8]) -> Result<(), Refusal> {
        let corrupt =
            |error| Refusal::new(Kind::Corrupt, "monitor.plan", format!("read the plan again: {error}"));
        let launch: Launch = serde_json::from_slice(description).map_err(corrupt)?;
        if launch.version > onggi_runtime::VERSION {
            let message =
                format!("the plan is of version {}, newer than {}", launch.version, onggi_runtime::VERSION);
            return Err(Refusal::new(Kind::Unsupported, "monitor.plan", message));
        }
        self.cgroup = Some(launch.cgroup.open().map_err(|error| of("monitor.plan", &error))?);
        Ok(())
    }
}

/// Only the parent's part: the steps are the child's.
fn launch(plan: BorrowedFd<'_>) -> Result<Launch, Refusal> {
    onggi_runtime::decode_launch(plan).map_err(|error| Refusal::io("monitor.plan", "read the plan", &error))
}

fn convert(stdio: Stdio) -> exec::Stdio {
    match stdio {
        Stdio::Files(files) => exec::Stdio::Files(files),
        Stdio::Terminal { size } => exec::Stdio::Terminal { size },
    }
}

/// A step of the plan has failed. Its words are those that Docker's clients look for; what kind it is follows from the number.
fn failure(failure: exec::Failure) -> Refusal {
    let exec::Failure { step, errno, message, .. } = failure;
    let kind = match errno {
        0 if message.contains("executable file not found") => Kind::NotFound,
        0 => Kind::InvalidInput,
        _ => Kind::of_io(&std::io::Error::from_raw_os_error(errno)),
    };
    Refusal { kind, step, errno, message }
}

fn refusal(error: StartError) -> Refusal {
    let mut refusal = of("start", &error);
    match error {
        StartError::Entry(entry) => return failure(entry),
        StartError::System { call, error } => {
            refusal.step = call.to_owned();
            refusal.errno = error.raw_os_error().unwrap_or(0);
        }
        _ => {}
    }
    refusal
}

fn of(step: &str, error: &(impl Diagnose + std::fmt::Display)) -> Refusal {
    Refusal::new(error.kind(), step, error.to_string())
}
