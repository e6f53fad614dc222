//! `onggi export`: the files of a container as a tar.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text, value};
use crate::output::archive;

pub(crate) const COMMAND: Command = Command {
    names: &["export", "container export"],
    group: Group::Look,
    about: "Write the files of a container as a tar",
    build,
    run,
    failure: 1,
    examples: &[
        ("export -o web.tar web", "Without its volumes; `onggi import` makes an image of it"),
        ("export web | tar t", "Through a pipe"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi export [OPTIONS] CONTAINER")
        .arg(value("output", Some('o'), "FILE", "Write this file in place of standard output"))
        .arg(argument("container", "CONTAINER", "Name or id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let id = engine.resolve(text(matches, "container").unwrap_or_default())?;
    archive::write(text(matches, "output"), |out| Ok(engine.export(&id, out)?))?;
    Ok(0)
}
