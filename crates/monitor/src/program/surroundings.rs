//! How the monitor leaves its caller: directory, umask, session, signals, name, control groups, and the kernel's list of whom to
//! kill first.

use std::fs;

use onggi_error::Diagnose;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::isolation::Refusal;
use crate::client::CGROUP;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// One above "never" (-1000), so that a monitor that is itself the leak can still be killed.
const PROTECTED: &str = "-999";

/// The first thing a monitor does. Its session and its signals the spawner has arranged already; a monitor started by hand gets
/// its own here.
pub(crate) fn leave_caller() {
    // Each of these fails only where it is not needed: no root directory, already a session's leader.
    let _ = rustix::process::chdir("/");
    let _ = rustix::process::setsid();
    // The signals that end a session or a machine go to the container's processes as well; the monitor has to see how those end.
    // A child begins with none blocked.
    onggi_sys::process::block_signals();
    // The container's processes begin with it, as Docker's do.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    set_name();
}

/// After a re-execution by descriptor the kernel would call it by the descriptor's number.
fn set_name() {
    let _ = rustix::thread::set_name(c"onggi-monitor");
}

/// Moves into the monitors' own cgroup, since whoever ends the caller's session kills its cgroup. An ordinary user may not, where
/// nothing was delegated to him, and stays.
pub(crate) fn join_cgroup() -> Result<(), Refusal> {
    match move_into_cgroup() {
        Err(error) if rustix::process::geteuid().is_root() => {
            let message = format!("leave the caller's cgroup for {CGROUP}: {error}");
            Err(Refusal::new(error.kind(), "monitor.cgroup", message))
        }
        _ => Ok(()),
    }
}

fn move_into_cgroup() -> Result<(), onggi_cgroup::Error> {
    let layout = onggi_cgroup::detect()?;
    let joined = onggi_cgroup::Cgroup::open(&layout, CGROUP).and_then(|group| group.join_self());
    if joined.is_ok() {
        return Ok(());
    }
    // The first monitor since the boot, or one was killed while it made the group.
    onggi_cgroup::plan(&layout, CGROUP, &onggi_oci::Resources::default())?.ensure()?.join_self()
}

/// The value of `oom_score_adj` that the monitor was started with. Its children begin with it, unless their plan says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OomScore(String);

impl OomScore {
    pub(crate) fn read() -> OomScore {
        OomScore(fs::read_to_string(OOM_SCORE).map_or_else(|_| "0".into(), |text| text.trim().to_owned()))
    }

    /// Before a child is made, or another program takes this one's place.
    pub(crate) fn restore(&self) {
        set_oom_score(&self.0);
    }

    /// The kernel shall not choose the monitor.
    pub(crate) fn protect(&self) {
        set_oom_score(PROTECTED);
    }
}

/// Only root may lower it; without, the monitor is as likely to be killed as its caller, and the container is adopted then.
fn set_oom_score(value: &str) {
    let _ = fs::write(OOM_SCORE, value);
}
