//! `onggi stop`: the stop signal, then patience, then SIGKILL.

use clap::ArgMatches;
use onggi_engine::request::StopOptions;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, number, parsed, text, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["stop", "container stop"],
    group: Group::Run,
    about: "Ask containers to end, and kill them if they do not",
    build,
    run,
    failure: 1,
    examples: &[
        ("stop web", "SIGTERM, and after ten seconds SIGKILL"),
        ("stop -t 60 -s INT db", "With more patience and another signal"),
    ],
};

fn build() -> clap::Command {
    tree("onggi stop [OPTIONS] CONTAINER...")
}

/// Also of `restart`.
pub(super) fn tree(usage: &'static str) -> clap::Command {
    flags::command(usage)
        .arg(value("signal", Some('s'), "SIGNAL", "The signal to send; the container's own by default"))
        .arg(
            value("timeout", Some('t'), "SECONDS", "How long to wait before killing; -1 for ever")
                .visible_alias("time"),
        )
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

pub(super) fn options(matches: &ArgMatches) -> Result<StopOptions, CliError> {
    Ok(StopOptions {
        signal: text(matches, "signal").map(str::to_owned),
        timeout: parsed(matches, "timeout", number)?,
    })
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = options(matches)?;
    // All at once: each may take its whole time to end.
    context.each_at_once(&texts(matches, "containers"), |engine, name| {
        engine.stop(&engine.resolve(name)?, &options).map(|_| ())
    })
}
