//! `onggi container finish`: what the monitor runs at a container's end when nobody waits for it.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text};

pub(crate) const COMMAND: Command = Command {
    names: &["container finish"],
    group: Group::Hidden,
    about: "Do what is left to do for a container that has ended",
    build,
    run,
    failure: 1,
    examples: &[],
};

fn build() -> clap::Command {
    flags::command("onggi container finish ID").arg(argument("id", "ID", "The container's whole id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let id =
        text(matches, "id").unwrap_or_default().parse().map_err(|error: String| CliError::invalid(error))?;
    context.engine()?.finish(&id)?;
    Ok(0)
}
