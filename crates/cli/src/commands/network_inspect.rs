//! `onggi network inspect`: everything about networks, and who is on them.

use clap::ArgMatches;
use serde_json::Value;

use super::inspect::show;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, switch, value};

pub(crate) const COMMAND: Command = Command {
    names: &["network inspect"],
    group: Group::Networks,
    about: "Show everything about networks",
    build,
    run,
    failure: 1,
    examples: &[(
        "network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{println}}{{end}}' shop",
        "Who is on it",
    )],
};

fn build() -> clap::Command {
    flags::command("onggi network inspect [OPTIONS] NETWORK...")
        .arg(value("format", Some('f'), "TEMPLATE", "Print with a Go template: '{{.Id}}'"))
        .arg(switch("verbose", Some('v'), "As always: there is one host").hide(true))
        .arg(arguments("networks", "NETWORK", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    show(context, matches, "networks", |name| Ok(engine.network_inspect(name)?), Value::Array)
}
