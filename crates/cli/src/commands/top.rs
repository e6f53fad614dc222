//! `onggi top`: the processes of a container, seen from the host.

use clap::{Arg, ArgMatches};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, texts};
use crate::output::table;

pub(crate) const COMMAND: Command = Command {
    names: &["top", "container top"],
    group: Group::Look,
    about: "Show the processes of a container",
    build,
    run,
    failure: 1,
    examples: &[
        ("top web", "As `ps -ef` of the host shows them"),
        ("top web -o pid,rss,args", "With options of the host's `ps`"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi top CONTAINER [PS_OPTION...]")
        .arg(Arg::new("words").value_name("CONTAINER [PS_OPTION...]").num_args(1..).required(true).hide(true))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    /// Of Docker's client.
    const NARROWEST: usize = 20;
    let words = texts(matches, "words");
    let (name, options) = words.split_first().ok_or_else(|| CliError::invalid("it needs a container"))?;
    let engine = context.engine()?;
    let processes = engine.top(&engine.resolve(name)?, options)?;
    let rows: Vec<Vec<String>> = std::iter::once(processes.titles).chain(processes.rows).collect();
    context.print(&table::lay_out_wide(&rows, NARROWEST))?;
    Ok(0)
}
