//! The child: carries out one step after another, and becomes the container's program.
//!
//! It begins as a copy of its parent. It reads its own part of the plan, reports the first failure and ends; it never returns to the
//! parent's code.

use std::borrow::Cow;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::process::DumpableBehavior;

use onggi_cgroup::Cgroup;
use onggi_oci as oci;
use onggi_seccomp::Program;
use onggi_sys::clone::exit_now;
use onggi_sys::process::{
    cloexec_range, close_range, exit_on, reset_signals, set_io_priority, set_personality,
};

use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;
use super::program;
use super::report::{Failure, write_failure, write_hooks, write_listener, write_ready, write_timings};
use super::root::{Root, Target};
use super::user::{self, Resolved};
use super::{
    Part, cgroups, copy, credentials, devices, hooks, host, init, labels, masks, mount, namespaces, outside,
    scheduling, session, swap, terminal,
};
use crate::plan::{Capabilities, Step};

/// HUP, INT, QUIT and TERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// What others see of a process that is not the program yet, in place of its parent's command line.
const NAME: &str = "onggi-runtime init";

/// What the new process will have as descriptors 0, 1 and 2.
#[derive(Debug)]
pub(super) enum Streams {
    Files([OwnedFd; 3]),
    Terminal,
    Taken,
}

/// What the steps leave for one another.
#[derive(Debug)]
pub(super) struct Child<'a> {
    pub(super) procfs: Procfs,
    /// See [`BornThrough`].
    pub(super) leash: Option<BorrowedFd<'a>>,
    pub(super) cgroup: &'a Cgroup,
    born_in_v2: bool,
    pub(super) streams: Streams,
    pub(super) terminal_socket: Option<OwnedFd>,
    pub(super) terminal_size: Option<(u16, u16)>,
    network: Option<OwnedFd>,
    /// Where the word comes from that the parent has the seccomp listener.
    listener: Option<OwnedFd>,
    own_listener: Option<OwnedFd>,
    /// Where the parent does what this process cannot, until no later step asks.
    pub(super) outside: Option<OwnedFd>,
    mapped_by_a_user: bool,
    gate: Option<OwnedFd>,
    preserved: u32,
    /// The container's side.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) filter: Cow<'a, [u8]>,
    pub(super) no_new_privileges: bool,
    pub(super) capabilities: Capabilities,
    root: Option<Root>,
    user: Option<Resolved>,
    /// Still to be entered, by the user.
    working_directory: Option<String>,
    program: Option<program::Program>,
}

/// What the parent hands down.
#[derive(Debug)]
pub(super) struct Inheritance<'a> {
    pub(super) plan: Part<'a>,
    pub(super) cgroup: &'a Cgroup,
    /// It need not join that group any more.
    pub(super) born_in_v2: bool,
    pub(super) streams: Streams,
    pub(super) terminal_socket: Option<OwnedFd>,
    pub(super) terminal_size: Option<(u16, u16)>,
    /// Where the word comes from that the network is there.
    pub(super) network: Option<OwnedFd>,
    pub(super) listener: Option<OwnedFd>,
    pub(super) outside: Option<OwnedFd>,
    pub(super) gate: Option<OwnedFd>,
    pub(super) preserved: u32,
    pub(super) report: OwnedFd,
    /// By the report comes the word that the parent has written down who this process is.
    pub(super) leashed: bool,
    pub(super) timings: bool,
    /// An ordinary user writes the maps of this process's new user namespace.
    pub(super) mapped_by_a_user: bool,
    /// For a process that joins: the root is the one it is in.
    pub(super) joins: bool,
    pub(super) born_through: Option<BornThrough<'a>>,
}

/// What a process has from the intermediate that it was born through.
#[derive(Debug)]
pub(super) struct BornThrough<'a> {
    /// The parent's word that it knows of the process comes over this, or the parent's end.
    pub(super) leash: BorrowedFd<'a>,
    pub(super) procfs: Procfs,
}

/// Closes everything that is not needed, in the first moment of a child: whoever stops it in the container must not thereby keep the
/// parent's locks and sockets alive beyond the parent. Only by number: what owned them in the parent is never dropped here.
pub(super) fn let_go<'a>(preserved: u32, needed: impl Iterator<Item = BorrowedFd<'a>>) -> Outcome {
    let mut numbers: Vec<u32> = needed.map(|descriptor| descriptor.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    let mut next = 3 + preserved;
    let first = next;
    for number in numbers.into_iter().filter(|&number| number >= first) {
        if number > next {
            close_range(next, number - 1).doing(|| "close_range")?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX).doing(|| "close_range")
}

/// Nothing of the container's may read this process's memory or open its files until it has become the program (CVE-2016-9962); its
/// own descriptors end with it. The caller's arguments and environment, of which it has a copy, are for nobody in the container: the former
/// everybody may read, the latter also who has CAP_SYS_ADMIN or CAP_PERFMON.
pub(super) fn guard(preserved: u32) -> Outcome {
    onggi_sys::process::set_command_line(NAME);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "prctl PR_SET_DUMPABLE")?;
    cloexec_range(3 + preserved, u32::MAX).doing(|| "close_range")
}

/// Never returns.
pub(super) fn run(inheritance: Inheritance<'_>) -> ! {
    let (timed, leashed) = (inheritance.timings, inheritance.leashed);
    let mut report = Report { file: None, leashed, timed, timings: Vec::new() };
    match begin(inheritance, &mut report) {
        Err(Problem { errno, message }) => {
            report.fail(Failure { step: "begin".into(), index: 0, errno, message })
        }
        Ok((mut child, steps)) => {
            let failure = go(&mut child, &steps, &mut report);
            // While `child` lives: what it owns may be closed already, and must not be closed again.
            report.fail(failure)
        }
    }
}

/// runc's code of a program that was found, and that the kernel would not execute.
const NOT_EXECUTED: i32 = 255;

struct Report {
    file: Option<File>,
    leashed: bool,
    timed: bool,
    timings: Vec<(u32, u64)>,
}

impl Report {
    /// What nobody knows of must not become a program, or wait at a gate, that nobody can find: the parent may have been killed.
    fn await_word(&mut self) -> Outcome {
        let Some(file) = self.file.as_ref().filter(|_| self.leashed) else { return Ok(()) };
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut [0_u8; 1])) {
            Ok(1) => Ok(()),
            _ => Err(Problem::new("the parent has ended before it knew of this process")),
        }
    }

    fn fail(&mut self, failure: Failure) -> ! {
        let Some(file) = &mut self.file else {
            // Nobody reads reports any more: the program's own standard error is where its owner looks.
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("{failure}\n").as_bytes());
            exit_now(NOT_EXECUTED)
        };
        let code = if failure.step == Step::Execute.name() { NOT_EXECUTED } else { 1 };
        // If even this fails, the parent sees the end of the pipe and then the exit code.
        let _ = write_failure(file, failure);
        exit_now(code)
    }
}

fn begin<'a>(inheritance: Inheritance<'a>, report: &mut Report) -> Outcome<(Child<'a>, Cow<'a, [Step]>)> {
    report.file = Some(inheritance.report.into());
    guard(inheritance.preserved)?;
    reset_signals();
    // Modes are what the plan says; the program's own umask comes with its credentials.
    rustix::process::umask(rustix::fs::Mode::empty());
    let steps = inheritance.plan.steps().doing(|| "read the plan")?;
    let filter = inheritance.plan.filter().doing(|| "read the plan")?;
    let (procfs, leash) = match inheritance.born_through {
        Some(BornThrough { procfs, leash }) => (procfs, Some(leash)),
        None => (Procfs::open().doing(|| "open /proc")?, None),
    };
    let root = if inheritance.joins { Some(Root::own().doing(|| "open /")?) } else { None };
    let child = Child {
        procfs,
        leash,
        cgroup: inheritance.cgroup,
        born_in_v2: inheritance.born_in_v2,
        streams: inheritance.streams,
        terminal_socket: inheritance.terminal_socket,
        terminal_size: inheritance.terminal_size,
        network: inheritance.network,
        listener: inheritance.listener,
        own_listener: None,
        outside: inheritance.outside,
        mapped_by_a_user: inheritance.mapped_by_a_user,
        gate: inheritance.gate,
        preserved: inheritance.preserved,
        terminal: None,
        filter,
        no_new_privileges: false,
        capabilities: Capabilities::default(),
        root,
        user: None,
        working_directory: None,
        program: None,
    };
    Ok((child, steps))
}

/// Returns only with the failure that ended it.
fn go(child: &mut Child<'_>, steps: &[Step], report: &mut Report) -> Failure {
    let mut is_ready = false;
    let last_outside = steps.iter().rposition(Step::asks_outside);
    for (index, step) in steps.iter().enumerate() {
        let index = index as u32;
        let start = report.timed.then(Instant::now);
        // Said before the filter, which may forbid to say anything.
        if matches!(step, Step::Seccomp { .. } | Step::AwaitStart | Step::Execute)
            && let Some(file) = &mut report.file
            && !std::mem::replace(&mut is_ready, true)
        {
            // Without it the parent takes the program for one that never ran.
            let _ = write_ready(file);
        }
        if matches!(step, Step::Execute)
            && let Some(file) = &mut report.file
            && report.timed
        {
            // Nobody is waiting for them more than for the program.
            let _ = write_timings(file, &report.timings);
        }
        if let Err(problem) = child.carry_out(step, index, steps, report) {
            return Failure {
                step: step.name().to_owned(),
                index,
                errno: problem.errno,
                message: problem.message,
            };
        }
        if last_outside == Some(index as usize) {
            // Who answers waits for nothing else.
            child.outside = None;
        }
        if let Some(start) = start {
            report.timings.push((index, start.elapsed().as_nanos() as u64));
        }
    }
    let message = "the plan ends without a program".to_owned();
    Failure { step: "end".into(), index: steps.len() as u32, errno: 0, message }
}

impl Child<'_> {
    pub(super) fn root(&self) -> Outcome<&Root> {
        self.root.as_ref().ok_or_else(|| Problem::new("the plan has no root before this step"))
    }

    pub(super) fn user(&self) -> Outcome<&Resolved> {
        self.user.as_ref().ok_or_else(|| Problem::new("the plan has no user before this step"))
    }

    fn carry_out(&mut self, step: &Step, index: u32, steps: &[Step], report: &mut Report) -> Outcome {
        match step {
            Step::JoinCgroups => {
                let joined =
                    if self.born_in_v2 { self.cgroup.join_self_beside_v2() } else { self.cgroup.join_self() };
                joined.map_err(|error| Problem { errno: errno_of(&error), message: error.to_string() })
            }
            Step::JoinNamespace { kind, path } => namespaces::join(*kind, path),
            Step::AwaitUserNamespace { time } => {
                let socket = self.outside.as_ref();
                let socket = socket.ok_or_else(|| Problem::new("nobody would map the ids"))?;
                outside::await_ids(socket, &self.procfs, *time, self.mapped_by_a_user)
            }
            Step::EnterTimeNamespace { offsets } => namespaces::new_time(&self.procfs, offsets),
            Step::UnshareCgroupNamespace => namespaces::unshare_cgroup(),
            Step::SetPropagation { propagation } => mount::set_propagation(*propagation),
            Step::MountRoot { root, at, part_from_host } => {
                self.root = Some(mount::mount_root(root, at.as_deref(), *part_from_host)?);
                Ok(())
            }
            Step::Populate(populate) => copy::populate(self, populate),
            Step::Mount(mount) => mount::mount(self, mount, index),
            Step::MountCgroups(mount) => cgroups::mount(self, mount),
            Step::MakeDevices { devices, links } => devices::make(self, devices, links),
            Step::OpenTerminal { console, plain_output } => terminal::open(self, *console, *plain_output),
            Step::MaskPaths { paths, label } => masks::mask(self, paths, label.as_deref()),
            Step::ReadOnlyPaths { paths } => masks::make_read_only(self, paths),
            Step::ReadOnlyMounts { destinations } => masks::make_mounts_read_only(self, destinations),
            Step::CreateWorkingDirectory { path } => {
                self.root()?
                    .target(path, Target::Directory)
                    .doing(|| format!("make the directory {path}"))?;
                Ok(())
            }
            Step::ReadOnlyRoot => masks::make_mounts_read_only(self, &["/".to_owned()]),
            Step::PivotRoot { propagation } => swap::pivot(self, *propagation),
            Step::MoveRoot { at, propagation } => swap::move_over(self, at, *propagation),
            Step::ChangeRoot => swap::change_root(self),
            Step::Landlock => {
                let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
                onggi_sys::landlock::restrict_to(&[self.root()?.as_fd()], &streams)
                    .doing(|| "limit the process by Landlock")
            }
            Step::Hostname { name } => host::hostname(name),
            Step::Domainname { name } => host::domainname(name),
            Step::Sysctls { values } => host::sysctls(self, values),
            Step::Loopback => host::loopback(),
            Step::AwaitNetwork => host::await_network(self.network.take()),
            Step::AwaitHooks => {
                if let Some(file) = &mut report.file {
                    write_hooks(file).doing(|| "ask for the hooks")?;
                }
                host::await_hooks(self.network.take())
            }
            Step::RunHooks { point, hooks, state } => {
                let pid = if point == "startContainer" {
                    // As runc: a hook in the container is told its number there. The host's procfs may be closed by now.
                    rustix::process::getpid().as_raw_nonzero().get()
                } else {
                    // `config.md`: relative paths of theirs begin at the root, which is not swapped yet.
                    rustix::process::fchdir(self.root()?).doing(|| "fchdir to the root file system")?;
                    self.procfs.own_pid().doing(|| "read /proc/self")?
                };
                // Of its own environment there is nothing that a hook should see; once the program is known, the program's.
                let environment =
                    self.program.as_ref().map(program::Program::environment).unwrap_or_default();
                let state = oci::State { pid, ..state.clone() };
                // A hook need not read its state.
                onggi_sys::process::without_pipe_signal(|| hooks::run(point, hooks, &state, &environment))
                    .map_err(Problem::new)
            }
            Step::AwaitStart => self.await_start(report),
            Step::OomScoreAdjustment { value } => self
                .procfs
                .write("self/oom_score_adj", &value.to_string())
                .doing(|| format!("set oom_score_adj to {value}")),
            Step::RaiseLimits { limits } => credentials::raise_limits(limits),
            Step::Rlimits { limits } => credentials::set_limits(limits),
            Step::Personality { persona } => {
                set_personality(*persona).doing(|| format!("personality {persona:#x}"))
            }
            Step::IoPriority { class, level } => {
                set_io_priority(*class, *level).doing(|| format!("ioprio_set {class} {level}"))
            }
            Step::Scheduler(given) => scheduling::schedule(given),
            Step::MemoryPolicy { mode, nodes } => scheduling::set_memory_policy(*mode, nodes),
            Step::Processors { allowed } => scheduling::set_processors(allowed.as_deref()),
            Step::SessionKeyring { name, label } => {
                labels::labelled_keys(self, label.as_deref(), || namespaces::join_keyring(name))
            }
            Step::AppArmor { profile } => labels::confine(self, profile),
            Step::SelinuxLabel { label } => labels::label_program(self, label),
            Step::LabelFile { path, label } => labels::label_file(self, path, label),
            Step::ResolveUser(user) => {
                self.user = Some(user::resolve(self, user)?);
                Ok(())
            }
            Step::Init => init::stay_behind(command_of(steps)),
            Step::Session => session::begin(self),
            Step::WorkingDirectory { path } => {
                if !program::change_directory(self.root()?, path)? {
                    self.working_directory = Some(path.clone());
                }
                Ok(())
            }
            Step::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).doing(|| "prctl PR_SET_NO_NEW_PRIVS")?;
                self.no_new_privileges = true;
                Ok(())
            }
            Step::Credentials { capabilities, what_there_is, umask } => {
                let filtered = steps.iter().any(|step| matches!(step, Step::Seccomp { .. }));
                let capabilities = credentials::available(*capabilities, *what_there_is)?;
                credentials::take(self, capabilities, *umask, filtered && !self.no_new_privileges)
            }
            Step::FindProgram { args, env, home } => self.find_program(args, env, *home),
            Step::CloseDescriptors => {
                report.await_word()?;
                self.close_descriptors(report)
            }
            Step::Seccomp { flags } if Program::has_listener(*flags) => {
                self.load_with_listener(*flags, report)
            }
            Step::Seccomp { flags } => credentials::load_filter(self, *flags),
            Step::Execute => {
                let program = self.program.as_ref();
                let program =
                    program.ok_or_else(|| Problem::new("the plan has found no program before this step"))?;
                Err(program::execute(program))
            }
        }
    }

    /// Loads the filter, and waits until the parent has the listener: from here on it may be asked about any call.
    fn load_with_listener(&mut self, flags: u32, report: &mut Report) -> Outcome {
        let word = self.listener.take().ok_or_else(|| Problem::new("nobody would take the listener"))?;
        let file = report.file.as_mut().ok_or_else(|| Problem::new("nobody would take the listener"))?;
        let listener = credentials::load_filter_with_listener(self, flags)?;
        // Only this call may not be one that is listened to (`onggi_seccomp::Error::NotifyNotAllowed`).
        write_listener(file, listener.as_raw_fd()).doing(|| "announce the seccomp listener")?;
        host::await_listener(Some(word))?;
        // Dropped at the gate, if there is one; otherwise that would be a call more that somebody has to answer: it goes with the exec.
        self.own_listener = Some(listener);
        credentials::settle(self)
    }

    /// For real, and not only at exec: a filter or a failing exec changes nothing about it (CVE-2024-21626). Nothing is dropped after this
    /// but what is kept here, and the rest by the end of the process.
    fn close_descriptors(&self, report: &Report) -> Outcome {
        let kept = report.file.iter().map(AsFd::as_fd).chain(self.listener.iter().map(AsFd::as_fd));
        let_go(self.preserved, kept.chain(self.gate.iter().map(AsFd::as_fd)))?;
        if self.gate.is_some() {
            // What asks a program to end ends this one, too: the kernel would not, as process 1 has no default for it
            // (pid_namespaces(7)).
            exit_on(&ENDING).doing(|| "take the signals")?;
        }
        Ok(())
    }

    /// Until somebody writes to the FIFO. It may wait for days, and among processes of the container's: by now it has nothing that the
    /// container may not have, and its filter. Of that it asks for no more than `close` and `read`.
    fn await_start(&mut self, report: &mut Report) -> Outcome {
        let gate = self.gate.take().ok_or_else(|| Problem::new("there is no gate to wait at"))?;
        self.own_listener = None;
        if self.mapped_by_a_user {
            // An ordinary user has no other right to its namespaces, and may enter it before it starts. Where the filter answers this with
            // an error, only that entry fails. In namespaces that it shares with another container there is somebody to hide the gate from.
            let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        // The end of the report is the word that all is ready.
        report.file = None;
        match rustix::io::retry_on_intr(|| rustix::io::read(&gate, &mut [0_u8; 1])) {
            // This process itself is a writer, so there is no end without a word.
            Ok(0) => Err(Problem::new("the gate has closed")),
            read => read.map(|_| ()).doing(|| "wait at the gate"),
        }
    }

    fn find_program(&mut self, args: &[String], env: &[String], home: bool) -> Outcome {
        if let Some(path) = self.working_directory.take()
            && !program::change_directory(self.root()?, &path)?
        {
            return Err(Problem {
                errno: rustix::io::Errno::ACCESS.raw_os_error(),
                message: format!("chdir to the working directory {path:?}: permission denied"),
            });
        }
        self.program = Some(program::find(self, args, env, home)?);
        Ok(())
    }
}

/// What the plan will execute.
fn command_of(steps: &[Step]) -> &[String] {
    let args = steps.iter().find_map(|step| match step {
        Step::FindProgram { args, .. } => Some(args.as_slice()),
        _ => None,
    });
    args.unwrap_or_default()
}

pub(super) fn errno_of(error: &(dyn std::error::Error + 'static)) -> i32 {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(errno) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return errno;
        }
        next = error.source();
    }
    0
}
