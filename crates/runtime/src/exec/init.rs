//! A small process 1 (`--init`): reaps orphans, passes signals on to its child, and ends as it does.
//!
//! It is this program itself, staying where it is after everything is set up: no file has to be found, bound or trusted. Its command line
//! becomes `onggi-init -- COMMAND`, as Docker's shows `docker-init`, and not the path of a program on the host. It keeps one
//! capability (to signal a child of another user), no descriptor, and it is not dumpable, so that nobody in the container can open
//! it, its memory or its program (CVE-2019-5736).

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};

use onggi_sys::clone::{Forked, exit_now, fork};
use onggi_sys::process::{block_signals, kill, set_command_line, unblock_signals};

use super::credentials;
use super::problem::{Doing, Outcome};
use crate::plan::Capabilities;

const CAP_KILL: u64 = 1 << 5;

/// Splits off the process that goes on with the steps and becomes `command`; returns in it alone.
pub(super) fn stay_behind(command: &[String]) -> Outcome {
    // Blocked before: a signal to process 1 that is neither handled nor blocked is lost, and so would be the end of a child that is
    // quicker than we are.
    block_signals();
    match fork().doing(|| "fork")? {
        Forked::Child => {
            unblock_signals();
            Ok(())
        }
        Forked::Parent { pid, .. } => run(pid, command),
    }
}

/// Never returns: ends with the child's exit code, 128 + n if signal n ended it.
fn run(child: i32, command: &[String]) -> ! {
    let code = Pid::from_raw(child).map_or(1, |child| {
        prepare(command);
        serve(child)
    });
    exit_now(code)
}

fn prepare(command: &[String]) {
    let few =
        Capabilities { bounding: 0, effective: CAP_KILL, permitted: CAP_KILL, inheritable: 0, ambient: 0 };
    // If one of these fails, the container is no less safe than without a process 1 of ours: it goes on.
    let _ = rustix::thread::set_name(c"onggi-init");
    set_command_line(&[&["onggi-init".to_owned(), "--".to_owned()], command].concat().join(" "));
    let _ = credentials::drop_from_bounding_set(u64::MAX);
    let _ = credentials::set(few, few.effective, few.permitted);
    let _ = rustix::thread::set_no_new_privs(true);
    let _ = rustix::process::chdir("/");
    // The report, the standard streams, everything: the other ends must see them close when the child's do.
    let _ = onggi_sys::process::close_range(0, u32::MAX);
}

fn serve(child: Pid) -> i32 {
    // A child that ended before the signals were blocked has left no signal behind.
    if let Some(code) = reap(child) {
        return code;
    }
    loop {
        let Ok(number) = onggi_sys::process::wait_for_signal() else { continue };
        if number == Signal::CHILD.as_raw() {
            if let Some(code) = reap(child) {
                return code;
            }
        } else {
            // ESRCH only: the child has just ended, and its SIGCHLD is on the way.
            let _ = kill(child.as_raw_nonzero().get(), number);
        }
    }
}

/// Several ends may come as one signal.
fn reap(child: Pid) -> Option<i32> {
    let mut code = None;
    // Any child: that of the container has a process group of its own.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(1)
}
