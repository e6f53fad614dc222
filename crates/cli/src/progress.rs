//! Progress of long work on a terminal, and Ctrl-C in the midst of it.
//!
//! A bar is drawn only where a person sees it; a script's log gets none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use onggi_store::Progress;
use onggi_sys::signal_queue::SignalQueue;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::CliError;

/// Bars for layers, drawn on standard error.
pub(crate) struct Bars {
    all: Option<MultiProgress>,
    layers: RefCell<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    /// None are drawn when `quiet`, or when standard error is no terminal.
    pub(crate) fn new(quiet: bool) -> Bars {
        let shown = !quiet && io::stderr().is_terminal();
        Bars { all: shown.then(MultiProgress::new), layers: RefCell::default() }
    }

    /// Takes them off the screen.
    pub(crate) fn clear(&self) {
        if let Some(all) = &self.all {
            // Only a terminal that is gone fails here.
            let _ = all.clear();
        }
    }
}

impl Progress for Bars {
    fn layer(&self, layer: &str, done: u64, total: Option<u64>) {
        let Some(all) = &self.all else { return };
        let mut layers = self.layers.borrow_mut();
        let bar = layers.entry(layer.to_owned()).or_insert_with(|| {
            let bar = all.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
            let template = match total {
                Some(_) => "{prefix:12} {bar:30} {bytes:>10} / {total_bytes:10} {binary_bytes_per_sec}",
                None => "{prefix:12} {bytes:>10} {binary_bytes_per_sec}",
            };
            // The templates are constant, and wrong only if indicatif changes its words.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            let name = layer.rsplit(':').next().unwrap_or(layer);
            bar.with_prefix(name.chars().take(12).collect::<String>())
        });
        bar.set_position(done);
        if total == Some(done) {
            bar.finish();
        }
    }
}

/// A reader that fails as soon as Ctrl-C or SIGTERM arrives, so that whoever reads cleans up as after any
/// other failure. The second Ctrl-C ends the program on the spot.
pub(crate) struct Interruptible<R> {
    inner: R,
    signals: Option<SignalQueue>,
    interrupted: bool,
}

impl<R: Read + AsFd> Interruptible<R> {
    pub(crate) fn new(inner: R) -> Result<Interruptible<R>, CliError> {
        let signals =
            SignalQueue::block(&[2, 15]).map_err(|error| CliError::io("watch for signals", &error))?;
        Ok(Interruptible { inner, signals: Some(signals), interrupted: false })
    }

    /// Whether reading failed because of a signal.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted
    }
}

impl<R: Read + AsFd> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(signals) = &self.signals {
            let mut descriptors =
                [PollFd::new(signals, PollFlags::IN), PollFd::new(&self.inner, PollFlags::IN)];
            // An error of poll is not worth failing for: the read below says what is wrong.
            let _ = poll(&mut descriptors, None);
            if descriptors[0].revents().contains(PollFlags::IN) && signals.try_next()?.is_some() {
                self.interrupted = true;
            }
        }
        if self.interrupted {
            if let Some(signals) = self.signals.take() {
                signals.unblock()?;
            }
            // Not ErrorKind::Interrupted, which means "try again".
            return Err(io::Error::other("interrupted by the user"));
        }
        self.inner.read(buffer)
    }
}
