//! `create`: a container whose first process waits for `start`.

use super::super::arguments::Parsed;
use super::super::error::Error;
use super::super::launch::{
    BUNDLE, CONSOLE_SOCKET, Descriptors, Mode, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET,
    PRESERVE_FDS, launch,
};
use super::super::{Context, arguments::Flag};
use super::Command;
use super::run::guard;

pub(crate) const COMMAND: Command = Command {
    name: "create",
    usage: "<container-id>",
    about: "create a container",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] =
    &[BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    guard(context);
    let created =
        Descriptors::of(flags).and_then(|descriptors| launch(context, flags, Mode::Create, descriptors));
    created.map_err(|error| error.during("runc create failed"))?;
    Ok(0)
}
