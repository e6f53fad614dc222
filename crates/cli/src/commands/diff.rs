//! `onggi diff`: what a container has changed of its image's files.

use clap::ArgMatches;
use onggi_engine::{Change, ChangeKind};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text};
use crate::output::plain::plain;

pub(crate) const COMMAND: Command = Command {
    names: &["diff", "container diff"],
    group: Group::Look,
    about: "Show which files of its image a container has changed",
    build,
    run,
    failure: 1,
    examples: &[("diff web", "A is added, C changed, D deleted")],
};

fn build() -> clap::Command {
    flags::command("onggi diff CONTAINER").arg(argument("container", "CONTAINER", "Name or id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let changes = engine.changes(&engine.resolve(text(matches, "container").unwrap_or_default())?)?;
    print(context, &changes)
}

/// A line for each, as Docker has them.
pub(super) fn print(context: &Context, changes: &[Change]) -> Result<u8, CliError> {
    let mut lines = String::new();
    for change in changes {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        lines += &format!("{letter} {}\n", plain(&change.path));
    }
    context.print(&lines)?;
    Ok(0)
}
