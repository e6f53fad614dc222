//! `onggi completion`: what a shell needs to complete commands and flags, made from the same definitions.

use clap::{Arg, ArgMatches};
use clap_complete::Shell;

use crate::command::{Command, Group};
use crate::commands::{NOUNS, TABLE};
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
    let shell = match flags::text(matches, "shell") {
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut whole_tree(), "onggi", &mut script);
    context.print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// All commands under one root. Only completions and manual pages build this.
pub(super) fn whole_tree() -> clap::Command {
    let mut root = clap::Command::new("onggi")
        .about("Builds images, keeps them and runs containers")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .arg(flags::value("root", None, "DIR", "Where everything is kept"))
        .arg(flags::value("run-root", None, "DIR", "Where the sockets and mounts of running containers are"));
    for command in TABLE.iter().filter(|command| command.group != Group::Hidden) {
        for name in command.names.iter().filter(|name| !name.contains(' ')) {
            root = root.subcommand(command.tree(name).name(*name));
        }
    }
    for (noun, about) in NOUNS {
        let mut parent = clap::Command::new(*noun).about(*about).disable_help_subcommand(true);
        for command in TABLE.iter().filter(|command| !command.examples.is_empty()) {
            for path in command.names {
                if let Some((_, verb)) = path.split_once(' ').filter(|(first, _)| first == noun) {
                    parent = parent.subcommand(command.tree(path).name(verb));
                }
            }
        }
        root = root.subcommand(parent);
    }
    root
}
