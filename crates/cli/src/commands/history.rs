//! `onggi history`: the steps that made an image, as its config tells them.

use clap::ArgMatches;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use onggi_image::History;
use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, is, switch, text, value};
use crate::output::human;
use crate::output::list::{self, Row, format_flag};

pub(crate) const COMMAND: Command = Command {
    names: &["history", "image history"],
    group: Group::Images,
    about: "Show the steps that made an image",
    build,
    run,
    failure: 1,
    examples: &[
        ("history debian", "The newest step first, each with what it added"),
        ("history --no-trunc --format '{{.CreatedBy}}' debian", "Only the commands, whole"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi history [OPTIONS] IMAGE")
        .arg(format_flag())
        .arg(switch("human", Some('H'), "Sizes and times in words; true unless =false"))
        .arg(switch("no-trunc", None, "Do not shorten ids and commands"))
        .arg(switch("quiet", Some('q'), "Only ids"))
        .arg(value("platform", None, "OS/ARCH", "Not built: other platforms").hide(true))
        .arg(argument("image", "IMAGE", "Its name or id"))
}

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// Docker's width of a command.
const SHORT_COMMAND: usize = 45;

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if text(matches, "platform").is_some() {
        return Err(CliError::unsupported("--platform: images of other platforms are not built yet"));
    }
    let store = context.store()?;
    let image = store.resolve(text(matches, "image").unwrap_or_default())?;
    let look = Look {
        whole: is(matches, "no-trunc"),
        human: matches.get_one::<bool>("human").copied().unwrap_or(true),
        now: Timestamp::now(),
    };
    let steps = with_sizes(&image.config.history, store.layer_sizes(&image)?);
    let mut rows = Vec::new();
    for (step, size) in steps.iter().rev() {
        // Only the image as a whole has an id; the steps below it once were images of Docker's own builder.
        let id = match () {
            () if !rows.is_empty() => "<missing>".to_owned(),
            () if look.whole => image.id.to_string(),
            () => image.id.short().to_owned(),
        };
        rows.push(look.row(id, step, *size));
    }
    let quiet = is(matches, "quiet");
    // With other words for the time the column has another name.
    let exact = TABLE.replace("CreatedSince", "CreatedAt");
    let default = match (quiet, look.human) {
        (true, _) => "{{.ID}}",
        (false, true) => TABLE,
        (false, false) => &exact,
    };
    let format = if quiet { None } else { text(matches, "format") };
    let titles = [("ID", "IMAGE"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT")];
    context.print(&list::render(&rows, format, default, &titles)?)?;
    Ok(0)
}

/// Each step with the bytes of its layer. Layers that no step speaks of come first, with an empty one.
fn with_sizes(history: &[History], layers: Vec<u64>) -> Vec<(History, u64)> {
    let told = history.iter().filter(|step| !step.empty_layer).count();
    let untold = layers.len().saturating_sub(told);
    let mut sizes = layers.into_iter();
    let mut steps: Vec<_> = sizes.by_ref().take(untold).map(|size| (History::default(), size)).collect();
    for step in history {
        let size = if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
        steps.push((step.clone(), size));
    }
    steps
}

/// How the user wants to see it.
struct Look {
    whole: bool,
    human: bool,
    now: Timestamp,
}

impl Look {
    fn row(&self, id: String, step: &History, size: u64) -> Row {
        let created = step.created.as_deref().unwrap_or_default();
        let command = step.created_by.replace('\t', " ");
        let fields = json!({
            "Comment": step.comment,
            "CreatedAt": moment(created),
            "CreatedBy": if self.whole { command } else { human::shorten(&command, SHORT_COMMAND) },
            "CreatedSince": if self.human {
                human::ago(human::timestamp(created), self.now)
            } else {
                moment(created)
            },
            "ID": id,
            "Size": if self.human { human::size(size, 3) } else { size.to_string() },
        });
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        Row { fields, labels: Default::default() }
    }
}

/// RFC 3339 in whole seconds and in this host's time, as Docker prints it.
fn moment(text: &str) -> String {
    let Ok(moment) = text.parse::<Timestamp>() else { return text.to_owned() };
    let shown = moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    shown.strip_suffix("+00:00").map_or(shown.clone(), |utc| format!("{utc}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_belong_to_the_steps_that_made_them() {
        let step = |name: &str, empty_layer| History {
            created_by: name.to_owned(),
            empty_layer,
            ..History::default()
        };
        let history = [step("ADD", false), step("CMD", true), step("RUN", false)];
        let told = |layers: &[u64]| {
            let steps = with_sizes(&history, layers.to_vec());
            steps
                .iter()
                .map(|(step, size)| format!("{}={size}", step.created_by))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(told(&[1, 2]), "ADD=1 CMD=0 RUN=2");
        assert_eq!(told(&[9, 1, 2]), "=9 ADD=1 CMD=0 RUN=2");
        assert_eq!(told(&[1]), "ADD=1 CMD=0 RUN=0");
    }

    #[test]
    fn moments_have_whole_seconds() {
        let shown = moment("2026-11-22T21:25:51.266065227Z");
        assert!(
            !shown.contains('.') && shown.ends_with(":51Z") | shown.contains(":51+") | shown.contains(":51-"),
            "{shown}"
        );
        assert_eq!(shown.parse::<Timestamp>().ok(), "2026-11-22T21:25:51Z".parse().ok());
        assert_eq!(moment("soon"), "soon");
    }
}
