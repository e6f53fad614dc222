//! `events`: how much a container uses, once or again and again, and when it runs out of memory.

use std::time::{Duration, Instant};

use onggi_cgroup::Cgroup;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};

use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::status::{self, Status};
use super::super::{Context, figures, print, resctrl};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "events",
    usage: "<container-id>",
    about: "display container events such as OOM notifications, and statistics",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::with("interval", "DURATION", "how often statistics are displayed (5s)"),
    Flag::switch("stats", "display the statistics once"),
];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let every = flags.value("interval").unwrap_or("5s");
    let every = duration(every).filter(|every| !every.is_zero());
    let every = every.ok_or_else(|| Error::usage("duration interval must be greater than 0"))?;
    let directory = context.store.find(&flags.positional[0])?;
    let record = directory.read()?;
    if status::of(&directory, &record) == Status::Stopped {
        return Err(Error::State(format!("container with id {} is not running", record.id)));
    }
    let cgroup = record.own_cgroup()?;
    let tell = |kind: &str, data: Option<Value>| {
        let mut event = json!({ "type": kind, "id": record.id });
        if let Some(data) = data {
            event["data"] = data;
        }
        print(&format!("{event}\n"))
    };
    let stats = || {
        let stats = cgroup.stats().map_err(Error::Cgroup)?;
        let details = cgroup.details().map_err(Error::Cgroup)?;
        Ok::<_, Error>(figures::of(&stats, &details, resctrl::figures(record.resctrl.as_ref())?))
    };
    if flags.has("stats") {
        tell("stats", Some(stats()?))?;
        return Ok(0);
    }
    let pidfd = match status::pidfd(&record) {
        Err(Error::NotRunning) => return Ok(0),
        other => other?,
    };
    // Without a memory controller there is nothing to hear of.
    let memory = cgroup.watch_oom().ok();
    let mut kills = kills_of(&cgroup);
    let mut next = Instant::now() + every;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(memory.iter().map(|memory| PollFd::new(memory, PollFlags::IN)));
        let count = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&left)));
        let count = count.map_err(|error| Error::io("poll", error))?;
        let has_ended = !polled[0].revents().is_empty();
        if let Some(memory) = memory.as_ref().filter(|_| count > 0) {
            // The descriptor does not block; that there was something to read is all it says.
            let _ = rustix::io::read(memory, &mut [0_u8; 4096]);
            let now = kills_of(&cgroup);
            if now > kills {
                tell("oom", None)?;
                kills = now;
            }
        }
        if has_ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            tell("stats", Some(stats()?))?;
            next = Instant::now() + every;
        }
    }
}

fn kills_of(cgroup: &Cgroup) -> u64 {
    cgroup.oom_kills().unwrap_or(0)
}

/// Go's durations: numbers with units, one after another (`1m30s`).
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("0.5s", Some(500)),
            ("5", None),
            ("", None),
            ("-1s", None),
            ("1y", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }
}
