//! `onggi kill`: a signal to containers' first processes.

use clap::ArgMatches;
use onggi_engine::flags::signal;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, text, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["kill", "container kill"],
    group: Group::Run,
    about: "Send a signal to containers, SIGKILL by default",
    build,
    run,
    failure: 1,
    examples: &[("kill web", "End it now"), ("kill -s HUP web", "Have it read its settings again")],
};

fn build() -> clap::Command {
    flags::command("onggi kill [OPTIONS] CONTAINER...")
        .arg(value("signal", Some('s'), "SIGNAL", "Name or number; KILL by default"))
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    const SIGKILL: i32 = 9;
    // Docker's client leaves the word to its engine, whose refusal ends with 1.
    let named = text(matches, "signal").map(signal).transpose();
    let signal = named.map_err(CliError::invalid)?.unwrap_or(SIGKILL);
    let engine = context.engine()?;
    context.each(&texts(matches, "containers"), |name| {
        engine.kill(&engine.resolve(name)?, signal)?;
        context.line(name)
    })
}
