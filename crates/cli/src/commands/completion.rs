//! `onggi completion`: a few lines for a shell, which ask `onggi __complete` what fits at each press of Tab.
//!
//! So the shell needs nothing new when a flag is added, what is refused is not offered, and the names of this host's containers, images
//! and volumes are.

use clap::{Arg, ArgMatches};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags;

pub(crate) const COMMAND: Command = Command {
    names: &["completion"],
    group: Group::Host,
    about: "Print completions for bash, zsh or fish",
    build,
    run,
    failure: 1,
    examples: &[
        ("completion bash > /etc/bash_completion.d/onggi", "For everybody's bash"),
        ("completion zsh > /usr/local/share/zsh/site-functions/_onggi", "For everybody's zsh"),
        ("completion fish > ~/.config/fish/completions/onggi.fish", "For one's own fish"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi completion SHELL").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(["bash", "zsh", "fish"])
            .help("Which one"),
    )
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    context.print(match flags::text(matches, "shell") {
        Some("zsh") => include_str!("completion/onggi.zsh"),
        Some("fish") => include_str!("completion/onggi.fish"),
        _ => include_str!("completion/onggi.bash"),
    })?;
    Ok(0)
}
