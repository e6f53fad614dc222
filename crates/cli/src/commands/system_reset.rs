//! `onggi system reset`: everything back to the state before the first command.

use std::io::{self, BufRead as _, Read as _, Write as _};

use clap::ArgMatches;
use onggi_engine::request::{ListOptions, RemoveOptions};

use super::pruning;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

pub(crate) const COMMAND: Command = Command {
    names: &["system reset"],
    group: Group::Host,
    about: "Remove all containers, images and volumes",
    build,
    run,
    failure: 1,
    examples: &[("system reset --force", "Without asking")],
};

fn build() -> clap::Command {
    flags::command("onggi system reset [OPTIONS]").arg(switch("force", Some('f'), "Do not ask"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let settings = context.settings()?;
    if !settings.root.exists() {
        return Ok(0);
    }
    let question = format!(
        "This will remove ALL containers, images and volumes in {}, and end what runs.",
        settings.root.display()
    );
    if !is(matches, "force") && !confirm(context, &question)? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let all = engine.list(&ListOptions { all: true, ..ListOptions::default() })?;
    let options = RemoveOptions { force: true, volumes: true };
    let usage = engine.disk_usage()?;
    let names: Vec<String> = all.iter().map(|container| container.id.to_string()).collect();
    let removed = context.each(&names, |id| {
        let id = id.parse().map_err(|error: String| CliError::invalid(error))?;
        Ok(engine.remove(&id, &options)?)
    });
    // Of a container that went some files may stay; one that is still there may run, and nothing may be taken away under it.
    if removed.is_err() && !engine.list(&ListOptions { all: true, ..ListOptions::default() })?.is_empty() {
        return removed;
    }
    engine.network_reset()?;
    let left = engine.empty_roots()?;
    for left in &left {
        context.warn(&format!("{} stays: {}", left.path.display(), left.source));
    }
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    context.line(&format!(
        "Removed {}, {} and {}",
        count(usage.containers.len(), "container"),
        count(usage.images.len(), "image"),
        count(usage.volumes.len(), "volume")
    ))?;
    let containers: u64 = usage.containers.iter().map(|used| used.bytes).sum();
    let volumes: u64 = usage.volumes.iter().map(|used| used.bytes).sum();
    let other = usage.lost_bytes + usage.leftover_bytes;
    pruning::tell_total(context, usage.image_bytes + containers + volumes + other)?;
    // What is not Onggi's is none of a reset.
    Ok(if left.iter().all(|left| left.foreign) { 0 } else { 1 })
}

/// Asks, and reads the answer from standard input, a terminal or not (`echo y | onggi system prune`, as with Docker). Whoever says
/// nothing has said no.
pub(super) fn confirm(context: &Context, question: &str) -> Result<bool, CliError> {
    context.complain(&format!("WARNING! {question}\nAre you sure you want to continue? [y/N] "));
    // The prompt goes to standard error, which is not buffered.
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().take(LONGEST_ANSWER).read_line(&mut answer);
    let count = read.map_err(|error| CliError::io("read the answer", &error))?;
    if count == 0 {
        // Or a script would take it for done.
        context
            .complain("\nonggi: nothing is removed: nobody answered\nhint: --force does it without asking\n");
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Bytes. What is longer without a line's end is no answer.
const LONGEST_ANSWER: u64 = 64;
