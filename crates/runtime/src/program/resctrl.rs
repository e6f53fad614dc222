//! `linux.intelRdt`: a share of the processor's caches and memory bandwidth, and figures of their use (the kernel's
//! Documentation/filesystems/resctrl.rst).
//!
//! A group is a directory of the resctrl file system; a process belongs to that of its parent when it is born. So we enter the group,
//! start the process, and go back: no moment of its life is outside.

use std::io;
use std::path::{Path, PathBuf};

use onggi_oci as oci;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;

mod figures;

pub(crate) use figures::figures;

const USUAL: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC`
const MAGIC: u64 = 0x765_5821;

/// The groups of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    root: PathBuf,
    path: PathBuf,
    /// It goes with the container: nobody has named it, and it was not there before.
    is_own: bool,
    /// Where the container's use is counted.
    monitor: Option<PathBuf>,
}

/// Where resctrl is mounted.
pub(crate) fn root() -> Result<PathBuf, Error> {
    let is_there = rustix::fs::statfs(USUAL).is_ok_and(|found| found.f_type as u64 == MAGIC);
    if is_there {
        return Ok(USUAL.into());
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let elsewhere = table.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("resctrl ").then(|| fields.split(' ').nth(4).map(PathBuf::from))?
    });
    elsewhere.ok_or_else(|| {
        Error::State("intelRdt is specified in config, but Intel RDT is not enabled".to_owned())
    })
}

impl Group {
    /// Makes the groups of a container, as `config-linux.md` says, and sets what they may use.
    pub(crate) fn make(root: &Path, id: &str, wanted: &oci::IntelRdt) -> Result<Group, Error> {
        let named = wanted.clos_id.as_deref().filter(|name| !name.is_empty());
        if named.is_some_and(|name| matches!(name, "." | "..") || (name.len() > 1 && name.contains('/'))) {
            return Err(Error::usage(format!("invalid intelRdt.ClosID {:?}", named.unwrap_or_default())));
        }
        for (given, part, what) in [
            (
                &wanted.l3_cache_schema,
                "L3",
                "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT",
            ),
            (&wanted.mem_bw_schema, "MB", "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA"),
        ] {
            let is_given = given.as_deref().is_some_and(|text| !text.is_empty());
            if is_given && !root.join("info").join(part).exists() {
                return Err(Error::State(format!("{what} is not enabled")));
            }
        }
        // `/` is the root's group, which everything is in.
        let path = match named {
            Some("/") => root.to_owned(),
            Some(name) => root.join(name),
            None => root.join(id),
        };
        let schemata = schemata(wanted);
        if named.is_some() && schemata.is_empty() && !path.is_dir() {
            let what = "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)";
            return Err(Error::io(what, Errno::NOENT));
        }
        let made = make(root, &path)?;
        let mut group = Group { root: root.to_owned(), path, is_own: made && named.is_none(), monitor: None };
        let filled = group.fill(id, &schemata, wanted.enable_monitoring);
        if let Err(error) = filled {
            // What could not be set is the error that counts.
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }

    fn fill(&mut self, id: &str, schemata: &str, monitors: bool) -> Result<(), Error> {
        if monitors {
            let path = self.path.join("mon_groups").join(id);
            make(&self.root, &path)?;
            self.monitor = Some(path);
        }
        self.set(schemata)
    }

    /// Changes what the group may use: whole lines, each with its end.
    pub(crate) fn set(&self, schemata: &str) -> Result<(), Error> {
        if schemata.is_empty() {
            return Ok(());
        }
        write(&self.root, &self.path.join("schemata"), schemata)
    }

    /// Starts something in the group.
    pub(crate) fn start<T>(&self, start: impl FnOnce() -> T) -> Result<T, Error> {
        let own = std::process::id().to_string();
        write(&self.root, &self.path.join("tasks"), &own)?;
        if let Some(monitor) = &self.monitor {
            write(&self.root, &monitor.join("tasks"), &own)?;
        }
        let started = start();
        // What was started is there; this process ends soon, in whichever group.
        let _ = write(&self.root, &self.root.join("tasks"), &own);
        Ok(started)
    }

    /// Takes away what was made for this container.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let gone = |path: &Path| match std::fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", path.display()), error))
            }
            _ => Ok(()),
        };
        // The group takes those below with it.
        if self.is_own { gone(&self.path) } else { self.monitor.as_deref().map_or(Ok(()), gone) }
    }
}

/// `update`, in runc's words where it cannot be.
pub(crate) fn update(group: Option<&Group>, wanted: &oci::IntelRdt) -> Result<(), Error> {
    let root = root().ok();
    for (given, part, text) in [
        (&wanted.l3_cache_schema, "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
        (&wanted.mem_bw_schema, "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        if given.is_some() && !root.as_ref().is_some_and(|root| root.join("info").join(part).exists()) {
            return Err(Error::State(text.to_owned()));
        }
    }
    let none = "updating a non-existent Intel RDT configuration is not supported";
    group.ok_or_else(|| Error::State(none.to_owned()))?.set(&schemata(wanted))
}

/// The lines of the `schemata` file.
pub(crate) fn schemata(wanted: &oci::IntelRdt) -> String {
    let old = [&wanted.l3_cache_schema, &wanted.mem_bw_schema].into_iter().flatten();
    let lines = old.chain(&wanted.schemata).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// Whether it is new.
fn make(root: &Path, path: &Path) -> Result<bool, Error> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(complaint(root, format!("mkdir {}", path.display()), error)),
    }
}

fn write(root: &Path, path: &Path, value: &str) -> Result<(), Error> {
    // One call for all of it, as the kernel wants it, and never a new file.
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    written.map_err(|error| {
        complaint(root, format!("intelrdt: unable to write {value:?} to {}", path.display()), error)
    })
}

/// The error with what the kernel says of it.
fn complaint(root: &Path, what: String, error: io::Error) -> Error {
    let status = std::fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
    match status.trim() {
        "" | "ok" => Error::io(what, error),
        status => Error::io(format!("{what} (last_cmd_status: {status})"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of what the file system looks like; its files are plain ones.
    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for directory in ["info/L3", "info/L3_MON", "mon_groups", "gold/mon_groups", "jar/mon_groups"] {
            std::fs::create_dir_all(tree.path().join(directory)).unwrap();
        }
        for directory in ["", "gold", "jar"] {
            for file in ["tasks", "schemata"] {
                std::fs::write(tree.path().join(directory).join(file), "").unwrap();
            }
        }
        std::fs::write(tree.path().join("info/last_cmd_status"), "ok\n").unwrap();
        tree
    }

    fn wanted(clos: &str, schemata: &[&str], monitors: bool) -> oci::IntelRdt {
        oci::IntelRdt {
            clos_id: Some(clos.to_owned()).filter(|name| !name.is_empty()),
            schemata: schemata.iter().map(|&line| line.to_owned()).collect(),
            enable_monitoring: monitors,
            ..oci::IntelRdt::default()
        }
    }

    #[test]
    fn a_group_that_is_there_is_used_and_stays() {
        let tree = tree();
        let monitor = tree.path().join("gold/mon_groups/jar");
        std::fs::create_dir(&monitor).unwrap();
        std::fs::write(monitor.join("tasks"), "").unwrap();
        let group = Group::make(tree.path(), "jar", &wanted("gold", &["L3:0=f", "L3:1=ff"], true)).unwrap();
        let read = |path: &str| std::fs::read_to_string(tree.path().join(path)).unwrap();
        assert_eq!(read("gold/schemata"), "L3:0=f\nL3:1=ff\n");
        let own = std::process::id().to_string();
        let inside = group.start(|| (read("gold/tasks"), read("gold/mon_groups/jar/tasks"))).unwrap();
        assert_eq!(inside, (own.clone(), own.clone()));
        assert_eq!(read("tasks"), own, "it went back");
        std::fs::remove_file(monitor.join("tasks")).unwrap();
        group.remove().unwrap();
        assert!(tree.path().join("gold").exists() && !monitor.exists());
    }

    #[test]
    fn a_group_without_a_name_is_the_containers() {
        let tree = tree();
        let group = Group::make(tree.path(), "new", &wanted("", &[], false)).unwrap();
        assert!(group.is_own && tree.path().join("new").is_dir());
        group.remove().unwrap();
        assert!(!tree.path().join("new").exists());
        assert!(!Group::make(tree.path(), "jar", &wanted("", &[], false)).unwrap().is_own, "it was there");
    }

    #[test]
    fn what_cannot_be_is_refused_and_leaves_nothing() {
        let tree = tree();
        let message =
            |wanted: &oci::IntelRdt| Group::make(tree.path(), "new", wanted).unwrap_err().to_string();
        assert!(message(&wanted("..", &[], false)).contains("invalid intelRdt.ClosID \"..\""));
        assert!(message(&wanted("a/b", &[], false)).contains("invalid intelRdt.ClosID"));
        assert!(message(&wanted("none", &[], false)).contains("must be pre-created"));
        let bandwidth = oci::IntelRdt { mem_bw_schema: Some("MB:0=20".into()), ..oci::IntelRdt::default() };
        assert!(message(&bandwidth).contains("Intel RDT/MBA is not enabled"));
        // The kernel would have made the file with the directory; here nothing does, and the directory goes again.
        std::fs::write(tree.path().join("info/last_cmd_status"), "Mask out of range\n").unwrap();
        assert!(message(&wanted("", &["L3:0=0"], false)).contains("last_cmd_status: Mask out of range"));
        assert!(!tree.path().join("new").exists());
    }

    #[test]
    fn lines_have_an_order() {
        let mut wanted = wanted("", &["L2:0=1", ""], false);
        wanted.l3_cache_schema = Some("L3:0=f".into());
        assert_eq!(schemata(&wanted), "L3:0=f\nL2:0=1\n");
    }
}
