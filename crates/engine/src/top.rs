//! The processes of a container as the host's `ps` shows them.
//!
//! As Docker does: `ps` has a hundred columns and as many options, and scripts use them. It is asked about the processes of the
//! container's cgroup, and of what it prints only those are kept.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;

/// What Docker asks for when nothing is said.
const DEFAULT: &str = "-ef";

/// A table: titles, and a row for each process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// The container's processes. `options` are for `ps`; none: `-ef`.
    ///
    /// # Errors
    /// It does not run; `ps` is missing, refuses the options, or shows no process numbers with them.
    pub fn top(&self, id: &ContainerId, options: &[String]) -> Result<Processes, Error> {
        let record = self.record(id)?;
        if !status(&self.state(id)?).is_live() {
            return Err(Error::NotRunning { id: id.to_string() });
        }
        check_options(options)?;
        let pids = || self.pids(&record);
        let processes = parse(&ask(options, &pids()?)?, pids)?;
        self.tell("container", "top", id.as_str(), record.event_attributes());
        Ok(processes)
    }

    /// The processes of the container's cgroup; without control groups those of its process id namespace, which is its own then.
    fn pids(&self, record: &Record) -> Result<Vec<u32>, Error> {
        let id = &record.id;
        if self.cgroups()?.is_none() {
            let namespace = self.namespace_of(id.as_str(), "pid")?;
            return in_namespace(&namespace).map_err(Error::io("look for the processes of", namespace));
        }
        match onggi_cgroup::Cgroup::open(self.cgroups()?, &record.resolved.cgroup) {
            Err(error) if onggi_error::Diagnose::kind(&error) == onggi_error::Kind::NotFound => {
                Err(Error::NotRunning { id: id.to_string() })
            }
            other => Ok(other?.pids()?),
        }
    }
}

/// The processes whose process id namespace is that of this file.
fn in_namespace(file: &Path) -> io::Result<Vec<u32>> {
    let of = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino()));
    let wanted = of(file)?;
    let numbers =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Others' processes cannot be looked into, and are not the container's.
    let is_in =
        |pid: &u32| of(&PathBuf::from(format!("/proc/{pid}/ns/pid"))).is_ok_and(|found| found == wanted);
    Ok(numbers.filter(is_in).collect())
}

/// `-o pid=NUMBER` would take the title away by which the column of the numbers is found, and with it the filter.
fn check_options(options: &[String]) -> Result<(), Error> {
    for option in options {
        for column in option.split(',') {
            let Some((name, title)) = column.split_once('=') else { continue };
            if title.starts_with("PID") || name.trim_start_matches("-o").eq_ignore_ascii_case("pid") {
                return Err(Error::Invalid { what: format!("specifying \"{column}\" is not allowed") });
            }
        }
    }
    Ok(())
}

/// Asks about these processes only, or, as some options cannot go together with that, about all.
fn ask(options: &[String], pids: &[u32]) -> Result<String, Error> {
    let default = [DEFAULT.to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let run = |more: Option<&String>| -> Result<Output, Error> {
        Command::new("ps").args(options).args(more).output().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Invalid {
                what: "`top` asks the program `ps`, which is not there: install procps".to_owned(),
            },
            _ => Error::Kernel { act: "run ps", source },
        })
    };
    let numbers: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let narrow = format!("-q{}", numbers.join(","));
    let mut output = run(Some(&narrow))?;
    if !output.status.success() {
        output = run(None)?;
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        let what = line.map_or_else(
            || format!("ps: {}", output.status),
            |line| format!("ps: {}", line.trim_start_matches("ps: ")),
        );
        return Err(Error::Invalid { what });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Keeps the rows of the container's processes. Which those are is asked behind `ps`, so that none is missing that it has seen.
fn parse(text: &str, pids: impl Fn() -> Result<Vec<u32>, Error>) -> Result<Processes, Error> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    let Some(column) = titles.iter().position(|title| title == "PID") else {
        return Err(Error::Invalid { what: "Couldn't find PID field in ps output".to_owned() });
    };
    let pids = pids()?;
    let mut rows = Vec::new();
    let mut kept = false;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields.get(column) {
            // A thread, beneath its process (`ps -m`).
            Some(&"-") => {}
            Some(pid) => match pid.parse() {
                Ok(pid) => kept = pids.contains(&pid),
                Err(_) => {
                    return Err(Error::Invalid { what: format!("ps shows {pid:?} as a process number") });
                }
            },
            None => kept = false,
        }
        if kept {
            rows.push(row(&fields, titles.len()));
        }
    }
    Ok(Processes { titles, rows })
}

/// The last column takes what is left, blanks and all: it is the command line.
fn row(fields: &[&str], columns: usize) -> Vec<String> {
    let (first, last) = fields.split_at(columns.saturating_sub(1).min(fields.len()));
    let mut row: Vec<String> = first.iter().map(|&field| field.to_owned()).collect();
    row.push(last.join(" "));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<String, String> {
        let processes = parse(text, || Ok(vec![7, 9])).map_err(|error| error.to_string())?;
        let lines = std::iter::once(&processes.titles).chain(&processes.rows);
        Ok(lines.map(|cells| cells.join("|")).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn only_the_containers_processes_are_kept() {
        for (text, wanted) in [
            ("PID CMD\n7 sleep 1000\n8 other\n9 sh -c  a\n", Ok("PID|CMD\n7|sleep 1000\n9|sh -c a")),
            ("USER  PID %CPU\nroot 9 0.0\n\n", Ok("USER|PID|%CPU\nroot|9|0.0")),
            ("PID LWP CMD\n7 - a\n- 70 -\n8 - b\n- 80 -\n", Ok("PID|LWP|CMD\n7|-|a\n-|70|-")),
            ("CMD\nsh\n", Err("Couldn't find PID field in ps output")),
            ("PID CMD\nx y\n", Err("ps shows \"x\" as a process number")),
            ("", Err("Couldn't find PID field in ps output")),
        ] {
            assert_eq!(rows(text), wanted.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn the_title_by_which_processes_are_known_cannot_be_changed() {
        let check = |options: &[&str]| {
            check_options(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>()).is_ok()
        };
        for (options, allowed) in [
            (&["aux"] as &[&str], true),
            (&["-o", "pid,args"], true),
            (&["-o", "args=COMMAND"], true),
            (&["-o", "args=PID"], false),
            (&["-o", "ppid=PID,pid"], false),
            (&["-opid=X"], false),
        ] {
            assert_eq!(check(options), allowed, "{options:?}");
        }
    }
}
