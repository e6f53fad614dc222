//! `onggi ps`: the containers.

use clap::ArgMatches;
use jiff::Timestamp;
use onggi_engine::Summary;
use onggi_engine::request::ListOptions;
use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, filter, filters, is, number, parsed, switch, text, value};
use crate::output::human;
use crate::output::list::{self, Row, format_flag};
use crate::output::plain;

pub(crate) const COMMAND: Command = Command {
    names: &["ps", "container ls", "container list", "container ps"],
    group: Group::Look,
    about: "List containers",
    build,
    run,
    failure: 1,
    examples: &[
        ("ps", "Those that run"),
        ("ps -a --filter status=exited", "Those that have ended"),
        ("ps --format '{{.Names}}: {{.Status}}'", "In your own words"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi ps [OPTIONS]")
        .arg(switch("all", Some('a'), "Also those that do not run"))
        .arg(filter())
        .arg(format_flag())
        .arg(value("last", Some('n'), "NUMBER", "The newest so many, whether they run or not"))
        .arg(switch("latest", Some('l'), "The newest, whether it runs or not"))
        .arg(switch("no-trunc", None, "Do not shorten ids and commands"))
        .arg(switch("quiet", Some('q'), "Only ids"))
        .arg(switch("size", Some('s'), "Also how much each has written"))
}

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const WIDE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let format = text(matches, "format");
    let last = parsed(matches, "last", number::<i64>)?.and_then(|n| usize::try_from(n).ok());
    let options = ListOptions {
        all: is(matches, "all"),
        last: if is(matches, "latest") { Some(1) } else { last.filter(|n| *n > 0) },
        size: is(matches, "size") || format.is_some_and(|format| format.contains(".Size")),
        filters: filters(matches)?,
    };
    let whole = is(matches, "no-trunc");
    let now = Timestamp::now();
    let containers = context.engine()?.list(&options)?;
    let rows: Vec<Row> = containers.into_iter().map(|container| row(container, whole, now)).collect();
    let default = match () {
        () if is(matches, "quiet") => "{{.ID}}",
        () if is(matches, "size") => WIDE,
        () => TABLE,
    };
    let format = if is(matches, "quiet") { None } else { format };
    context.print(&list::render(&rows, format, default, &[("ID", "CONTAINER ID")])?)?;
    Ok(0)
}

fn row(container: Summary, whole: bool, now: Timestamp) -> Row {
    let created = human::timestamp(&container.created);
    let id = if whole { container.id.as_str() } else { container.id.short() };
    let command = if whole { container.command.clone() } else { human::shorten(&container.command, 20) };
    let mounts: Vec<String> =
        container.mounts.iter().map(|m| if whole { m.clone() } else { human::shorten(m, 15) }).collect();
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let volumes = container.mounts.iter().filter(|name| !name.starts_with('/')).count();
    let size = match (container.size_rw, container.size_root) {
        (Some(written), Some(all)) => {
            format!("{} (virtual {})", human::size(written, 3), human::size(all, 3))
        }
        (Some(written), None) => human::size(written, 3),
        _ => String::new(),
    };
    let fields = json!({
        "Command": plain::quoted(&command),
        "CreatedAt": human::created_at(created),
        "ID": id,
        "Image": container.image,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": container.name,
        "Networks": container.networks.join(","),
        "Ports": container.ports,
        "RunningFor": human::ago(created, now),
        "Size": size,
        "State": container.state.name(),
        "Status": container.status,
    });
    let Value::Object(fields) = fields else {
        return Row { fields: Default::default(), labels: container.labels };
    };
    Row { fields, labels: container.labels }
}
