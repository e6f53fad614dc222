//! The container's standard streams: the ends that it gets, and ours.

use std::os::fd::OwnedFd;

use onggi_error::Kind;
use rustix::fs::{Mode, OFlags};

use super::isolation::{Refusal, Stdio, Terminal};
use super::sandbox::Sandbox;
use crate::protocol::Start;

/// Our ends of the standard streams.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) outputs: [Option<OwnedFd>; 2],
    pub(super) stdin: Option<OwnedFd>,
}

/// The streams of a container that is about to start.
pub(super) fn standard_streams(sandbox: &Sandbox, start: &Start) -> Result<(Stdio, Ends), Refusal> {
    if start.terminal {
        return Ok((Stdio::Terminal { size: start.size }, Ends::default()));
    }
    let (stdout, their_stdout) = sandbox.output(0, start.owner)?;
    let (stderr, their_stderr) = sandbox.output(1, start.owner)?;
    let (stdin, their_stdin) = if start.stdin_open {
        let (ours, theirs) = sandbox.input(start.owner)?;
        (Some(ours), theirs)
    } else {
        (None, null(OFlags::RDONLY)?)
    };
    Ok((
        Stdio::Files([their_stdin, their_stdout, their_stderr]),
        Ends { outputs: [Some(stdout), Some(stderr)], stdin },
    ))
}

/// A terminal is read and written by one descriptor; epoll wants two.
pub(super) fn terminal_ends(terminal: &Terminal) -> Result<Ends, Refusal> {
    let none =
        || Refusal::new(Kind::Internal, "monitor.terminal", "the process ended before its terminal came");
    let (output, input) = split_terminal(&terminal.try_receive().ok_or_else(none)?)?;
    Ok(Ends { outputs: [Some(output), None], stdin: Some(input) })
}

/// Both descriptors of a terminal's master, which does not wait from now on.
fn split_terminal(terminal: &OwnedFd) -> Result<(OwnedFd, OwnedFd), Refusal> {
    let fail = |error: &std::io::Error| Refusal::io("monitor.terminal", "set up the terminal", error);
    rustix::io::ioctl_fionbio(terminal, true).map_err(|errno| fail(&errno.into()))?;
    let output = terminal.try_clone().map_err(|error| fail(&error))?;
    let input = terminal.try_clone().map_err(|error| fail(&error))?;
    Ok((output, input))
}

/// `/dev/null`.
pub(super) fn null(flags: OFlags) -> Result<OwnedFd, Refusal> {
    rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Refusal::io("monitor.streams", "open /dev/null", &errno.into()))
}
