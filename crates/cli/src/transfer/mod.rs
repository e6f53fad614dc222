//! What a person sees of images that come and go (pull, push, load, import, save), and how Ctrl-C ends it.
//!
//! On a terminal each layer has a line with a bar. Elsewhere there are Docker's lines, one for each thing that happens, which scripts read; or, if that was
//! asked for, JSON, which programs read.

mod input;
mod pace;
mod row;
mod screen;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onggi_engine::{LayerStep, TransferWatch};
use onggi_image::Digest;
use onggi_registry::Watch;
use onggi_store::Progress;
use onggi_sys::signal_queue::SignalQueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::error::CliError;
use crate::flags::progress::Form;
use crate::output::human::short_digests;
use crate::output::messages;
use crate::output::plain::plain;
pub(crate) use input::Interruptible;
use screen::{Screen, What};

/// Which way the layers go: the words differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Pull,
    Push,
    Load,
    Import,
    Save,
}

impl Way {
    /// What is done with a layer's bytes.
    fn moving(self) -> &'static str {
        match self {
            Way::Pull => "Downloading",
            Way::Push => "Pushing",
            Way::Load => "Loading",
            Way::Import => "Importing",
            Way::Save => "Saving",
        }
    }

    /// The same when it is done.
    fn done(self) -> &'static str {
        match self {
            Way::Pull => "Pull complete",
            Way::Push => "Pushed",
            Way::Load => "Loaded",
            Way::Import => "Imported",
            Way::Save => "Saved",
        }
    }

    /// Docker tells in lines of each layer that a registry has to do with, and of no others.
    fn has_lines(self) -> bool {
        matches!(self, Way::Pull | Way::Push)
    }
}

/// What standard output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdout {
    /// What is said here.
    Ours,
    /// Something else, such as the output of a container: what is said here goes to standard error.
    Others,
}

/// See the module's text. Shared by the threads of a transfer.
#[derive(Debug)]
pub(crate) struct Transfer {
    way: Way,
    form: Form,
    stdout: Stdout,
    /// What the one thing that comes is called, where its maker gives it no name.
    title: Option<String>,
    screen: Option<Mutex<Screen>>,
    signals: Mutex<Option<SignalQueue>>,
    interrupted: AtomicBool,
    /// When it was last said of what, that it is tried again for which reason.
    said: Mutex<HashMap<String, Instant>>,
    /// When a layer was last told of in a line of its own.
    told: Mutex<HashMap<String, Instant>>,
}

impl Transfer {
    /// From here until [`Transfer::end`] Ctrl-C interrupts the transfer in place of the program. Call it while there are no other threads.
    pub(crate) fn begin(way: Way, form: Form, stdout: Stdout) -> Result<Arc<Transfer>, CliError> {
        Transfer::begin_called(None, way, form, stdout)
    }

    /// The same for one thing, with what it is called.
    pub(crate) fn begin_called(
        title: Option<String>,
        way: Way,
        form: Form,
        stdout: Stdout,
    ) -> Result<Arc<Transfer>, CliError> {
        let signals = SignalQueue::block(&[SIGINT, SIGTERM])
            .map_err(|error| CliError::io("watch for signals", &error))?;
        // Who keeps the output wants the lines in it.
        let seen = form == Form::Auto
            && (!way.has_lines() || stdout == Stdout::Others || io::stdout().is_terminal());
        Ok(Arc::new(Transfer {
            way,
            form,
            stdout,
            title,
            screen: seen.then(Screen::new).flatten().map(Mutex::new),
            signals: Mutex::new(Some(signals)),
            interrupted: AtomicBool::new(false),
            said: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// Gives the signals back. Of a transfer that was interrupted only that is told.
    pub(crate) fn end<T>(&self, result: Result<T, onggi_engine::Error>) -> Result<T, CliError> {
        self.end_of(result.map_err(CliError::from))
    }

    /// The same for an act with failures of its own.
    pub(crate) fn end_of<T>(&self, result: Result<T, CliError>) -> Result<T, CliError> {
        let arrived = self.has_been_interrupted();
        if let Some(screen) = &self.screen {
            lock(screen).settle();
        }
        if let Some(signals) = lock(&self.signals).take() {
            // What has arrived was seen above; a second one ends the program as it always does.
            let _ = signals.unblock();
        }
        let result = match result {
            Err(_) if arrived => Err(CliError::interrupted()),
            result => result,
        };
        if let Err(error) = &result {
            self.object(|| messages::failure(error.message()));
        }
        result
    }

    /// A JSON object, where that is the form. A reader that went away ends nothing: the image is wanted all the same.
    pub(crate) fn object(&self, make: impl FnOnce() -> Value) {
        if self.form == Form::Json {
            let _ = io::stdout().lock().write_all(format!("{}\n", make()).as_bytes());
        }
    }

    /// Leaves what the bars say on the screen, as lines above whatever follows.
    pub(crate) fn settle(&self) {
        let Some(screen) = &self.screen else { return };
        let said = lock(screen).settle();
        for (label, text) in said {
            self.line(&format!("{label}: {text}"));
        }
    }

    /// One line, wherever lines go.
    pub(crate) fn line(&self, text: &str) {
        self.object(|| messages::status(text));
        if matches!(self.form, Form::Auto | Form::Plain) {
            self.print(&format!("{}\n", plain(text)), self.stdout == Stdout::Others);
        }
    }

    /// What a person should know, beside whatever else is said: on standard error.
    pub(crate) fn warn(&self, text: &str) {
        self.print(&format!("warning: {}\n", plain(text)), true);
    }

    fn print(&self, text: &str, aside: bool) {
        let say = || {
            // As above.
            let _ = match aside {
                true => io::stderr().lock().write_all(text.as_bytes()),
                false => io::stdout().lock().write_all(text.as_bytes()),
            };
        };
        match &self.screen {
            Some(screen) => lock(screen).above(say),
            None => say(),
        }
    }

    /// Something happened to a layer.
    fn of_layer(&self, key: &str, label: &str, what: What) {
        let (What::Says(text) | What::Done(text)) = &what else { return };
        self.object(|| messages::layer(label, text, None));
        match &self.screen {
            Some(screen) => lock(screen).tell(key, &plain(label), what),
            None if self.way.has_lines() && self.form != Form::Json => self.line(&format!("{label}: {text}")),
            None => {}
        }
    }

    /// So much of a layer has come.
    fn moved(&self, key: &str, label: &str, done: u64, total: Option<u64>) {
        let word = self.way.moving();
        if let Some(screen) = &self.screen {
            lock(screen).tell(key, &plain(label), What::Moves { word, done, total });
            return;
        }
        let (now, mut told) = (Instant::now(), lock(&self.told));
        let last = told.get(key).copied();
        let is_due = match self.form {
            Form::Auto | Form::Quiet => false,
            Form::Plain => !self.way.has_lines() && last.is_none(),
            // Now and then, and at the end.
            Form::Json => total == Some(done) || last.is_none_or(|last| now.duration_since(last) >= PAUSE),
        };
        if is_due {
            told.insert(key.to_owned(), now);
            match self.form {
                Form::Json => self.object(|| messages::layer(label, word, Some((done, total)))),
                _ => self.line(&format!("{label}: {word}")),
            }
        }
    }

    /// Whether Ctrl-C or SIGTERM has arrived. Asked several times a second, and so also the moment for what has changed on the screen with time.
    fn has_been_interrupted(&self) -> bool {
        let next =
            || lock(&self.signals).as_ref().is_some_and(|signals| matches!(signals.try_next(), Ok(Some(_))));
        if next() {
            if let Some(screen) = &self.screen {
                lock(screen).clear();
            }
            if self.interrupted.swap(true, Ordering::Relaxed) {
                // The second time somebody means it: whatever is cut short is cleaned up by the next command.
                let _ =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
        }
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        if let (false, Some(screen)) = (interrupted, &self.screen) {
            lock(screen).tick();
        }
        interrupted
    }

    /// Waits until there is something to read, or until a signal has arrived.
    fn wait_for(&self, input: &impl AsFd) {
        let signals = lock(&self.signals);
        let Some(signals) = signals.as_ref() else { return };
        loop {
            let mut descriptors = [PollFd::new(signals, PollFlags::IN), PollFd::new(input, PollFlags::IN)];
            // An error of poll is not worth failing for: the read says what is wrong.
            match poll(&mut descriptors, Some(&TICK)) {
                Ok(0) => {}
                _ => return,
            }
            if let Some(screen) = &self.screen {
                lock(screen).tick();
            }
        }
    }
}

impl Watch for Transfer {
    fn is_interrupted(&self) -> bool {
        self.has_been_interrupted()
    }

    /// Once in a line for each thing and each reason, since the parts of a layer fail together and again and again; on a terminal its bar says it each time.
    fn retrying(&self, what: &str, pause: Duration, why: &onggi_registry::Error) {
        let now = Instant::now();
        let last = lock(&self.said).insert(format!("{what}: {why}"), now);
        if last.is_none_or(|last| now.duration_since(last) >= LONG) {
            self.line(&retry(what, pause, why));
        }
        let digest = what.rsplit(' ').next().and_then(|text| Digest::parse(text).ok());
        if let (Some(screen), Some(digest)) = (&self.screen, digest) {
            let text = short_digests(&format!("retrying in {} s: {why}", pause.as_secs_f64().ceil()));
            lock(screen).tell_of_known(&digest.to_string(), What::Says(plain(&text).into_owned()));
        }
    }

    fn said(&self, program: &str, line: &str) {
        match &self.screen {
            Some(screen) => lock(screen).above(|| Person.said(program, line)),
            None => Person.said(program, line),
        }
    }

    fn may_ask(&self) -> bool {
        Person.may_ask()
    }
}

/// Who sits at standard error, for acts without bars: what a credential helper says goes there, spelled out as everything that others say.
#[derive(Debug)]
pub(crate) struct Person;

impl Watch for Person {
    fn said(&self, program: &str, line: &str) {
        // Nobody may be listening.
        let _ = io::stderr().lock().write_all(format!("{program}: {}\n", plain(line)).as_bytes());
    }

    fn may_ask(&self) -> bool {
        io::stderr().is_terminal()
    }
}

impl TransferWatch for Person {}

/// That something is tried again.
fn retry(what: &str, pause: Duration, why: &onggi_registry::Error) -> String {
    let text = format!("{what}: {why}; trying again in {} s", pause.as_secs_f64().ceil());
    short_digests(&text)
}

impl TransferWatch for Transfer {
    fn layer(&self, blob: &Digest, step: LayerStep) {
        let pull = self.way == Way::Pull;
        let what = match step {
            LayerStep::Queued if pull => What::Says("Pulling fs layer".to_owned()),
            LayerStep::Queued => What::Says("Preparing".to_owned()),
            LayerStep::Waiting => What::Says("Waiting".to_owned()),
            LayerStep::Exists if pull => What::Done("Already exists".to_owned()),
            LayerStep::Exists => What::Done("Layer already exists".to_owned()),
            LayerStep::Moving { done, total } => {
                return self.moved(&blob.to_string(), blob.short(), done, Some(total));
            }
            LayerStep::Done => What::Done(self.way.done().to_owned()),
            LayerStep::Mounted { from } => What::Done(format!("Mounted from {}", plain(&from))),
        };
        self.of_layer(&blob.to_string(), blob.short(), what);
    }

    fn note(&self, text: &str) {
        // Who keeps an archive, and who reads what a save says, should know it all the same.
        if self.way == Way::Save { self.warn(text) } else { self.line(text) }
    }
}

impl Progress for Transfer {
    fn layer(&self, layer: &str, done: u64, total: Option<u64>) {
        let label = self.title.clone().unwrap_or_else(|| label(layer));
        self.moved(layer, &label, done, total);
        if total == Some(done) && self.screen.is_some() {
            self.of_layer(layer, &label, What::Done(self.way.done().to_owned()));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.has_been_interrupted()
    }
}

/// What an archive's member is shown as: a blob by the beginning of its digest, and so the directory of `DIGEST/layer.tar`, a file by its name.
fn label(member: &str) -> String {
    let short = |name: &str| {
        let hex = name.rsplit(':').next().unwrap_or(name).trim_end_matches(".tar");
        let is_hex = hex.len() >= 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| hex[..12].to_owned())
    };
    let file = member.rsplit('/').next().unwrap_or(member);
    let digest = member.rsplit('/').find_map(short);
    plain(&digest.unwrap_or_else(|| file.to_owned())).into_owned()
}

/// Between two lines of JSON that tell how far the same layer is.
const PAUSE: Duration = Duration::from_millis(100);
/// After so long it is worth a line again that something still fails.
const LONG: Duration = Duration::from_secs(60);
/// Between two looks at the window while nothing comes.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_shown_by_what_tells_it_from_others() {
        let hex = "0007a4904d97".repeat(6);
        let hex = &hex[..64];
        for (member, expected) in [
            (format!("blobs/sha256/{hex}"), "0007a4904d97"),
            (format!("{hex}/layer.tar"), "0007a4904d97"),
            (format!("{hex}.tar"), "0007a4904d97"),
            (format!("sha256:{hex}"), "0007a4904d97"),
            ("layers/root fs.tar".to_owned(), "root fs.tar"),
            ("a\x1b[2J".to_owned(), "a\\x1b[2J"),
            ("the archive".to_owned(), "the archive"),
        ] {
            assert_eq!(label(&member), expected, "{member:?}");
        }
    }
}
