//! The way out of the user's network namespace: `pasta` (passt.top), one process for all of the user's containers.
//!
//! It has a link in the namespace and plain sockets outside. It is started by the first command that needs it, and again by the holder when
//! it has died or the host had no network yet. It ends by a signal ([`close`], the holder's end); for when nobody is left to send one it
//! watches the file that it knows the namespace by, but versions of 2023 overlook its removal among others'.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use onggi_sys::apart::apart;
use onggi_sys::{fault, namespace, ofd};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, PidfdFlags};

use crate::Error;
use crate::enter::read_pid;
use crate::hold::Files;
use crate::network::within;
use crate::uplink::{self, Uplink};

/// Debian's package passt has it.
pub const PROGRAM: &str = "pasta";
/// pasta's link in the namespace, which is there for as long as pasta is.
pub const LINK: &str = "onggi-out";

/// What the link is given. Packets end at pasta, so nobody else ever sees these addresses; they are of ranges that nobody routes, in order
/// that the host can be reached under its own. With packets of this size pasta is at its fastest.
const LINK_ARGUMENTS: [&str; 13] = [
    "--config-net",
    "--mtu",
    "65520",
    "--address",
    "169.254.254.1",
    "--netmask",
    "30",
    "--gateway",
    "169.254.254.2",
    "--address",
    "fd6f:6e67:6769::1",
    "--gateway",
    "fe80::1",
];
/// No ports in either direction: the monitors' sockets take connections in (docs/network.md), and the host's loopback is not the
/// containers'.
const PORT_ARGUMENTS: [&str; 11] = [
    "--tcp-ports",
    "none",
    "--udp-ports",
    "none",
    "--tcp-ns",
    "none",
    "--udp-ns",
    "none",
    "--no-map-gw",
    "--quiet",
    "--netns",
];
const DEVICE: &str = "/dev/net/tun";
/// From `linux/sched.h`.
const CLONE_NEWNS: i32 = 0x0002_0000;

/// Sees that there is a way out of the user's network namespace. `run` is the user's run root.
///
/// # Errors
/// [`Error::Program`] if pasta is not installed, [`Error::Device`], [`Error::Refused`] with pasta's own words; [`Error::NoUplink`] if the
/// host has nothing to go out by: the holder then tries again, until it has.
pub fn ensure_way_out(run: &Path, network: &File) -> Result<(), Error> {
    ensure(&Files::of(run), network)
}

/// Whether a way out could be made for the caller, for who only wants to know: nothing is started. Answers where pasta is.
///
/// # Errors
/// [`Error::Program`], [`Error::Device`].
pub fn can_go_out() -> Result<PathBuf, Error> {
    let not_found = || Error::Program { program: PROGRAM, source: io::ErrorKind::NotFound.into() };
    let program = crate::granted::find(PROGRAM).ok_or_else(not_found)?;
    open_device()?;
    Ok(program)
}

fn open_device() -> Result<(), Error> {
    let opened = File::options().read(true).write(true).open(DEVICE);
    opened.map(drop).map_err(|source| Error::Device { path: DEVICE, source })
}

pub(crate) fn ensure(files: &Files, network: &File) -> Result<(), Error> {
    if is_there(network)? {
        return Ok(());
    }
    let path = files.way_lock();
    let _lock = take_turn(files).map_err(|source| Error::File { act: "lock", path, source })?;
    // Another command may have been faster.
    if is_there(network)? { Ok(()) } else { start(files, network) }
}

/// Whoever starts or ends it does so alone: one that is told to end while it begins might not hear it.
fn take_turn(files: &Files) -> io::Result<File> {
    let lock = Files::open(&files.way_lock())?;
    ofd::lock(lock.as_fd())?;
    Ok(lock)
}

/// Whether the link is there: the kernel takes it away with the process.
fn is_there(network: &File) -> Result<bool, Error> {
    let links = within(network, || fs::read_to_string("/proc/thread-self/net/dev"))
        .and_then(|read| read)
        .map_err(|source| Error::Kernel { what: "look at the user's network namespace", source })?;
    Ok(links
        .lines()
        .any(|line| line.trim_start().strip_prefix(LINK).is_some_and(|rest| rest.starts_with(':'))))
}

fn start(files: &Files, network: &File) -> Result<(), Error> {
    can_go_out()?;
    let file = |act, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { act, path, source }
    };
    let (name, pid) = (files.way(), files.way_pid());
    // One of a network that has gone would stay behind this one's name.
    end(process(files));
    File::create(&name).map_err(file("make", &name))?;
    fault::point("rootless.way.named");
    let link = match uplink::find() {
        Uplink::Route => None,
        Uplink::Link(link) => Some(link),
        Uplink::None => return Err(Error::NoUplink),
    };
    let started = run(network, &name, &pid, link.as_deref());
    fault::point("rootless.way.started");
    let output = started.map_err(|source| Error::Program { program: PROGRAM, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // Where there is no system log it says so as well, after each line.
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("syslog")).collect();
    Err(Error::Refused {
        program: PROGRAM,
        arguments: format!("--netns {}", name.display()),
        message: said.join("; "),
    })
}

/// pasta goes into the background once it is ready. It wants the namespace under a name in the file system, which it has in a mount
/// namespace of its own, so that nobody else's shows it.
fn run(network: &File, name: &Path, pid: &Path, link: Option<&str>) -> io::Result<Output> {
    // Kept over the exec by versions that do not open it for themselves; see `crate::network`.
    let kept: OwnedFd = rustix::io::dup(network.as_fd())?;
    apart(|| {
        namespace::unshare(CLONE_NEWNS)?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        mount_bind(format!("/proc/self/fd/{}", kept.as_raw_fd()), name)?;
        Command::new(PROGRAM)
            .args(LINK_ARGUMENTS)
            .args(["--ns-ifname", LINK])
            .args(link.into_iter().flat_map(|link| ["--interface", link]))
            .arg("--pid")
            .arg(pid)
            .args(PORT_ARGUMENTS)
            .arg(name)
            .current_dir("/")
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .output()
    })?
}

/// The process, if it lives and is that of these files. For the holder, who hears by it of its end.
pub(crate) fn process(files: &Files) -> Option<OwnedFd> {
    let pid = read_pid(&files.way_pid())?;
    let process = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // The number may be somebody else's by now; this asks after the process is held fast.
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let name = files.way();
    words.split(|byte| *byte == 0).any(|word| word == name.as_os_str().as_bytes()).then_some(process)
}

/// Ends it, and takes its files away.
pub(crate) fn close(files: &Files) {
    // Without the lock's file there is no directory to start one in either.
    let _turn = take_turn(files);
    let process = process(files);
    // First, so that its end makes nobody start it again.
    let _ = fs::remove_file(files.way());
    fault::point("rootless.way.unnamed");
    let _ = fs::remove_file(files.way_pid());
    end(process);
}

/// Ends the way out of the user with this run root, who is about to have no network any more.
pub fn close_way_out(run: &Path) {
    close(&Files::of(run));
}

pub(crate) fn end(process: Option<OwnedFd>) {
    if let Some(process) = process {
        let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
    }
}
