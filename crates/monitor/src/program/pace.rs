//! When an output is left alone for a moment, so that many small writes of the process are one reading.
//!
//! A program that writes a line or a block at a time would otherwise wake the monitor, and the monitor its clients, for each: the
//! programs take turns on the processor, and on a busy machine each turn is a wait of milliseconds. Only a lone stream that goes on and
//! on is made to gather. Two outputs in turn are not, whose order would suffer, nor one that answers what a client says.

use super::log::Stream;

/// How long it is left alone (nanoseconds). A fast program writes some hundred KiB meanwhile, less than the pipe then holds.
pub(crate) const GATHER: u64 = 100_000;
/// So many readings in a row, and the stream is one that goes on.
const MANY: u32 = 16;
/// A reading this long (nanoseconds) after the one before belongs to the same row.
const CLOSE: u64 = 100_000;
/// So long (nanoseconds) may a stream that gathers say nothing before it has to show again that it goes on: its process waits for the
/// processor as well, on a busy machine for some milliseconds.
const PAUSE: u64 = 10_000_000;

/// The readings of one process's outputs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    row: u32,
    stream: Option<Stream>,
    /// When the last reading ended (monotonic nanoseconds).
    last: u64,
    /// It found as much as is read at once: the reader is the slower one, and has nothing to wait for.
    was_full: bool,
}

impl Pace {
    /// There is something to read. Whether to let more gather first.
    pub(crate) fn ready(&mut self, stream: Stream, now: u64) -> bool {
        let patience = if self.row > MANY { PAUSE } else { CLOSE };
        if self.stream != Some(stream) || now.saturating_sub(self.last) > patience {
            self.row = 0;
        }
        self.stream = Some(stream);
        self.row = self.row.saturating_add(1);
        self.row > MANY && !self.was_full
    }

    /// It was read.
    pub(crate) fn was_read(&mut self, now: u64, was_full: bool) {
        (self.last, self.was_full) = (now, was_full);
    }

    /// The process was told something: what it writes now may be the answer that somebody waits for.
    pub(crate) fn asked(&mut self) {
        self.row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stream::{Stderr, Stdout};

    /// Reads at these times, each reading an instant, and tells after which number it was first made to gather.
    fn first_gathering(readings: impl Iterator<Item = (Stream, u64, bool)>) -> Option<usize> {
        let mut pace = Pace::default();
        for (number, (stream, now, was_full)) in readings.enumerate() {
            if pace.ready(stream, now) {
                return Some(number);
            }
            pace.was_read(now, was_full);
        }
        None
    }

    #[test]
    fn only_a_lone_stream_that_goes_on_gathers() {
        let numbers = || 1..1000_u64;
        assert_eq!(first_gathering(numbers().map(|n| (Stdout, n * CLOSE, false))), Some(MANY as usize));
        assert_eq!(first_gathering(numbers().map(|n| (Stdout, n * (CLOSE + 1), false))), None, "slowly");
        assert_eq!(first_gathering(numbers().map(|n| (Stdout, n, true))), None, "much at a time");
        let in_turn = numbers().map(|n| (if n % 8 == 0 { Stderr } else { Stdout }, n, false));
        assert_eq!(first_gathering(in_turn), None, "two streams in turn");
    }

    #[test]
    fn a_stream_that_gathers_may_wait_for_the_processor() {
        let mut pace = Pace::default();
        let mut now = 1;
        let mut gathers_after = |gap: u64| {
            now += gap;
            let gathers = pace.ready(Stdout, now);
            pace.was_read(now, false);
            gathers
        };
        (0..=MANY).for_each(|_| _ = gathers_after(CLOSE));
        assert!(gathers_after(PAUSE));
        assert!(!gathers_after(PAUSE + 1));
        assert!(!gathers_after(CLOSE), "from the beginning");
    }

    #[test]
    fn who_was_asked_something_answers_at_once() {
        let mut pace = Pace::default();
        for n in 0..1000 {
            assert!(!pace.ready(Stdout, n));
            pace.was_read(n, false);
            if n % 10 == 0 {
                pace.asked();
            }
        }
    }
}
