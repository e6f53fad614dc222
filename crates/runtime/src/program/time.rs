//! The present moment as RFC 3339, in UTC. Small enough not to need a library for calendars.

use std::time::{SystemTime, UNIX_EPOCH};

/// To the second, for the log.
pub(crate) fn now_seconds() -> String {
    let (seconds, _) = now();
    format!("{}Z", date(seconds))
}

/// To the nanosecond, without zeros at the end, as Go's `RFC3339Nano`.
pub(crate) fn now_nanoseconds() -> String {
    let (seconds, nanoseconds) = now();
    format!("{}{}Z", date(seconds), fraction(nanoseconds))
}

fn now() -> (u64, u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs(), now.subsec_nanos())
}

fn fraction(nanoseconds: u32) -> String {
    match format!("{nanoseconds:09}").trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    }
}

/// Days are counted in eras of 400 years that begin in March, so that leap days come last (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_795_341_600, "2026-11-22T10:00:00"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn fractions_end_without_zeros() {
        assert_eq!([0, 1, 120_000_000].map(fraction), ["", ".000000001", ".12"]);
    }
}
