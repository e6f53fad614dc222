//! `onggi volume prune`: the volumes that nobody uses.

use clap::ArgMatches;

use super::pruning;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

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
        .arg(
            flags::filter()
                .short(None)
                .help("Only these: label=KEY, label!=KEY, all=true for named ones too"),
        )
        .arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = pruning::options(matches, is(matches, "all"), Some("all"))?;
    if options.until.is_some() {
        return Err(CliError::flag("filter", "volumes have no until".to_owned()));
    }
    let which = if options.all { "all volumes" } else { "anonymous volumes" };
    let question = format!("This will remove {which} not used by at least one container.");
    if !is(matches, "force") && !pruning::is_wanted(context, matches, &question)? {
        return Ok(0);
    }
    let pruned = context.engine()?.volume_prune(&options)?;
    pruning::tell(context, "Deleted Volumes", &pruned.removed)?;
    pruning::tell_total(context, pruned.bytes)?;
    Ok(0)
}
