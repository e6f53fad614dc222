//! Another program in this one's place: the same pid, the same children, the same descriptors, nothing lost.
//!
//! What the monitor holds in memory is written into a memory file whose number the new program is given. Before that, the new one is
//! asked (in a process of its own) whether it understands this form and this protocol, since there is no way back. What waits in
//! sockets and pipes waits for it there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use onggi_error::Kind;
use onggi_sys::descriptor::take_inherited;
use onggi_sys::program::ReadOnlyProgram;
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::attached::Attached;
use super::detach::DetachKeys;
use super::ended::EndedExecs;
use super::isolation::{Isolation, Refusal};
use super::log::{Log, Unfinished};
use super::names::{Names, NamesSnapshot};
use super::networks::{self, Ports};
use super::pace::Pace;
use super::peer::{Peer, Waiting};
use super::poller::Registered;
use super::restart::Lives;
use super::sandbox::Sandbox;
use super::session::{Input, Output, Room, Session};
use super::surroundings::{self, OomScore};
use super::{Monitor, Stop, Watched, monotonic};
use crate::events::Writer;
use crate::protocol::{self, Reply, Start};
use crate::state::State;

/// The argument that asks a program whether it can go on from here; the next one is what it must understand.
pub(super) const CAN_RESUME: &str = "--can-resume";
/// The argument before the number of the memory file.
pub(super) const RESUME: &str = "--resume";
/// The version of [`Snapshot`].
const FORM: u32 = 1;

/// Everything that the monitor holds, descriptors as numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    form: u32,
    protocol: u32,
    peer: u32,
    question: u32,
    oom_score: OomScore,
    next_number: u32,
    peers: Vec<PeerSnapshot>,
    sessions: Vec<SessionSnapshot>,
    attached: Vec<AttachedSnapshot>,
    watched: WatchedSnapshot,
    ended_execs: EndedExecs,
    #[serde(default)]
    names: Option<NamesSnapshot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PeerSnapshot {
    number: u32,
    socket: RawFd,
    queue: VecDeque<Vec<u8>>,
    waits: Vec<Waiting>,
    subscription: Option<u32>,
    finishes: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionSnapshot {
    number: u32,
    id: String,
    command: String,
    pid: i32,
    pidfd: RawFd,
    has_terminal: bool,
    outputs: [Option<RawFd>; 2],
    stdin: Option<InputSnapshot>,
    stdin_once: bool,
    started_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct InputSnapshot {
    descriptor: RawFd,
    pending: Vec<u8>,
    close_when_empty: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct AttachedSnapshot {
    number: u32,
    socket: RawFd,
    session: u32,
    peer: u32,
    question: u32,
    stdin: bool,
    feeds_stdin: bool,
    listening: bool,
    stdout: bool,
    stderr: bool,
    framed: bool,
    keys: DetachKeys,
    already_read: Vec<u8>,
    pending: Vec<u8>,
    closing: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct WatchedSnapshot {
    start: Start,
    directory: RawFd,
    sandbox: RawFd,
    alive: RawFd,
    events: RawFd,
    unfinished: [Unfinished; 2],
    state: State,
    listener: Option<RawFd>,
    memory: Option<RawFd>,
    memory_kills: u64,
    stop: Option<Stop>,
    adopted: bool,
    problem: Option<String>,
    /// The state is not on the disk yet, but in the sandbox. Events that waited are lost.
    #[serde(default)]
    waits: bool,
    #[serde(default)]
    lives: LivesSnapshot,
    /// Sockets that hold published ports.
    #[serde(default)]
    ports: Vec<RawFd>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LivesSnapshot {
    plan: Option<RawFd>,
    pause: u64,
    began: u64,
    again_at: Option<u64>,
}

impl Monitor<'_> {
    pub(super) fn reexec(
        &mut self,
        peer: u32,
        question: u32,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Reply>, Refusal> {
        if descriptors.len() > 1 {
            return Err(refuse(Kind::InvalidInput, "`reexec` takes one descriptor at most".into()));
        }
        if self.sessions.iter().any(|session| !session.is_running())
            || self.watched.as_ref().is_some_and(|watched| watched.ended)
        {
            return Err(refuse(Kind::Conflict, "a process is starting or the container has ended".into()));
        }
        let given = descriptors.into_iter().next();
        let program = match &given {
            Some(descriptor) => PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd())),
            // By its path, not /proc/self/exe: an upgrade has put another file there.
            None => self.program.clone(),
        };
        let guarded = ReadOnlyProgram::open(&program).ok();
        let executed = match &guarded {
            Some(guarded) => PathBuf::from(OsString::from_vec(guarded.path().into_bytes())),
            // An ordinary user may not mount, and could not write the file either.
            None => program.clone(),
        };
        ask(&executed)?;
        let snapshot = self.snapshot(peer, question)?;
        let bytes =
            serde_json::to_vec(&snapshot).map_err(|error| refuse(Kind::Internal, error.to_string()))?;
        let file =
            memory_file(&bytes).map_err(|error| Refusal::io("reexec", "write the snapshot", &error))?;
        onggi_sys::fault::point("monitor.reexec.written");
        let kept = self.keep(Some(file.as_fd()), true);
        // The new program begins as this one was begun.
        let error =
            Command::new(&executed).arg0(&self.program).arg(RESUME).arg(file.as_raw_fd().to_string()).exec();
        // Still here: everything is as it was, but for the marks.
        let unmarked = self.keep(Some(file.as_fd()), false);
        kept.and(unmarked)?;
        Err(Refusal::io("reexec", format!("execute {}", program.display()), &error))
    }

    fn snapshot(&mut self, peer: u32, question: u32) -> Result<Snapshot, Refusal> {
        let Some(watched) = &mut self.watched else {
            return Err(refuse(Kind::Conflict, "there is no container yet".into()));
        };
        Ok(Snapshot {
            form: FORM,
            protocol: protocol::VERSION,
            peer,
            question,
            oom_score: self.oom_score.clone(),
            next_number: self.next_number,
            peers: self.peers.iter().filter(|peer| !peer.gone).map(PeerSnapshot::of).collect(),
            sessions: self.sessions.iter().map(SessionSnapshot::of).collect(),
            attached: self.attached.iter().map(AttachedSnapshot::of).collect(),
            watched: WatchedSnapshot::of(watched),
            ended_execs: self.ended_execs.clone(),
            names: self.names.as_ref().map(Names::snapshot),
        })
    }

    /// Marks everything that the new program takes over to stay open, or not.
    fn keep(&self, file: Option<BorrowedFd<'_>>, kept: bool) -> Result<(), Refusal> {
        let mut all: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        all.extend(self.peers.iter().map(|peer| peer.socket.as_fd()));
        all.extend(self.attached.iter().map(|client| client.socket.as_fd()));
        for session in &self.sessions {
            all.push(session.pidfd.as_fd());
            all.extend(session.outputs.iter().flatten().map(|output| output.descriptor.as_fd()));
            all.extend(session.stdin.iter().map(|input| input.descriptor.as_fd()));
        }
        if let Some(watched) = &self.watched {
            all.extend([
                watched.directory.as_fd(),
                watched.sandbox.directory.as_fd(),
                watched.sandbox.alive.as_fd(),
            ]);
            all.push(watched.events.directory());
            all.extend(watched.ports.descriptors());
            all.extend(
                watched.listener.iter().chain(&watched.memory).chain(&watched.lives.plan).map(AsFd::as_fd),
            );
        }
        all.extend(self.names.iter().flat_map(Names::descriptors));
        let flags = if kept { FdFlags::empty() } else { FdFlags::CLOEXEC };
        for descriptor in all {
            rustix::io::fcntl_setfd(descriptor, flags)
                .map_err(|errno| Refusal::io("reexec", "keep a descriptor", &errno.into()))?;
        }
        Ok(())
    }

    fn restore(
        isolation: &mut dyn Isolation,
        program: PathBuf,
        snapshot: Snapshot,
    ) -> std::io::Result<Monitor<'_>> {
        let mut monitor = Monitor::new(isolation, program)?;
        monitor.oom_score = snapshot.oom_score;
        monitor.next_number = snapshot.next_number;
        monitor.ended_execs = snapshot.ended_execs;
        for peer in snapshot.peers {
            monitor.peers.push(peer.restore()?);
        }
        for session in snapshot.sessions {
            monitor.sessions.push(session.restore()?);
        }
        for client in snapshot.attached {
            monitor.attached.push(client.restore()?);
        }
        let watched = snapshot.watched.restore()?;
        let plan = watched.sandbox.read_plan().and_then(|plan| monitor.isolation.find(&plan));
        let names = snapshot.names.zip(watched.start.names.clone());
        let names = names.map(|(names, config)| names.restore(config)).transpose();
        let home = networks::home(&watched.start.networks);
        monitor.watched = Some(watched);
        match (home, &mut monitor.watched) {
            (Ok(home), Some(watched)) => watched.home = home,
            (Err(refusal), Some(watched)) => watched.problem = Some(refusal.to_string()),
            (_, None) => {}
        }
        // Without it exec and pause fail, and say so; the container and its output go on.
        if let (Err(refusal), Some(watched)) = (plan, &mut monitor.watched) {
            watched.problem = Some(refusal.to_string());
        }
        match (names, &mut monitor.watched) {
            (Ok(names), _) => monitor.names = names,
            (Err(refusal), Some(watched)) => watched.problem = Some(refusal.to_string()),
            (Err(_), None) => {}
        }
        Ok(monitor)
    }

    /// Puts everything into the epoll set.
    fn watch_all(&mut self) {
        self.watch_sandbox();
        self.watch_names();
        self.watch_firewall();
        if let Err(refusal) = self.change_relay()
            && let Some(watched) = &mut self.watched
        {
            watched.problem = Some(refusal.to_string());
        }
        let sessions: Vec<u32> = self.sessions.iter().map(|session| session.number).collect();
        for number in sessions {
            self.watch_process(number);
            self.update_session(number);
        }
        let peers: Vec<u32> = self.peers.iter().map(|peer| peer.number).collect();
        for number in peers {
            self.update_peer(number);
        }
    }
}

/// Goes on where another program stopped.
pub(super) fn resume(isolation: &mut dyn Isolation, program: PathBuf, number: Option<OsString>) -> u8 {
    let snapshot = number.and_then(|number| number.to_str()?.parse().ok()).and_then(read_snapshot);
    let Some(snapshot) = snapshot else { return 125 };
    let (peer, question) = (snapshot.peer, snapshot.question);
    surroundings::leave_caller();
    let Ok(mut monitor) = Monitor::restore(isolation, program, snapshot) else { return 125 };
    monitor.watch_all();
    if let Some(watched) = &mut monitor.watched
        && let Err(refusal) = watched.sandbox.write_identity()
    {
        watched.problem = Some(refusal.to_string());
    }
    monitor.quiet_at = Some(monotonic());
    monitor.answer(peer, question, Reply::Ok);
    onggi_sys::fault::point("monitor.reexec.resumed");
    monitor.run()
}

/// Answers by the exit status whether this program can go on from such a snapshot.
pub(super) fn answer_can_resume(wanted: Option<OsString>) -> u8 {
    u8::from(!wanted.and_then(|wanted| wanted.into_string().ok()).is_some_and(|wanted| can_resume(&wanted)))
}

/// `onggi-monitor --version`: the program's and the protocol's.
pub(super) fn say_version() -> u8 {
    let text = format!("onggi-monitor {} (protocol {})\n", env!("CARGO_PKG_VERSION"), protocol::VERSION);
    u8::from(std::io::stdout().write_all(text.as_bytes()).is_err())
}

/// `form=F,protocol=P`: any that there has been up to this program's own.
fn can_resume(wanted: &str) -> bool {
    let number = |text: Option<&str>, key: &str| text?.strip_prefix(key)?.parse::<u32>().ok();
    let (form, protocol) =
        wanted.split_once(',').map_or((None, None), |(form, protocol)| (Some(form), Some(protocol)));
    number(form, "form=").is_some_and(|form| (1..=FORM).contains(&form))
        && number(protocol, "protocol=").is_some_and(|protocol| (1..=protocol::VERSION).contains(&protocol))
}

fn capability() -> String {
    format!("form={FORM},protocol={}", protocol::VERSION)
}

/// There is no way back from an exec, so the new program is asked first; and then about what nothing can go on from, since a program that
/// says yes to anything (`true`) is no monitor.
fn ask(program: &PathBuf) -> Result<(), Refusal> {
    let answer = |capability: &str| {
        Command::new(program)
            .arg(CAN_RESUME)
            .arg(capability)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| Refusal::io("reexec", format!("execute {}", program.display()), &error))
    };
    let status = answer(&capability())?;
    if !status.success() {
        let message = format!("{} cannot go on from {} ({status})", program.display(), capability());
        return Err(refuse(Kind::Unsupported, message));
    }
    if answer("form=0,protocol=0")?.success() {
        return Err(refuse(Kind::Unsupported, format!("{} is no monitor", program.display())));
    }
    Ok(())
}

fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(rustix::fs::memfd_create("onggi-monitor", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

fn read_snapshot(number: RawFd) -> Option<Snapshot> {
    let mut bytes = Vec::new();
    std::fs::File::from(take_inherited(number).ok()?).read_to_end(&mut bytes).ok()?;
    let snapshot: Snapshot = serde_json::from_slice(&bytes).ok()?;
    // What a later form adds is to be optional here.
    ((1..=FORM).contains(&snapshot.form) && snapshot.protocol <= protocol::VERSION).then_some(snapshot)
}

fn refuse(kind: Kind, message: String) -> Refusal {
    Refusal::new(kind, "reexec", message)
}

impl PeerSnapshot {
    fn of(peer: &Peer) -> PeerSnapshot {
        PeerSnapshot {
            number: peer.number,
            socket: peer.socket.as_raw_fd(),
            queue: peer.queue.clone(),
            waits: peer.waits.clone(),
            subscription: peer.subscription,
            finishes: peer.finishes,
        }
    }

    fn restore(self) -> std::io::Result<Peer> {
        let mut peer = Peer::new(self.number, take_inherited(self.socket)?);
        peer.queue = self.queue;
        peer.waits = self.waits;
        peer.subscription = self.subscription;
        peer.finishes = self.finishes;
        Ok(peer)
    }
}

impl SessionSnapshot {
    fn of(session: &Session) -> SessionSnapshot {
        let number = |output: &Option<Output>| output.as_ref().map(|output| output.descriptor.as_raw_fd());
        SessionSnapshot {
            number: session.number,
            id: session.id.clone(),
            command: session.command.clone(),
            pid: session.pid,
            pidfd: session.pidfd.as_raw_fd(),
            has_terminal: session.has_terminal,
            outputs: [number(&session.outputs[0]), number(&session.outputs[1])],
            stdin: session.stdin.as_ref().map(|input| InputSnapshot {
                descriptor: input.descriptor.as_raw_fd(),
                pending: input.pending.clone(),
                close_when_empty: input.close_when_empty,
            }),
            stdin_once: session.stdin_once,
            started_at: session.started_at.clone(),
        }
    }

    fn restore(self) -> std::io::Result<Session> {
        let [stdout, stderr] = self.outputs.map(|output| output.map(take_inherited).transpose());
        let stdin = match self.stdin {
            None => None,
            Some(input) => Some(Input {
                descriptor: take_inherited(input.descriptor)?,
                registered: Registered::default(),
                pending: input.pending,
                close_when_empty: input.close_when_empty,
                room: Room::UNKNOWN,
            }),
        };
        Ok(Session {
            number: self.number,
            id: self.id,
            command: self.command,
            pid: self.pid,
            pidfd: take_inherited(self.pidfd)?,
            pidfd_registered: Registered::default(),
            has_terminal: self.has_terminal,
            outputs: [stdout?.map(Output::taken_over), stderr?.map(Output::taken_over)],
            pace: Pace::default(),
            stdin,
            stdin_once: self.stdin_once,
            start: None,
            started_at: self.started_at,
        })
    }
}

impl AttachedSnapshot {
    fn of(client: &Attached) -> AttachedSnapshot {
        AttachedSnapshot {
            number: client.number,
            socket: client.socket.as_raw_fd(),
            session: client.session,
            peer: client.peer,
            question: client.question,
            stdin: client.stdin,
            feeds_stdin: client.feeds_stdin,
            listening: client.listening,
            stdout: client.stdout,
            stderr: client.stderr,
            framed: client.framed,
            keys: client.keys.clone(),
            already_read: client.already_read.clone(),
            pending: client.pending.clone(),
            closing: client.closing,
        }
    }

    fn restore(self) -> std::io::Result<Attached> {
        Ok(Attached {
            number: self.number,
            socket: take_inherited(self.socket)?,
            session: self.session,
            peer: self.peer,
            question: self.question,
            stdin: self.stdin,
            feeds_stdin: self.feeds_stdin,
            listening: self.listening,
            stdout: self.stdout,
            stderr: self.stderr,
            framed: self.framed,
            keys: self.keys,
            already_read: self.already_read,
            pending: self.pending,
            closing: self.closing,
            registered: Registered::default(),
        })
    }
}

impl WatchedSnapshot {
    fn of(watched: &mut Watched) -> WatchedSnapshot {
        WatchedSnapshot {
            start: watched.start.clone(),
            directory: watched.directory.as_raw_fd(),
            sandbox: watched.sandbox.directory.as_raw_fd(),
            alive: watched.sandbox.alive.as_raw_fd(),
            events: watched.events.directory().as_raw_fd(),
            unfinished: watched.log.unfinished().clone(),
            state: watched.state.clone(),
            listener: watched.listener.as_ref().map(AsRawFd::as_raw_fd),
            memory: watched.memory.as_ref().map(AsRawFd::as_raw_fd),
            memory_kills: watched.memory_kills,
            stop: watched.stop.clone(),
            adopted: watched.adopted,
            problem: watched.problem.clone(),
            waits: watched.backlog.has_state(),
            ports: watched.ports.numbers(),
            lives: LivesSnapshot {
                plan: watched.lives.plan.as_ref().map(AsRawFd::as_raw_fd),
                pause: watched.lives.pause,
                began: watched.lives.began,
                again_at: watched.lives.again_at,
            },
        }
    }

    fn restore(self) -> std::io::Result<Watched> {
        let directory = take_inherited(self.directory)?;
        let sandbox =
            Sandbox { directory: take_inherited(self.sandbox)?, alive: take_inherited(self.alive)? };
        let events = Writer::new(take_inherited(self.events)?);
        let mut log = Log::open(&directory, &self.start.log)?;
        *log.unfinished() = self.unfinished;
        let mut watched = Watched::new(self.start, directory, sandbox, events, log, self.state);
        watched.listener = self.listener.map(take_inherited).transpose()?;
        watched.memory = self.memory.map(take_inherited).transpose()?;
        watched.memory_kills = self.memory_kills;
        watched.stop = self.stop;
        watched.adopted = self.adopted;
        watched.lives = Lives {
            plan: self.lives.plan.map(take_inherited).transpose()?,
            pause: self.lives.pause,
            began: self.lives.began,
            again_at: self.lives.again_at,
            // No new program while one begins.
            held: Vec::new(),
        };
        watched.problem = self.problem;
        watched.ports = Ports::restore(self.ports)?;
        watched.backlog = super::backlog::Backlog::with_state(self.waits);
        Ok(watched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_goes_on_from_its_own_form_and_from_older_ones() {
        assert!(can_resume(&capability()));
        assert!(can_resume("form=1,protocol=1"));
        for wanted in [
            "form=0,protocol=0",
            "form=999,protocol=1",
            "form=1,protocol=999",
            "form=1",
            "",
            "protocol=1,form=1",
        ] {
            assert!(!can_resume(wanted), "{wanted:?}");
        }
        assert_eq!(answer_can_resume(None), 1);
    }
}
