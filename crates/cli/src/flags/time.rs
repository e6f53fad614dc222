//! `--since` and `--until`: a moment as people and scripts write it.
//!
//! Docker's forms (`api/types/time`): seconds since 1970 with a fraction, RFC 3339 with or without a zone,
//! a date, or how long ago as a duration (`10m`, `1h30m`).

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Nanoseconds since 1970.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<i64, String> {
    let nanoseconds = |moment: Timestamp| {
        i64::try_from(moment.as_nanosecond()).map_err(|_| format!("\"{text}\" is too far away"))
    };
    if let Some(seconds) = unix(text) {
        return Ok(seconds);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return nanoseconds(moment);
    }
    let zone = TimeZone::system();
    let local = text.parse::<DateTime>().ok().or_else(|| text.parse::<Date>().ok().map(Into::into));
    if let Some(moment) = local.and_then(|civil: DateTime| civil.to_zoned(zone).ok()) {
        return nanoseconds(moment.timestamp());
    }
    match duration(text).and_then(|ago| now.checked_sub(ago).ok()) {
        Some(moment) => nanoseconds(moment),
        None => Err(format!("\"{text}\" is not a time: write 2026-01-31T12:00:00Z, 1769860800 or 10m")),
    }
}

/// `1769860800`, `1769860800.5`.
fn unix(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    // A moment after the year 2262 means "never", and scripts write it so.
    Some(seconds.parse::<i64>().ok()?.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// Go's durations: `1h30m`, `1.5h`, `300ms`.
pub(crate) fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let end =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| digits + n);
        let unit = match &rest[digits..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += amount * unit;
        rest = &rest[end..];
    }
    if text.is_empty() {
        return None;
    }
    SignedDuration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (text, seconds) in [
            ("1234", 1234.0),
            ("1234.5", 1234.5),
            ("1970-01-01T00:00:10Z", 10.0),
            ("1970-01-01T01:00:10+01:00", 10.0),
            ("1970-01-01T00:00:00.25Z", 0.25),
            ("10m", 999_400.0),
            ("1h30m", 994_600.0),
            ("0.5h", 998_200.0),
        ] {
            assert_eq!(moment(text, now).unwrap(), (seconds * 1e9) as i64, "{text}");
        }
        assert_eq!(moment("9999999999", now).unwrap(), i64::MAX);
        assert!(moment("2013-01-02", now).is_ok());
        assert!(moment("2013-01-02T03:04:05", now).is_ok());
        for bad in ["", "yesterday", "10", "5x", "m", "."].iter().filter(|text| **text != "10") {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
    }
}
