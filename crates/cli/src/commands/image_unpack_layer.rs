//! `onggi image unpack-layer`: what Onggi runs to unpack a layer, confined to the directory that it is in.

use std::path::PathBuf;

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["image unpack-layer"],
    group: Group::Hidden,
    about: "Unpack the tar on standard input into the current directory",
    build,
    run,
    failure: 1,
    examples: &[],
};

fn build() -> clap::Command {
    flags::command("onggi image unpack-layer [LOWER...]")
        .arg(arguments("lower", "LOWER", "The layers below, the topmost first").required(false))
}

fn run(_: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let lower: Vec<PathBuf> = texts(matches, "lower").into_iter().map(PathBuf::from).collect();
    // Its caller reads what it says, and no person.
    Ok(u8::from(!onggi_store::unpack_confined(&lower, &mut std::io::stderr())))
}
