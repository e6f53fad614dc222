//! `onggi export`: the files of a container as a tar.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use clap::ArgMatches;

use super::save::Output;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text, value};

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
    match text(matches, "output").filter(|path| *path != "-") {
        Some(path) => {
            let mut output = Output::create(path)?;
            engine.export(&id, &mut output.file)?;
            output.keep()?;
        }
        None if io::stdout().is_terminal() => {
            return Err(CliError::invalid(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            engine.export(&id, &mut out)?;
            out.flush().map_err(|error| CliError::io("write standard output", &error))?;
        }
    }
    Ok(0)
}
