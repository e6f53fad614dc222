//! Runs one container from a request in JSON, as a single-threaded parent must: for the tests (whose threads may not fork) and for
//! measuring. Prints one line of JSON about each process that it started.
//!
//!     run request.json [times]         as often as that, one after another, from one and the same plan

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use onggi_oci as oci;
use onggi_runtime::exec::{self, Report, Running, Stdio};
use onggi_runtime::plan::{self, Extra, Input, JoinInput, Plan, Root};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::Deserialize;

#[derive(Deserialize)]
struct Request {
    id: String,
    spec: oci::Spec,
    root: Root,
    #[serde(default)]
    extra: Extra,
    /// Processes to run inside, one after another, while the first one runs.
    #[serde(default)]
    exec: Vec<Exec>,
    /// A file to wait for, made by the container's first process, before the first exec or the signal.
    #[serde(default)]
    ready: Option<PathBuf>,
    /// A signal for the first process, once it is ready.
    #[serde(default)]
    signal: Option<i32>,
    /// System calls that do not exist (ENOSYS): as on an older kernel, or behind somebody's filter.
    #[serde(default)]
    refused: Option<Vec<String>>,
    /// Rows and columns.
    #[serde(default)]
    size: Option<(u16, u16)>,
}

#[derive(Deserialize)]
struct Exec {
    process: oci::Process,
    #[serde(default)]
    extra: Extra,
    #[serde(default)]
    privileged: bool,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = serde_json::json!({ "error": error.to_string() });
            let _ = writeln!(io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    onggi_sys::program::ensure_read_only()?;
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("run request.json [times]")?;
    let times: u32 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let request: Request = serde_json::from_slice(&std::fs::read(path)?)?;
    refuse(request.refused.as_deref().unwrap_or_default())?;
    let layout = onggi_cgroup::detect()?;
    let plan = plan::container(&Input {
        id: &request.id,
        spec: &request.spec,
        root: request.root.clone(),
        cgroups: &layout,
        extra: request.extra.clone(),
    })?;
    let file = onggi_runtime::encode(&plan)?;
    for _ in 0..times {
        once(&request, &layout, &plan, &file)?;
    }
    Ok(())
}

fn refuse(names: &[String]) -> Outcome<()> {
    if names.is_empty() {
        return Ok(());
    }
    let rule = serde_json::json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 38 });
    let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let program = onggi_seccomp::compile(&serde_json::from_value(profile)?, onggi_seccomp::Arch::NATIVE)?;
    Ok(onggi_sys::seccomp::load(&program.to_bytes(), 0)?)
}

fn once(request: &Request, layout: &onggi_cgroup::Layout, plan: &Plan, file: &OwnedFd) -> Outcome<()> {
    let launch = onggi_runtime::decode_launch(file.as_fd())?;
    let running = exec::start(&launch, file.as_fd(), stdio(plan, request)?)?;
    let ends = serve(request, layout, &running);
    // Whatever went wrong, nothing is left behind.
    onggi_sys::pidfd::send_signal(running.pidfd.as_fd(), 9).or_else(ignore_ended)?;
    let Running { pid, terminal, report, cgroup, .. } = running;
    let end = finish(pid, terminal, report);
    cgroup.kill()?;
    cgroup.remove()?;
    for end in [vec![end?], ends?].concat() {
        writeln!(io::stderr(), "{end}")?;
    }
    Ok(())
}

/// Runs the processes that are to join, or waits for the first one's end.
fn serve(request: &Request, layout: &onggi_cgroup::Layout, running: &Running) -> Outcome<Vec<String>> {
    if request.exec.is_empty() && request.ready.is_none() {
        wait_for_end(running)?;
        return Ok(Vec::new());
    }
    wait_for_file(request.ready.as_ref())?;
    if let Some(signal) = request.signal {
        onggi_sys::pidfd::send_signal(running.pidfd.as_fd(), signal)?;
        wait_for_end(running)?;
    }
    request.exec.iter().map(|inner| join(request, layout, running, inner)).collect()
}

fn wait_for_end(running: &Running) -> Outcome<()> {
    if let Some(terminal) = &running.terminal {
        // EIO: the last process on the other side has ended.
        let mut text = Vec::new();
        if let Some(terminal) = terminal.receive() {
            let _ = File::from(terminal).read_to_end(&mut text);
        }
        io::stdout().write_all(&text)?;
    }
    let mut polled = [rustix::event::PollFd::new(&running.pidfd, rustix::event::PollFlags::IN)];
    // A test that hangs is a test that fails.
    let limit = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
    if rustix::event::poll(&mut polled, Some(&limit))? == 0 {
        return Err("the container did not end within 20 s".into());
    }
    Ok(())
}

fn ignore_ended(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) { Ok(()) } else { Err(error) }
}

fn join(
    request: &Request,
    layout: &onggi_cgroup::Layout,
    running: &Running,
    inner: &Exec,
) -> Outcome<String> {
    let plan = plan::join(&JoinInput {
        id: &request.id,
        spec: &request.spec,
        process: &inner.process,
        cgroups: layout,
        extra: inner.extra.clone(),
        privileged: inner.privileged,
    })?;
    let file = onggi_runtime::encode(&plan)?;
    let Running { pid, terminal, report, .. } =
        exec::join(running.pidfd.as_fd(), &plan.launch, file.as_fd(), stdio(&plan, request)?)?;
    finish(pid, terminal, report)
}

fn stdio(plan: &Plan, request: &Request) -> Outcome<Stdio> {
    if plan.launch.terminal {
        return Ok(Stdio::Terminal { size: request.size });
    }
    Ok(Stdio::Files([
        io::stdin().as_fd().try_clone_to_owned()?,
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stderr().as_fd().try_clone_to_owned()?,
    ]))
}

fn finish(pid: i32, terminal: Option<exec::Terminal>, report: OwnedFd) -> Outcome<String> {
    let Report { timings, failure } = exec::read_report(&mut File::from(report))?;
    if let Some(terminal) = terminal.and_then(|terminal| terminal.try_receive()) {
        // EIO: the last process on the other side has ended.
        let mut text = Vec::new();
        let _ = File::from(terminal).read_to_end(&mut text);
        io::stdout().write_all(&text)?;
    }
    let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty())?.ok_or("no status")?;
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Ok(serde_json::json!({ "code": code, "failure": failure, "timings": timings }).to_string())
}

/// Polls: this is no product code, and the directory may be in another mount namespace where inotify does not reach.
fn wait_for_file(path: Option<&PathBuf>) -> Outcome<()> {
    let Some(path) = path else { return Ok(()) };
    for _ in 0..5000 {
        if path.exists() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(format!("{} did not appear", path.display()).into())
}
