//! What the commands that prune share: their filters, their question, and how they tell what went.

use clap::ArgMatches;
use jiff::Timestamp;
use onggi_engine::{Engine, PruneOptions, Trimmed};
use onggi_image::Digest;
use onggi_store::Removed;

use super::system_reset::confirm;
use crate::context::Context;
use crate::error::CliError;
use crate::flags::time::moment;
use crate::flags::{filters, texts};
use crate::output::human;

/// `--filter label=… --filter label!=… --filter until=…`. `all` may be said by a filter, too, as `extra=true|false`.
pub(super) fn options(
    matches: &ArgMatches,
    all: bool,
    extra: Option<&str>,
) -> Result<PruneOptions, CliError> {
    let mut options = PruneOptions { all, ..PruneOptions::default() };
    for (key, values) in filters(matches)? {
        match key.as_str() {
            "label" => options.labels = values,
            "label!" => options.without_labels = values,
            "until" => {
                let [text] = values.as_slice() else {
                    return Err(CliError::flag("filter", "until can be given once only".to_owned()));
                };
                let until =
                    moment(text, Timestamp::now()).map_err(|problem| CliError::flag("filter", problem))?;
                options.until = Some(until);
            }
            "owner" if extra == Some("dangling") => {
                let last = values.last().map(String::as_str).unwrap_or_default();
                let owner = last.parse().map_err(|problem: String| CliError::flag("filter", problem))?;
                options.owner = Some(owner);
            }
            key if Some(key) == extra => {
                let last = values.last().map(String::as_str).unwrap_or_default();
                options.all = match (key, last) {
                    // What dangles has no name, so to say no is to say all.
                    ("dangling", "0" | "false") | ("all", "1" | "true") => true,
                    ("dangling", "1" | "true") | ("all", "0" | "false") => all,
                    _ => return Err(CliError::flag("filter", format!("{key}={last} is not true or false"))),
                };
            }
            _ => {
                return Err(CliError::flag(
                    "filter",
                    format!("there is no filter {key} for what is pruned here"),
                ));
            }
        }
    }
    Ok(options)
}

/// Asks, with the filters in the question.
pub(super) fn is_wanted(context: &Context, matches: &ArgMatches, question: &str) -> Result<bool, CliError> {
    let filters = texts(matches, "filter");
    let filters = if filters.is_empty() {
        String::new()
    } else {
        format!("\n\n  Items to be pruned will be filtered with:\n  - {}\n", filters.join("\n  - "))
    };
    confirm(context, &format!("{question}{filters}"))
}

/// `Deleted Containers:` and so on, nothing for nothing.
pub(super) fn tell(context: &Context, title: &str, lines: &[String]) -> Result<(), CliError> {
    if lines.is_empty() {
        return Ok(());
    }
    context.print(&format!("{title}:\n{}\n\n", lines.join("\n")))
}

/// In the lower case that Docker's prune has them in.
pub(super) fn image_lines(removed: &[Removed]) -> Vec<String> {
    let lines = removed.iter().map(|removed| match removed {
        Removed::Untagged(name) => format!("untagged: {}", name.familiar()),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
        Removed::Kept { .. } => removed.to_string(),
    });
    lines.collect()
}

/// Keeps `store.budget`, now that these images have come, and warns of each that goes for them: also where the command itself is quiet.
pub(super) fn keep_budget(context: &Context, engine: &Engine, came: &[Digest]) -> Result<(), CliError> {
    let Trimmed { removed, over } = engine.keep_budget(came)?;
    for name in removed {
        context.warn(&format!("removed {name}, which was not used for longest: see store.budget"));
    }
    if let Some(bytes) = over {
        let (taken, budget) = (human::binary_size(bytes), human::binary_size(engine.settings().store_budget));
        context.warn(&format!(
            "images take {taken}, more than store.budget ({budget}): those that are left are in use, or only here"
        ));
    }
    Ok(())
}

pub(super) fn tell_total(context: &Context, bytes: u64) -> Result<(), CliError> {
    context.line(&format!("Total reclaimed space: {}", human::size(bytes, 4)))
}
