//! `NOTIFY_SOCKET`: the container tells us that it is ready, and we tell the service manager (sd_notify(3)).
//!
//! The container never sees the manager's socket: only `READY=` passes, and which process is the main one we say ourselves.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use onggi_oci as oci;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType};

use super::error::Error;
use super::sockets::{self, in_time};
use super::store::Directory;

/// Where the container finds its socket.
const INSIDE: &str = "/run/notify";
const NAME: &str = "notify.sock";

/// The manager's socket, if the caller has one.
pub(crate) fn of_caller() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Makes the directory that is shown to the container, and shows it.
pub(crate) fn prepare(directory: &Directory, spec: &mut oci::Spec) -> Result<(), Error> {
    let path = directory.notify();
    let made = std::fs::DirBuilder::new().mode(0o755).create(&path);
    made.map_err(|error| Error::io(format!("make {}", path.display()), error))?;
    spec.mounts.push(oci::Mount {
        destination: INSIDE.to_owned(),
        source: Some(path.to_string_lossy().into_owned()),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec(),
        ..oci::Mount::default()
    });
    if let Some(process) = &mut spec.process {
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}"));
    }
    Ok(())
}

/// The container's socket: there before its program runs.
#[derive(Debug)]
pub(crate) struct Notify {
    container: OwnedFd,
    manager: PathBuf,
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }
}

impl Notify {
    pub(crate) fn bind(directory: &Directory, manager: PathBuf) -> Result<Notify, Error> {
        let path = directory.notify().join(NAME);
        let fail = |error: Errno| Error::io(format!("bind {}", path.display()), error);
        let container = socket().map_err(fail)?;
        rustix::net::bind(&container, &SocketAddrUnix::new(&path).map_err(fail)?).map_err(fail)?;
        // Whoever the container's user is.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))
            .map_err(|error| Error::io(format!("chmod {}", path.display()), error))?;
        Ok(Notify { container, manager })
    }

    /// Waits for the container's word or its end, and passes the word on.
    pub(crate) fn relay(self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Error> {
        let fail = |error: Errno| Error::io("wait for READY=1", error);
        loop {
            let mut polled =
                [PollFd::new(&self.container, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None)).map_err(fail)?;
            if polled[0].revents().is_empty() {
                return Ok(());
            }
            if self.pass(pid, true)? {
                return Ok(());
            }
        }
    }

    /// Reads one message that is there, and passes it on if it is the word; whether it was. `ends`: this program ends afterwards, and the
    /// manager has to have read everything by then.
    pub(crate) fn pass(&self, pid: i32, ends: bool) -> Result<bool, Error> {
        let mut bytes = [0; 4096];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let count = match rustix::net::recv(&self.container, &mut bytes, flags) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => return Err(Error::io("wait for READY=1", error)),
        };
        match ready(&bytes[..count]) {
            Some(word) => self.tell(word, pid, ends).map(|()| true),
            None => Ok(false),
        }
    }

    fn tell(&self, word: &[u8], pid: i32, ends: bool) -> Result<(), Error> {
        let fail = |error: Errno| Error::io(format!("notify {}", self.manager.display()), error);
        let manager = socket().map_err(fail)?;
        let text = self.manager.to_string_lossy();
        let address = match text.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
            None => SocketAddrUnix::new(&self.manager),
        };
        rustix::net::connect(&manager, &address.map_err(fail)?).map_err(fail)?;
        let mut message = word.to_vec();
        message.push(b'\n');
        rustix::net::send(&manager, &message, SendFlags::NOSIGNAL).map_err(in_time).map_err(fail)?;
        let mut message = Vec::new();
        // A vector takes everything.
        let _ = writeln!(message, "MAINPID={pid}");
        rustix::net::send(&manager, &message, SendFlags::NOSIGNAL).map_err(in_time).map_err(fail)?;
        if ends { barrier(&manager).map_err(fail) } else { Ok(()) }
    }
}

/// sd_notify_barrier(3): the manager closes the pipe's end once it has read what came before. Without this it might not know us any more
/// when it reads.
fn barrier(manager: &OwnedFd) -> Result<(), Errno> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [theirs.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(b"BARRIER=1")];
    rustix::net::sendmsg(manager, &text, &mut ancillary, SendFlags::NOSIGNAL).map_err(in_time)?;
    drop(theirs);
    let mut polled = [PollFd::new(&ours, PollFlags::empty())];
    let patience = Timespec { tv_sec: sockets::PATIENCE.as_secs() as i64, tv_nsec: 0 };
    // One that does not know of barriers ignores it, and closes the descriptor all the same.
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&patience))).map(drop)
}

/// The line that says so; nothing else of the container's passes.
fn ready(message: &[u8]) -> Option<&[u8]> {
    message.split(|&byte| byte == b'\n').find(|line| line.starts_with(b"READY="))
}

fn socket() -> Result<OwnedFd, Errno> {
    sockets::patient(SocketType::DGRAM)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_readiness_passes() {
        assert_eq!(super::ready(b"MAINPID=1\nREADY=1\nSTATUS=x"), Some(&b"READY=1"[..]));
        assert_eq!(super::ready(b"MAINPID=1\nWATCHDOG=1"), None);
        assert_eq!(super::ready(b""), None);
    }
}
