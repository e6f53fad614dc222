//! Another program in this one's place: the same pid, the same children, the same descriptors, nothing lost.
//!
//! What the monitor holds in memory is written into a memory file whose number the new program is given. Before that, the new one is
//! asked (in a process of its own) whether it understands this form and this protocol, since there is no way back. What waits in
//! sockets and pipes waits for it there.

mod snapshot;

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

use self::snapshot::{AttachedSnapshot, PeerSnapshot, SessionSnapshot, Snapshot, WatchedSnapshot};
use super::isolation::{Isolation, Refusal};
use super::names::Names;
use super::{Monitor, monotonic, networks, surroundings};
use crate::protocol::{self, Reply};

/// The argument that asks a program whether it can go on from here; the next one is what it must understand.
pub(super) const CAN_RESUME: &str = "--can-resume";
/// The argument before the number of the memory file.
pub(super) const RESUME: &str = "--resume";
/// The version of [`Snapshot`].
const FORM: u32 = 1;

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
