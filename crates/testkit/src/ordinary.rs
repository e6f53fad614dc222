//! An ordinary user for tests, whom the machine does not have: the three files that tell the system of users are the test's own, bound
//! over /etc in a mount namespace that ends with the command. So is the device of tunnels, which only udev lets everybody use.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, chmod, makedev, mknodat};

/// The user's id and group, and the first of the ids that the user may give away.
const USER: u32 = 54_321;
const GRANTED: u32 = 1_500_000_000;

/// Runs as the user what follows; `$1` is where the files are.
const SCRIPT: &str = "set -e; for file in passwd subuid subgid; do mount --bind \"$1/$file\" /etc/$file; done; \
    if [ -e /dev/net/tun ]; then mount --bind \"$1/tun\" /dev/net/tun; fi; shift; \
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
