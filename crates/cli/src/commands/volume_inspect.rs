//! `onggi volume inspect`: everything about volumes.

use clap::ArgMatches;
use onggi_engine::Volume;
use serde_json::{Value, json};

use super::inspect::pretty;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, text, texts, value};
use crate::output::list::render_one;

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
    let format = text(matches, "format").filter(|format| !format.is_empty());
    let mut found = Vec::new();
    let result = context.each(&texts(matches, "volumes"), |name| {
        let object = describe(&engine.volume(name)?);
        match format {
            Some(format) => context.line(&render_one(format, &object, true)?),
            None => {
                found.push(object);
                Ok(())
            }
        }
    });
    if format.is_none() {
        context.line(&pretty(&Value::Array(found)))?;
    }
    result
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
