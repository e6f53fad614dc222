//! An ordinary user for tests, whom the machine does not have: the three files that tell the system of users are the test's own, bound
//! over /etc in a mount namespace that ends with the command. So is the device of tunnels, which only udev lets everybody use.
//! Control groups are delegated as docs/rootless.md says.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, chmod, makedev, mknodat};

use crate::PATIENCE;

/// The user's id and group, and the first of the ids that the user may give away.
const USER: u32 = 54_321;
const GRANTED: u32 = 1_500_000_000;

/// Runs as the user what follows; `$1` is where the files are.
const SCRIPT: &str = "set -e; for file in passwd subuid subgid; do mount --bind \"$1/$file\" /etc/$file; done; \
    if [ -e /dev/net/tun ]; then mount --bind \"$1/tun\" /dev/net/tun; fi; \
    if [ -s \"$1/groups\" ]; then while read -r group; do echo $$ >\"$group/cgroup.procs\"; done <\"$1/groups\"; fi; shift; \
    exec setpriv --reuid 54321 --regid 54321 --clear-groups -- \"$@\"";

/// The user's files.
#[derive(Debug)]
pub(crate) struct Ordinary {
    etc: PathBuf,
}

impl Ordinary {
    /// A user to whom 65536 ids are granted. `directory` becomes the user's.
    pub(crate) fn new(directory: &Path) -> Ordinary {
        let user = Ordinary { etc: directory.join("etc") };
        fs::create_dir(&user.etc).expect("a directory of the test's");
        let passwd =
            format!("root:x:0:0::/root:/bin/sh\ntester:x:{USER}:{USER}::{}:/bin/sh\n", directory.display());
        fs::write(user.etc.join("passwd"), passwd).expect("a file of the test's");
        fs::write(user.groups(), "").expect("a file of the test's");
        user.make_tunnel_device();
        user.grant(&format!("tester:{GRANTED}:65536\n"));
        user.own(directory);
        user
    }

    fn make_tunnel_device(&self) {
        let path = self.etc.join("tun");
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(10, 200)).expect("root may");
        chmod(&path, mode).expect("root may");
    }

    /// What /etc/subuid and /etc/subgid say from now on.
    pub(crate) fn grant(&self, lines: &str) {
        for name in ["subuid", "subgid"] {
            fs::write(self.etc.join(name), lines).expect("a file of the test's");
        }
    }

    /// Delegates a group of each of these version 1 hierarchies, or of the one tree of version 2, to all commands from now on.
    pub(crate) fn delegate(&self, hierarchies: &[&str]) {
        let top = Path::new("/sys/fs/cgroup");
        let is_v2 = top.join("cgroup.controllers").exists();
        let mut lines = String::new();
        for hierarchy in if is_v2 { &[""] } else { hierarchies } {
            let mut group = top.join(hierarchy).join(self.group());
            if is_v2 {
                let controllers = top.join("cgroup.subtree_control");
                fs::write(controllers, "+cpu +memory +pids").expect("root may");
            }
            self.make_group(&group);
            if is_v2 {
                // One whose groups have limits takes no processes itself.
                group = group.join("session");
                self.make_group(&group);
            }
            lines.push_str(&format!("{}\n", group.display()));
        }
        fs::write(self.groups(), lines).expect("a file of the test's");
    }

    fn make_group(&self, group: &Path) {
        fs::create_dir(group).expect("root may");
        self.own(group);
        for file in fs::read_dir(group).expect("a control group").flatten() {
            self.own(&file.path());
        }
    }

    /// What the delegated groups are called.
    fn group(&self) -> &OsStr {
        self.etc.parent().and_then(Path::file_name).expect("the test's directory")
    }

    /// Takes back what was delegated, once nobody is in it. Whoever has ended is in it until process 1 has taken notice.
    pub(crate) fn take_groups_back(&self) -> std::io::Result<()> {
        let groups = fs::read_to_string(self.groups())?;
        let deadline = Instant::now() + PATIENCE;
        groups.lines().try_for_each(|group| {
            let delegated = Path::new(group).ancestors().find(|path| path.ends_with(self.group()));
            let delegated = delegated.expect("it is in one of that name");
            loop {
                match remove_groups(delegated) {
                    Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                        std::thread::yield_now();
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    other => return other,
                }
            }
        })
    }

    fn groups(&self) -> PathBuf {
        self.etc.join("groups")
    }

    /// Makes a file or directory the user's.
    pub(crate) fn own(&self, path: &Path) {
        chown(path, Some(USER), Some(USER)).expect("root may");
    }

    /// The words before a command line's own.
    pub(crate) fn words(&self, program: &Path) -> Vec<OsString> {
        let words = ["--mount", "sh", "-c", SCRIPT, "sh"].map(OsString::from);
        words.into_iter().chain([self.etc.clone().into(), program.into()]).collect()
    }
}

/// A group and those in it. The files in them are the kernel's, and go with them.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
