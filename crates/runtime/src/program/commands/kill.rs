//! `kill`: a signal for a container's first process, or for all that it has.

use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags};

use super::super::Context;
use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::record::Record;
use super::super::status::{self, Status};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "kill",
    usage: "<container-id> [signal]",
    about: "send a signal (SIGTERM by default) to a container's first process",
    flags: FLAGS,
    arguments: 1..=2,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[Flag::switch("all", "to every process of the container").short("a")];

const SIGKILL: i32 = 9;
const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

/// Numbers 1 to 31 in their order (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let signal = flags.positional.get(1).map_or(Ok(15), |text| parse(text))?;
    let directory = context.store.find(&flags.positional[0])?;
    let record = directory.read()?;
    let status = status::of(&directory, &record);
    if flags.has("all") || (signal == SIGKILL && !record.has_own_pids()) {
        // Its first process may have ended before the others.
        all(&record, signal)?;
        return Ok(0);
    }
    if status == Status::Stopped {
        return Err(Error::NotRunning);
    }
    let pidfd = status::pidfd(&record)?;
    match onggi_sys::pidfd::send_signal(pidfd.as_fd(), signal) {
        Err(error) if error.raw_os_error() == Some(ESRCH) => return Err(Error::NotRunning),
        other => other.map_err(|error| Error::io("signal the container's process", error))?,
    }
    if signal == SIGKILL && status == Status::Paused {
        // What version 1's freezer holds cannot die.
        record.cgroup().and_then(|cgroup| cgroup.freeze(false)).map_err(Error::Cgroup)?;
    }
    Ok(0)
}

fn all(record: &Record, signal: i32) -> Result<(), Error> {
    let cgroup = match record.cgroup() {
        Err(onggi_cgroup::Error::Missing { .. }) => return Err(Error::NotRunning),
        other => other.map_err(Error::Cgroup)?,
    };
    if signal == SIGKILL {
        return cgroup.kill().map_err(Error::Cgroup);
    }
    for pid in cgroup.pids().map_err(Error::Cgroup)? {
        let pid = Pid::from_raw(pid.cast_signed());
        // One that has ended since it was listed needs no signal.
        let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = pidfd {
            let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), signal);
        }
    }
    Ok(())
}

/// A number (0 only asks whether the process is there), or a name in any case with or without `SIG`.
fn parse(text: &str) -> Result<i32, Error> {
    let unknown = || Error::usage(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return Some(number).filter(|number| (0..=64).contains(number)).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    if let Some(at) = NAMES.iter().position(|&known| known == alias) {
        return i32::try_from(at + 1).map_err(|_| unknown());
    }
    // As glibc numbers them for programs.
    match name {
        "RTMIN" => Ok(34),
        "RTMAX" => Ok(64),
        _ => {
            let offset = |prefix: &str| name.strip_prefix(prefix)?.parse::<i32>().ok();
            let number =
                offset("RTMIN+").map(|add| 34 + add).or_else(|| offset("RTMAX-").map(|less| 64 - less));
            number.filter(|number| (34..=64).contains(number)).ok_or_else(unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("usr1", 10),
            ("RTMIN+3", 37),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["65", "-1", "", "SIG", "NONE", "RTMIN+40"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
