//! `onggi volume rm`: volumes and all that is in them.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, switch, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["volume rm", "volume remove"],
    group: Group::Volumes,
    about: "Remove volumes and all that is in them",
    build,
    run,
    failure: 1,
    examples: &[("volume rm data", "Refused while a container uses it")],
};

fn build() -> clap::Command {
    flags::command("onggi volume rm [OPTIONS] VOLUME...")
        .arg(switch("force", Some('f'), "A missing one is no error"))
        .arg(arguments("volumes", "VOLUME", "Names"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let force = is(matches, "force");
    context.each(&texts(matches, "volumes"), |name| {
        engine.volume_remove(name, force)?;
        context.line(name)
    })
}
