//! `onggi network rm`: networks that no container is on.

use clap::ArgMatches;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, switch, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["network rm", "network remove"],
    group: Group::Networks,
    about: "Remove networks",
    build,
    run,
    failure: 1,
    examples: &[("network rm shop", "Refused while a container is on it")],
};

fn build() -> clap::Command {
    flags::command("onggi network rm [OPTIONS] NETWORK...")
        .arg(switch("force", Some('f'), "A missing one is no error"))
        .arg(arguments("networks", "NETWORK", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let force = is(matches, "force");
    context.each(&texts(matches, "networks"), |name| {
        engine.network_remove(name, force)?;
        context.line(name)
    })
}
