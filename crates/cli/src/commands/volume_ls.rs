//! `onggi volume ls`: the volumes.

use clap::ArgMatches;
use onggi_engine::Volume;
use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, filter, filters, is, switch, text};
use crate::output::list::{self, Row, format_flag};

pub(crate) const COMMAND: Command = Command {
    names: &["volume ls", "volume list"],
    group: Group::Volumes,
    about: "List volumes",
    build,
    run,
    failure: 1,
    examples: &[
        ("volume ls", "All of them"),
        ("volume ls -q --filter dangling=true", "Names of those that no container uses"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi volume ls [OPTIONS]")
        .arg(filter())
        .arg(format_flag().help("Print with a Go template: '{{.Name}}', 'table {{.Name}}', json"))
        .arg(switch("quiet", Some('q'), "Only names"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let rows: Vec<Row> = context.engine()?.volumes(&filters(matches)?)?.into_iter().map(row).collect();
    let quiet = is(matches, "quiet");
    let default = if quiet { "{{.Name}}" } else { "table {{.Driver}}\t{{.Name}}" };
    let format = if quiet { None } else { text(matches, "format") };
    context.print(&list::render(&rows, format, default, &[("Name", "VOLUME NAME")])?)?;
    Ok(0)
}

fn row(volume: Volume) -> Row {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let fields = json!({
        "Availability": "N/A",
        "Driver": volume.driver,
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    });
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    Row { fields, labels: volume.labels }
}
