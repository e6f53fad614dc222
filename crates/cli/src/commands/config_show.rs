//! `onggi config show`: the settings in force, and where each comes from.

use std::path::PathBuf;

use clap::ArgMatches;
use onggi_settings::{Flags, Settings, Sources};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};
use crate::output::table;

pub(crate) const COMMAND: Command = Command {
    names: &["config show"],
    group: Group::Host,
    about: "Show the settings, and with --origin where each comes from",
    build,
    run,
    failure: 1,
    examples: &[("config show --origin", "File and line, variable or flag of each value")],
};

fn build() -> clap::Command {
    flags::command("onggi config show [OPTIONS]").arg(switch(
        "origin",
        None,
        "With where each value comes from",
    ))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let origin = is(matches, "origin");
    let settings = match context.settings() {
        Ok(settings) => settings,
        Err(error) => {
            // Whoever mends the file needs to know what may stand in it.
            context.warn(
                "these are the defaults: nothing that is set counts until what is named below is mended",
            );
            let sources = Sources { system: PathBuf::from("/dev/null"), variable: &|_| None };
            let user = rustix::process::geteuid().as_raw();
            show(context, &Settings::load_from(&sources, user, &Flags::default())?, origin)?;
            return Err(error);
        }
    };
    show(context, settings, origin)?;
    Ok(0)
}

fn show(context: &Context, settings: &Settings, origin: bool) -> Result<(), CliError> {
    let mut rows = vec![vec!["SETTING".to_owned(), "VALUE".to_owned()]];
    if origin {
        rows[0].push("ORIGIN".to_owned());
    }
    rows[0].push("MEANING".to_owned());
    for entry in settings.entries() {
        let mut row = vec![entry.key.name.to_owned(), entry.value];
        if origin {
            row.push(entry.origin.to_string());
        }
        row.push(entry.key.about.to_owned());
        rows.push(row);
    }
    context.print(&table::lay_out(&rows))
}
