//! The commands, one file each.

use std::ops::RangeInclusive;

use super::Context;
use super::arguments::{Flag, Parsed};
use super::error::Error;

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

/// A command as the help shows it, and how it is carried out.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
    /// How many arguments that are no flags.
    pub(crate) arguments: RangeInclusive<usize>,
    /// Flags end at the first argument: what follows is another program's.
    pub(crate) stops_at_first: bool,
    /// The program's exit code if it fails.
    pub(crate) failure_code: u8,
    pub(crate) run: fn(&Context, &Parsed) -> Result<u8, Error>,
}

/// In the order of the help.
pub(crate) const ALL: &[Command] = &[
    checkpoint::COMMAND,
    create::COMMAND,
    delete::COMMAND,
    events::COMMAND,
    exec::COMMAND,
    features::COMMAND,
    kill::COMMAND,
    list::COMMAND,
    pause::PAUSE,
    ps::COMMAND,
    restore::COMMAND,
    pause::RESUME,
    run::COMMAND,
    spec::COMMAND,
    start::COMMAND,
    state::COMMAND,
    update::COMMAND,
];

pub(crate) fn find(name: &str) -> Option<&'static Command> {
    ALL.iter().find(|command| command.name == name)
}

impl Command {
    pub(crate) fn check(&self, count: usize) -> Result<(), Error> {
        let (least, most) = (*self.arguments.start(), *self.arguments.end());
        let wanted = match () {
            () if self.arguments.contains(&count) => return Ok(()),
            () if least == most => format!("exactly {least}"),
            () if count < least => format!("a minimum of {least}"),
            () => format!("a maximum of {most}"),
        };
        Err(Error::usage(format!("onggi-runtime: {:?} requires {wanted} argument(s)", self.name)))
    }
}
