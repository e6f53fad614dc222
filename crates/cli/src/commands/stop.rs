//! `onggi stop`: the stop signal, then patience, then SIGKILL.

use clap::ArgMatches;
use onggi_engine::Engine;
use onggi_engine::request::StopOptions;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, number, parsed, text, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["stop", "container stop"],
    group: Group::Run,
    about: "Ask containers to end, and kill them if they do not",
    build,
    run,
    failure: 1,
    examples: &[
        ("stop web", "SIGTERM, and after ten seconds SIGKILL"),
        ("stop -t 60 -s INT db", "With more patience and another signal"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi stop [OPTIONS] CONTAINER...")
        .arg(value("signal", Some('s'), "SIGNAL", "The signal to send; the container's own by default"))
        .arg(
            value("timeout", Some('t'), "SECONDS", "How long to wait before killing; -1 for ever")
                .visible_alias("time"),
        )
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let options = StopOptions {
        signal: text(matches, "signal").map(str::to_owned),
        timeout: parsed(matches, "timeout", number)?,
    };
    let names = texts(matches, "containers");
    // All at once: each may take its whole time to end.
    let stop = |engine: Engine, name: &str| engine.stop(&engine.resolve(name)?, &options).map(|_| ());
    let mut ends = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for name in &names {
            let (engine, stop) = (engine.clone(), &stop);
            threads.push(scope.spawn(move || stop(engine, name)));
        }
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>().into_iter()
    });
    context.each(&names, |name| {
        match ends.next() {
            Some(Ok(end)) => end?,
            _ => return Err(CliError::invalid("the thread that was to stop it has failed")),
        }
        context.line(name)
    })
}
