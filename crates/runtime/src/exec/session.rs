//! The session of the new process and its standard streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, OFlags, Uid};
use rustix::io::Errno;

use super::child::{Child, Streams};
use super::problem::{Doing, Outcome, Problem};

/// A new session; the terminal as its controlling one, or the given files, as descriptors 0, 1 and 2.
pub(super) fn begin(child: &mut Child<'_>) -> Outcome {
    if let Some(leash) = child.leash.take() {
        wait_until_known(leash)?;
    }
    rustix::process::setsid().doing(|| "setsid")?;
    match std::mem::replace(&mut child.streams, Streams::Taken) {
        Streams::Files(files) => {
            let [input, output, error] = files.map(|file| inherited(child, &file));
            install(&input?, &output?, &error?)?;
        }
        Streams::Terminal => {
            let terminal = child.terminal.take().ok_or_else(|| Problem::new("no terminal was opened"))?;
            install(&terminal, &terminal, &terminal)?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).doing(|| "take the terminal")?;
        }
        Streams::Taken => return Err(Problem::new("the standard streams were taken twice")),
    }
    let uid = child.user()?.uid;
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        give(stream, uid)?;
    }
    Ok(())
}

/// A stream for the container, above the three, or moving one could close another that is still to be moved. In place of the host's null
/// device its own: by the descriptor its root could change the mode and the owner of the host's node (runc's `reOpenDevNull`).
fn inherited(child: &Child<'_>, file: &OwnedFd) -> Outcome<OwnedFd> {
    if !is_null(file.as_fd())? {
        return rustix::io::fcntl_dupfd_cloexec(file, 3).doing(dup);
    }
    let own = child.root()?.open("/dev/null", OFlags::RDWR).doing(|| "open the container's /dev/null")?;
    if !is_null(own.as_fd())? {
        return Err(Problem::new("the container's /dev/null is not the null device"));
    }
    rustix::io::fcntl_dupfd_cloexec(&own, 3).doing(dup)
}

fn is_null(file: BorrowedFd<'_>) -> Outcome<bool> {
    let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH).doing(|| "fstat a standard stream")?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(is_device && stat.st_rdev == rustix::fs::makedev(1, 3))
}

/// A process of which its parent has not heard must not become a program that nobody looks after. Until it begins a session of its own
/// the parent can still find it by its process group.
fn wait_until_known(leash: BorrowedFd<'_>) -> Outcome {
    let mut word = [0; 1];
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recv(leash, &mut word, rustix::net::RecvFlags::empty()));
    match received.doing(|| "wait for the parent's word")? {
        (_, 0) => Err(Problem::new("the parent has given this process up")),
        _ => Ok(()),
    }
}

fn install(input: &OwnedFd, output: &OwnedFd, error: &OwnedFd) -> Outcome {
    rustix::stdio::dup2_stdin(input).doing(dup)?;
    rustix::stdio::dup2_stdout(output).doing(dup)?;
    rustix::stdio::dup2_stderr(error).doing(dup)
}

/// A user who opens /dev/stdout again must be allowed to: the pipe or terminal becomes the user's. The null device is everybody's, and
/// what cannot be given (a read-only or foreign file system) is left as it is.
fn give(stream: BorrowedFd<'_>, uid: u32) -> Outcome {
    let stat =
        rustix::fs::statat(stream.as_fd(), "", AtFlags::EMPTY_PATH).doing(|| "fstat a standard stream")?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_null = kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if stat.st_uid == uid || is_null || !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return Ok(());
    }
    match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
        Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL) => Ok(()),
        Err(error) => Err(Problem::of("give a standard stream to the user", error)),
    }
}

fn dup() -> &'static str {
    "dup2 of a standard stream"
}
