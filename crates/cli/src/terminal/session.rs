//! Stays with a process until it ends or the person leaves it: streams, size of the terminal, signals.
//!
//! The main thread waits for the end, one thread copies the output, one the input, one reads signals. All
//! of them but the main thread are left behind when the program ends.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use onggi_engine::{Controller, Session};
use onggi_sys::signal_queue::HIGHEST;

use super::held::Held;
use super::raw::{self, RawMode};
use super::streams::{self, Ended};
use crate::context::Context;
use crate::error::CliError;

/// What the person's end wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// Pass standard input on.
    pub(crate) stdin: bool,
    /// Pass received signals on, when there is no terminal that turns keys into signals by itself.
    pub(crate) proxy_signals: bool,
    /// Coming back to a terminal: have what is on it drawn again.
    pub(crate) redraw: bool,
    /// It is an exec session, to which nobody can come back.
    pub(crate) exec: bool,
}

const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;
const SIGHUP: i32 = 1;
const SIGPIPE: i32 = 13;
const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;

/// What ends a program that does not listen for it, and what people and service managers end programs by.
pub(super) const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The exit code of a client that could not write the output of a program that ended well: a failure of Onggi's own.
const OUTPUT_LOST: u8 = 125;

/// So many SIGINT or SIGTERM end a client whose container does not end (Docker's number).
const ENOUGH: u32 = 3;

/// Follows the session. The exit code is the process's, 0 after detaching. `signals`: those that were held back since it began.
pub(crate) fn follow(
    context: &Context,
    mut session: Session,
    wishes: Wishes,
    signals: Arc<Held>,
) -> Result<u8, CliError> {
    if !session.tty && !wishes.proxy_signals {
        signals.release();
    }
    let raw = if session.tty && wishes.stdin { Some(RawMode::enter()?) } else { None };
    let controller = session.controller();
    let (tty, name) = (session.tty, session.name.clone());
    if tty {
        if wishes.redraw {
            // Programs draw themselves again when the size changes, and only then.
            resize(&controller, 1);
        }
        // The terminal may have changed since the request was made.
        resize(&controller, 0);
    }
    let watched = name.clone();
    let early = signals.take_early();
    spawn("signals", move || watch(early, &signals, &controller, &watched, tty))?;
    let output = match session.stream.take() {
        Some(stream) => Some(connect(stream, tty, wishes.stdin)?),
        None => None,
    };
    let end = session.wait();
    let ended = output.map(JoinHandle::join);
    drop(raw);
    let end = end?;
    let lost = matches!(ended, Some(Ok(Ended::Failed(_))));
    if let Some(Ok(Ended::Failed(problem))) = ended {
        context.warn(&problem);
    }
    if end.detached {
        let after = if wishes.exec {
            "it runs on, and ends with the container".to_owned()
        } else {
            format!("`onggi attach {name}` comes back")
        };
        context.complain(&format!("\ndetached; {after}\n"));
        return Ok(0);
    }
    if let Some(problem) = end.error {
        context.warn(&problem);
    }
    Ok(match u8::try_from(end.code).unwrap_or(255) {
        // The program did well, and yet what it wrote is not where it was sent: `onggi run db dump >backup` on a full disk.
        0 if lost => OUTPUT_LOST,
        code => code,
    })
}

/// Starts the copying threads; the output's is waited for at the end.
fn connect(stream: UnixStream, tty: bool, stdin: bool) -> Result<JoinHandle<Ended>, CliError> {
    if stdin {
        let sink = stream.try_clone().map_err(|error| CliError::io("share the stream", &error))?;
        if let Some(mut input) = own(io::stdin().as_fd()) {
            spawn("input", move || streams::copy_input(&mut input, &sink))?;
        } else {
            // Standard input is closed: the program's is at its end from the start.
            streams::copy_input(&mut io::empty(), &sink);
        }
    }
    let mut stream = stream;
    spawn("output", move || {
        let mut out = sink(own(io::stdout().as_fd()));
        let ended = if tty {
            streams::copy_raw(&mut stream, &mut out)
        } else {
            let mut err = sink(own(io::stderr().as_fd()));
            streams::copy_framed(&mut stream, &mut out, &mut err)
        };
        if ended == Ended::NobodyReads {
            // As any program at the head of a pipe that broke. The container goes on, as with Docker.
            raw::restore();
            leave(SIGPIPE);
        }
        ended
    })
}

/// The descriptor as a file without the standard library's line buffering. `None` if it is closed.
fn own(descriptor: std::os::fd::BorrowedFd<'_>) -> Option<File> {
    descriptor.try_clone_to_owned().ok().map(File::from)
}

fn sink(file: Option<File>) -> Box<dyn Write + Send> {
    match file {
        Some(file) => Box::new(file),
        None => Box::new(io::sink()),
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, CliError> {
    // The buffers are on the heap.
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(256 << 10);
    builder.spawn(work).map_err(|error| CliError::io("start a thread", &error))
}

/// Without a terminal, all that can be caught but what this program's own life is about. With one, only
/// what must put the terminal back first, and its size.
pub(super) fn watched(tty: bool, proxy: bool) -> Vec<i32> {
    if tty {
        return [&ENDING[..], &[SIGWINCH]].concat();
    }
    if !proxy {
        return Vec::new();
    }
    const SYNCHRONOUS: [i32; 5] = [4, 5, 7, 8, 11]; // SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV: our own faults.
    const UNCATCHABLE: [i32; 2] = [9, 19];
    const RESERVED: [i32; 2] = [32, 33]; // The C library's own, for threads.
    (1..=HIGHEST)
        .filter(|n| ![SIGCHLD, SIGPIPE, SIGURG].contains(n))
        .filter(|n| !SYNCHRONOUS.contains(n) && !UNCATCHABLE.contains(n) && !RESERVED.contains(n))
        .collect()
}

/// Passes signals on, first those that came `early`: while the process began.
fn watch(early: Vec<i32>, signals: &Held, controller: &Controller, name: &str, tty: bool) {
    let mut insisted = 0;
    let mut early = early.into_iter();
    loop {
        let (signal, is_early) = match early.next() {
            Some(signal) => (signal, true),
            None => match signals.next() {
                Ok(signal) => (signal, false),
                Err(_) => return,
            },
        };
        // Before the terminal was in raw mode its keys were signals to this program, and were meant for the container's.
        let is_key = is_early && matches!(signal, SIGINT | SIGQUIT);
        if tty && !is_key {
            if signal == SIGWINCH {
                resize(controller, 0);
                continue;
            }
            raw::restore();
            leave(signal);
        }
        if matches!(signal, SIGINT | SIGTERM) {
            insisted += 1;
        }
        // It fails when the process has ended; then the main thread is about to say so.
        let _ = controller.signal(signal);
        if insisted >= ENOUGH {
            let words = format!(
                "\ngot {ENOUGH} SIGTERM/SIGINTs, forcefully exiting; the container \"{name}\" goes on\n"
            );
            let _ = io::stderr().lock().write_all(words.as_bytes());
            leave(signal);
        }
    }
}

/// Ends this program and not the container, from whatever thread.
#[expect(clippy::exit, reason = "the main thread waits for a process that may never end")]
fn leave(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

fn resize(controller: &Controller, more: u16) {
    if let Some((rows, columns)) = raw::size() {
        // It fails when the process has ended.
        let _ = controller.resize(rows.saturating_add(more), columns.saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_signals_are_passed_on() {
        let all = watched(false, true);
        for signal in [1, 2, 3, 10, 12, 15, 18, 20, 28, 34, 64] {
            assert!(all.contains(&signal), "{signal}");
        }
        for signal in [SIGCHLD, SIGPIPE, SIGURG, 9, 19, 11, 32, 33] {
            assert!(!all.contains(&signal), "{signal}");
        }
        assert!(watched(true, true).contains(&SIGWINCH));
        assert!(watched(false, false).is_empty());
    }
}
