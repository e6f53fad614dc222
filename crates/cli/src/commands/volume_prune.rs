//! `onggi volume prune`: the volumes that nobody uses.

use clap::ArgMatches;

use super::system_reset::confirm;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};
use crate::output::human;

pub(crate) const COMMAND: Command = Command {
    names: &["volume prune"],
    group: Group::Volumes,
    about: "Remove anonymous volumes that no container uses",
    build,
    run,
    failure: 1,
    examples: &[("volume prune -f", "Without asking"), ("volume prune --all", "Named ones too")],
};

fn build() -> clap::Command {
    flags::command("onggi volume prune [OPTIONS]")
        .arg(switch("all", Some('a'), "Named ones too"))
        .arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let all = is(matches, "all");
    let which = if all { "all volumes" } else { "anonymous volumes" };
    let question = format!("This will remove {which} not used by at least one container.");
    if !is(matches, "force") && !confirm(context, &question)? {
        return Ok(0);
    }
    let (names, bytes) = context.engine()?.volume_prune(all)?;
    if !names.is_empty() {
        context.print(&format!("Deleted Volumes:\n{}\n\n", names.join("\n")))?;
    }
    context.line(&format!("Total reclaimed space: {}", human::size(bytes, 4)))?;
    Ok(0)
}
