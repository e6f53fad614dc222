//! The parent's side of a start: cgroup, pipes, clone.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions};

use onggi_cgroup::Cgroup;
use onggi_oci::NamespaceKind;
use onggi_sys::clone::{Clone, Forked, clone3, exit_now};
use onggi_sys::namespace::setns;

use super::child::{self, Inheritance, Streams};
use super::namespaces::flag;
use super::problem::{Doing, Outcome};
use super::procfs::Procfs;
use super::report::{Failure, read_report, write_failure};
use super::{Running, StartError, Stdio, terminal};
use crate::VERSION;
use crate::plan::Launch;

/// `CLONE_PARENT`: the new process is a child of the caller's parent.
const CLONE_PARENT: u64 = 0x8000;

/// Makes the cgroup and starts the child, which reads its steps from `plan`. If this fails, nothing is left.
///
/// # Errors
/// [`StartError`]; what fails later, in the child, comes by [`Running::report`].
pub fn start(launch: &Launch, plan: BorrowedFd<'_>, stdio: Stdio) -> Result<Running, StartError> {
    check(launch, &stdio)?;
    let cgroup = match launch.cgroup.create() {
        Ok(cgroup) => cgroup,
        Err(error) => {
            if let Ok(half) = launch.cgroup.open() {
                // What could not be made is the error that counts.
                let _ = half.remove();
            }
            return Err(StartError::Cgroup(error));
        }
    };
    match start_in(launch, plan, stdio, &cgroup) {
        Ok(Started { pid, pidfd, terminal, report }) => Ok(Running { pid, pidfd, terminal, report, cgroup }),
        Err(error) => {
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

/// Starts another process in a container whose first process is behind `target`. `launch` is that of the process's own plan.
///
/// # Errors
/// As [`start`].
pub fn join(
    target: BorrowedFd<'_>,
    launch: &Launch,
    plan: BorrowedFd<'_>,
    stdio: Stdio,
) -> Result<Running, StartError> {
    check(launch, &stdio)?;
    let cgroup = launch.cgroup.open().map_err(StartError::Cgroup)?;
    let flags = launch.namespaces.iter().fold(0, |flags, namespace| flags | flag(namespace.kind));
    let entry = Entry {
        // Before the namespaces: with `nsdelegate` the kernel compares both cgroups with the cgroup namespace of who moves.
        into: cgroup.v2_dir(),
        flags: 0,
        grandchild_into: None,
        enter: &|| {
            cgroup.join_self().map_err(|error| super::problem::Problem::new(error.to_string()))?;
            setns(target, flags).doing(|| "enter the container's namespaces")
        },
        joins: true,
    };
    let Started { pid, pidfd, terminal, report } = start_through(launch, plan, stdio, &cgroup, &entry)?;
    Ok(Running { pid, pidfd, terminal, report, cgroup })
}

struct Started {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    report: OwnedFd,
}

/// How an intermediate process gets where its child is to be born.
struct Entry<'a> {
    /// Where the intermediate itself is born.
    into: Option<BorrowedFd<'a>>,
    flags: u64,
    grandchild_into: Option<BorrowedFd<'a>>,
    enter: &'a dyn Fn() -> Outcome,
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

fn start_in(
    launch: &Launch,
    plan: BorrowedFd<'_>,
    stdio: Stdio,
    cgroup: &Cgroup,
) -> Result<Started, StartError> {
    let new = |kind: NamespaceKind| {
        launch.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
    };
    // The cgroup namespace is left for when the process is in its cgroup: it shows the one it is made in as the root.
    let kinds = [
        NamespaceKind::Ipc,
        NamespaceKind::Mount,
        NamespaceKind::Network,
        NamespaceKind::Pid,
        NamespaceKind::Uts,
    ];
    let flags = kinds.into_iter().filter(|&kind| new(kind)).fold(0, |flags, kind| flags | flag(kind) as u64);

    let shared_pid = launch.namespaces.iter().find(|namespace| namespace.kind == NamespaceKind::Pid);
    if let Some(path) = shared_pid.and_then(|namespace| namespace.path.as_deref()) {
        let entry = Entry {
            into: None,
            flags,
            grandchild_into: cgroup.v2_dir(),
            enter: &|| super::namespaces::join(NamespaceKind::Pid, path.as_ref()),
            joins: false,
        };
        return start_through(launch, plan, stdio, cgroup, &entry);
    }
    let ends = Ends::new(launch, stdio)?;
    match clone3(&Clone { flags, cgroup: cgroup.v2_dir() }) {
        Err(error) => Err(StartError::System { call: "clone3", error }),
        Ok(Forked::Child) => child::run(ends.inheritance(launch, plan, cgroup, false, None)),
        Ok(Forked::Parent { pid, pidfd }) => ends.finish(pid, pidfd),
    }
}

/// Through an intermediate process that enters the namespaces, of which the pid namespace only takes its children, and gives the
/// caller a child by CLONE_PARENT.
fn start_through(
    launch: &Launch,
    plan: BorrowedFd<'_>,
    stdio: Stdio,
    cgroup: &Cgroup,
    entry: &Entry<'_>,
) -> Result<Started, StartError> {
    let ends = Ends::new(launch, stdio)?;
    let (ours, theirs) = socket_pair()?;
    match clone3(&Clone { flags: 0, cgroup: entry.into }) {
        Err(error) => Err(StartError::System { call: "clone3", error }),
        Ok(Forked::Child) => {
            drop(ours);
            intermediate(ends, &theirs, launch, plan, cgroup, entry)
        }
        Ok(Forked::Parent { pid, pidfd: _ }) => {
            drop(theirs);
            let received = receive(&ours);
            // It ends right after it has sent, or failed.
            wait_for(pid);
            let (process, pidfd) = match received {
                Some((process, pidfd)) => (process, pidfd),
                None => return Err(ends.failure()),
            };
            ends.finish(process, pidfd)
        }
    }
}

fn intermediate(
    ends: Ends,
    socket: &OwnedFd,
    launch: &Launch,
    plan: BorrowedFd<'_>,
    cgroup: &Cgroup,
    entry: &Entry<'_>,
) -> ! {
    let born = child::guard()
        .and_then(|()| Procfs::open().doing(|| "open /proc"))
        .and_then(|procfs| (entry.enter)().map(|()| procfs))
        .and_then(|procfs| {
            let options = Clone { flags: entry.flags | CLONE_PARENT, cgroup: entry.grandchild_into };
            clone3(&options).doing(|| "clone3").map(|forked| (procfs, forked))
        });
    match born {
        Ok((procfs, Forked::Child)) => {
            child::run(ends.inheritance(launch, plan, cgroup, entry.joins, Some(procfs)));
        }
        Ok((_, Forked::Parent { pid, pidfd })) => {
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
    report_out: OwnedFd,
    report_in: OwnedFd,
    terminal: Option<(OwnedFd, OwnedFd)>,
    terminal_size: Option<(u16, u16)>,
    streams: Streams,
}

impl Ends {
    fn new(launch: &Launch, stdio: Stdio) -> Result<Ends, StartError> {
        let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (report_out, report_in) =
            pipe.map_err(|error| StartError::System { call: "pipe2", error: error.into() })?;
        let terminal = if launch.terminal { Some(socket_pair()?) } else { None };
        let (streams, terminal_size) = match stdio {
            Stdio::Files(files) => (Streams::Files(files), None),
            Stdio::Terminal { size } => (Streams::Terminal, size),
        };
        Ok(Ends { report_out, report_in, terminal, terminal_size, streams })
    }

    /// In the child: keeps its own ends.
    fn inheritance<'a>(
        self,
        launch: &Launch,
        plan: BorrowedFd<'a>,
        cgroup: &'a Cgroup,
        joins: bool,
        procfs: Option<Procfs>,
    ) -> Inheritance<'a> {
        Inheritance {
            plan,
            cgroup,
            streams: self.streams,
            terminal_socket: self.terminal.map(|(_, theirs)| theirs),
            terminal_size: self.terminal_size,
            report: self.report_in,
            timings: launch.timings,
            joins,
            procfs,
        }
    }

    /// In the parent: waits for the terminal, if there is to be one.
    fn finish(self, pid: i32, pidfd: OwnedFd) -> Result<Started, StartError> {
        let Ends { report_out, report_in, terminal, .. } = self;
        drop(report_in);
        let terminal = terminal.and_then(|(ours, theirs)| {
            drop(theirs);
            receive(&ours).map(|(_, master)| master)
        });
        Ok(Started { pid, pidfd, terminal, report: report_out })
    }

    /// In the parent, after an intermediate that brought no child.
    fn failure(self) -> StartError {
        drop(self.report_in);
        match read_report(&mut std::fs::File::from(self.report_out)) {
            Ok(report) => report.failure.map_or(
                StartError::Misfit("the process that enters the namespaces ended without a word"),
                StartError::Entry,
            ),
            Err(error) => StartError::System { call: "read the report", error },
        }
    }
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd), StartError> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| StartError::System { call: "socketpair", error: error.into() })
}

/// A number and a descriptor; `None` if the other side ended without sending.
fn receive(socket: &OwnedFd) -> Option<(i32, OwnedFd)> {
    let mut bytes = [0_u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        let slices = &mut [io::IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
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

fn wait_for(pid: i32) {
    while let Err(Errno::INTR) = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()) {}
}
