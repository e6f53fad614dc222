//! `onggi image prune`: the images that nobody uses.

use clap::ArgMatches;

use super::pruning;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

pub(crate) const COMMAND: Command = Command {
    names: &["image prune"],
    group: Group::Images,
    about: "Remove images without a name that no container uses",
    build,
    run,
    failure: 1,
    examples: &[
        ("image prune -f", "Without asking"),
        ("image prune --all", "Named ones too"),
        (
            "image prune --all -f --filter owner=kubernetes",
            "What Kubernetes has brought and nobody else has named",
        ),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi image prune [OPTIONS]")
        .arg(switch("all", Some('a'), "Named ones too"))
        .arg(
            flags::filter()
                .short(None)
                .help("Only these: until=24h, label=KEY, label!=KEY, owner=NAME, dangling=false for all"),
        )
        .arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = pruning::options(matches, is(matches, "all"), Some("dangling"))?;
    let question = match options.all {
        true => "This will remove all images without at least one container associated to them.",
        false => "This will remove all dangling images.",
    };
    if !is(matches, "force") && !pruning::is_wanted(context, matches, question)? {
        return Ok(0);
    }
    let pruned = context.engine()?.image_prune(&options)?;
    pruning::tell(context, "Deleted Images", &pruning::image_lines(&pruned.removed))?;
    pruning::tell_total(context, pruned.bytes)?;
    Ok(0)
}
