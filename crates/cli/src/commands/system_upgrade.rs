//! `onggi system upgrade`: the monitors of containers that run go on as the program that is installed now.

use clap::{Arg, ArgMatches};
use onggi_engine::request::ListOptions;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["system upgrade"],
    group: Group::Host,
    about: "Let running containers have the monitor that is installed now",
    build,
    run,
    failure: 1,
    examples: &[("system upgrade", "After Onggi itself was installed anew; no container notices")],
};

fn build() -> clap::Command {
    flags::command("onggi system upgrade [CONTAINER...]").arg(
        Arg::new("containers")
            .value_name("CONTAINER")
            .num_args(0..)
            .help("Names or ids; all that run by default"),
    )
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let mut names = texts(matches, "containers");
    if names.is_empty() {
        names = engine.list(&ListOptions::default())?.into_iter().map(|summary| summary.name).collect();
    }
    context.each(&names, |name| {
        engine.upgrade_monitor(&engine.resolve(name)?)?;
        context.line(name)
    })
}
