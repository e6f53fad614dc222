//! `onggi container prune`: the containers that do not run.

use clap::ArgMatches;

use super::pruning;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

pub(crate) const COMMAND: Command = Command {
    names: &["container prune"],
    group: Group::Run,
    about: "Remove all containers that do not run",
    build,
    run,
    failure: 1,
    examples: &[
        ("container prune -f", "Without asking; volumes stay"),
        ("container prune --filter until=24h", "Those that are older than a day"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi container prune [OPTIONS]")
        .arg(
            flags::filter().short(None).help("Only these: until=24h, label=KEY, label=KEY=VALUE, label!=KEY"),
        )
        .arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = pruning::options(matches, false, None)?;
    let question = "This will remove all stopped containers.";
    if !is(matches, "force") && !pruning::is_wanted(context, matches, question)? {
        return Ok(0);
    }
    let pruned = context.engine()?.container_prune(&options)?;
    pruning::tell(context, "Deleted Containers", &pruned.removed)?;
    pruning::tell_total(context, pruned.bytes)?;
    Ok(0)
}
