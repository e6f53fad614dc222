//! Times as Docker says them: `Up 3 hours`, `Exited (0) 2 minutes ago` (go-units, `HumanDuration`; moby `container/state.go`). Pure.

use std::net::IpAddr;

use onggi_monitor::state::State;
use onggi_net::endpoint::Port;

use crate::state::Status;

/// Docker's sentence about a container, at `now` (nanoseconds since 1970).
pub(crate) fn status(status: Status, state: &State, now: i64) -> String {
    let since = |moment: &str| match nanoseconds(moment) {
        Some(then) => duration((now - then).max(0) / 1_000_000_000),
        None => duration(0),
    };
    match status {
        Status::Running => format!("Up {}", since(&state.started_at)),
        Status::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished_at))
        }
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
    }
}

/// The column of `ps`: `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp`, ranges joined as docker/cli joins them.
pub(crate) fn ports(published: &[Port], exposed: &[String]) -> String {
    let range = |first: u16, count: u16| match count {
        0 | 1 => first.to_string(),
        _ => format!("{first}-{}", first + count - 1),
    };
    let mut shown: Vec<String> = published
        .iter()
        .map(|port| {
            let host = match port.host_address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let (outside, inside) = (range(port.host, port.count), range(port.container, port.count));
            format!("{host}:{outside}->{inside}/{}", port.protocol.name())
        })
        .collect();
    let is_published = |text: &&String| {
        published.iter().any(|port| {
            (0..port.count)
                .any(|offset| **text == format!("{}/{}", port.container + offset, port.protocol.name()))
        })
    };
    shown.extend(exposed.iter().filter(|text| !is_published(text)).cloned());
    shown.join(", ")
}

/// Nanoseconds since 1970 of an RFC 3339 text; `None` for Go's zero time and for what is no time.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(moment.as_nanosecond()).ok().filter(|nanoseconds| *nanoseconds > 0)
}

/// A length of time as Docker words it (`go-units`), in its largest unit: `About an hour`, `3 days`.
#[must_use]
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // To the nearest hour.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (MINUTE, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (59 * MINUTE, "59 minutes"),
            (HOUR, "About an hour"),
            (2 * HOUR - MINUTE, "2 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (61 * DAY, "2 months"),
            (730 * DAY, "2 years"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sentences() {
        let state = State {
            started_at: "2024-01-01T00:00:00Z".into(),
            finished_at: "2024-01-01T03:00:00.5Z".into(),
            exit_code: 3,
            ..State::default()
        };
        let now = nanoseconds("2024-01-01T05:00:00.5Z").unwrap();
        for (of, text) in [
            (Status::Running, "Up 5 hours"),
            (Status::Paused, "Up 5 hours (Paused)"),
            (Status::Exited, "Exited (3) 2 hours ago"),
            (Status::Created, "Created"),
            (Status::Dead, "Dead"),
        ] {
            assert_eq!(status(of, &state, now), text);
        }
        assert_eq!(nanoseconds("0001-01-01T00:00:00Z"), None);
    }
}
