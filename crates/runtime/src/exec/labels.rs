//! What the security modules of the kernel know a process by: AppArmor's profile and SELinux's labels.
//!
//! They are written to attributes of the process in /proc, through the procfs that is held since before anything of the image's could
//! be reached: a profile that lands in a file of the container's is none (CVE-2019-19921, CVE-2023-28642, CVE-2025-52881).

use std::io;

use rustix::fs::{OFlags, XattrFlags};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::is;

/// AppArmor's profile, from the next program on. Where there is no AppArmor, `unconfined` is what everybody is.
pub(super) fn confine(child: &Child<'_>, profile: &str) -> Outcome {
    let write =
        |name: &str| child.procfs.write(&format!("thread-self/attr/{name}"), &format!("exec {profile}"));
    // The directory is there where AppArmor is (Linux 5.8); with it alone the other name is its as well.
    let written = match write("apparmor/exec") {
        Err(error) if is(&error, Errno::NOENT) && profile == "unconfined" => Ok(()),
        Err(error) if is(&error, Errno::NOENT) => write("exec"),
        other => other,
    };
    let what = "unable to apply apparmor profile: apparmor failed to apply profile: write /proc/thread-self/attr/exec";
    written.doing(|| what)
}

/// SELinux's label, from the next program on.
pub(super) fn label_program(child: &Child<'_>, label: &str) -> Outcome {
    write_label(child, "exec", label)
}

/// Makes keys with this label, and the next ones again with that of the process.
pub(super) fn labelled_keys(
    child: &Child<'_>,
    label: Option<&str>,
    make: impl FnOnce() -> Outcome,
) -> Outcome {
    let Some(label) = label else { return make() };
    write_label(child, "keycreate", label)?;
    make()?;
    // An empty one takes it away; the kernel wants at least a byte (proc_pid_attr(5)).
    write_label(child, "keycreate", "\n")
}

/// Labels a directory in the container.
pub(super) fn label_file(child: &Child<'_>, path: &str, label: &str) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let directory = child.root()?.open(path, flags).doing(|| format!("open {path}"))?;
    let value = [label.as_bytes(), &[0]].concat();
    rustix::fs::fsetxattr(&directory, "security.selinux", &value, XattrFlags::empty())
        .doing(|| format!("give {path} the SELinux label {label}"))
}

fn write_label(child: &Child<'_>, name: &str, label: &str) -> Outcome {
    match child.procfs.write(&format!("thread-self/attr/{name}"), label) {
        // What the kernel says where SELinux is not in use; a label that the policy does not know is the same to it.
        Err(error) if is(&error, Errno::INVAL) && !is_in_use(child) => Err(Problem::new(
            "selinux label is specified in config, but selinux is disabled or not supported",
        )),
        other => other.doing(|| format!("write {label} to /proc/thread-self/attr/{name}")),
    }
}

/// Without a security module that labels, a process has no label.
fn is_in_use(child: &Child<'_>) -> bool {
    let current: io::Result<String> = child.procfs.read("thread-self/attr/current");
    current.is_ok_and(|label| !label.is_empty())
}
