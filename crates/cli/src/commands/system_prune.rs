//! `onggi system prune`: whatever nobody uses, of every kind.

use clap::ArgMatches;

use super::pruning;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

pub(crate) const COMMAND: Command = Command {
    names: &["system prune"],
    group: Group::Host,
    about: "Remove stopped containers and unused images",
    build,
    run,
    failure: 1,
    examples: &[
        ("system prune -f", "Without asking: stopped containers, images without a name"),
        ("system prune --all --volumes", "Also images with a name, and anonymous volumes"),
        ("system prune --filter until=72h", "What is older than three days"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi system prune [OPTIONS]")
        .arg(switch("all", Some('a'), "All images that no container uses, not only those without a name"))
        .arg(
            flags::filter().short(None).help("Only these: until=24h, label=KEY, label=KEY=VALUE, label!=KEY"),
        )
        .arg(switch("force", Some('f'), "Do not ask"))
        .arg(switch("volumes", None, "Anonymous volumes too"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let (all, volumes) = (is(matches, "all"), is(matches, "volumes"));
    let options = pruning::options(matches, all, None)?;
    if volumes && options.until.is_some() {
        return Err(CliError::invalid("the \"until\" filter is not supported with \"--volumes\""));
    }
    let mut kinds = vec!["all stopped containers"];
    if volumes {
        kinds.push("all anonymous volumes not used by at least one container");
    }
    kinds.push(match all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    });
    let question = format!("This will remove:\n  - {}\n", kinds.join("\n  - "));
    if !is(matches, "force") && !pruning::is_wanted(context, matches, &question)? {
        return Ok(0);
    }
    let engine = context.engine()?;
    // In this order: what a container used is unused after it.
    let containers = engine.container_prune(&options)?;
    pruning::tell(context, "Deleted Containers", &containers.removed)?;
    let mut bytes = containers.bytes;
    if volumes {
        // `--all` is about images: a volume that somebody has named stays.
        let options = onggi_engine::PruneOptions { all: false, ..options.clone() };
        let volumes = engine.volume_prune(&options)?;
        pruning::tell(context, "Deleted Volumes", &volumes.removed)?;
        bytes += volumes.bytes;
    }
    let images = engine.image_prune(&options)?;
    pruning::tell(context, "Deleted Images", &pruning::image_lines(&images.removed))?;
    pruning::tell_total(context, bytes + images.bytes)?;
    Ok(0)
}
