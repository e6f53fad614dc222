//! `onggi image prune`: the images that nobody uses.

use clap::ArgMatches;
use onggi_error::{Diagnose as _, Kind};

use super::system_reset::confirm;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, filter, is, switch, texts};
use crate::output::human;

pub(crate) const COMMAND: Command = Command {
    names: &["image prune"],
    group: Group::Images,
    about: "Remove images without a name that no container uses",
    build,
    run,
    failure: 1,
    examples: &[("image prune -f", "Without asking"), ("image prune --all", "Named ones too")],
};

fn build() -> clap::Command {
    flags::command("onggi image prune [OPTIONS]")
        .arg(switch("all", Some('a'), "Named ones too"))
        .arg(filter().short(None).hide(true))
        .arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(condition) = texts(matches, "filter").first() {
        return Err(CliError::unsupported(format!(
            "--filter {condition}: filters of prune are not built yet"
        )));
    }
    let all = is(matches, "all");
    let which = if all { "all images" } else { "all dangling images" };
    let question = format!("This will remove {which} that no container uses.");
    if !is(matches, "force") && !confirm(context, &question)? {
        return Ok(0);
    }
    let store = context.store()?;
    let before = used(context)?;
    let mut lines = Vec::new();
    for image in store.images()?.iter().filter(|image| all || image.names.is_empty()) {
        // By its names first, since an id with several names is removed by force alone.
        let names = image.names.iter().map(ToString::to_string);
        let targets: Vec<String> =
            if image.names.is_empty() { vec![image.id.to_string()] } else { names.collect() };
        for target in targets {
            match store.remove(&target, false, &|_| true) {
                Ok(removed) => lines.extend(removed.iter().map(ToString::to_string)),
                // A container has it, or somebody was faster.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    if !lines.is_empty() {
        context.print(&format!("Deleted Images:\n{}\n\n", lines.join("\n")))?;
    }
    let freed = before.saturating_sub(used(context)?);
    context.line(&format!("Total reclaimed space: {}", human::size(freed, 4)))?;
    Ok(0)
}

/// Bytes of layers and documents.
fn used(context: &Context) -> Result<u64, CliError> {
    let usage = context.store()?.disk_usage()?;
    Ok(usage.layer_bytes + usage.blob_bytes)
}
