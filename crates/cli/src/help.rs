//! The pages that are not one command's flags: the overview, a noun's verbs, the examples.

use std::fmt::Write as _;

use crate::command::{Command, Group};
use crate::commands::{NOUNS, TABLE};
use crate::context::Context;

const GROUPS: &[(Group, &str)] = &[
    (Group::Run, "Run"),
    (Group::Look, "Look and reach in"),
    (Group::Images, "Images"),
    (Group::Volumes, "Volumes"),
    (Group::Host, "This host"),
];

/// `onggi` alone: the verbs in groups and the state of this host in two lines.
pub(crate) fn overview(context: &Context) -> String {
    let mut text = String::from(
        "Onggi builds images, keeps them and runs containers.\n\nUsage: onggi [--root DIR] [--run-root DIR] COMMAND …\n",
    );
    for (group, title) in GROUPS {
        let _ = write!(text, "\n{title}:\n");
        for command in TABLE.iter().filter(|command| command.group == *group) {
            let _ = writeln!(text, "  {:<15} {}", command.name(), command.about);
        }
    }
    let nouns: Vec<&str> = NOUNS.iter().map(|(noun, _)| *noun).collect();
    let _ = write!(text, "\nThe same by noun: onggi {} …\n", nouns.join("|"));
    let _ =
        write!(text, "`onggi COMMAND --help` explains one; `onggi hello` shows that everything works.\n\n");
    text.push_str(&crate::commands::info::two_lines(context));
    text
}

/// `onggi image`: the verbs of a noun.
pub(crate) fn noun(noun: &str) -> String {
    let about = NOUNS.iter().find(|(known, _)| *known == noun).map_or("", |(_, about)| *about);
    let mut text = format!("{about}\n\nUsage: onggi {noun} COMMAND …\n\nCommands:\n");
    for command in TABLE {
        let verb = command.names.iter().find_map(|path| path.split_once(' ').filter(|(n, _)| *n == noun));
        if let Some((_, verb)) = verb.filter(|_| !is_hidden(command)) {
            let _ = writeln!(text, "  {verb:<15} {}", command.about);
        }
    }
    text
}

/// Hidden under every name: meant for programs.
fn is_hidden(command: &Command) -> bool {
    command.group == Group::Hidden && command.examples.is_empty()
}

/// `--help` of a command.
pub(crate) fn of(command: &Command, path: &'static str) -> String {
    let text = command.tree(path).render_help().to_string();
    format!("{}\n", text.trim_end())
}

/// What stands at the end of a command's help.
pub(crate) fn examples(command: &Command) -> String {
    if command.examples.is_empty() {
        return String::new();
    }
    let mut text = String::from("Examples:\n");
    for (line, meaning) in command.examples {
        let _ = writeln!(text, "  onggi {line}\n      {meaning}");
    }
    text
}
