//! `onggi network rebuild`: the firewall's rules again, after somebody has flushed them. A monitor runs it; so may a person.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags;

pub(crate) const COMMAND: Command = Command {
    names: &["network rebuild"],
    group: Group::Hidden,
    about: "Make the rules of the firewall again that networks need",
    build,
    run,
    failure: 1,
    examples: &[],
};

fn build() -> clap::Command {
    flags::command("onggi network rebuild")
}

fn run(context: &Context, _: &ArgMatches) -> Result<u8, CliError> {
    context.engine()?.network_rebuild()?;
    Ok(0)
}
