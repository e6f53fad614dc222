//! `onggi wait`: until containers end.

use clap::ArgMatches;
use onggi_engine::request::WaitCondition;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, parsed, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["wait", "container wait"],
    group: Group::Run,
    about: "Wait until containers end, and print their exit codes",
    build,
    run,
    failure: 1,
    examples: &[
        ("wait job", "Prints 0 when it has done well"),
        ("wait --condition removed job", "Until nothing is left of it"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi wait [OPTIONS] CONTAINER...")
        .arg(value("condition", None, "WHAT", "not-running, next-exit or removed"))
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn condition(text: &str) -> Result<WaitCondition, String> {
    match text {
        "not-running" => Ok(WaitCondition::NotRunning),
        "next-exit" => Ok(WaitCondition::NextExit),
        "removed" => Ok(WaitCondition::Removed),
        _ => Err(format!("\"{text}\" is not not-running, next-exit or removed")),
    }
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let condition = parsed(matches, "condition", condition)?.unwrap_or_default();
    let engine = context.engine()?;
    context.each(&texts(matches, "containers"), |name| {
        let exit = engine.wait(&engine.resolve(name)?, condition)?;
        context.line(&exit.code.to_string())
    })
}
