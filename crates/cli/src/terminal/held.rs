//! Signals from before there is anything of a container or an added process until somebody stays with it.
//!
//! A person's Ctrl-C while it begins must neither leave it running without a word nor be lost: until the monitor has the word to start, the
//! engine asks here whether the start is to be undone; from then on what arrived waits, and is passed on by who stays with it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use onggi_engine::request::Interruption;
use onggi_sys::signal_queue::SignalQueue;

use super::session::{ENDING, watched};

/// The signals that are held back. They take effect again by [`Held::release`], or with the next program.
#[derive(Debug)]
pub(crate) struct Held {
    queue: SignalQueue,
    /// Those that have been taken and were no reason to undo anything.
    early: Mutex<Vec<i32>>,
}

impl Held {
    /// Holds what will be passed on to a process with or without a terminal, and in any case what would end this program. Call it
    /// before there are other threads.
    ///
    /// # Errors
    /// No descriptor left.
    pub(crate) fn hold(tty: bool, proxy: bool) -> io::Result<Arc<Held>> {
        let mut signals = watched(tty, proxy);
        signals.extend(ENDING.iter().filter(|signal| !signals.contains(signal)).copied().collect::<Vec<_>>());
        Ok(Arc::new(Held { queue: SignalQueue::block(&signals)?, early: Mutex::new(Vec::new()) }))
    }

    /// For the engine: the signal because of which a start is to be undone, if one has arrived.
    pub(crate) fn interruption(self: &Arc<Self>) -> Interruption {
        let held = Arc::clone(self);
        Interruption::new(move || held.ending())
    }

    fn ending(&self) -> Option<i32> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        // The queue cannot fail; if it did, nobody would have asked for an end.
        while let Ok(Some(signal)) = self.queue.try_next() {
            early.push(signal);
        }
        let ending = early.iter().find(|signal| ENDING.contains(signal)).copied()?;
        // As `nohup` and a shell's background jobs leave them: held back, even those come here.
        (!onggi_sys::process::is_ignored(ending)).then_some(ending)
    }

    /// What has arrived until now, for who passes it on.
    pub(crate) fn take_early(&self) -> Vec<i32> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = std::mem::take(&mut *early);
        while let Ok(Some(signal)) = self.queue.try_next() {
            taken.push(signal);
        }
        taken
    }

    /// The next one; waits for it.
    ///
    /// # Errors
    /// As [`SignalQueue::next`].
    pub(crate) fn next(&self) -> io::Result<i32> {
        self.queue.next()
    }

    /// Lets the signals do what they do to any program, those that have arrived at once.
    pub(crate) fn release(&self) {
        for signal in self.take_early() {
            // To this process, whose they were.
            let _ = onggi_sys::process::kill(std::process::id().cast_signed(), signal);
        }
        // A set that could be blocked can be unblocked.
        let _ = self.queue.unblock();
    }
}
