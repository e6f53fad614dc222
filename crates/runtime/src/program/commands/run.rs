//! `run`: a container from its beginning to its end, or only to its beginning with `--detach`.

use std::os::fd::AsFd;

use super::super::Context;
use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::foreground::Foreground;
use super::super::launch::{
    BUNDLE, CONSOLE_SOCKET, Descriptors, Mode, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET,
    PRESERVE_FDS, launch,
};
use super::{Command, delete, start};

pub(crate) const COMMAND: Command = Command {
    name: "run",
    usage: "<container-id>",
    about: "create and run a container",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[
    BUNDLE,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    Flag::switch("detach", "leave the container running").short("d"),
    Flag::switch("keep", "do not delete the container after it has ended"),
    PID_FILE,
    Flag::switch("no-subreaper", "do not adopt what the container's process leaves behind"),
    NO_PIVOT,
    NO_NEW_KEYRING,
    PRESERVE_FDS,
];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    guard(context);
    inner(context, flags).map_err(|error| error.during("runc run failed"))
}

fn inner(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    // Before there is anything of our own among them.
    let descriptors = Descriptors::of(flags)?;
    let detached = flags.has("detach");
    let mode = if detached { Mode::Detached } else { Mode::Foreground };
    let foreground = if detached { None } else { Some(Foreground::prepare(!flags.has("no-subreaper"))?) };
    let mut launched = launch(context, flags, mode, descriptors)?;
    if let Err(error) = start::poststart(&launched.record) {
        let _ = launched.undo();
        return Err(error);
    }
    let Some(foreground) = foreground else {
        if let Some(notify) = launched.notify.take() {
            let launched = launched.unlock();
            notify.relay(launched.record.pid, launched.pidfd.as_fd())?;
        }
        return Ok(0);
    };
    let (terminal, notify) = (launched.terminal.take(), launched.notify.take());
    // Whoever pauses, kills or deletes it meanwhile takes the lock.
    let launched = launched.unlock();
    let code = foreground.wait(launched.record.pid, launched.pidfd.as_fd(), terminal, notify)?;
    if !flags.has("keep") {
        match delete::ended(context, &launched.record) {
            // Somebody was quicker.
            Ok(()) | Err(Error::DoesNotExist) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(code)
}

/// Makes sure that no process of the container can write to this program through one that enters it (CVE-2019-5736).
pub(crate) fn guard(context: &Context) {
    let Err(error) = onggi_sys::program::ensure_read_only() else { return };
    context.log.debug(&format!("this program is not guarded by a read-only mount: {error}"));
    if let Err(error) = onggi_sys::program::ensure_sealed() {
        context.log.warn(&format!("this program could be written to from the container: {error}"));
    }
}
