//! `onggi container prune`: the containers that do not run.

use clap::ArgMatches;
use onggi_engine::Status;
use onggi_engine::request::{ListOptions, RemoveOptions};
use onggi_error::{Diagnose as _, Kind};

use super::system_reset::confirm;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, filter, is, switch, texts};
use crate::output::human;

pub(crate) const COMMAND: Command = Command {
    names: &["container prune"],
    group: Group::Run,
    about: "Remove all containers that do not run",
    build,
    run,
    failure: 1,
    examples: &[("container prune -f", "Without asking; volumes stay")],
};

fn build() -> clap::Command {
    flags::command("onggi container prune [OPTIONS]").arg(filter().short(None).hide(true)).arg(switch(
        "force",
        Some('f'),
        "Do not ask",
    ))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(condition) = texts(matches, "filter").first() {
        return Err(CliError::unsupported(format!(
            "--filter {condition}: filters of prune are not built yet"
        )));
    }
    let question = "This will remove all stopped containers.";
    if !is(matches, "force") && !confirm(context, question)? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let options = ListOptions { all: true, size: true, ..ListOptions::default() };
    let (mut removed, mut freed) = (Vec::new(), 0);
    for container in engine.list(&options)? {
        if !matches!(container.state, Status::Created | Status::Exited | Status::Dead) {
            continue;
        }
        match engine.remove(&container.id, &RemoveOptions::default()) {
            Ok(()) => {
                removed.push(container.id.to_string());
                freed += container.size_rw.unwrap_or(0);
            }
            // It was started meanwhile, or somebody was faster.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !removed.is_empty() {
        context.print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")))?;
    }
    context.line(&format!("Total reclaimed space: {}", human::size(freed, 4)))?;
    Ok(0)
}
