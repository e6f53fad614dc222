//! `onggi update`: other limits for containers, running or not.

use clap::ArgMatches;
use onggi_engine::request::UpdateRequest;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, container, request, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["update", "container update"],
    group: Group::Run,
    about: "Change the limits and the restart policy of containers",
    build,
    run,
    failure: 1,
    examples: &[
        ("update -m 512m --memory-swap 1g web", "More memory, while it runs"),
        ("update --restart unless-stopped web", "Start it again whenever it ends by itself"),
        ("update --cpus 0.5 --pids-limit 100 web db", "Two at once"),
    ],
};

/// Docker's, which are refused by name.
const UNBUILT: [(&str, &str); 3] = [
    ("cpu-rt-period", "real-time scheduling is not built yet; use --cpus or --cpu-shares"),
    ("cpu-rt-runtime", "real-time scheduling is not built yet; use --cpus or --cpu-shares"),
    ("kernel-memory", "the kernel no longer has this limit (since Linux 5.16); use --memory"),
];

fn build() -> clap::Command {
    flags::command("onggi update [OPTIONS] CONTAINER...")
        .args(container::changeable().map(|arg| arg.help_heading(None)))
        .args(UNBUILT.map(|(name, _)| value(name, None, "", "").hide(true)))
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some((name, reason)) = UNBUILT.iter().find(|(name, _)| flags::text(matches, name).is_some()) {
        return Err(CliError::unsupported(format!("--{name}: {reason}")));
    }
    let request = UpdateRequest {
        limits: request::changes(matches)?,
        restart: flags::parsed(matches, "restart", onggi_engine::flags::restart)?,
    };
    if request == UpdateRequest::default() {
        return Err(CliError::invalid("you must provide one or more flags when using this command"));
    }
    let engine = context.engine()?;
    context.each(&texts(matches, "containers"), |name| {
        engine.update(&engine.resolve(name)?, &request)?;
        context.line(name)
    })
}
