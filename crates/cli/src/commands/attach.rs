//! `onggi attach`: back to a container that runs.

use clap::ArgMatches;
use onggi_engine::request::{AttachOptions, Streams};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, is, request, switch, text, value};
use crate::terminal::held::Held;
use crate::terminal::raw;
use crate::terminal::session::{Wishes, follow};

pub(crate) const COMMAND: Command = Command {
    names: &["attach", "container attach"],
    group: Group::Look,
    about: "Join a running container's input and output",
    build,
    run,
    failure: 1,
    examples: &[
        ("attach shell", "Ctrl-P Ctrl-Q leaves it running again"),
        ("attach --no-stdin web", "Only watch"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi attach [OPTIONS] CONTAINER")
        .arg(value("detach-keys", None, "KEYS", "The keys that leave it running"))
        .arg(switch("no-stdin", None, "Do not pass standard input on"))
        .arg(switch("sig-proxy", None, "Pass received signals on; true unless =false"))
        .arg(argument("container", "CONTAINER", "Name or id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let id = engine.resolve(text(matches, "container").unwrap_or_default())?;
    let config = engine.inspect(&id)?;
    let tty = config["Config"]["Tty"].as_bool().unwrap_or(false);
    let open = config["Config"]["OpenStdin"].as_bool().unwrap_or(false);
    let stdin = open && !is(matches, "no-stdin");
    raw::check(tty, stdin, false)?;
    let options = AttachOptions {
        streams: Streams { stdin, stdout: true, stderr: true },
        detach_keys: request::keys(matches)?,
    };
    let proxy_signals = matches.get_one::<bool>("sig-proxy").copied().unwrap_or(true);
    let held = Held::hold(tty, proxy_signals).map_err(|error| CliError::io("watch for signals", &error))?;
    let session = engine.attach(&id, &options)?;
    follow(context, session, Wishes { stdin, proxy_signals, redraw: true, exec: false }, held)
}
