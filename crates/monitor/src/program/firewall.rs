//! The host's table of networks, watched: should somebody delete it or rules of it (`nft flush ruleset`, a firewall that loads its rules
//! again), it is made again within a second, and nobody types anything. So are the rules that Docker has a place for.
//!
//! Every monitor of a container with a network hears of it; one of them takes the turn ([`onggi_net::turn`]), asks the kernel whether the
//! table is whole, and if it is not has `onggi network rebuild` make it. The others look once more a little later: of the table's elements each
//! monitor knows its own container's alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use onggi_net::instance::Instance;
use onggi_net::nftables::{Change, Watch, docker};
use onggi_net::relay::way_back;
use onggi_net::turn::{self, Watching};
use onggi_net::wire;
use rustix::event::epoll::EventFlags;
use rustix::process::Pid;

use super::poller::{Registered, Token};
use super::{Monitor, monotonic};

/// How long (nanoseconds) after it was first watched the table is looked at: somebody may have flushed it just before, and by then the
/// start that waits for this monitor is over.
const FIRST_LOOK: u64 = 50_000_000;

/// How long (nanoseconds) after another monitor was found at it to look again.
const LOOK_AGAIN: u64 = 300_000_000;

/// A look that fails again and again comes at last every ten seconds.
const MOST_DOUBLINGS: u32 = 5;

/// What the loop knows of the host's firewall.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    /// For what the monitor itself asks and changes.
    pub(super) calls: wire::Firewall,
    /// Of the networks that are watched for.
    run_root: Option<PathBuf>,
    watch: Option<Watch>,
    registered: Registered,
    turn: Option<Turn>,
    /// Another monitor had the turn when this one wanted it.
    was_busy: bool,
    /// The table was just made at this monitor's wish: what it lacks now it does not get by being made once more.
    was_made: bool,
    /// How many looks have failed in a row.
    failures: u32,
    /// When (monotonic nanoseconds) to ask whether the table is whole.
    pub(super) look_at: Option<u64>,
}

/// It is this monitor that sees to the table.
#[derive(Debug)]
struct Turn {
    lock: Watching,
    /// The program that makes the table; none: it waits for its moment.
    program: Option<u32>,
}

impl Monitor<'_> {
    /// Hears of others' changes from now on, if the container has a network.
    pub(super) fn watch_firewall(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        let Some(attachment) = watched.start.networks.first() else { return };
        if self.firewall.watch.is_some() {
            return;
        }
        self.firewall.run_root = Some(attachment.run_root.clone());
        match watched.home.within(Watch::open).and_then(|opened| opened) {
            Ok(watch) => {
                let wanted = Some(EventFlags::IN);
                self.poller.set(&watch, Token::Firewall, &mut self.firewall.registered, wanted);
                self.firewall.watch = Some(watch);
            }
            // The container goes on, and whoever starts another makes the table again.
            Err(error) => watched.problem = Some(format!("watch the firewall: {error}")),
        }
        self.firewall.look_at = Some(monotonic() + FIRST_LOOK);
    }

    /// Somebody else has changed something.
    pub(super) fn firewall_changed(&mut self) {
        let heard = self.firewall.watch.as_ref().is_some_and(Watch::heard);
        // Whoever has the turn looks again in any case.
        if heard && self.firewall.turn.is_none() {
            self.look_at_firewall();
        }
    }

    /// Has the table made again if it is not whole and nobody else sees to it.
    pub(super) fn look_at_firewall(&mut self) {
        self.firewall.look_at = None;
        let Err(error) = self.try_look_at_firewall() else {
            self.firewall.failures = 0;
            return;
        };
        // Nobody else may come to look: the kernel tells of a change once.
        let pause = LOOK_AGAIN << self.firewall.failures.min(MOST_DOUBLINGS);
        self.firewall.failures += 1;
        self.firewall.look_at.get_or_insert(monotonic() + pause);
        if let Some(watched) = &mut self.watched {
            watched.problem = Some(format!("make the firewall's table again: {error}"));
        }
    }

    fn try_look_at_firewall(&mut self) -> Result<(), String> {
        let Some(run_root) = self.firewall.run_root.clone() else { return Ok(()) };
        let text = |error: onggi_net::Error| error.to_string();
        let was_made = std::mem::take(&mut self.firewall.was_made);
        let was_busy = std::mem::take(&mut self.firewall.was_busy);
        let had_turn = self.firewall.turn.take();
        let pause_is_over = had_turn.is_some();
        if was_busy && !pause_is_over && self.firewall_is_whole(&run_root, was_made).map_err(text)? {
            return Ok(());
        }
        let lock = match had_turn {
            Some(turn) => turn.lock,
            None => match turn::watch(&run_root).map_err(text)? {
                Some(lock) => lock,
                None => {
                    self.firewall.was_busy = true;
                    self.firewall.look_at = Some(monotonic() + LOOK_AGAIN);
                    return Ok(());
                }
            },
        };
        if self.firewall_is_whole(&run_root, was_made).map_err(text)? {
            return Ok(());
        }
        let now = monotonic();
        let pause = if pause_is_over { 0 } else { lock.pause(now) };
        let spawned = if pause == 0 { self.spawn_rebuild().map(Some) } else { Ok(None) };
        self.firewall.look_at = match &spawned {
            Ok(Some(_)) => None,
            Ok(None) => Some(now + pause),
            Err(_) => Some(now + lock.pause(now)),
        };
        let (program, failure) =
            spawned.map_or_else(|error| (None, Err(error.to_string())), |id| (id, Ok(())));
        self.firewall.turn = Some(Turn { lock, program });
        failure
    }

    /// Whether the table stands, with what Docker's chain has for this container's bridges, and unless it was `just_made` with the elements that this
    /// container needs. A port that leads elsewhere is another's.
    fn firewall_is_whole(&mut self, run_root: &Path, just_made: bool) -> Result<bool, onggi_net::Error> {
        let Some(watched) = &self.watched else { return Ok(true) };
        let calls = &mut self.firewall.calls;
        let table = Instance::new(run_root).table();
        let networks = watched.start.names.iter().flat_map(|names| &names.networks);
        let internal: Vec<&str> =
            networks.filter(|network| network.internal).map(|network| network.id.as_str()).collect();
        let is_relayed = watched.home.namespace().is_some();
        let is_whole = || {
            let socket = calls.socket()?;
            let mut whole = table.stands(socket)? && (!is_relayed || way_back::stands(socket)?);
            for attachment in &watched.start.networks {
                let (bridge, ipv6) = (attachment.bridge.as_str(), attachment.prefix6 != 0);
                whole = whole && docker::is_admitted(socket, table.name(), bridge, ipv6)?;
                if whole && !just_made {
                    let internal = internal.contains(&attachment.endpoint.network.as_str());
                    let mut elements = vec![Change::Bridge { name: bridge, internal }];
                    elements.extend(Change::of_ports(&attachment.endpoint.published().collect::<Vec<_>>()));
                    whole = table.has(socket, &elements)?;
                }
            }
            Ok(whole)
        };
        watched.home.within(is_whole).and_then(|answer| answer)
    }

    fn spawn_rebuild(&mut self) -> std::io::Result<u32> {
        let start = self.watched.as_ref().map(|watched| &watched.start);
        let Some(start) = start else { return Err(std::io::ErrorKind::NotFound.into()) };
        let mut command = Command::new(&start.finish_program);
        command.args(&start.finish_args).args(["network", "rebuild"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It is no monitor, so the kernel may choose it.
        self.oom_score.restore();
        let child = command.spawn();
        self.oom_score.protect();
        child.map(|child| child.id())
    }

    /// A child without a session has ended.
    pub(super) fn rebuild_ended(&mut self, pid: Pid) {
        let ended = pid.as_raw_nonzero().get().unsigned_abs();
        if self.firewall.turn.as_ref().is_some_and(|turn| turn.program == Some(ended)) {
            // It may have failed, or somebody has flushed once more meanwhile.
            self.firewall.turn = None;
            self.firewall.was_made = true;
            self.look_at_firewall();
        }
    }

    /// The container ends. Should it be this monitor's turn, nobody else will see to it.
    pub(super) fn leave_firewall(&mut self) {
        self.firewall_changed();
        if self.firewall.turn.as_ref().is_some_and(|turn| turn.program.is_none()) {
            // Earlier than it should, and once. It goes on without this monitor.
            let _ = self.spawn_rebuild();
        }
        self.firewall.turn = None;
        self.firewall.look_at = None;
        if let Some(watch) = self.firewall.watch.take() {
            self.poller.set(&watch, Token::Firewall, &mut self.firewall.registered, None);
        }
    }
}
