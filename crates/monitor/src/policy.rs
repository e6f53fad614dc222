//! When a container that has ended is started again: Docker's rules (`daemon/internal/restartmanager`), pure.

use serde::{Deserialize, Serialize};

/// Before the first new start (nanoseconds); each further one waits twice as long as the last.
const FIRST_PAUSE: u64 = 100_000_000;
/// No pause is longer (nanoseconds).
const LONGEST_PAUSE: u64 = 60_000_000_000;
/// A life of this length (nanoseconds) was a good one: the pauses begin anew.
const GOOD_LIFE: u64 = 10_000_000_000;

/// `--restart`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// After an exit code other than 0; at most so many times, 0 for ever.
    OnFailure {
        most: u32,
    },
}

impl Restart {
    /// Docker's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
            Restart::OnFailure { .. } => "on-failure",
        }
    }

    /// How many new starts there may be; 0: any number.
    #[must_use]
    pub fn most(self) -> u32 {
        match self {
            Restart::OnFailure { most } => most,
            _ => 0,
        }
    }

    /// For who leaves it out of a record.
    #[must_use]
    pub fn is_no(&self) -> bool {
        *self == Restart::No
    }

    /// Whether a container that nobody has asked to end is started again, after `count` new starts already.
    #[must_use]
    pub fn wants(self, code: i32, count: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure { most } => code != 0 && (most == 0 || count < most),
        }
    }
}

/// Nanoseconds to wait before the next start, after a pause of `last` (0: none yet) and a life of `lived`.
#[must_use]
pub fn pause(last: u64, lived: u64) -> u64 {
    if last == 0 || lived >= GOOD_LIFE { FIRST_PAUSE } else { (last * 2).min(LONGEST_PAUSE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_started_again() {
        let (always, unless) = (Restart::Always, Restart::UnlessStopped);
        let (failure, twice) = (Restart::OnFailure { most: 0 }, Restart::OnFailure { most: 2 });
        for (policy, code, count, again) in [
            (Restart::No, 1, 0, false),
            (always, 0, 0, true),
            (always, 137, 9, true),
            (unless, 0, 5, true),
            (failure, 0, 0, false),
            (failure, 1, 1000, true),
            (twice, 1, 0, true),
            (twice, 1, 1, true),
            (twice, 1, 2, false),
        ] {
            assert_eq!(policy.wants(code, count), again, "{policy:?} {code} {count}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_good_life() {
        let mut pauses = vec![pause(0, 0)];
        for _ in 0..11 {
            pauses.push(pause(pauses[pauses.len() - 1], 9_999_999_999));
        }
        let milliseconds: Vec<u64> = pauses.iter().map(|pause| pause / 1_000_000).collect();
        assert_eq!(
            milliseconds,
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]
        );
        assert_eq!(pause(60_000_000_000, 10_000_000_000), 100_000_000);
    }
}
