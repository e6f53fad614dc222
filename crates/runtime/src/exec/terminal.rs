//! The container's terminal.
//!
//! It comes from the container's own devpts, whose inode is checked, and its container side is opened through its master
//! (TIOCGPTPEER), never by the path that the pts has (CVE-2025-52565).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, FsWord, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize};

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::Target;
use super::tree::{Tree, magic};

const DEVPTS_MAGIC: FsWord = 0x1cd1;

/// Opens a pair, sends the master away and keeps the other side; shows it as /dev/console if asked.
pub(super) fn open(child: &mut Child<'_>, console: bool, plain_output: bool) -> Outcome {
    let Some(socket) = child.terminal_socket.take() else {
        return Err(Problem::new("the plan wants a terminal, and the caller gave files"));
    };
    let path = "/dev/pts/ptmx";
    let master = child
        .root()?
        .open_without_links(path, OFlags::RDWR | OFlags::NOCTTY)
        .doing(|| format!("open {path}"))?;
    let stat = rustix::fs::statat(&master, "", AtFlags::EMPTY_PATH).doing(|| format!("fstat {path}"))?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && magic(master.as_fd())? == DEVPTS_MAGIC;
    if !is_ptmx {
        return Err(Problem::new(format!("{path} is not the ptmx of a devpts")));
    }
    rustix::pty::unlockpt(&master).doing(|| "unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)
        .doing(|| "open the container's side of the terminal")?;
    if let Some((rows, columns)) = child.terminal_size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).doing(|| "set the terminal's size")?;
    }
    if plain_output {
        let mut modes = rustix::termios::tcgetattr(&slave).doing(|| "ask for the terminal's modes")?;
        modes.output_modes -= OutputModes::ONLCR;
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)
            .doing(|| "set the terminal's modes")?;
    }
    if console {
        let target = child.root()?.target("/dev/console", Target::File).doing(|| "make /dev/console")?;
        let tree = Tree::copy(&slave, "", false).doing(|| "open_tree of the terminal")?;
        tree.attach(target.as_fd(), || "mount the terminal at /dev/console".to_owned())?;
    }
    send_with(&socket, master.as_fd(), &[0; 4])?;
    child.terminal = Some(slave);
    Ok(())
}

/// One descriptor, with a number that the other side reads along.
pub(super) fn send_with(socket: &OwnedFd, descriptor: BorrowedFd<'_>, bytes: &[u8; 4]) -> Outcome {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
        .doing(|| "send a descriptor to the parent")?;
    Ok(())
}
