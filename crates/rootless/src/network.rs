//! The user's network namespace: made by the first holder, found again by what its descriptors are called in /proc.
//!
//! Nobody lives in it, as an ordinary user could not come back from it to the host's. The holder and the monitors have a descriptor of
//! it each, and so does the process that is the way out ([`crate::way`]): whichever of them lives, it can be found.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use onggi_sys::apart::apart;
use onggi_sys::namespace;
use rustix::fd::AsFd;

use crate::Error;
use crate::enter::{pid_in, read_pid};
use crate::hold::Files;

/// From `linux/sched.h`.
const CLONE_NEWNET: i32 = 0x4000_0000;
const OWN: &str = "/proc/thread-self/ns/net";

/// A descriptor of the user's network namespace. `run` is the run root of a user whose namespace the caller has entered.
///
/// # Errors
/// [`Error::NoNetwork`] if the user may have none, or nobody is left who has it.
pub fn network(run: &Path) -> Result<File, Error> {
    let files = Files::of(run);
    if let Some(found) = find(&files) {
        return Ok(found);
    }
    // The holder may be about to write what it is called; whoever has started it waits for that with this lock.
    let path = files.making();
    let making =
        Files::open(&path).map_err(|source| Error::File { act: "open", path: path.clone(), source })?;
    onggi_sys::ofd::lock(making.as_fd()).map_err(|source| Error::File { act: "lock", path, source })?;
    find(&files).ok_or(Error::NoNetwork)
}

/// Whether a user with this run root has, or had, a holder.
#[must_use]
pub fn is_held(run: &Path) -> bool {
    Files::of(run).alive().exists()
}

/// Runs `act` in a network namespace, as a thing apart, since this process could not come back.
///
/// # Errors
/// The kernel's.
pub(crate) fn within<T>(network: &File, act: impl FnOnce() -> T) -> io::Result<T> {
    apart(|| namespace::setns(network.as_fd(), CLONE_NEWNET).map(|()| act()))?
}

/// For a holder: the user's network namespace if anybody still has it, or a new one. Whoever looks for it finds it from now on.
pub(crate) fn take_or_make(files: &Files) -> io::Result<File> {
    if let Some(found) = find(files) {
        return Ok(found);
    }
    let made = apart(|| namespace::unshare(CLONE_NEWNET).and_then(|()| File::open(OWN)))??;
    fs::write(files.network(), name_of(&made)?)?;
    Ok(made)
}

/// As the kernel says it: `net:[4026532281]`.
fn name_of(network: &File) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    let link = fs::read_link(format!("/proc/self/fd/{}", network.as_raw_fd()))?;
    Ok(link.to_string_lossy().into_owned())
}

/// Among the descriptors of those who have it.
fn find(files: &Files) -> Option<File> {
    let name = fs::read_to_string(files.network()).ok().filter(|name| !name.is_empty())?;
    let monitors = fs::read_dir(files.sandboxes())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|sandbox| pid_in(&fs::read_to_string(sandbox.path().join("monitor.json")).ok()?));
    let first = [files.alive(), files.way_pid()].into_iter().filter_map(|file| read_pid(&file));
    first.chain(monitors).find_map(|pid| descriptor_of(pid, &name))
}

/// A process that has ended, or is somebody else's by now, has none of this name: it is the kernel's number of a namespace that lives.
fn descriptor_of(pid: i32, name: &str) -> Option<File> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let is_it = |path: &Path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == name);
    descriptors
        .flatten()
        .map(|entry| entry.path())
        .find(|path| is_it(path))
        .and_then(|path| File::open(path).ok())
}
