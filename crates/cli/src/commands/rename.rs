//! `onggi rename`: another name for a container, running or not.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text};

pub(crate) const COMMAND: Command = Command {
    names: &["rename", "container rename"],
    group: Group::Run,
    about: "Give a container another name",
    build,
    run,
    failure: 1,
    examples: &[("rename web web-old", "`web` is free again; the container runs on")],
};

fn build() -> clap::Command {
    flags::command("onggi rename CONTAINER NEW_NAME")
        .arg(argument("container", "CONTAINER", "Name or id"))
        .arg(argument("name", "NEW_NAME", "What it is called from now on"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let (old, new) =
        (text(matches, "container").unwrap_or_default(), text(matches, "name").unwrap_or_default());
    let (old, new) = (old.trim(), new.trim());
    if old.is_empty() || new.is_empty() {
        return Err(CliError::invalid("neither old nor new names may be empty"));
    }
    let engine = context.engine()?;
    engine.rename(&engine.resolve(old)?, new.strip_prefix('/').unwrap_or(new))?;
    Ok(0)
}
