//! Progress of long work on a terminal, and Ctrl-C in the midst of it.
//!
//! A bar is drawn only where a person sees it; a script's log gets none, unless it asks for lines or for JSON.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use onggi_store::Progress;
use onggi_sys::signal_queue::SignalQueue;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::CliError;
use crate::flags::progress::Form;
use crate::output::messages;
use crate::output::plain::plain;

/// Bars for layers, drawn on standard error.
pub(crate) struct Bars {
    form: Form,
    all: Option<MultiProgress>,
    layers: RefCell<BTreeMap<String, ProgressBar>>,
    /// Ctrl-C and SIGTERM, until the first of them.
    signals: RefCell<Option<SignalQueue>>,
    interrupted: Cell<bool>,
    /// When a layer was last told of in a line of its own.
    told: RefCell<BTreeMap<String, Instant>>,
}

impl Bars {
    /// None are drawn when they are not wanted, or when standard error is no terminal.
    /// From here on the first Ctrl-C cancels the act that is told of these bars, and the second ends the
    /// program on the spot.
    pub(crate) fn new(form: Form) -> Result<Bars, CliError> {
        let shown = form == Form::Auto && io::stderr().is_terminal();
        let signals = SignalQueue::block(&[SIGINT, SIGTERM])
            .map_err(|error| CliError::io("watch for signals", &error))?;
        Ok(Bars {
            form,
            all: shown.then(MultiProgress::new),
            layers: RefCell::default(),
            signals: RefCell::new(Some(signals)),
            interrupted: Cell::new(false),
            told: RefCell::default(),
        })
    }

    /// Takes them off the screen, and says of a cancelled act only that it was.
    pub(crate) fn end<T>(&self, result: Result<T, onggi_engine::Error>) -> Result<T, CliError> {
        if let Some(all) = &self.all {
            // Only a terminal that is gone fails here.
            let _ = all.clear();
        }
        let result = match result {
            Err(_) if self.interrupted.get() => Err(CliError::interrupted()),
            result => result.map_err(CliError::from),
        };
        if let (Err(error), Form::Json) = (&result, self.form) {
            write_line(&messages::failure(error.message()).to_string());
        }
        result
    }

    /// A layer in lines: once where people read them, now and then and at its end where a program does.
    fn tell(&self, layer: &str, done: u64, total: Option<u64>) {
        let (now, mut told) = (Instant::now(), self.told.borrow_mut());
        let last = told.get(layer).copied();
        let is_due = match self.form {
            Form::Auto | Form::Quiet => false,
            Form::Plain => last.is_none(),
            Form::Json => total == Some(done) || last.is_none_or(|last| now.duration_since(last) >= PAUSE),
        };
        if is_due {
            told.insert(layer.to_owned(), now);
            let name = short(layer);
            write_line(&match self.form {
                Form::Json => messages::layer(&name, "Loading layer", Some((done, total))).to_string(),
                _ => format!("{name}: Loading layer"),
            });
        }
    }
}

impl Progress for Bars {
    fn layer(&self, layer: &str, done: u64, total: Option<u64>) {
        self.tell(layer, done, total);
        let Some(all) = &self.all else { return };
        let mut layers = self.layers.borrow_mut();
        let bar = layers.entry(layer.to_owned()).or_insert_with(|| {
            let bar = all.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
            let template = match total {
                // With the rate, and the time that is left.
                Some(_) => {
                    "{prefix:12} {wide_bar} {bytes:>10} / {total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}"
                }
                None => "{prefix:12} {bytes:>10} {binary_bytes_per_sec}",
            };
            // The templates are constant, and wrong only if indicatif changes its words.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.with_prefix(short(layer))
        });
        bar.set_position(done);
        if total == Some(done) {
            bar.finish();
        }
    }

    fn is_cancelled(&self) -> bool {
        let mut signals = self.signals.borrow_mut();
        let arrived = signals.as_ref().is_some_and(|signals| matches!(signals.try_next(), Ok(Some(_))));
        if arrived {
            self.interrupted.set(true);
            if let Some(signals) = signals.take() {
                // The next one takes effect by itself; if not, it is still SIGKILL's turn.
                let _ = signals.unblock();
            }
        }
        self.interrupted.get()
    }
}

/// What an archive calls a layer, as far as it is shown.
fn short(layer: &str) -> String {
    let name = layer.rsplit(':').next().unwrap_or(layer);
    plain(&name.chars().take(12).collect::<String>()).into_owned()
}

/// On standard output. A reader that went away ends nothing: the image is wanted all the same.
fn write_line(text: &str) {
    let _ = io::stdout().lock().write_all(format!("{text}\n").as_bytes());
}

/// Between two lines of JSON that tell how far the same layer is.
const PAUSE: Duration = Duration::from_millis(100);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// A reader that fails as soon as Ctrl-C or SIGTERM arrives although it waits for input, so that whoever
/// reads cleans up as after any other failure.
pub(crate) struct Interruptible<'b, R> {
    inner: R,
    bars: &'b Bars,
}

impl<'b, R: Read + AsFd> Interruptible<'b, R> {
    pub(crate) fn new(inner: R, bars: &'b Bars) -> Self {
        Interruptible { inner, bars }
    }
}

impl<R: Read + AsFd> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(signals) = self.bars.signals.borrow().as_ref() {
            let mut descriptors =
                [PollFd::new(signals, PollFlags::IN), PollFd::new(&self.inner, PollFlags::IN)];
            // An error of poll is not worth failing for: the read below says what is wrong.
            let _ = poll(&mut descriptors, None);
        }
        if self.bars.is_cancelled() {
            // Not ErrorKind::Interrupted, which means "try again".
            return Err(io::Error::other("interrupted by the user"));
        }
        self.inner.read(buffer)
    }
}
