//! Making a user namespace: a child in it, the ids mapped by newuidmap(1) and newgidmap(1), and the child becomes the holder.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use onggi_sys::clone::{self, Clone, Forked};
use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::ranges::{self, Ranges};
use crate::{Error, HOLD};

/// From `linux/sched.h`.
const CLONE_NEWUSER: u64 = 0x1000_0000;

/// Starts the holder: in a new user namespace with these ids, or in the caller's own with `None`. Returns when it can be found.
pub(crate) fn holder(program: &Path, run: &Path, ids: Option<(&Ranges, u32, u32)>) -> Result<(), Error> {
    let kernel = |what| move |errno: rustix::io::Errno| Error::Kernel { what, source: errno.into() };
    let (go, say_go) = pipe_with(PipeFlags::CLOEXEC).map_err(kernel("make a pipe"))?;
    let (ready, say_ready) = pipe_with(PipeFlags::CLOEXEC).map_err(kernel("make a pipe"))?;
    let flags = if ids.is_some() { CLONE_NEWUSER } else { 0 };
    let child =
        match clone::clone3(&Clone { flags, cgroup: None }).map_err(|source| Error::Make { source })? {
            Forked::Child => {
                // Its own end must not keep it waiting.
                drop(say_go);
                drop(ready);
                let _ = become_holder(program, run, &go, &say_ready);
                clone::exit_now(1)
            }
            Forked::Parent { pid, .. } => pid,
        };
    drop(go);
    drop(say_ready);
    if let Some((ranges, user, group)) = ids {
        // A failure drops the pipe, and the child ends.
        map("newuidmap", child, &ranges::arguments(user, &ranges.users))?;
        map("newgidmap", child, &ranges::arguments(group, &ranges.groups))?;
    }
    rustix::io::write(&say_go, b"g").map_err(kernel("start the holder"))?;
    // Closed when it holds, and when it could not.
    let mut end = [0_u8; 1];
    rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut end))
        .map_err(kernel("wait for the holder"))?;
    Ok(())
}

/// In the child: only after "go" are the ids mapped, and only with them does the new program get its capabilities.
fn become_holder(program: &Path, run: &Path, go: &OwnedFd, ready: &OwnedFd) -> io::Result<()> {
    let mut word = [0_u8; 1];
    if rustix::io::retry_on_intr(|| rustix::io::read(go, &mut word))? != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    rustix::process::setsid()?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // What the caller inherited from its own caller is not the holder's to keep open; its own come back by number.
    onggi_sys::process::cloexec_range(3, u32::MAX)?;
    rustix::io::fcntl_setfd(ready.as_fd(), FdFlags::empty())?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let run = CString::new(run.as_os_str().as_bytes())?;
    let number = CString::new(ready.as_raw_fd().to_string())?;
    let arguments = [path.clone(), CString::new(HOLD)?, run, number];
    Err(onggi_sys::process::execve(&path, &arguments, &environment()))
}

/// Where pasta is looked for, should it have to be started again; and the tests' switch ([`onggi_sys::fault`]).
fn environment() -> Vec<CString> {
    let kept = ["PATH", "ONGGI_FAULT", "ONGGI_FAULT_TRACE"].into_iter();
    let texts =
        kept.filter_map(|name| Some([name.as_bytes(), std::env::var_os(name)?.as_bytes()].join(&b'=')));
    texts.filter_map(|text| CString::new(text).ok()).collect()
}

fn map(program: &'static str, pid: i32, words: &[String]) -> Result<(), Error> {
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Program { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Refused { program, arguments: words.join(" "), message })
}
