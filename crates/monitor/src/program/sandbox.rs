//! The sandbox's directory under `/run`: who lives here, where to knock, and the FIFOs that outlive the monitor.
//!
//! Everything is reached from the directory's descriptor. What is here dies with the boot, so nothing is synced.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use onggi_error::Kind;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::isolation::Refusal;
use crate::client::{ALIVE, SOCKET, START};
use crate::protocol::{self, Start};
use crate::state::{self, State};

/// How to find again what was started ([`super::isolation::Isolation::description`]).
const PLAN: &str = "plan";
/// Who watches it.
const IDENTITY: &str = "monitor.json";
const STDIN: &str = "stdin";
const OUTPUTS: [&str; 2] = ["stdout", "stderr"];

/// `monitor.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    version: u32,
    protocol: u32,
    program: String,
    pid: u32,
    /// Clock ticks since boot; with the pid it names a process for good.
    start_time: u64,
    boot_id: String,
}

#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) directory: OwnedFd,
    /// Holds the lock that says "alive".
    pub(crate) alive: OwnedFd,
}

impl Sandbox {
    /// Takes the directory: no two monitors watch one sandbox.
    pub(crate) fn take(directory: OwnedFd) -> Result<Sandbox, Refusal> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fail =
            |error: &io::Error| Refusal::io("monitor.alive", format!("lock {ALIVE} in the sandbox"), error);
        let alive = rustix::fs::openat(&directory, ALIVE, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| fail(&errno.into()))?;
        if !onggi_sys::ofd::try_lock(alive.as_fd()).map_err(|error| fail(&error))? {
            return Err(Refusal::new(
                Kind::Conflict,
                "monitor.alive",
                "another monitor watches this sandbox",
            ));
        }
        onggi_sys::fault::point("monitor.start.locked");
        Ok(Sandbox { directory, alive })
    }

    /// Says who lives here.
    pub(crate) fn write_identity(&self) -> Result<(), Refusal> {
        let pid = std::process::id();
        let identity = Identity {
            version: 1,
            protocol: protocol::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid,
            start_time: crate::state::process_start_time(pid.cast_signed()).unwrap_or(0),
            boot_id: crate::state::boot_id(),
        };
        self.write(IDENTITY, &serde_json::to_vec(&identity).unwrap_or_default())
    }

    pub(crate) fn write_start(&self, start: &Start) -> Result<(), Refusal> {
        self.write(START, &serde_json::to_vec(start).unwrap_or_default())
    }

    pub(crate) fn read_start(&self) -> Result<Start, Refusal> {
        let start: Start = serde_json::from_slice(&self.read(START)?).map_err(|error| {
            Refusal::new(Kind::Corrupt, "monitor.adopt", format!("{START} in the sandbox: {error}"))
        })?;
        check_version(&start)?;
        Ok(start)
    }

    /// The state that another monitor could not write where it is kept.
    pub(crate) fn waiting_state(&self) -> Option<State> {
        State::read(self.directory.as_fd()).ok().filter(|state| state.boot_id == state::boot_id())
    }

    pub(crate) fn forget_state(&self) {
        self.unlink(state::FILE);
    }

    pub(crate) fn write_plan(&self, description: &[u8]) -> Result<(), Refusal> {
        self.write(PLAN, description)
    }

    pub(crate) fn read_plan(&self) -> Result<Vec<u8>, Refusal> {
        self.read(PLAN)
    }

    /// Opens the socket where clients knock.
    pub(crate) fn listen(&self) -> Result<OwnedFd, Refusal> {
        let fail = |errno: Errno| {
            Refusal::io("monitor.listen", format!("listen on {SOCKET} in the sandbox"), &errno.into())
        };
        // A dead monitor's.
        self.unlink(SOCKET);
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(fail)?;
        // An address holds 107 bytes, and the directory may lie deep: it is bound from within. The mode is set before anybody
        // can connect, since nobody can before `listen`.
        rustix::process::fchdir(&self.directory).map_err(fail)?;
        let bound = SocketAddrUnix::new(SOCKET).and_then(|address| rustix::net::bind(&socket, &address));
        rustix::process::chdir("/").map_err(fail)?;
        bound.map_err(fail)?;
        rustix::fs::chmodat(&self.directory, SOCKET, Mode::from_raw_mode(0o600), AtFlags::empty())
            .map_err(fail)?;
        rustix::net::listen(&socket, 64).map_err(fail)?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(fail)?;
        Ok(socket)
    }

    /// Makes the FIFO of an output and opens both ends: ours to read, and the process's. Its end is open for reading too, so that a
    /// process that writes while no monitor lives waits instead of dying of SIGPIPE.
    pub(crate) fn output(
        &self,
        stream: usize,
        owner: Option<(u32, u32)>,
    ) -> Result<(OwnedFd, OwnedFd), Refusal> {
        let name = OUTPUTS[stream];
        self.make_fifo(name, owner)?;
        let ours = self.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok((ours, self.open(name, OFlags::RDWR)?))
    }

    /// Our end of an output that another monitor made.
    pub(crate) fn reopen_output(&self, stream: usize) -> Result<OwnedFd, Refusal> {
        self.open(OUTPUTS[stream], OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// Makes the FIFO of standard input. The process's end is for reading only: otherwise it would never see the end.
    pub(crate) fn input(&self, owner: Option<(u32, u32)>) -> Result<(OwnedFd, OwnedFd), Refusal> {
        self.make_fifo(STDIN, owner)?;
        // While this is open neither of the others waits for its opposite.
        let _both = self.open(STDIN, OFlags::RDWR)?;
        let theirs = self.open(STDIN, OFlags::RDONLY)?;
        Ok((self.open(STDIN, OFlags::WRONLY | OFlags::NONBLOCK)?, theirs))
    }

    /// Our end of standard input, if the process still reads it.
    pub(crate) fn reopen_input(&self) -> Option<OwnedFd> {
        self.open(STDIN, OFlags::WRONLY | OFlags::NONBLOCK).ok()
    }

    /// Takes everything away, the directory too. What cannot be removed is found by the next command, which sees that nobody lives here.
    pub(crate) fn clear(&self) {
        for name in [SOCKET, START, PLAN, IDENTITY, STDIN, OUTPUTS[0], OUTPUTS[1], state::FILE, ALIVE] {
            self.unlink(name);
        }
        if let Some((parent, name)) = self.place() {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }

    /// The parent directory and our name in it, from the kernel: `..` alone would not tell the name.
    fn place(&self) -> Option<(OwnedFd, Vec<u8>)> {
        let path =
            std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.directory)))
                .ok()?;
        let name = path.file_name()?.as_bytes().to_vec();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Some((rustix::fs::openat(&self.directory, "..", flags, Mode::empty()).ok()?, name))
    }

    fn make_fifo(&self, name: &str, owner: Option<(u32, u32)>) -> Result<(), Refusal> {
        let fail = |errno: Errno| Refusal::io("monitor.fifo", format!("make the FIFO {name}"), &errno.into());
        // A start that was killed may have left one.
        self.unlink(name);
        rustix::fs::mkfifoat(&self.directory, name, Mode::from_raw_mode(0o600)).map_err(fail)?;
        if let Some((user, group)) = owner {
            let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            rustix::fs::chownat(&self.directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(fail)?;
        }
        Ok(())
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Refusal> {
        rustix::fs::openat(&self.directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Refusal::io("monitor.fifo", format!("open the FIFO {name}"), &errno.into()))
    }

    /// Written beside its place and renamed, so that nobody reads half of it.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let fail = |errno: Errno| {
            Refusal::io("monitor.sandbox", format!("write {name} in the sandbox"), &errno.into())
        };
        let temporary = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &temporary, flags, Mode::from_raw_mode(0o600))
            .map_err(fail)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest)).map_err(fail)?;
            rest = &rest[written..];
        }
        rustix::fs::renameat(&self.directory, &temporary, &self.directory, name).map_err(fail)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fail =
            |error: &io::Error| Refusal::io("monitor.adopt", format!("read {name} in the sandbox"), error);
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())
            .map_err(|errno| fail(&errno.into()))?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes).map_err(|error| fail(&error))?;
        Ok(bytes)
    }

    /// It need not be there.
    fn unlink(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }
}

/// An old program refuses what is newer than itself.
pub(crate) fn check_version(start: &Start) -> Result<(), Refusal> {
    if start.version > protocol::VERSION {
        let message = format!(
            "the container's record is of version {}, newer than {}, this monitor's",
            start.version,
            protocol::VERSION
        );
        return Err(Refusal::new(Kind::Unsupported, "monitor.start", message));
    }
    Ok(())
}
