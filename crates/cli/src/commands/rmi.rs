//! `onggi rmi`: images that are no longer wanted.

use clap::ArgMatches;
use onggi_store::Removed;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, switch, text, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["rmi", "image rm", "image remove"],
    group: Group::Images,
    about: "Remove images",
    build,
    run,
    failure: 1,
    examples: &[
        ("rmi debian:12", "Take the name away, and with the last one the image"),
        ("rmi -f 0123456789ab", "By id, with all its names"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi rmi [OPTIONS] IMAGE...")
        .arg(switch("force", Some('f'), "With all its names, and although stopped containers use it"))
        .arg(switch("no-prune", None, "Not built: there are no parents that could stay").hide(true))
        .arg(value("platform", None, "OS/ARCH", "Not built: other platforms").hide(true))
        .arg(arguments("images", "IMAGE", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if text(matches, "platform").is_some() {
        return Err(CliError::unsupported("--platform: images of other platforms are not built yet"));
    }
    if is(matches, "no-prune") {
        return Err(CliError::unsupported(
            "--no-prune: images have no untagged parents here that could be kept",
        ));
    }
    let force = is(matches, "force");
    let engine = context.engine()?;
    context.each(&texts(matches, "images"), |name| {
        for removed in engine.image_remove(name, force)? {
            match removed {
                Removed::Kept { .. } => context.warn(&removed.to_string()),
                _ => context.line(&removed.to_string())?,
            }
        }
        Ok(())
    })
}
