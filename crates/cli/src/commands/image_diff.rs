//! `onggi image diff`: how the files of two images differ.

use clap::ArgMatches;

use super::diff;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text};

pub(crate) const COMMAND: Command = Command {
    names: &["image diff"],
    group: Group::Images,
    about: "Show which files one image has and another has not, or has otherwise",
    build,
    run,
    failure: 1,
    examples: &[("image diff debian nginx", "What the second adds (A), changes (C) and lacks (D)")],
};

fn build() -> clap::Command {
    flags::command("onggi image diff IMAGE OTHER")
        .arg(argument("image", "IMAGE", "Name or id"))
        .arg(argument("other", "OTHER", "What it is compared with"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let store = context.store()?;
    let find = |argument| store.resolve(text(matches, argument).unwrap_or_default());
    let (image, other) = (find("image")?, find("other")?);
    diff::print(context, &context.engine()?.image_changes(&image, &other)?)
}
