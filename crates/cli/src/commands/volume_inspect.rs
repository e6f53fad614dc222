//! `onggi volume inspect`: everything about volumes.

use clap::ArgMatches;
use onggi_engine::Volume;
use serde_json::{Value, json};

use super::inspect::show;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, value};

pub(crate) const COMMAND: Command = Command {
    names: &["volume inspect"],
    group: Group::Volumes,
    about: "Show everything about volumes",
    build,
    run,
    failure: 1,
    examples: &[("volume inspect -f '{{.Mountpoint}}' data", "Where its files are")],
};

fn build() -> clap::Command {
    flags::command("onggi volume inspect [OPTIONS] VOLUME...")
        .arg(value("format", Some('f'), "TEMPLATE", "Print with a Go template: '{{.Mountpoint}}'"))
        .arg(arguments("volumes", "VOLUME", "Names"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    show(context, matches, "volumes", |name| Ok(describe(&engine.volume(name)?)), Value::Array)
}

/// Docker's description.
pub(super) fn describe(volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": volume.driver,
        "Labels": volume.labels,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": Value::Null,
        "Scope": "local",
    })
}
