//! `onggi network prune`: the networks that no container names.

use clap::ArgMatches;

use super::pruning;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

pub(crate) const COMMAND: Command = Command {
    names: &["network prune"],
    group: Group::Networks,
    about: "Remove the networks that no container uses",
    build,
    run,
    failure: 1,
    examples: &[("network prune -f", "Without asking")],
};

fn build() -> clap::Command {
    flags::command("onggi network prune [OPTIONS]")
        .arg(flags::filter().short(None).help("Only these: label=KEY, label!=KEY, until=TIME"))
        .arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = pruning::options(matches, false, None)?;
    let question = "This will remove all custom networks not used by at least one container.";
    if !is(matches, "force") && !pruning::is_wanted(context, matches, question)? {
        return Ok(0);
    }
    pruning::tell(context, "Deleted Networks", &context.engine()?.network_prune(&options)?)?;
    Ok(0)
}
