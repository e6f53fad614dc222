//! The fault switch: kills the program at a named step, so that tests can prove that any step may be the last.
//!
//! `ONGGI_FAULT=store.load.renamed` kills at the first passage of that point, `…:3` at the third. `ONGGI_FAULT_TRACE=FILE`
//! appends the name of each point passed, one a line, so that a test can list the points of an act before it kills at each.
//! With `ONGGI_FAULT_SIGNAL=2` the program sends itself that signal there instead, and goes on if it outlives it (2: a person's Ctrl-C at
//! that very step; 19: it stops until somebody continues it). Without any of the variables a point costs one load of an initialised cell.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

#[derive(Debug)]
struct Switch {
    name: Option<String>,
    passages_left: AtomicU32,
    signal: Option<Signal>,
    trace: Option<std::ffi::OsString>,
}

static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

/// A numbered step of an act that writes. Name it `<room>.<act>.<what has just been done>`.
pub fn point(name: &str) {
    let Some(switch) = SWITCH.get_or_init(read_environment) else { return };
    if let Some(path) = &switch.trace {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        // A trace that cannot be written must not change what is traced.
        let _ = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
    }
    if switch.name.as_deref() == Some(name) && switch.passages_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let own = rustix::process::getpid();
        if let Some(signal) = switch.signal {
            let _ = rustix::process::kill_process(own, signal);
            return;
        }
        let _ = rustix::process::kill_process(own, Signal::KILL);
        // The first process of a namespace does not die by its own signals.
        std::process::exit(137);
    }
}

fn read_environment() -> Option<Switch> {
    let fault = std::env::var("ONGGI_FAULT").ok();
    let trace = std::env::var_os("ONGGI_FAULT_TRACE");
    if fault.is_none() && trace.is_none() {
        return None;
    }
    let (name, passages) = match fault {
        None => (None, 0),
        Some(text) => match text.rsplit_once(':').and_then(|(name, n)| Some((name, n.parse().ok()?))) {
            Some((name, n)) => (Some(name.to_owned()), n),
            None => (Some(text), 1),
        },
    };
    let signal = std::env::var("ONGGI_FAULT_SIGNAL").ok();
    let signal = signal.and_then(|number| Signal::from_named_raw(number.parse().ok()?));
    Some(Switch { name, passages_left: AtomicU32::new(passages), signal, trace })
}
