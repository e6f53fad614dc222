//! A process as something that can be looked for later: its number and when it started, since numbers are used again.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

/// A process of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/<pid>/stat`; 0 if it could not be read.
    started: u64,
}

impl Process {
    pub(crate) fn own() -> &'static Process {
        static OWN: OnceLock<Process> = OnceLock::new();
        OWN.get_or_init(|| {
            let pid = std::process::id();
            Process { pid, started: started(pid).unwrap_or(0) }
        })
    }

    pub(crate) fn parse(text: &str) -> Option<Process> {
        let (pid, started) = text.split_once(':')?;
        Some(Process { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|started| self.started == 0 || started == self.started)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.started)
    }
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, with any characters in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // A zombie does nothing any more. The start time is the 22nd field, the state the third.
    (state != "Z").then(|| fields.nth(18)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_told_from_the_dead() {
        assert!(Process::own().is_alive());
        assert!(Process::own().started > 0);
        assert_eq!(Process::parse(&Process::own().to_string()).as_ref(), Some(Process::own()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = Process { pid: child.id(), started: started(child.id()).unwrap_or(1) };
        child.wait().unwrap();
        assert!(!gone.is_alive());
        assert!(
            !Process { started: 1, ..Process::own().clone() }.is_alive(),
            "a number that is used again is another process"
        );
    }
}
