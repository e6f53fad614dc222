//! The parent's side of a start: cgroup, pipes, clone.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use onggi_cgroup::Cgroup;
use onggi_oci::NamespaceKind;
use onggi_sys::clone::{Clone, Forked, clone3, exit_now};

use super::child::{self, BornThrough, Inheritance, Streams};
use super::namespaces::flag;
use super::outside::{self, Attended};
use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;
use super::report::{Failure, read_report, write_failure};
use super::{Part, Running, StartError, Stdio, scheduling, swap, terminal};
use crate::VERSION;
use crate::plan::Launch;

/// `CLONE_PARENT`: the new process is a child of the caller's parent.
const CLONE_PARENT: u64 = 0x8000;
const SIGKILL: i32 = 9;

/// The first Linux that mounts something on a tree that is attached nowhere.
const NESTS_DETACHED: (u32, u32) = (6, 15);
/// How long an intermediate process may take, which does nothing that waits. One that takes longer is being held: by a freezer, or by
/// somebody who stops it.
const PATIENCE: Duration = Duration::from_secs(3);
/// For a process that is known to be held: a year.
const WITHOUT_BOUND: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long something that was killed may take to be gone.
const DYING: Duration = Duration::from_millis(200);

/// Makes the cgroup and starts the child, which has its steps from `plan`. If this fails, nothing is left.
///
/// # Errors
/// [`StartError`]; what fails later, in the child, comes by [`Running::report`].
pub fn start<'a>(launch: &Launch, plan: impl Into<Part<'a>>, stdio: Stdio) -> Result<Running, StartError> {
    start_noting(launch, plan, stdio, |_| Ok(()))
}

/// As [`start`], and has the caller note down the cgroup when it is certain to be nobody else's, and nothing is born in it yet.
///
/// # Errors
/// As [`start`], or what the note says.
pub fn start_noting<'a, E: From<StartError>>(
    launch: &Launch,
    plan: impl Into<Part<'a>>,
    stdio: Stdio,
    note: impl FnOnce(&Cgroup) -> Result<(), E>,
) -> Result<Running, E> {
    let plan = plan.into();
    check(launch, &stdio)?;
    check_kernel(launch)?;
    super::namespaces::refuse_the_hosts_parameters(launch, plan)?;
    let cgroup = match launch.cgroup.create() {
        Ok(cgroup) => cgroup,
        Err(error) if error.is_of_another() => return Err(StartError::Cgroup(error).into()),
        Err(error) => {
            // With a keeper it is for its caller to remove: nobody can before that one has gone.
            if launch.cgroup.keeper.is_none()
                && let Ok(half) = launch.cgroup.open()
            {
                // What could not be made is the error that counts.
                let _ = half.remove();
            }
            return Err(StartError::Cgroup(error).into());
        }
    };
    let started = note(&cgroup).and_then(|()| Ok(start_in(launch, plan, stdio, &cgroup)?));
    match started {
        Ok(Started { pid, pidfd, terminal, network, listener, report }) => {
            Ok(Running { pid, pidfd, terminal, network, listener, report, cgroup })
        }
        Err(error) => {
            if launch.cgroup.keeper.is_none() {
                let _ = cgroup.remove();
            }
            Err(error)
        }
    }
}

/// Starts another process in a container whose first process is behind `target`. `launch` is that of the process's own plan.
///
/// # Errors
/// As [`start`].
pub fn join<'a>(
    target: BorrowedFd<'_>,
    launch: &Launch,
    plan: impl Into<Part<'a>>,
    stdio: Stdio,
) -> Result<Running, StartError> {
    let plan = plan.into();
    check(launch, &stdio)?;
    let cgroup = launch.cgroup.open().and_then(|cgroup| cgroup.below(&launch.subgroups));
    let cgroup = cgroup.map_err(StartError::Cgroup)?;
    let flags = launch.namespaces.iter().fold(0, |flags, namespace| flags | flag(namespace.kind));
    let entry = Entry {
        // Before the namespaces: with `nsdelegate` the kernel compares both cgroups with the cgroup namespace of who moves.
        into: cgroup.v2_dir(),
        flags: 0,
        grandchild_into: None,
        enter: &|| {
            cgroup.join_self().map_err(|error| Problem::new(error.to_string()))?;
            // Looked for while /proc is the host's.
            let root = if has_tree_of_its_own(launch) { Some(swap::root_of(target)?) } else { None };
            super::namespaces::join_those_of(target, flags)?;
            root.map_or(Ok(()), |root| swap::enter(&root))
        },
        needed: &[target],
        joins: true,
    };
    let started = scheduling::on(launch.first_processors.as_deref(), || {
        start_through(launch, plan, stdio, &cgroup, &entry)
    })?;
    let Started { pid, pidfd, terminal, network, listener, report } = started?;
    Ok(Running { pid, pidfd, terminal, network, listener, report, cgroup })
}

struct Started {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<Terminal>,
    network: Option<Connected>,
    listener: Option<Connected>,
    report: OwnedFd,
}

/// How a child that waits for its network, or for its listener to be taken, hears of it.
#[derive(Debug)]
pub struct Connected(OwnedFd);

impl Connected {
    /// Lets the child go on. One that has ended meanwhile has said why in its report.
    pub fn tell(self) {
        let _ = rustix::io::write(&self.0, &[1]);
    }
}

/// Lets a child go on that is leashed ([`crate::plan::Bundle::leashed`]), by its [`Running::report`]. One that has ended meanwhile has said why there.
pub fn go_on(report: BorrowedFd<'_>) {
    let _ = rustix::net::send(report, &[1], SendFlags::NOSIGNAL);
}

/// Where the terminal's master will come from. Nothing waits for it while the steps go on: who is in the pid namespace already can stop
/// the child that carries them out.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl Terminal {
    /// The master, which is there once the report has ended without a failure. `None`: it is not, and if the child has ended, will never be.
    #[must_use]
    pub fn try_receive(&self) -> Option<OwnedFd> {
        receive(&self.0, RecvFlags::DONTWAIT).map(|(_, master)| master)
    }

    /// Waits for the master, without bound: only for who has nobody else to serve. `None` if the child ended before.
    #[must_use]
    pub fn receive(&self) -> Option<OwnedFd> {
        receive(&self.0, RecvFlags::empty()).map(|(_, master)| master)
    }
}

/// How an intermediate process gets where its child is to be born.
struct Entry<'a> {
    /// Where the intermediate itself is born.
    into: Option<BorrowedFd<'a>>,
    flags: u64,
    grandchild_into: Option<BorrowedFd<'a>>,
    enter: &'a dyn Fn() -> Outcome,
    /// What `enter` uses.
    needed: &'a [BorrowedFd<'a>],
    joins: bool,
}

fn check(launch: &Launch, stdio: &Stdio) -> Result<(), StartError> {
    if launch.version > VERSION {
        return Err(StartError::Version { found: launch.version, known: VERSION });
    }
    match (launch.terminal, stdio) {
        (true, Stdio::Files(_)) => Err(StartError::Misfit("the plan wants a terminal")),
        (false, Stdio::Terminal { .. }) => Err(StartError::Misfit("the plan wants no terminal")),
        _ => Ok(()),
    }
}

/// A tree of mounts without a mount namespace cannot be put together before Linux 6.15, which says only EINVAL.
fn check_kernel(launch: &Launch) -> Result<(), StartError> {
    if !has_tree_of_its_own(launch) {
        return Ok(());
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if is_older(&release, NESTS_DETACHED) { Err(StartError::Kernel { release }) } else { Ok(()) }
}

/// Whether its root is a tree of mounts that is attached nowhere, for want of a mount namespace.
fn has_tree_of_its_own(launch: &Launch) -> bool {
    !launch.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Mount)
}

/// Whether a kernel's release is before this version; one that cannot be read is not.
fn is_older(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < version,
        _ => false,
    }
}

fn start_in(launch: &Launch, plan: Part<'_>, stdio: Stdio, cgroup: &Cgroup) -> Result<Started, StartError> {
    let new = |kind: NamespaceKind| {
        launch.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
    };
    // The cgroup namespace is left for when the process is in its cgroup: it shows the one it is made in as the root.
    let kinds = [
        NamespaceKind::Ipc,
        NamespaceKind::Mount,
        NamespaceKind::Network,
        NamespaceKind::Pid,
        NamespaceKind::User,
        NamespaceKind::Uts,
    ];
    let flags = kinds.into_iter().filter(|&kind| new(kind)).fold(0, |flags, kind| flags | flag(kind) as u64);

    let joined = |kind: NamespaceKind| {
        let mut namespaces = launch.namespaces.iter();
        namespaces.find(|namespace| namespace.kind == kind).and_then(|namespace| namespace.path.as_deref())
    };
    let some_joined = launch.namespaces.iter().any(|namespace| namespace.path.is_some());
    if launch.user.is_some() && some_joined {
        let joined_user = joined(NamespaceKind::User).is_some();
        let entry = Entry {
            into: None,
            flags,
            // Who has entered a user namespace has no right to a cgroup of the host's; the parent sees to it.
            grandchild_into: cgroup.v2_dir().filter(|_| !joined_user),
            enter: &|| super::namespaces::join_all(&launch.namespaces),
            needed: &[],
            joins: false,
        };
        return start_through(launch, plan, stdio, cgroup, &entry);
    }
    if let Some(path) = joined(NamespaceKind::Pid) {
        let entry = Entry {
            into: None,
            flags,
            grandchild_into: cgroup.v2_dir(),
            enter: &|| super::namespaces::join(NamespaceKind::Pid, path.as_ref()),
            needed: &[],
            joins: false,
        };
        return start_through(launch, plan, stdio, cgroup, &entry);
    }
    let ends = Ends::new(launch, stdio, false)?;
    match clone3(&Clone { flags, cgroup: cgroup.v2_dir() }) {
        Err(error) => Err(StartError::System { call: "clone3", error }),
        Ok(Forked::Child) => {
            // What this process must not hold must not keep it from starting either: it is closed at the exec all the same.
            let _ = child::let_go(launch.preserved, ends.needed(plan, cgroup));
            let inheritance = ends.inheritance(launch, plan, cgroup, false, None);
            child::run(Inheritance { born_in_v2: cgroup.v2_dir().is_some(), ..inheritance })
        }
        Ok(Forked::Parent { pid, pidfd }) => ends.attended(launch, plan, cgroup, true, pid, pidfd),
    }
}

/// Through an intermediate process that enters the namespaces, of which the pid namespace only takes its children, and gives the
/// caller a child by CLONE_PARENT.
///
/// The intermediate may be killed between the birth and the news of it (its cgroup runs out of memory, somebody kills the cgroup). So
/// the child goes no further than its session before it has heard that it is known, and up to there it is in the process group of the
/// intermediate, by which it is found.
fn start_through(
    launch: &Launch,
    plan: Part<'_>,
    stdio: Stdio,
    cgroup: &Cgroup,
    entry: &Entry<'_>,
) -> Result<Started, StartError> {
    let ends = Ends::new(launch, stdio, entry.joins)?;
    let (ours, theirs) = socket_pair(SocketType::SEQPACKET)?;
    // Here, too, because who enters has no environment to read the switch from.
    onggi_sys::fault::point("runtime.enter.begun");
    match clone3(&Clone { flags: 0, cgroup: entry.into }) {
        Err(error) => Err(StartError::System { call: "clone3", error }),
        Ok(Forked::Child) => {
            drop(ours);
            intermediate(ends, &theirs, launch, plan, cgroup, entry)
        }
        Ok(Forked::Parent { pid, pidfd }) => {
            drop(theirs);
            // Its end counts as well as its word: the child has the socket too.
            let patience = if launch.patient { WITHOUT_BOUND } else { PATIENCE };
            let in_time = is_any_ready([ours.as_fd(), pidfd.as_fd()], PollFlags::IN, patience);
            if let Some((child, child_pidfd)) = receive(&ours, RecvFlags::DONTWAIT) {
                let raised = match &launch.user {
                    Some(user) if entry.joins => outside::raise(user, child),
                    _ => Ok(()),
                };
                if raised.is_ok() {
                    // It fails only if the child has ended already.
                    let _ = rustix::net::send(&ours, &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                }
                // It ends right after it has sent.
                reap(pid, &pidfd);
                if let Err(problem) = raised {
                    return Err(give_up(child, &child_pidfd, problem));
                }
                let born_in_v2 = entry.grandchild_into.is_some();
                return ends.attended(launch, plan, cgroup, born_in_v2, child, child_pidfd);
            }
            // Even those die of this who are stopped; in a frozen cgroup as soon as that is thawed.
            let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), SIGKILL);
            if let Some(group) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            reap(pid, &pidfd);
            Err(if in_time { ends.failure(pid) } else { ends.held(pid) })
        }
    }
}

fn intermediate(
    ends: Ends,
    socket: &OwnedFd,
    launch: &Launch,
    plan: Part<'_>,
    cgroup: &Cgroup,
    entry: &Entry<'_>,
) -> ! {
    let needed = ends.needed(plan, cgroup).chain([socket.as_fd()]).chain(entry.needed.iter().copied());
    if let Some(user) = launch.user.as_ref().filter(|_| ends.unprivileged) {
        outside::raise_own(user);
    }
    let born = child::let_go(launch.preserved, needed)
        .and_then(|()| rustix::process::setpgid(None, None).doing(|| "setpgid"))
        .and_then(|()| child::guard(launch.preserved))
        .and_then(|()| Procfs::open().doing(|| "open /proc"))
        .and_then(|procfs| (entry.enter)().map(|()| procfs))
        .and_then(|procfs| {
            let options = Clone { flags: entry.flags | CLONE_PARENT, cgroup: entry.grandchild_into };
            clone3(&options).doing(|| "clone3").map(|forked| (procfs, forked))
        });
    match born {
        Ok((procfs, Forked::Child)) => {
            let born_through = BornThrough { leash: socket.as_fd(), procfs };
            let inheritance = ends.inheritance(launch, plan, cgroup, entry.joins, Some(born_through));
            child::run(Inheritance { born_in_v2: entry.grandchild_into.is_some(), ..inheritance });
        }
        Ok((_, Forked::Parent { pid, pidfd })) => {
            onggi_sys::fault::point("runtime.enter.born");
            let bytes = pid.to_ne_bytes();
            let sent = terminal::send_with(socket, pidfd.as_fd(), &bytes);
            exit_now(i32::from(sent.is_err()));
        }
        Err(problem) => {
            let mut report = std::fs::File::from(ends.report_in);
            let failure =
                Failure { step: "enter".into(), index: 0, errno: problem.errno, message: problem.message };
            // If even this fails the caller still sees that no process came.
            let _ = write_failure(&mut report, failure);
            exit_now(1)
        }
    }
}

/// The pipe and sockets between parent and child.
struct Ends {
    /// The FIFO that the child waits at.
    gate: Option<OwnedFd>,
    report_out: OwnedFd,
    report_in: OwnedFd,
    terminal: Option<(OwnedFd, OwnedFd)>,
    /// The child's end of the word that its network is there, and ours.
    network: Option<(OwnedFd, OwnedFd)>,
    /// The same for its seccomp listener.
    listener: Option<(OwnedFd, OwnedFd)>,
    /// Ours and the child's, for what it cannot do itself.
    outside: Option<(OwnedFd, OwnedFd)>,
    terminal_size: Option<(u16, u16)>,
    streams: Streams,
    /// Whether the parent is an ordinary user; the child cannot tell any more.
    unprivileged: bool,
    /// Whether such a one writes the maps of the child's user namespace.
    mapped_by_a_user: bool,
}

impl Ends {
    fn new(launch: &Launch, stdio: Stdio, joins: bool) -> Result<Ends, StartError> {
        let word = || {
            let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
            pipe.map_err(|error| StartError::System { call: "pipe2", error: error.into() })
        };
        // A word the other way, too, costs a leashed child two calls in all.
        let (report_out, report_in) = if launch.leashed { socket_pair(SocketType::STREAM)? } else { word()? };
        let terminal = if launch.terminal { Some(socket_pair(SocketType::SEQPACKET)?) } else { None };
        let gate = match &launch.gate {
            Some(path) => {
                // For writing as well: who reads then waits for a word, and is not woken by the end of a writer that has said none.
                let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let held = rustix::fs::openat(CWD, path, flags, Mode::empty());
                Some(held.map_err(|error| StartError::System { call: "open the gate", error: error.into() })?)
            }
            None => None,
        };
        let network = launch.await_network.then(word).transpose()?;
        let listener = launch.has_listener.then(word).transpose()?;
        let asks = !joins && (launch.user.is_some() || launch.sources);
        let outside = if asks { Some(socket_pair(SocketType::SEQPACKET)?) } else { None };
        let (streams, terminal_size) = match stdio {
            Stdio::Files(files) => (Streams::Files(files), None),
            Stdio::Terminal { size } => (Streams::Terminal, size),
        };
        let unprivileged = !rustix::process::geteuid().is_root();
        Ok(Ends {
            gate,
            report_out,
            report_in,
            terminal,
            network,
            listener,
            outside,
            terminal_size,
            streams,
            unprivileged,
            mapped_by_a_user: unprivileged && launch.user.as_ref().is_some_and(|user| !user.joined),
        })
    }

    /// The ends of a child, and what else it works with.
    fn needed<'a>(&'a self, plan: Part<'a>, cgroup: &'a Cgroup) -> impl Iterator<Item = BorrowedFd<'a>> {
        let files: &[OwnedFd] = match &self.streams {
            Streams::Files(files) => files,
            Streams::Terminal | Streams::Taken => &[],
        };
        // The parent's ends too, which are dropped by name right after.
        let terminal = self
            .terminal
            .iter()
            .chain(&self.network)
            .chain(&self.listener)
            .chain(&self.outside)
            .flat_map(|(one, other)| [one, other]);
        let reports = [&self.report_in, &self.report_out];
        let own = files.iter().chain(terminal).chain(reports).chain(&self.gate).map(AsFd::as_fd);
        own.chain(plan.descriptor()).chain(cgroup.descriptors())
    }

    /// In the child: keeps its own ends.
    fn inheritance<'a>(
        self,
        launch: &Launch,
        plan: Part<'a>,
        cgroup: &'a Cgroup,
        joins: bool,
        born_through: Option<BornThrough<'a>>,
    ) -> Inheritance<'a> {
        Inheritance {
            plan,
            cgroup,
            born_in_v2: false,
            streams: self.streams,
            gate: self.gate,
            preserved: launch.preserved,
            terminal_socket: self.terminal.map(|(_, theirs)| theirs),
            network: self.network.map(|(theirs, _)| theirs),
            listener: self.listener.map(|(theirs, _)| theirs),
            outside: self.outside.map(|(_, theirs)| theirs),
            mapped_by_a_user: self.mapped_by_a_user,
            terminal_size: self.terminal_size,
            report: self.report_in,
            leashed: launch.leashed,
            timings: launch.timings,
            joins,
            born_through,
        }
    }

    /// In the parent, of a child that was just born: does for it what it cannot do, and keeps its own ends. What fails ends the child.
    fn attended(
        mut self,
        launch: &Launch,
        plan: Part<'_>,
        cgroup: &Cgroup,
        born_in_v2: bool,
        pid: i32,
        pidfd: OwnedFd,
    ) -> Result<Started, StartError> {
        if let Some((socket, theirs)) = self.outside.take() {
            drop(theirs);
            let streams: &[OwnedFd] = match &self.streams {
                Streams::Files(files) => files,
                Streams::Terminal | Streams::Taken => &[],
            };
            let files: Vec<_> = streams.iter().map(AsFd::as_fd).collect();
            let attended = Attended { pid, pidfd: pidfd.as_fd(), socket: &socket, files: &files, born_in_v2 };
            if let Err(problem) = outside::attend(launch, plan, cgroup, &attended) {
                return Err(give_up(pid, &pidfd, problem));
            }
        }
        Ok(self.finish(pid, pidfd))
    }

    /// In the parent: keeps its own ends.
    fn finish(self, pid: i32, pidfd: OwnedFd) -> Started {
        let Ends { report_out, report_in, terminal, network, listener, .. } = self;
        drop(report_in);
        let terminal = terminal.map(|(ours, _)| Terminal(ours));
        let [network, listener] = [network, listener].map(|word| word.map(|(_, ours)| Connected(ours)));
        Started { pid, pidfd, terminal, network, listener, report: report_out }
    }

    /// In the parent, after an intermediate that has ended and of whose child nothing was heard; both were killed.
    fn failure(self, group: i32) -> StartError {
        drop(self.report_in);
        // Only a freezer keeps a killed process from closing it.
        if !is_any_ready([self.report_out.as_fd()], PollFlags::empty(), PATIENCE) {
            return StartError::Held(PATIENCE);
        }
        reap_group(group);
        match read_report(&mut std::fs::File::from(self.report_out)) {
            Ok(report) => match report.failure {
                Some(failure) if failure != Failure::killed() => StartError::Entry(failure),
                _ => StartError::Misfit("the process that enters the namespaces ended without a word"),
            },
            Err(error) => StartError::System { call: "read the report", error },
        }
    }

    /// The same after one that did not end by itself.
    fn held(self, group: i32) -> StartError {
        drop(self.report_in);
        if is_any_ready([self.report_out.as_fd()], PollFlags::empty(), DYING) {
            reap_group(group);
        }
        StartError::Held(PATIENCE)
    }
}

/// Ends a child for which something could not be done.
fn give_up(pid: i32, pidfd: &OwnedFd, problem: Problem) -> StartError {
    let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), SIGKILL);
    reap(pid, pidfd);
    let Problem { errno, message } = problem;
    StartError::Entry(Failure { step: "await-user-namespace".into(), index: 0, errno, message })
}

fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), StartError> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(|error| StartError::System { call: "socketpair", error: error.into() })
}

/// A number and a descriptor; `None` if the other side ended without sending, or has not sent yet and `flags` say not to wait.
fn receive(socket: &OwnedFd, flags: RecvFlags) -> Option<(i32, OwnedFd)> {
    let mut bytes = [0_u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        let slices = &mut [io::IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, slices, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(_) => return None,
            Ok(_) => break,
        }
    }
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })?;
    Some((i32::from_ne_bytes(bytes), descriptor))
}

/// Reaps a child that is ending. One that cannot even die stays: nobody may be made to wait for it.
fn reap(pid: i32, pidfd: &OwnedFd) {
    if !is_any_ready([pidfd.as_fd()], PollFlags::IN, DYING) {
        let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), SIGKILL);
        is_any_ready([pidfd.as_fd()], PollFlags::IN, DYING);
    }
    while let Err(Errno::INTR) = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {}
}

/// Reaps the child that an intermediate has left in its group, if it has. Its descriptors are closed: nothing can hold it any more.
fn reap_group(group: i32) {
    let id = WaitId::Pgid(Pid::from_raw(group));
    while let Err(Errno::INTR) = rustix::process::waitid(id.clone(), WaitIdOptions::EXITED) {}
}

/// Whether one of these becomes what `wanted` says within a time; a hang-up always counts.
fn is_any_ready<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    wanted: PollFlags,
    within: Duration,
) -> bool {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut poll = descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, wanted));
        match rustix::event::poll(&mut poll, Some(&left)) {
            Err(Errno::INTR) => {}
            Ok(count) => return count > 0,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, older) in [
            ("6.14.11-generic", true),
            ("6.15.0", false),
            ("6.15-rc1", false),
            ("6.2.0", true),
            ("5.19.0-46", true),
            ("7.0", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_older(release, NESTS_DETACHED), older, "{release}");
        }
    }
}
