//! How fast something comes, from how much of it had come when. Recent seconds count for more, so that a transfer that has slowed down shows it,
//! and one that stands still is told as slower and slower.

use std::time::{Duration, Instant};

/// Between two measurements: what comes arrives in bursts.
const APART: Duration = Duration::from_millis(250);
/// After so long the old rate counts for a third of the new one.
const MEMORY: f64 = 3.0;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<(Instant, u64)>,
    /// Bytes a second.
    rate: Option<f64>,
}

impl Pace {
    /// Bytes a second at `now`, when `done` of them have come; `None` while it is too early to tell.
    pub(crate) fn at(&mut self, now: Instant, done: u64) -> Option<f64> {
        match self.last {
            // It has begun anew.
            Some((_, before)) if done < before => *self = Pace { last: Some((now, done)), rate: None },
            Some((then, before)) if now.duration_since(then) >= APART => {
                let seconds = now.duration_since(then).as_secs_f64();
                let recent = (done - before) as f64 / seconds;
                let kept = (-seconds / MEMORY).exp();
                self.rate = Some(self.rate.map_or(recent, |known| known * kept + recent * (1.0 - kept)));
                self.last = Some((now, done));
            }
            Some(_) => {}
            None => self.last = Some((now, done)),
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after each step of so many milliseconds and so many bytes.
    fn rates(steps: &[(u64, u64)]) -> Vec<Option<u64>> {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let measured = steps.iter().map(|(pause, done)| {
            now += Duration::from_millis(*pause);
            pace.at(now, *done).map(|rate| rate.round() as u64)
        });
        measured.collect()
    }

    #[test]
    fn recent_seconds_count_for_more() {
        assert_eq!(
            rates(&[(0, 0), (100, 50), (150, 250), (1000, 1250)]),
            [None, None, Some(1000), Some(1000)]
        );
        // A pause of three seconds leaves a third, a long one next to nothing.
        assert_eq!(
            rates(&[(0, 0), (1000, 1000), (3000, 1000), (30_000, 1000)]),
            [None, Some(1000), Some(368), Some(0)]
        );
    }

    #[test]
    fn what_begins_anew_is_measured_anew() {
        assert_eq!(
            rates(&[(0, 0), (1000, 1000), (1000, 100), (1000, 300)]),
            [None, Some(1000), None, Some(200)]
        );
    }
}
