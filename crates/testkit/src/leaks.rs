//! What containers leave traces in: mounts, cgroups, links, nft objects, processes, files. A snapshot before and one after show
//! what was left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything on this machine that Onggi could have left, one line each, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Looks around. Of processes and cgroups only Onggi's own count, of mounts, links and nft tables all, of temporary files
    /// those that are named as the tests name theirs.
    #[must_use]
    pub fn take() -> Snapshot {
        let mut lines = BTreeSet::new();
        lines.extend(mounts().into_iter().map(|mount| format!("mount {mount}")));
        lines.extend(cgroups().into_iter().map(|path| format!("cgroup {}", path.display())));
        lines.extend(names_in(Path::new("/sys/class/net")).into_iter().map(|name| format!("link {name}")));
        lines.extend(nft_tables().into_iter().map(|table| format!("nft {table}")));
        lines.extend(processes().into_iter().map(|process| format!("process {process}")));
        for directory in ["/run/onggi/sandboxes", "/var/lib/onggi/containers"] {
            lines.extend(
                names_in(Path::new(directory)).into_iter().map(|name| format!("file {directory}/{name}")),
            );
        }
        let temporary = std::env::temp_dir();
        let ours = |name: &String| name.starts_with(".tmp") || name.starts_with("onggi-");
        let left = names_in(&temporary).into_iter().filter(ours);
        lines.extend(left.map(|name| format!("file {}", temporary.join(name).display())));
        Snapshot { lines }
    }

    /// What is here and was not in `before`.
    #[must_use]
    pub fn since(&self, before: &Snapshot) -> Vec<String> {
        self.lines.difference(&before.lines).cloned().collect()
    }

    /// One line each, as [`Snapshot::parse`] reads them.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Reads back what [`Snapshot::to_text`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Snapshot {
        Snapshot { lines: text.lines().map(str::to_owned).collect() }
    }
}

/// The mounts of this mount namespace: where, of what type, from what.
pub(crate) fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    text.lines()
        .filter_map(|line| {
            let (place, source) = line.split_once(" - ")?;
            let source: Vec<&str> = source.split(' ').take(2).collect();
            Some(format!("{} {}", place.split(' ').nth(4)?, source.join(" ")))
        })
        .collect()
}

/// The directories below `/onggi` in every cgroup hierarchy. Its own directory and the monitors' are the installation's, not a
/// container's, and stay.
pub(crate) fn cgroups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let roots = text.lines().filter_map(|line| {
        let (place, source) = line.split_once(" - ")?;
        source.starts_with("cgroup").then(|| place.split(' ').nth(4))?
    });
    roots.flat_map(|root| directories(&Path::new(root).join("onggi"))).collect()
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let own =
        entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own.flat_map(|entry| [directories(&entry.path()), vec![entry.path()]].concat()).collect()
}

/// Monitors and whatever else of ours runs: command name and command line, without the process id, so that two snapshots of the
/// same processes are alike.
fn processes() -> Vec<String> {
    let numbers = names_in(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let line =
                String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).replace('\0', " ");
            let ours = name.starts_with("onggi") && !line.contains("onggi-leaks");
            (ours && !awaits_process_one(&pid))
                .then(|| format!("{pid} {} {}", name.trim_end(), line.trim_end()))
        })
        .collect()
}

/// Whether it has ended and process 1, whose child it has become, has yet to collect it: some do so once in a few seconds.
fn awaits_process_one(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in brackets and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with("Z 1 "))
}

/// The tables of all families, if nft is installed.
fn nft_tables() -> Vec<String> {
    let Ok(output) = Command::new("nft").args(["list", "tables"]).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The links of this network namespace.
pub(crate) fn links() -> Vec<String> {
    names_in(Path::new("/sys/class/net"))
}

/// Bridges that say whose they are.
pub(crate) fn bridges() -> Vec<(String, String)> {
    let alias =
        |name: &String| fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).unwrap_or_default();
    let all = links().into_iter().map(|name| (alias(&name).trim_end().to_owned(), name));
    all.filter(|(alias, _)| alias.starts_with("onggi network ")).map(|(alias, name)| (name, alias)).collect()
}

/// Removes a bridge, and the table that knows it. Answers the ports that were still in that.
pub(crate) fn take_away(bridge: &str) -> Vec<String> {
    let nft = |arguments: &[&str]| {
        let output = Command::new("nft").args(arguments).output().expect("nft is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut left = Vec::new();
    for table in nft_tables() {
        let Some(name) = table.strip_prefix("table inet onggi") else { continue };
        let name = format!("onggi{name}");
        let text = nft(&["list", "table", "inet", &name]);
        if text.contains(&format!("\"{bridge}\"")) {
            let ports = text.lines().filter(|line| line.contains(" . ") && line.contains(" : 1"));
            left.extend(ports.map(|line| format!("nft {name}: {}", line.trim())));
            nft(&["delete", "table", "inet", &name]);
        }
    }
    let _ = Command::new("ip").args(["link", "delete", bridge]).output();
    left
}

pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_mount_is_seen_and_its_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = Snapshot::take();
        let place = directory.path().to_str().expect("text");
        let mount = |words: &[&str]| {
            assert!(Command::new(words[0]).args(&words[1..]).status().expect("it starts").success());
        };
        mount(&["mount", "-t", "tmpfs", "kit", place]);
        let left = Snapshot::take().since(&before);
        mount(&["umount", place]);
        assert!(left.contains(&format!("mount {place} tmpfs kit")), "{left:?}");
        assert!(!Snapshot::take().to_text().contains(&format!("mount {place}")));
    }

    #[test]
    fn an_ended_child_of_another_than_process_one_counts() {
        let mut child = Command::new("true").spawn().expect("it starts");
        let pid = child.id().to_string();
        let ended = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ");
        while !ended() {
            std::thread::yield_now();
        }
        assert!(!awaits_process_one(&pid));
        assert!(!awaits_process_one("1"));
        child.wait().expect("it is collected");
    }

    #[test]
    fn a_snapshot_survives_being_written() {
        let snapshot = Snapshot::take();
        assert_eq!(Snapshot::parse(&snapshot.to_text()), snapshot);
        assert_eq!(snapshot.since(&snapshot), Vec::<String>::new());
        assert_eq!(Snapshot::parse("a\nb\n").since(&Snapshot::parse("b\n")), ["a"]);
    }
}
