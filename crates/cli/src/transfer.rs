//! What a person sees of a pull or a push, and how Ctrl-C ends one.
//!
//! On a terminal each layer has a bar. Elsewhere there are Docker's lines, one for each thing that happens, which scripts read; or, if that was asked for,
//! JSON, which programs read.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use onggi_engine::{LayerStep, TransferWatch};
use onggi_image::Digest;
use onggi_registry::Watch;
use onggi_sys::signal_queue::SignalQueue;
use serde_json::Value;

use crate::error::CliError;
use crate::flags::progress::Form;
use crate::output::human::short_digests;
use crate::output::messages;
use crate::output::plain::plain;

/// Which way the layers go: the words differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Pull,
    Push,
}

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// The command's own output.
    Stdout,
    /// Beside the output of a container.
    Stderr,
    /// As on standard output, and no bars on a terminal either.
    Plain,
    /// Objects, on standard output.
    Json,
    /// None, and no bars either.
    Quiet,
}

impl From<Form> for Lines {
    /// For a command whose own output they are.
    fn from(form: Form) -> Lines {
        match form {
            Form::Auto => Lines::Stdout,
            Form::Plain => Lines::Plain,
            Form::Json => Lines::Json,
            Form::Quiet => Lines::Quiet,
        }
    }
}

/// See the module's text. Shared by the threads of a transfer.
pub(crate) struct Transfer {
    way: Way,
    lines: Lines,
    bars: Option<MultiProgress>,
    /// In the order in which they were told of.
    layers: Mutex<Vec<(Digest, ProgressBar)>>,
    signals: Mutex<Option<SignalQueue>>,
    interrupted: AtomicBool,
    /// What was said last of something that is tried again, and until when it need not be said again: the parts of a layer fail together.
    said: Mutex<Option<(String, Instant)>>,
    /// When JSON has last told how far a layer is.
    told: Mutex<HashMap<Digest, Instant>>,
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer").field("way", &self.way).field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Transfer {
    /// From here until [`Transfer::end`] Ctrl-C interrupts the transfer in place of the program. Call it while there are no other threads.
    pub(crate) fn begin(way: Way, lines: Lines) -> Result<Arc<Transfer>, CliError> {
        let signals = SignalQueue::block(&[SIGINT, SIGTERM])
            .map_err(|error| CliError::io("watch for signals", &error))?;
        // Who keeps the output wants the lines in it.
        let seen = io::stderr().is_terminal()
            && (lines == Lines::Stderr || lines == Lines::Stdout && io::stdout().is_terminal());
        Ok(Arc::new(Transfer {
            way,
            lines,
            bars: seen.then(MultiProgress::new),
            layers: Mutex::default(),
            signals: Mutex::new(Some(signals)),
            interrupted: AtomicBool::new(false),
            said: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// Gives the signals back. Of a transfer that was interrupted only that is told.
    pub(crate) fn end<T>(&self, result: Result<T, onggi_engine::Error>) -> Result<T, CliError> {
        if let Some(bars) = &self.bars {
            lock(&self.layers).clear();
            // Only a terminal that is gone fails here.
            let _ = bars.clear();
        }
        let arrived = self.is_interrupted();
        if let Some(signals) = lock(&self.signals).take() {
            // What has arrived was seen above; a second one ends the program as it always does.
            let _ = signals.unblock();
        }
        let result = match result {
            Err(_) if arrived => Err(CliError::interrupted()),
            result => result.map_err(CliError::from),
        };
        if let Err(error) = &result {
            self.object(|| messages::failure(error.message()));
        }
        result
    }

    /// A JSON object, where that is the form. A reader that went away ends nothing: the image is wanted all the same.
    pub(crate) fn object(&self, make: impl FnOnce() -> Value) {
        if self.lines == Lines::Json {
            let _ = io::stdout().lock().write_all(format!("{}\n", make()).as_bytes());
        }
    }

    /// Leaves what the bars say on the screen, as lines above whatever follows.
    pub(crate) fn settle(&self) {
        let Some(bars) = &self.bars else { return };
        let layers = std::mem::take(&mut *lock(&self.layers));
        let _ = bars.clear();
        for (blob, bar) in layers {
            bars.remove(&bar);
            self.line(&format!("{}: {}", blob.short(), bar.message()));
        }
    }

    /// One line, wherever lines go.
    pub(crate) fn line(&self, text: &str) {
        self.object(|| messages::status(text));
        let text = format!("{}\n", plain(text));
        let say = || {
            // As above.
            let _ = match self.lines {
                Lines::Quiet | Lines::Json => Ok(()),
                Lines::Stdout | Lines::Plain => io::stdout().lock().write_all(text.as_bytes()),
                Lines::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            };
        };
        match &self.bars {
            Some(bars) => bars.suspend(say),
            None => say(),
        }
    }

    fn of_layer(&self, blob: &Digest, text: &str) {
        self.object(|| messages::layer(blob.short(), text, None));
        if self.bars.is_none() && self.lines != Lines::Json {
            self.line(&format!("{}: {text}", blob.short()));
        }
    }

    /// How far a layer is, as JSON: now and then, and at its end.
    fn moved(&self, blob: &Digest, text: &str, done: u64, total: u64) {
        if self.lines != Lines::Json {
            return;
        }
        let mut told = lock(&self.told);
        let now = Instant::now();
        let is_due = told.get(blob).is_none_or(|last| now.duration_since(*last) >= PAUSE);
        if is_due || done == total {
            told.insert(blob.clone(), now);
            self.object(|| messages::layer(blob.short(), text, Some((done, Some(total)))));
        }
    }

    /// The bar of a layer, made when it is first told of.
    fn bar(&self, blob: &Digest) -> Option<ProgressBar> {
        let bars = self.bars.as_ref()?;
        let mut layers = lock(&self.layers);
        if let Some((_, bar)) = layers.iter().find(|(known, _)| known == blob) {
            return Some(bar.clone());
        }
        let bar = bars.add(ProgressBar::no_length()).with_prefix(blob.short().to_owned());
        bar.set_style(style("{prefix}: {msg}"));
        layers.push((blob.clone(), bar.clone()));
        Some(bar)
    }
}

impl Watch for Transfer {
    fn is_interrupted(&self) -> bool {
        let next =
            || lock(&self.signals).as_ref().is_some_and(|signals| matches!(signals.try_next(), Ok(Some(_))));
        if next() && self.interrupted.swap(true, Ordering::Relaxed) {
            // The second time somebody means it: whatever is cut short is cleaned up by the next command.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        self.interrupted.load(Ordering::Relaxed)
    }

    fn retrying(&self, what: &str, pause: Duration, why: &onggi_registry::Error) {
        let text = retry(what, pause, why);
        let mut said = lock(&self.said);
        if said.as_ref().is_none_or(|(known, until)| *known != text || Instant::now() >= *until) {
            self.line(&text);
            *said = Some((text, Instant::now() + pause));
        }
    }

    fn said(&self, program: &str, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| Person.said(program, line)),
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
pub(crate) fn retry(what: &str, pause: Duration, why: &onggi_registry::Error) -> String {
    let text = format!("{what}: {why}; trying again in {} s", pause.as_secs_f64().ceil());
    short_digests(&text)
}

impl TransferWatch for Transfer {
    fn layer(&self, blob: &Digest, step: LayerStep) {
        let pull = self.way == Way::Pull;
        let said = match &step {
            LayerStep::Queued if pull => "Pulling fs layer".to_owned(),
            LayerStep::Queued => "Preparing".to_owned(),
            LayerStep::Waiting => "Waiting".to_owned(),
            LayerStep::Exists if pull => "Already exists".to_owned(),
            LayerStep::Exists => "Layer already exists".to_owned(),
            LayerStep::Moving { done, total } => {
                let what = if pull { "Downloading" } else { "Pushing" };
                self.moved(blob, what, *done, *total);
                if let Some(bar) = self.bar(blob) {
                    if bar.length() != Some(*total) {
                        bar.set_length(*total);
                        bar.set_style(style(MOVING));
                        bar.set_message(what);
                    }
                    bar.set_position(*done);
                }
                return;
            }
            LayerStep::Done if pull => "Pull complete".to_owned(),
            LayerStep::Done => "Pushed".to_owned(),
            LayerStep::Mounted { from } => format!("Mounted from {from}"),
        };
        self.of_layer(blob, &said);
        if let Some(bar) = self.bar(blob) {
            let over = matches!(step, LayerStep::Exists | LayerStep::Done | LayerStep::Mounted { .. });
            bar.set_style(style("{prefix}: {msg}"));
            if over { bar.finish_with_message(said) } else { bar.set_message(said) }
        }
    }

    fn note(&self, text: &str) {
        self.line(text);
    }
}

/// With the rate, and behind it the time that is left. The bar takes what room there is: on 80 columns all of it is seen.
const MOVING: &str =
    "{prefix}: {msg:11} {wide_bar} {bytes:>10} / {total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
/// Between two lines of JSON that tell how far the same layer is.
const PAUSE: Duration = Duration::from_millis(100);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The templates are constant, and wrong only if indicatif changes its words.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
