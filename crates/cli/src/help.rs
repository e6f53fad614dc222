//! The pages that are not one command's flags: the overview, a noun's verbs, the examples.

use std::fmt::Write as _;

use clap::Arg;

use crate::command::{Command, Group};
use crate::commands::{NOUNS, TABLE};
use crate::context::Context;

pub(crate) const GROUPS: &[(Group, &str)] = &[
    (Group::Run, "Run"),
    (Group::Look, "Look and reach in"),
    (Group::Images, "Images"),
    (Group::Volumes, "Volumes"),
    (Group::Networks, "Networks"),
    (Group::Host, "This host"),
];

/// `onggi` alone: the verbs in groups and the state of this host in two lines.
pub(crate) fn overview(context: &Context) -> String {
    let mut text = String::from(
        "Onggi keeps images and runs containers. Images come from `onggi pull`, `load` and `import`; it builds none yet.\n\nUsage: onggi [--root DIR] [--run-root DIR] COMMAND …\n",
    );
    for (group, title) in GROUPS {
        let _ = write!(text, "\n{title}:\n");
        for command in TABLE.iter().filter(|command| command.group == *group) {
            let _ = writeln!(text, "  {:<18}  {}", command.name(), command.about);
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

/// `--help` of a command: one line a flag, under the headings that the command gives them.
pub(crate) fn of(command: &Command, path: &'static str) -> String {
    let mut tree = command.tree(path);
    let usage = tree.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let mut text = format!("{}\n\nUsage: {usage}\n", command.about);
    let visible = visible(&tree);
    let width = visible.iter().map(|arg| spelled(arg).chars().count()).max().unwrap_or(0).min(WIDEST);
    for title in headings(&visible) {
        let _ = write!(text, "\n{title}:\n");
        for arg in visible.iter().filter(|arg| heading(arg) == title) {
            let spelled = spelled(arg);
            let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
            if spelled.chars().count() > width {
                let _ = writeln!(text, "  {spelled}\n  {:width$}  {about}", "");
            } else {
                let _ = writeln!(text, "  {spelled:width$}  {about}");
            }
        }
    }
    let others: Vec<String> =
        command.names.iter().filter(|name| **name != path).map(|name| format!("onggi {name}")).collect();
    if !others.is_empty() {
        let _ = write!(text, "\nAlso: {}\n", others.join(", "));
    }
    let examples = examples(command);
    if !examples.is_empty() {
        let _ = write!(text, "\n{examples}");
    }
    text
}

/// The flags and arguments to show, `--help` last.
pub(crate) fn visible(tree: &clap::Command) -> Vec<&Arg> {
    let mut visible: Vec<&Arg> = tree.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    visible.sort_by_key(|arg| arg.get_id() == "help");
    visible
}

/// Arguments first, then the headings in the order of their flags.
pub(crate) fn headings<'a>(visible: &[&'a Arg]) -> Vec<&'a str> {
    let mut headings: Vec<&str> = Vec::new();
    for arg in visible.iter().rev().filter(|arg| arg.is_positional()).chain(visible) {
        if !headings.contains(&heading(arg)) {
            headings.push(heading(arg));
        }
    }
    headings
}

/// A flag that is longer has its meaning on the next line.
const WIDEST: usize = 32;

pub(crate) fn heading(arg: &Arg) -> &str {
    match arg.get_help_heading() {
        _ if arg.is_positional() => "Arguments",
        Some(heading) => heading,
        None => "Options",
    }
}

/// `-e, --env NAME[=VALUE]`; a switch without the `=false` that it takes too.
pub(crate) fn spelled(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let Some(long) = arg.get_long() else { return value.to_owned() };
    let short = arg.get_short().map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    if arg.is_require_equals_set() || !arg.get_action().takes_values() {
        return format!("{short}--{long}");
    }
    format!("{short}--{long} {value}")
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
