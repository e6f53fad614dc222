//! `onggi pause` and `onggi unpause`: every process of a container stops where it stands, and goes on.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["pause", "container pause"],
    group: Group::Run,
    about: "Freeze every process of containers",
    build: || tree("onggi pause CONTAINER..."),
    run: |context, matches| {
        let engine = context.engine()?;
        each(context, matches, |name| Ok(engine.pause(&engine.resolve(name)?)?))
    },
    failure: 1,
    examples: &[("pause batch", "It takes no processor time until `onggi unpause batch`")],
};

pub(crate) const UNPAUSE: Command = Command {
    names: &["unpause", "container unpause"],
    group: Group::Run,
    about: "Let the processes of paused containers go on",
    build: || tree("onggi unpause CONTAINER..."),
    run: |context, matches| {
        let engine = context.engine()?;
        each(context, matches, |name| Ok(engine.unpause(&engine.resolve(name)?)?))
    },
    failure: 1,
    examples: &[("unpause batch", "It goes on where it stood")],
};

fn tree(usage: &'static str) -> clap::Command {
    flags::command(usage).arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn each(
    context: &Context,
    matches: &ArgMatches,
    act: impl Fn(&str) -> Result<(), CliError>,
) -> Result<u8, CliError> {
    context.each(&texts(matches, "containers"), |name| {
        act(name)?;
        context.line(name)
    })
}
