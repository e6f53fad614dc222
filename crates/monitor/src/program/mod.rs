//! The program `onggi-monitor`: one thread, one epoll set, everything it holds in one structure.
//!
//! This file has the loop and who hears what; each kind of act has a file of its own. It knows a container only through
//! [`isolation::Isolation`].

mod adopt;
mod attached;
mod backlog;
mod container;
mod detach;
mod end;
mod ended;
mod exec;
mod firewall;
pub mod isolation;
mod log;
mod names;
mod networks;
mod pace;
mod peer;
mod poller;
mod pump;
mod reexec;
mod relay;
mod requests;
mod restart;
mod sandbox;
mod session;
mod start;
mod streams;
mod surroundings;
mod update;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use onggi_net::home::Home;
use onggi_sys::signal_queue::SignalQueue;
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Moment;
use crate::events::{Event, Writer};
use crate::protocol::{CONTROL_DESCRIPTOR, Reply, Start};
use crate::state::State;
use attached::Attached;
use backlog::Backlog;
use ended::EndedExecs;
use firewall::Firewall;
use isolation::Isolation;
use names::Names;
use peer::Peer;
use poller::{Poller, Ready, Registered, Token};
use relay::Relaying;
use sandbox::Sandbox;
use session::Session;
use surroundings::OomScore;

pub use container::Container as Namespaces;

/// A quiet moment of this length (nanoseconds) gives memory back to the kernel.
const QUIET: u64 = 50_000_000;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing is left to do.
    Exit,
    /// The container has to be removed.
    Finish,
}

/// Everything that the monitor holds.
#[derive(Debug)]
struct Monitor<'a> {
    isolation: &'a mut dyn Isolation,
    poller: Poller,
    /// Says that some child has ended.
    endings: SignalQueue,
    /// Some child has ended, and it may be one without a session.
    strays_due: bool,
    /// The path that this program was executed by.
    program: PathBuf,
    oom_score: OomScore,
    /// The next session, stream or peer. Numbers are never used again, so an event can not reach a successor.
    next_number: u32,
    peers: Vec<Peer>,
    sessions: Vec<Session>,
    attached: Vec<Attached>,
    watched: Option<Watched>,
    ended_execs: EndedExecs,
    names: Option<Names>,
    firewall: Firewall,
    relay: Option<Relaying>,
    /// For whatever passes through; empty in quiet moments.
    buffer: Vec<u8>,
    /// When (monotonic nanoseconds) to give memory back.
    quiet_at: Option<u64>,
    /// When to look at the listener again, after descriptors had run out.
    listen_again_at: Option<u64>,
    outcome: Option<Outcome>,
}

/// The container, from its start to its end.
#[derive(Debug)]
struct Watched {
    start: Start,
    directory: OwnedFd,
    sandbox: Sandbox,
    events: Writer,
    log: log::Log,
    state: State,
    /// `None` once the end has been recorded.
    listener: Option<OwnedFd>,
    listener_registered: Registered,
    memory: Option<OwnedFd>,
    memory_registered: Registered,
    memory_kills: u64,
    stop: Option<Stop>,
    /// Where the bridges of the container's networks are.
    home: Home,
    ports: networks::Ports,
    lives: restart::Lives,
    adopted: bool,
    /// The end is known: on the disk, or in the backlog.
    ended: bool,
    backlog: Backlog,
    /// The container's lock, until its state says that it runs: the command that gave it may die before.
    start_lock: Option<OwnedFd>,
    /// The last thing that went wrong and that nobody was there to be told.
    problem: Option<String>,
    parts: Vec<(String, u64)>,
}

/// A stop that was asked for.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct Stop {
    /// When (monotonic nanoseconds) to kill.
    deadline: Option<u64>,
    /// Peers and their questions.
    asked: Vec<(u32, u32)>,
}

/// Runs the program to its end and returns its exit status.
pub fn run(isolation: &mut dyn Isolation) -> u8 {
    let mut arguments = std::env::args_os();
    let program = arguments.next().map(PathBuf::from).unwrap_or_default();
    let mode = arguments.next();
    match mode.as_ref().and_then(|mode| mode.to_str()) {
        None => {}
        Some("--version") => return reexec::say_version(),
        Some(reexec::CAN_RESUME) => return reexec::answer_can_resume(arguments.next()),
        Some(reexec::RESUME) => return reexec::resume(isolation, program, arguments.next()),
        Some(_) => return 125,
    }
    // Whatever else the spawner had inherited and not marked.
    let _ = onggi_sys::process::close_range(CONTROL_DESCRIPTOR.unsigned_abs() + 1, u32::MAX);
    surroundings::leave_caller();
    let Ok(control) = onggi_sys::descriptor::take_inherited(CONTROL_DESCRIPTOR) else {
        // Started by hand: there is nobody to serve, and nowhere to say so but here.
        return 125;
    };
    let Ok(mut monitor) = Monitor::new(isolation, program) else { return 125 };
    let number = monitor.number();
    monitor.peers.push(Peer::new(number, control));
    monitor.update_peer(number);
    monitor.run()
}

impl<'a> Monitor<'a> {
    fn new(isolation: &'a mut dyn Isolation, program: PathBuf) -> std::io::Result<Monitor<'a>> {
        // What passes through in pieces this large goes back to the kernel when it is freed.
        onggi_sys::memory::return_blocks_from(16 * 1024);
        let poller = Poller::new()?;
        let endings = SignalQueue::block(&[Signal::CHILD.as_raw()])?;
        poller.set(&endings, Token::Endings, &mut Registered::default(), Some(Ready::IN));
        Ok(Monitor {
            isolation,
            poller,
            endings,
            // One that has ended while another program was in this place.
            strays_due: true,
            program,
            oom_score: OomScore::read(),
            next_number: session::MAIN + 1,
            peers: Vec::new(),
            sessions: Vec::new(),
            attached: Vec::new(),
            watched: None,
            ended_execs: EndedExecs::default(),
            names: None,
            firewall: Firewall::default(),
            relay: None,
            buffer: Vec::new(),
            quiet_at: None,
            listen_again_at: None,
            outcome: None,
        })
    }

    fn run(&mut self) -> u8 {
        while self.outcome.is_none() {
            if self.poller.wait(self.timeout()).is_err() {
                // Only a bug gets here (a closed descriptor); the container goes on and can be adopted.
                return 125;
            }
            while let Some((token, ready)) = self.poller.next() {
                self.dispatch(token, ready);
                self.quiet_at = Some(monotonic() + QUIET);
            }
            self.reap_strays();
            self.keep_deadlines();
            self.forget_gone_peers();
            self.leave_if_done();
        }
        match self.outcome {
            Some(Outcome::Finish) => self.finish(),
            _ => 0,
        }
    }

    fn dispatch(&mut self, token: Token, ready: Ready) {
        match token {
            Token::Listener => self.accept(),
            Token::Memory => self.memory_ran_out(),
            Token::Names => self.serve_names(),
            Token::Relay => self.serve_relay(),
            Token::Endings => self.some_child_ended(),
            Token::Firewall => self.firewall_changed(),
            Token::Peer(number) => {
                self.hear(number, ready);
            }
            Token::Process(number) => self.process_ended(number),
            Token::Report(number) => self.read_report(number),
            Token::Stdout(number) => self.output_ready(number, log::Stream::Stdout),
            Token::Stderr(number) => self.output_ready(number, log::Stream::Stderr),
            Token::Stdin(number) => self.input_ready(number),
            Token::Attached(number) => self.attached_ready(number, ready),
        }
    }

    fn timeout(&self) -> Option<u64> {
        let stop = self.watched.as_ref().and_then(|watched| watched.stop.as_ref()?.deadline);
        let backlog = self.watched.as_ref().and_then(|watched| watched.backlog.again_at);
        let restart = self.watched.as_ref().and_then(|watched| watched.lives.again_at);
        let names = self.names.as_ref().and_then(|names| names.server.deadline());
        let relay = self.relay.as_ref().and_then(|relaying| relaying.relay.deadline());
        let firewall = self.firewall.look_at;
        let next = [stop, backlog, restart, names, relay, firewall, self.quiet_at, self.listen_again_at];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_sub(monotonic()))
    }

    fn keep_deadlines(&mut self) {
        let now = monotonic();
        if self.quiet_at.is_some_and(|at| at <= now) {
            self.quiet_at = None;
            self.buffer = Vec::new();
            self.sessions.iter_mut().for_each(Session::rest);
            if let Some(watched) = &mut self.watched {
                watched.log.shrink();
            }
            if let Some(names) = &mut self.names {
                names.server.rest();
            }
            if let Some(relaying) = &mut self.relay {
                relaying.relay.rest();
            }
            onggi_sys::memory::trim();
            onggi_sys::memory::release_stack();
        }
        if self.listen_again_at.is_some_and(|at| at <= now) {
            self.listen_again_at = None;
            self.watch_sandbox();
        }
        if self.watched.as_ref().and_then(|watched| watched.backlog.again_at).is_some_and(|at| at <= now) {
            self.write_backlog();
        }
        if self.watched.as_ref().and_then(|watched| watched.lives.again_at).is_some_and(|at| at <= now) {
            self.start_again();
        }
        if self.names.as_ref().and_then(|names| names.server.deadline()).is_some_and(|at| at <= now) {
            self.serve_names();
            self.quiet_at = Some(now + QUIET);
        }
        if self.firewall.look_at.is_some_and(|at| at <= now) {
            self.look_at_firewall();
        }
        if self.relay.as_ref().and_then(|relaying| relaying.relay.deadline()).is_some_and(|at| at <= now) {
            self.serve_relay();
            self.quiet_at = Some(now + QUIET);
        }
        let stop = self.watched.as_mut().and_then(|watched| watched.stop.as_mut());
        if let Some(stop) = stop
            && stop.deadline.is_some_and(|at| at <= now)
        {
            stop.deadline = None;
            self.kill_for_stop();
        }
    }

    /// Once the end is recorded, all that is left is to hand over the rest of the output and the answers.
    fn leave_if_done(&mut self) {
        let Some(watched) = &self.watched else { return };
        let quiet =
            self.attached.is_empty() && self.peers.iter().all(|peer| peer.queue.is_empty() && !peer.finishes);
        if !watched.ended || !quiet || self.outcome.is_some() {
            return;
        }
        // Who asked something in this very moment gets an answer; a socket closed on unread questions would tell of a broken one.
        let peers: Vec<u32> = self.peers.iter().map(|peer| peer.number).collect();
        if peers.into_iter().any(|peer| self.hear(peer, Ready::IN)) {
            return;
        }
        let Some(watched) = &self.watched else { return };
        // A client that took over the removal may have been killed before it was done.
        let there = rustix::fs::fstat(&watched.directory).is_ok_and(|stat| stat.st_nlink > 0);
        if there && watched.must_stay() {
            return;
        }
        let finish = watched.start.finish && there;
        if !finish {
            self.leave_sandbox();
        }
        self.outcome = Some(if finish { Outcome::Finish } else { Outcome::Exit });
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number - 1
    }

    fn peer(&mut self, number: u32) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.number == number)
    }

    fn session(&mut self, number: u32) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.number == number)
    }

    fn answer(&mut self, peer: u32, question: u32, reply: Reply) {
        if let Some(peer) = self.peer(peer) {
            peer.answer(question, reply);
        }
        self.update_peer(peer);
    }

    /// Appends an event to the log and tells who has subscribed.
    fn emit(&mut self, action: &str, extra: &[(&str, String)]) {
        let Some(watched) = &mut self.watched else { return };
        let mut attributes: BTreeMap<String, String> = watched.start.attributes.clone();
        attributes.insert("name".into(), watched.start.name.clone());
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let event = Event::at(Moment::now(), "container", action, &watched.start.id, attributes);
        self.publish(&event);
    }

    /// Of a network: its id and name.
    fn emit_network(&mut self, action: &str, [(_, id), name]: [(String, String); 2]) {
        let Some(watched) = &self.watched else { return };
        let container = ("container".to_owned(), watched.start.id.clone());
        let attributes = BTreeMap::from([container, name, ("type".to_owned(), "bridge".to_owned())]);
        self.publish(&Event::at(Moment::now(), "network", action, &id, attributes));
    }

    fn publish(&mut self, event: &Event) {
        let Some(watched) = &mut self.watched else { return };
        watched.write_event(event.line());
        let subscribed: Vec<(u32, u32)> =
            self.peers.iter().filter_map(|peer| Some((peer.number, peer.subscription?))).collect();
        for (peer, question) in subscribed {
            self.answer(peer, question, Reply::Event { event: Box::new(event.clone()) });
        }
    }

    fn write_state(&mut self, durability: crate::protocol::Durability) {
        if let Some(watched) = &mut self.watched {
            watched.write_state(durability);
        }
    }
}

/// Nanoseconds on the clock that nobody sets.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
