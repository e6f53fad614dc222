//! The form in which one program hands the other what it holds: descriptors as numbers, the rest as it is.
//!
//! What a later form adds must be optional here, since an older program's snapshot lacks it.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};

use onggi_sys::descriptor::take_inherited;
use serde::{Deserialize, Serialize};

use crate::events::Writer;
use crate::program::attached::Attached;
use crate::program::backlog::Backlog;
use crate::program::detach::DetachKeys;
use crate::program::ended::EndedExecs;
use crate::program::log::{Log, Unfinished};
use crate::program::names::NamesSnapshot;
use crate::program::networks::Ports;
use crate::program::pace::Pace;
use crate::program::peer::{Peer, Waiting};
use crate::program::poller::Registered;
use crate::program::restart::Lives;
use crate::program::sandbox::Sandbox;
use crate::program::session::{Input, Output, Room, Session};
use crate::program::surroundings::OomScore;
use crate::program::{Stop, Watched};
use crate::protocol::Start;
use crate::state::State;

/// Everything that the monitor holds, descriptors as numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) form: u32,
    pub(super) protocol: u32,
    pub(super) peer: u32,
    pub(super) question: u32,
    pub(super) oom_score: OomScore,
    pub(super) next_number: u32,
    pub(super) peers: Vec<PeerSnapshot>,
    pub(super) sessions: Vec<SessionSnapshot>,
    pub(super) attached: Vec<AttachedSnapshot>,
    pub(super) watched: WatchedSnapshot,
    pub(super) ended_execs: EndedExecs,
    #[serde(default)]
    pub(super) names: Option<NamesSnapshot>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PeerSnapshot {
    number: u32,
    socket: RawFd,
    queue: VecDeque<Vec<u8>>,
    waits: Vec<Waiting>,
    subscription: Option<u32>,
    finishes: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionSnapshot {
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
pub(super) struct AttachedSnapshot {
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
pub(super) struct WatchedSnapshot {
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

impl PeerSnapshot {
    pub(super) fn of(peer: &Peer) -> PeerSnapshot {
        PeerSnapshot {
            number: peer.number,
            socket: peer.socket.as_raw_fd(),
            queue: peer.queue.clone(),
            waits: peer.waits.clone(),
            subscription: peer.subscription,
            finishes: peer.finishes,
        }
    }

    pub(super) fn restore(self) -> std::io::Result<Peer> {
        let mut peer = Peer::new(self.number, take_inherited(self.socket)?);
        peer.queue = self.queue;
        peer.waits = self.waits;
        peer.subscription = self.subscription;
        peer.finishes = self.finishes;
        Ok(peer)
    }
}

impl SessionSnapshot {
    pub(super) fn of(session: &Session) -> SessionSnapshot {
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

    pub(super) fn restore(self) -> std::io::Result<Session> {
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
    pub(super) fn of(client: &Attached) -> AttachedSnapshot {
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

    pub(super) fn restore(self) -> std::io::Result<Attached> {
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
    pub(super) fn of(watched: &mut Watched) -> WatchedSnapshot {
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

    pub(super) fn restore(self) -> std::io::Result<Watched> {
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
        watched.backlog = Backlog::with_state(self.waits);
        Ok(watched)
    }
}
