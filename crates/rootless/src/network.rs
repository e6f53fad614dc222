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
    let look =
        || find(&files).map_err(|source| Error::Kernel { what: "find the user's network namespace", source });
    if let Some(found) = look()? {
        return Ok(found);
    }
    // The holder may be about to write what it is called; whoever has started it waits for that with this lock.
    let path = files.making();
    let making =
        Files::open(&path).map_err(|source| Error::File { act: "open", path: path.clone(), source })?;
    onggi_sys::ofd::lock(making.as_fd()).map_err(|source| Error::File { act: "lock", path, source })?;
    look()?.ok_or(Error::NoNetwork)
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

/// For a holder: the user's network namespace if anybody still has it, or a new one. Whoever looks for it finds it from now on. `None`: the
/// user may have none (`user.max_net_namespaces`, a kernel without them).
pub(crate) fn take_or_make(files: &Files) -> io::Result<Option<File>> {
    if let Some(found) = find(files)? {
        return Ok(Some(found));
    }
    let made = apart(|| match namespace::unshare(CLONE_NEWNET) {
        Err(error) if error.kind() != io::ErrorKind::OutOfMemory => Ok(None),
        other => other.and_then(|()| File::open(OWN)).map(Some),
    });
    let Some(made) = made?? else { return Ok(None) };
    onggi_sys::fault::point("rootless.hold.network-made");
    fs::write(files.network(), name_of(&made)?)?;
    Ok(Some(made))
}

/// As the kernel says it: `net:[4026532281]`.
fn name_of(network: &File) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    let link = fs::read_link(format!("/proc/self/fd/{}", network.as_raw_fd()))?;
    Ok(link.to_string_lossy().into_owned())
}

/// Among the descriptors of those who have it.
fn find(files: &Files) -> io::Result<Option<File>> {
    let name = match fs::read_to_string(files.network()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let monitors = fs::read_dir(files.sandboxes())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|sandbox| pid_in(&fs::read_to_string(sandbox.path().join("monitor.json")).ok()?));
    let first = [files.alive(), files.way_pid()].into_iter().filter_map(|file| read_pid(&file));
    first.chain(monitors).find_map(|pid| descriptor_of(pid, &name).transpose()).transpose()
}

/// A process that has ended, or is somebody else's by now, has none of this name: it is the kernel's number of a namespace that lives.
fn descriptor_of(pid: i32, name: &str) -> io::Result<Option<File>> {
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        // What is the caller's own lack is told; all else means that the process has nothing for the caller.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        other => other?,
    };
    let is_it = |path: &Path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == name);
    match descriptors.flatten().map(|entry| entry.path()).find(|path| is_it(path)).map(File::open) {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.transpose(),
    }
}
