//! `onggi start`: containers that were created or have ended.

use clap::ArgMatches;
use onggi_engine::request::{StartOptions, Streams};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, request, switch, texts, value};
use crate::terminal::held::Held;
use crate::terminal::raw;
use crate::terminal::session::{Wishes, follow};

pub(crate) const COMMAND: Command = Command {
    names: &["start", "container start"],
    group: Group::Run,
    about: "Start containers that were created or have ended",
    build,
    run,
    // Docker's: 1 for what is ours, 126 and 127 for a program that cannot be run.
    failure: 1,
    examples: &[("start web db", "Start two"), ("start -ai shell", "Start one and stay with it")],
};

fn build() -> clap::Command {
    flags::command("onggi start [OPTIONS] CONTAINER...")
        .arg(switch("attach", Some('a'), "Stay with it: show its output, pass signals on"))
        .arg(switch("interactive", Some('i'), "Stay with it and pass standard input on"))
        .arg(value("detach-keys", None, "KEYS", "The keys that leave it running"))
        .arg(switch("sig-proxy", None, "Pass received signals on; true unless =false"))
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let names = texts(matches, "containers");
    let interactive = is(matches, "interactive");
    if is(matches, "attach") || interactive {
        let [name] = names.as_slice() else {
            return Err(CliError::invalid("you cannot start and attach multiple containers at once"));
        };
        return attached(context, matches, name, interactive);
    }
    let engine = context.engine()?;
    context.each(&names, |name| {
        let id = engine.resolve(name)?;
        let held = hold(false, false)?;
        let options = StartOptions { interruption: Some(held.interruption()), ..StartOptions::default() };
        match engine.start(&id, &options) {
            Ok(session) => {
                session.warnings.iter().for_each(|warning| context.warn(warning));
                context.line(name)?;
                held.release();
                Ok(())
            }
            // Docker answers 304, and its client says nothing of it.
            Err(onggi_engine::Error::AlreadyRunning { .. }) => context.line(name),
            Err(error) => {
                let error = CliError::of_start(error, name);
                // Without a word where the signal was for this program alone: the others are not to be started either.
                held.release();
                Err(error)
            }
        }
    })
}

fn hold(tty: bool, proxy: bool) -> Result<std::sync::Arc<Held>, CliError> {
    Held::hold(tty, proxy).map_err(|error| CliError::io("watch for signals", &error))
}

fn attached(context: &Context, matches: &ArgMatches, name: &str, interactive: bool) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let id = engine.resolve(name)?;
    let config = engine.inspect(&id)?;
    let tty = config["Config"]["Tty"].as_bool().unwrap_or(false);
    let stdin = interactive && config["Config"]["OpenStdin"].as_bool().unwrap_or(false);
    raw::check(tty, stdin, false)?;
    let proxy_signals = matches.get_one::<bool>("sig-proxy").copied().unwrap_or(true);
    let held = hold(tty, proxy_signals)?;
    let options = StartOptions {
        attach: Streams { stdin, stdout: true, stderr: true },
        detach_keys: request::keys(matches)?,
        size: if tty { raw::size() } else { None },
        timings: false,
        interruption: Some(held.interruption()),
    };
    let session = engine.start(&id, &options).map_err(|error| {
        let code = error.exit_code();
        let error = CliError::of_start(error, name);
        if code == 125 { error } else { error.code(code) }
    })?;
    session.warnings.iter().for_each(|warning| context.warn(warning));
    follow(context, session, Wishes { stdin, proxy_signals, redraw: false, exec: false }, held)
}
