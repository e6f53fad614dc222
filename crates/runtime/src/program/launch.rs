//! What `create` and `run` have in common: from a bundle to a process that waits, or runs.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use onggi_cgroup::{Cgroup, Layout};
use onggi_oci as oci;
use onggi_runtime::exec::{self, Report, Request, Running, Stdio};
use onggi_runtime::plan::{self, Extra, Input, Plan, Root};

use super::arguments::{Flag, Parsed};
use super::birth::{Birth, Made};
use super::bundle::Bundle;
use super::error::Error;
use super::listener::Listener;
use super::notify::{self, Notify};
use super::record::{self, Record};
use super::resctrl::{self, Group};
use super::store::{self, Locked};
use super::{Context, cgroups, criu, devices, fifo, prepare, resources, sockets, status, systemd, time};

const SIGKILL: i32 = 9;
/// runc's warning.
const NOTHING_TO_KILL_BY: &str = "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is \
    strongly discouraged (as it is impossible to properly kill all container's processes)";

/// The flags of both.
pub(crate) const BUNDLE: Flag =
    Flag::with("bundle", "DIR", "the bundle's directory (the working directory)").short("b");
pub(crate) const CONSOLE_SOCKET: Flag =
    Flag::with("console-socket", "PATH", "a socket that gets the terminal's master");
pub(crate) const PIDFD_SOCKET: Flag =
    Flag::with("pidfd-socket", "PATH", "a socket that gets the process's pidfd");
pub(crate) const PID_FILE: Flag = Flag::with("pid-file", "FILE", "where the process's number is written");
pub(crate) const NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "change the root by chroot, where it is an initial ramdisk (not safe otherwise)",
);
pub(crate) const NO_NEW_KEYRING: Flag = Flag::switch("no-new-keyring", "keep the caller's session keyring");
pub(crate) const PRESERVE_FDS: Flag =
    Flag::with("preserve-fds", "N", "pass N more descriptors on, after the three and those of LISTEN_FDS")
        .number();

/// How the container's process and this one stay connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It waits for `start`.
    Create,
    /// It runs, and this program ends.
    Detached,
    /// It runs, and this program stays for as long.
    Foreground,
}

/// A container whose first process is ready.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) locked: Locked,
    pub(crate) record: Record,
    pub(crate) pidfd: OwnedFd,
    /// With [`Mode::Foreground`] and a terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// Where a container that runs already says that it is ready.
    pub(crate) notify: Option<Notify>,
    pub(crate) cgroup: Cgroup,
}

/// Creates the container. If that fails, nothing is left.
pub(crate) fn launch(
    context: &Context,
    flags: &Parsed,
    mode: Mode,
    descriptors: Descriptors,
) -> Result<Launched, Error> {
    let id = flags.positional.first().map_or("", String::as_str);
    let pid_file = absolute(flags.value("pid-file"))?;
    let console = absolute(flags.value("console-socket"))?;
    let pidfd_socket = absolute(flags.value("pidfd-socket"))?;
    let mut bundle = Bundle::enter(flags.value("bundle"))?;
    let has_terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    check_terminal(has_terminal, mode != Mode::Foreground, console.is_some())?;
    let rootfs = bundle.rootfs()?;
    for warning in prepare::prepare(&mut bundle.spec, &bundle.path, &rootfs, descriptors.listening) {
        context.log.warn(&warning);
    }
    let mut systemd = context.systemd.then(systemd::Driver::connect).transpose()?;
    let layout = cgroups::layout(context, systemd.as_mut(), &mut bundle.spec, id)?;
    let linux = bundle.spec.linux.as_ref();
    if !rustix::process::geteuid().is_root() && !linux.is_some_and(has_own_user) {
        return Err(Error::usage("rootless container requires user namespaces"));
    }
    if context.rootless && layout.is_none() && !linux.is_some_and(has_own_processes) {
        context.log.warn(NOTHING_TO_KILL_BY);
    }
    let locked = context.store.create(id)?;
    let mut spec = std::mem::take(&mut bundle.spec);
    if context.rootless || context.without_cgroups {
        prepare::leave_devices_to_the_kernel(&mut spec);
    }
    let manager = notify::of_caller();
    let notify = match prepare_notify(manager.clone(), mode, &locked, &mut spec) {
        Ok(notify) => notify,
        Err(error) => {
            let _ = locked.remove();
            return Err(error);
        }
    };
    let attempt = Attempt {
        context,
        mode,
        id,
        bundle: bundle.path,
        rootfs,
        layout: &layout,
        keep_keyring: flags.has("no-new-keyring"),
        without_pivot: flags.has("no-pivot"),
        preserved: descriptors.all(),
        notify: manager,
        console: console.as_deref(),
    };
    let launched = match attempt.run(&locked, spec, systemd.as_mut()) {
        Ok((record, pidfd, terminal, cgroup)) => Launched { locked, record, pidfd, terminal, notify, cgroup },
        Err(error) => {
            // The first error counts; a directory that stays is what `delete --force` is for.
            let _ = locked.remove();
            return Err(error.during("unable to start container process"));
        }
    };
    let announced = announce(&launched, pidfd_socket.as_deref(), pid_file.as_deref());
    match announced {
        Ok(()) => Ok(launched),
        Err(error) => {
            let _ = launched.undo();
            Err(error)
        }
    }
}

/// The same without the lock.
#[derive(Debug)]
pub(crate) struct Unlocked {
    pub(crate) record: Record,
    pub(crate) pidfd: OwnedFd,
}

impl Launched {
    pub(crate) fn unlock(self) -> Unlocked {
        Unlocked { record: self.record, pidfd: self.pidfd }
    }

    /// Ends it and takes everything away.
    pub(crate) fn undo(self) -> Result<(), Error> {
        let _ = onggi_sys::pidfd::send_signal(self.pidfd.as_fd(), SIGKILL);
        let pid = rustix::process::Pid::from_raw(self.record.pid);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())
        });
        self.cgroup.kill().map_err(Error::Cgroup)?;
        self.record.systemd.as_ref().map_or(Ok(()), systemd::Kept::give_up)?;
        self.cgroup.remove().map_err(Error::Cgroup)?;
        self.record.resctrl.as_ref().map_or(Ok(()), Group::remove)?;
        self.locked.remove()
    }
}

#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context,
    pub(crate) mode: Mode,
    pub(crate) id: &'a str,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) layout: &'a Layout,
    pub(crate) keep_keyring: bool,
    pub(crate) without_pivot: bool,
    pub(crate) preserved: u32,
    pub(crate) notify: Option<PathBuf>,
    pub(crate) console: Option<&'a str>,
}

type Started = (Record, OwnedFd, Option<OwnedFd>, Cgroup);

impl Attempt<'_> {
    fn run(
        &self,
        locked: &Locked,
        mut spec: oci::Spec,
        systemd: Option<&mut systemd::Driver>,
    ) -> Result<Started, Error> {
        let mut scope = systemd
            .map(|driver| driver.plan(&mut spec, self.id, self.layout, &self.context.log))
            .transpose()?;
        if self.mode == Mode::Create {
            fifo::make(&locked.directory.fifo())?;
        }
        let gate = (self.mode == Mode::Create).then(|| locked.directory.fifo());
        let mut plan = self.plan(&spec, gate)?;
        let kept = scope.as_ref().map(systemd::Scope::kept);
        tell_of_filter(self.context, &plan);
        self.context.log.debug("nsexec container setup");
        let stdio = stdio(spec.process.as_ref())?;
        onggi_sys::fault::point("runtime.create.planned");
        let wanted = spec.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
        let group = wanted.map(|wanted| Group::make(&resctrl::root()?, self.id, wanted)).transpose()?;
        let known = self.birth(&plan, kept.clone(), group.clone());
        locked.write_birth(&known).inspect_err(|_| forget(group.as_ref()))?;
        onggi_sys::fault::point("runtime.create.known");
        let start = || {
            // A scope that is not there yet takes only its keeper with it.
            scope.as_mut().map_or(Ok(()), |scope| scope.start(self.id, &mut plan.launch.cgroup))?;
            // The child would have what parsing and planning have left in its memory as well, and copy what it writes over.
            onggi_sys::memory::trim();
            onggi_sys::memory::release_stack();
            let has_unit = scope.as_ref().is_some_and(systemd::Scope::is_started);
            exec::start_noting(&plan.launch, &plan, stdio, |cgroup| {
                locked.mark_birth(&Made::of(cgroup, has_unit)?)?;
                onggi_sys::fault::point("runtime.create.marked");
                Ok(())
            })
        };
        let running = match &group {
            Some(group) => group.start(start).and_then(|started| started),
            None => start(),
        };
        let cgroup = running.as_ref().ok().map(|running| &running.cgroup);
        let settled = scope.map_or(Ok(()), |scope| scope.settle(cgroup));
        let running = running.inspect_err(|_| forget(group.as_ref()))?;
        onggi_sys::fault::point("runtime.create.cloned");
        self.context.log.debug("child process in init()");
        // The child is at its steps meanwhile.
        let mut record =
            Record { systemd: kept, resctrl: group.clone(), ..self.record(locked, &spec, &plan) };
        let started = self.follow(running, &mut record, locked, spec, &plan.filter, settled);
        let started = started.inspect_err(|_| forget(group.as_ref()))?;
        self.context.log.debug("init: closing the pipe to signal completion");
        Ok(started)
    }

    /// What can be found by the file alone if this process ends before its work does.
    pub(crate) fn birth(&self, plan: &Plan, systemd: Option<systemd::Kept>, resctrl: Option<Group>) -> Birth {
        Birth {
            id: self.id.to_owned(),
            oci_version: oci::VERSION.to_owned(),
            created: time::now_nanoseconds(),
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            cgroup: onggi_cgroup::Plan::naming(self.layout, &plan.launch.cgroup.path),
            systemd,
            resctrl,
        }
    }

    /// The record of a container that does not run yet.
    pub(crate) fn record(&self, locked: &Locked, spec: &oci::Spec, plan: &Plan) -> Record {
        let (none, no_hooks) = (oci::Linux::default(), oci::Hooks::default());
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let hooks = spec.hooks.as_ref().unwrap_or(&no_hooks);
        Record {
            version: record::VERSION,
            id: self.id.to_owned(),
            // That of the state that is told, as with runc; not the bundle's.
            oci_version: oci::VERSION.to_owned(),
            pid: 0,
            start_time: 0,
            created: time::now_nanoseconds(),
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            annotations: spec.annotations.clone(),
            owner: store::owner(&locked.directory.path),
            cgroup: onggi_cgroup::Plan::naming(self.layout, &plan.launch.cgroup.path),
            systemd: None,
            limits: resources::kept(linux.resources.as_ref()),
            linux: oci::Linux {
                namespaces: linux.namespaces.clone(),
                personality: linux.personality.clone(),
                memory_policy: linux.memory_policy.clone(),
                ..oci::Linux::default()
            },
            process: inherited(spec.process.as_ref()),
            poststart: hooks.poststart.clone(),
            poststop: hooks.poststop.clone(),
            seccomp: (!plan.filter.is_empty()).then(|| filter_flags(plan)),
            listener: Listener::of(linux.seccomp.as_ref()),
            gate_is_held: true,
            keep_keyring: self.keep_keyring,
            resctrl: None,
            notify: self.notify.clone(),
            external: criu::External::of(plan),
            streams: if plan.launch.terminal { Vec::new() } else { criu::streams() },
        }
    }

    pub(crate) fn plan(&self, spec: &oci::Spec, gate: Option<PathBuf>) -> Result<Plan, Error> {
        if spec.linux.is_none() {
            return Err(Error::usage("linux: it is missing"));
        }
        let state = oci::State {
            oci_version: spec.oci_version.clone(),
            id: self.id.to_owned(),
            status: "creating".to_owned(),
            pid: 0,
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: spec.annotations.clone(),
        };
        let bundle = plan::Bundle {
            state: Some(state),
            gate,
            preserved: self.preserved,
            plain_output: self.mode == Mode::Foreground,
            keep_keyring: self.keep_keyring,
            without_pivot: self.without_pivot,
            moves_devices: true,
            joins_resctrl: true,
            passes_listener: true,
            every_processor: true,
            leashed: true,
            unprivileged: !rustix::process::geteuid().is_root(),
            shown_cgroups: shown_cgroups(self.layout, spec.linux.as_ref())?,
            what_there_is: true,
            ..plan::Bundle::default()
        };
        let root = Root::Directory { path: self.rootfs.clone() };
        let extra = Extra { home: true, loopback: has_own_network(spec), bundle, ..Extra::default() };
        let input = Input { id: self.id, spec, root, cgroups: self.layout, extra };
        let mut plan = plan::container(&input).map_err(|error| self.unplanned(error))?;
        plan.launch.cgroup = plan.launch.cgroup.with_every_controller();
        self.context.log.debug_all(|| plan.explain());
        Ok(plan)
    }

    /// With runc's sentence where an ordinary user asks for a limit that only root of the machine can set.
    fn unplanned(&self, error: plan::Error) -> Error {
        use onggi_cgroup::Error::{NoController, NotDelegated};
        match error {
            plan::Error::Cgroup(error @ (NoController { .. } | NotDelegated { .. }))
                if self.context.rootless =>
            {
                let needs =
                    "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
                Error::Failed(format!("{needs}: {error}"))
            }
            error => Error::Plan(error),
        }
    }

    /// From the first moment of the process on: if anything fails, it ends, and its cgroup goes.
    fn follow(
        &self,
        running: Running,
        record: &mut Record,
        locked: &Locked,
        spec: oci::Spec,
        filter: &[u8],
        settled: Result<(), Error>,
    ) -> Result<Started, Error> {
        let hooks = &spec.hooks.unwrap_or_default();
        let linux = &spec.linux.unwrap_or_default();
        let Running { pid, pidfd, terminal, mut network, mut listener, report, cgroup } = running;
        record.pid = pid;
        record.start_time = status::process(pid).map_or(0, |(_, start_time)| start_time);
        let written = settled.and_then(|()| locked.write_all(record, filter));
        let ready = written.and_then(|()| {
            exec::go_on(report.as_fd());
            if !linux.net_devices.is_empty() {
                devices::hand_over(linux, pid)?;
                // One that has hooks to wait for goes on after those.
                let awaits_hooks = !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty();
                network.take_if(|_| !awaits_hooks).into_iter().for_each(exec::Connected::tell);
            }
            let mut problem = None;
            let mut answer = |request| {
                let outcome = match request {
                    Request::Hooks => parent_hooks(hooks, record).map(|()| network.take()),
                    Request::Listener(number) => {
                        pass_listener(record, pidfd.as_fd(), number, pid, "creating")
                            .map(|()| listener.take())
                    }
                };
                // Told, it goes on; not told, because its end of the word is dropped, it gives up.
                match outcome {
                    Ok(Some(word)) => word.tell(),
                    Ok(None) => {}
                    Err(error) => {
                        problem = Some(error);
                        (network, listener) = (None, None);
                    }
                }
            };
            let report = exec::read_report_with_requests(&mut File::from(report), &mut answer);
            let Report { failure, .. } = report.map_err(|error| Error::io("read the report", error))?;
            match (problem, failure) {
                (Some(problem), _) => Err(problem),
                (None, Some(failure)) => {
                    if failure.step == "execute" {
                        return Err(Error::Program(failure.message));
                    }
                    Err(Error::Failed(failure.message).during("error during container init"))
                }
                (None, None) => Ok(()),
            }
        });
        let ready = ready.and_then(|()| {
            let master = terminal.as_ref().and_then(exec::Terminal::try_receive);
            match (master, self.console) {
                (Some(master), Some(console)) => {
                    sockets::send(console, "/dev/ptmx", master.as_fd()).map(|()| None)
                }
                (master, _) => Ok(master),
            }
        });
        match ready {
            Ok(master) => Ok((record.clone(), pidfd, master, cgroup)),
            Err(error) => {
                let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), SIGKILL);
                let waited = rustix::process::Pid::from_raw(pid);
                let _ = rustix::io::retry_on_intr(|| {
                    rustix::process::waitpid(waited, rustix::process::WaitOptions::empty())
                });
                let error = out_of_memory(&cgroup).unwrap_or(error);
                let _ = cgroup.kill();
                let _ = record.systemd.as_ref().map(systemd::Kept::give_up);
                let _ = cgroup.remove();
                self.warn_of(exec::run_hooks(
                    "poststop",
                    &hooks.poststop,
                    &record.state("stopped"),
                    &environment(),
                ));
                Err(error)
            }
        }
    }

    fn warn_of(&self, outcome: Result<(), String>) {
        if let Err(problem) = outcome {
            self.context.log.warn(&problem);
        }
    }
}

/// After something that counts has gone wrong.
pub(crate) fn forget(group: Option<&Group>) {
    if let Some(group) = group {
        let _ = group.remove();
    }
}

/// A container that waits gets its socket when it is started.
pub(crate) fn prepare_notify(
    manager: Option<PathBuf>,
    mode: Mode,
    locked: &Locked,
    spec: &mut oci::Spec,
) -> Result<Option<Notify>, Error> {
    let Some(manager) = manager else { return Ok(None) };
    notify::prepare(&locked.directory, spec)?;
    if mode == Mode::Create { Ok(None) } else { Notify::bind(&locked.directory, manager).map(Some) }
}

/// The kernel kills what does not fit, and a process that was killed leaves no word.
fn out_of_memory(cgroup: &Cgroup) -> Option<Error> {
    let message = "container init was OOM-killed (memory limit too low?)";
    cgroup.oom_kills().is_ok_and(|kills| kills > 0).then(|| Error::Failed(message.to_owned()))
}

/// Gives the listener of a process's filter to the agent that the configuration names.
pub(crate) fn pass_listener(
    record: &Record,
    process: BorrowedFd<'_>,
    number: i32,
    pid: i32,
    status: &str,
) -> Result<(), Error> {
    let agent = record.listener.as_ref().ok_or_else(|| Error::usage("seccomp listenerPath is not set"))?;
    agent.pass_on(process, number, pid, &record.state(status))
}

pub(crate) fn parent_hooks(hooks: &oci::Hooks, record: &Record) -> Result<(), Error> {
    let state = record.state("creating");
    let run = |point, list: &[oci::Hook]| exec::run_hooks(point, list, &state, &environment());
    run("prestart", &hooks.prestart)
        .and_then(|()| run("createRuntime", &hooks.create_runtime))
        .map_err(Error::Failed)
}

/// What a process that is given to `exec` as a whole has from the configuration where it says nothing itself (runc's `newInitConfig`).
fn inherited(process: Option<&oci::Process>) -> oci::Process {
    let Some(process) = process else { return oci::Process::default() };
    oci::Process {
        user: oci::User { umask: process.user.umask, ..oci::User::default() },
        capabilities: process.capabilities.clone(),
        rlimits: process.rlimits.clone(),
        apparmor_profile: process.apparmor_profile.clone(),
        selinux_label: process.selinux_label.clone(),
        scheduler: process.scheduler.clone(),
        io_priority: process.io_priority.clone(),
        exec_cpu_affinity: process.exec_cpu_affinity.clone(),
        ..oci::Process::default()
    }
}

/// What a hook without an environment of its own inherits.
pub(crate) fn environment() -> Vec<String> {
    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect()
}

/// runc's line, which its tests look for.
pub(crate) fn tell_of_filter(context: &Context, plan: &Plan) {
    if !plan.filter.is_empty() {
        context.log.debug(&format!("seccomp filter flags: {}", filter_flags(plan)));
    }
}

fn filter_flags(plan: &Plan) -> u32 {
    let flags = plan.steps.iter().find_map(|step| match step {
        plan::Step::Seccomp { flags } => Some(*flags),
        _ => None,
    });
    flags.unwrap_or(0)
}

/// One of its own, or another's: without it an ordinary user may make no other namespace.
fn has_own_user(linux: &oci::Linux) -> bool {
    linux.namespaces.iter().any(|each| each.kind == oci::NamespaceKind::User)
}

fn has_own_processes(linux: &oci::Linux) -> bool {
    linux.namespaces.iter().any(|each| each.kind == oci::NamespaceKind::Pid && each.path.is_none())
}

/// As runc: a new network namespace has at least a loopback interface.
fn has_own_network(spec: &oci::Spec) -> bool {
    spec.linux.as_ref().is_some_and(|linux| {
        linux
            .namespaces
            .iter()
            .any(|namespace| namespace.kind == oci::NamespaceKind::Network && namespace.path.is_none())
    })
}

/// A container that has no cgroup is in the caller's, and sees those, as with runc: of version 2 without a cgroup namespace the whole tree, in which
/// `/proc/self/cgroup` names a path then.
fn shown_cgroups(layout: &Layout, linux: Option<&oci::Linux>) -> Result<Option<Layout>, Error> {
    if !layout.is_none() {
        return Ok(None);
    }
    let is_cgroup = |namespace: &oci::Namespace| namespace.kind == oci::NamespaceKind::Cgroup;
    let is_whole = !linux.is_some_and(|linux| linux.namespaces.iter().any(is_cgroup));
    onggi_cgroup::detect_shown(is_whole).map(Some).map_err(Error::Cgroup)
}

/// The caller's standard streams, or a terminal of the size that the configuration wants.
pub(crate) fn stdio(process: Option<&oci::Process>) -> Result<Stdio, Error> {
    if let Some(process) = process.filter(|process| process.terminal) {
        let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size = process.console_size.map(|size| (short(size.height), short(size.width)));
        return Ok(Stdio::Terminal { size });
    }
    let copy = |stream: BorrowedFd<'_>| {
        stream.try_clone_to_owned().map_err(|error| Error::io("copy a standard stream", error))
    };
    Ok(Stdio::Files([
        copy(rustix::stdio::stdin())?,
        copy(rustix::stdio::stdout())?,
        copy(rustix::stdio::stderr())?,
    ]))
}

/// Who detaches needs somebody else for the terminal.
pub(crate) fn check_terminal(terminal: bool, detaches: bool, socket: bool) -> Result<(), Error> {
    match (terminal && detaches, socket) {
        (true, false) => {
            Err(Error::usage("cannot allocate tty if runc will detach without setting console socket"))
        }
        (false, true) => {
            Err(Error::usage("cannot use console socket if runc will not detach or allocate tty"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn announce(
    launched: &Launched,
    pidfd_socket: Option<&str>,
    pid_file: Option<&str>,
) -> Result<(), Error> {
    if let Some(socket) = pidfd_socket {
        sockets::send(socket, "pidfd", launched.pidfd.as_fd())?;
    }
    pid_file.map_or(Ok(()), |path| write_pid_file(path, launched.record.pid))
}

/// Plain digits, there as a whole or not at all, and through nobody's link.
pub(crate) fn write_pid_file(path: &str, pid: i32) -> Result<(), Error> {
    let path = Path::new(path);
    let fail = |error| Error::io(format!("write {}", path.display()), error);
    let name = path.file_name().ok_or_else(|| fail(std::io::ErrorKind::InvalidInput.into()))?;
    let new = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let create = || std::fs::OpenOptions::new().write(true).create_new(true).open(&new);
    let file = match create() {
        // Left by a process that was killed.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&new).and_then(|()| create())
        }
        other => other,
    };
    let written = file.and_then(|mut file| file.write_all(pid.to_string().as_bytes()));
    written.and_then(|()| std::fs::rename(&new, path)).map_err(|error| {
        // Best effort: the error that is told is the first.
        let _ = std::fs::remove_file(&new);
        fail(error)
    })
}

/// A path as it is before the program goes to the bundle.
pub(crate) fn absolute(path: Option<&str>) -> Result<Option<String>, Error> {
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = std::path::absolute(path).map_err(|error| Error::io(format!("find {path}"), error))?;
    Ok(Some(path.to_string_lossy().into_owned()))
}

/// Descriptors from 3 on that the container's process gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors {
    /// Sockets that a service manager has opened (sd_listen_fds(3)).
    pub(crate) listening: u32,
    preserved: u32,
}

impl Descriptors {
    /// They have to be there: called before this program opens anything itself.
    pub(crate) fn of(flags: &Parsed) -> Result<Descriptors, Error> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|&count| count <= 1024);
        let preserved = flags.value("preserve-fds").map_or(Some(0), number);
        let preserved = preserved.ok_or_else(|| Error::usage("invalid value for --preserve-fds"))?;
        let variable = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let is_meant = variable("LISTEN_PID") == Some(std::process::id());
        let listening = variable("LISTEN_FDS").filter(|&count| is_meant && count <= 1024).unwrap_or(0);
        let descriptors = Descriptors { listening, preserved };
        for number in 3..3 + descriptors.all() {
            if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
                let of = descriptors.all();
                return Err(Error::usage(format!(
                    "please check that preserved-fd {} (of {of}) is present",
                    number - 2
                )));
            }
        }
        Ok(descriptors)
    }

    pub(crate) fn all(self) -> u32 {
        self.listening + self.preserved
    }
}
