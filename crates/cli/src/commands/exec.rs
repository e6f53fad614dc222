//! `onggi exec`: one more program in a container that runs.

use clap::{Arg, ArgMatches};
use onggi_engine::request::ExecRequest;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, request, switch, text, texts, value, values};
use crate::terminal::held::Held;
use crate::terminal::raw;
use crate::terminal::session::{Wishes, follow};

pub(crate) const COMMAND: Command = Command {
    names: &["exec", "container exec"],
    group: Group::Look,
    about: "Run one more program in a container",
    build,
    run,
    // Docker's: 1 for what is ours, 126 and 127 for a program that cannot be run.
    failure: 1,
    examples: &[
        ("exec -it web sh", "A shell beside the program that runs there"),
        ("exec -u postgres -w /var/lib db psql", "As somebody else, somewhere else"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi exec [OPTIONS] CONTAINER COMMAND [ARG...]")
        .arg(switch("detach", Some('d'), "Do not wait for it"))
        .arg(value("detach-keys", None, "KEYS", "The keys that leave it running"))
        .arg(values("env", Some('e'), "NAME[=VALUE]", "Set a variable, or pass on the caller's"))
        .arg(values("env-file", None, "FILE", "Read variables from a file"))
        .arg(switch("interactive", Some('i'), "Pass standard input on"))
        .arg(switch("privileged", None, "With all capabilities"))
        .arg(switch("tty", Some('t'), "Give it a terminal"))
        .arg(value("user", Some('u'), "USER[:GROUP]", "Who to run as; the container's user by default"))
        .arg(value("workdir", Some('w'), "PATH", "The directory to start in"))
        .arg(
            Arg::new("words")
                .value_name("CONTAINER COMMAND [ARG...]")
                .num_args(2..)
                .required(true)
                .hide(true),
        )
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let detach = is(matches, "detach");
    let mut words = texts(matches, "words").into_iter();
    let name = words.next().unwrap_or_default();
    let tty = is(matches, "tty");
    let interactive = is(matches, "interactive") && !detach;
    raw::check(tty, interactive, true)?;
    let engine = context.engine()?;
    let held = Held::hold(tty, !detach).map_err(|error| CliError::io("watch for signals", &error))?;
    let request = ExecRequest {
        command: words.collect(),
        detach,
        interactive,
        tty,
        env: request::variables(matches)?,
        user: text(matches, "user").map(str::to_owned),
        workdir: text(matches, "workdir").map(str::to_owned),
        privileged: is(matches, "privileged"),
        detach_keys: request::keys(matches)?,
        size: if tty { raw::size() } else { None },
        interruption: Some(held.interruption()),
    };
    let session = engine.exec(&engine.resolve(&name)?, &request).map_err(|error| {
        let code = error.exit_code();
        let error = CliError::of_start(error, &name);
        if code == 125 { error } else { error.code(code) }
    })?;
    if detach {
        held.release();
        return Ok(0);
    }
    // Docker's client leaves the program behind when it is interrupted; ours passes the signal on.
    follow(
        context,
        session,
        Wishes { stdin: interactive, proxy_signals: true, redraw: false, exec: true },
        held,
    )
}
