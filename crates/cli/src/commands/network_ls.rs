//! `onggi network ls`: the networks.

use clap::ArgMatches;
use onggi_engine::NetworkSummary;
use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, filter, filters, is, switch, text};
use crate::output::human;
use crate::output::list::{self, Row, format_flag};

pub(crate) const COMMAND: Command = Command {
    names: &["network ls", "network list"],
    group: Group::Networks,
    about: "List networks",
    build,
    run,
    failure: 1,
    examples: &[
        ("network ls", "All of them"),
        ("network ls -q --filter type=custom", "Ids of those that somebody made"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi network ls [OPTIONS]")
        .arg(filter())
        .arg(format_flag().help("Print with a Go template: '{{.Name}}', 'table {{.Name}}', json"))
        .arg(switch("no-trunc", None, "Whole ids"))
        .arg(switch("quiet", Some('q'), "Only ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let whole = is(matches, "no-trunc");
    let rows: Vec<Row> = context
        .engine()?
        .networks(&filters(matches)?)?
        .into_iter()
        .map(|network| row(network, whole))
        .collect();
    let quiet = is(matches, "quiet");
    let default = if quiet { "{{.ID}}" } else { "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}" };
    let format = if quiet { None } else { text(matches, "format") };
    context.print(&list::render(&rows, format, default, &[("ID", "NETWORK ID")])?)?;
    Ok(0)
}

fn row(network: NetworkSummary, whole: bool) -> Row {
    let labels: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let created = human::created_at(human::timestamp(&network.created));
    let fields = json!({
        "CreatedAt": if network.created.is_empty() { String::new() } else { created },
        "Driver": network.driver,
        "ID": if whole { network.id.as_str() } else { network.id.get(..12).unwrap_or(&network.id) },
        "IPv4": "true",
        "IPv6": network.ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": "local",
    });
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    Row { fields, labels: network.labels }
}
