//! `onggi tag`: one more name for an image.

use clap::ArgMatches;
use onggi_image::Reference;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text};

pub(crate) const COMMAND: Command = Command {
    names: &["tag", "image tag"],
    group: Group::Images,
    about: "Give an image one more name",
    build,
    run,
    failure: 1,
    examples: &[("tag debian mine:stable", "`mine:stable` is now the same image as `debian`")],
};

fn build() -> clap::Command {
    flags::command("onggi tag SOURCE TARGET")
        .arg(argument("source", "SOURCE", "Name or id of the image"))
        .arg(argument("target", "TARGET", "The new name"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let target = Reference::parse(text(matches, "target").unwrap_or_default())?;
    context.engine()?.tag(text(matches, "source").unwrap_or_default(), &target)?;
    Ok(0)
}
