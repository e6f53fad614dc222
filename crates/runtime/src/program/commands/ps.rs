//! `ps`: the container's processes, by the host's `ps`.

use std::process::Command as Process;

use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::{Context, print};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "ps",
    usage: "<container-id> [ps options]",
    about: "display the processes inside a container",
    flags: FLAGS,
    arguments: 1..=usize::MAX,
    stops_at_first: true,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[Flag::with("format", "FORMAT", "table or json (table)").short("f")];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let record = context.store.find(&flags.positional[0])?.read()?;
    let pids = match record.own_cgroup() {
        // It has ended.
        Err(Error::Cgroup(onggi_cgroup::Error::Missing { .. })) => Vec::new(),
        cgroup => cgroup?.pids().map_err(Error::Cgroup)?,
    };
    match flags.value("format").unwrap_or("table") {
        "json" => {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            print(&format!("[{}]\n", pids.join(",")))?;
        }
        "table" => {
            let given = &flags.positional[1..];
            let standard = ["-ef".to_owned()];
            let options = if given.is_empty() { &standard[..] } else { given };
            let output = Process::new("ps").args(options).output();
            let output = output.map_err(|error| Error::io("exec: \"ps\"", error))?;
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Error::Failed(format!("{}: {text}", output.status)));
            }
            print(&of(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
        }
        _ => return Err(Error::usage("invalid format option")),
    }
    Ok(0)
}

/// The header and the lines of these processes.
fn of(table: &str, pids: &[u32]) -> Result<String, Error> {
    let header = table.lines().next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::usage("couldn't find PID field in ps output"))?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|field| field.parse().ok());
        pid.is_some_and(|pid: u32| pids.contains(&pid))
    };
    let lines = std::iter::once(header).chain(table.lines().skip(1).filter(is_ours));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_stay() {
        let table = "UID   PID  CMD\nroot  12   12\nroot  7    sh\nroot  120  x\n";
        assert_eq!(of(table, &[12]).unwrap(), "UID   PID  CMD\nroot  12   12\n");
        assert!(of("UID CMD\n", &[12]).is_err());
    }
}
