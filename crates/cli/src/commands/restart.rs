//! `onggi restart`: stop and start as one act.

use clap::ArgMatches;

use super::stop;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::texts;

pub(crate) const COMMAND: Command = Command {
    names: &["restart", "container restart"],
    group: Group::Run,
    about: "Stop containers and start them again",
    build: || stop::tree("onggi restart [OPTIONS] CONTAINER..."),
    run,
    failure: 1,
    examples: &[
        ("restart web", "SIGTERM, after ten seconds SIGKILL, and a new start"),
        ("restart -t 60 -s INT db", "With more patience and another signal"),
    ],
};

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = stop::options(matches)?;
    context.each_at_once(&texts(matches, "containers"), |engine, name| {
        engine.restart(&engine.resolve(name)?, &options)
    })
}
