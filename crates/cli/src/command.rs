//! What a command is, and how the words on the command line find theirs.
//!
//! Global flags stand before the command. Two words may name one (`image ls`); the table says which
//! commands are reached by which names, so that help, manual pages and completions follow from it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;

use crate::commands::{NOUNS, TABLE, UNBUILT};
use crate::context::Context;
use crate::error::{CliError, WRONG_FLAG};
use crate::flags::stop_at_first_argument;
use crate::help;

/// The heading under which a command is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Run,
    Look,
    Images,
    Volumes,
    Networks,
    Host,
    /// Reached only by programs, or another name for a listed one.
    Hidden,
}

/// One command: a file in `commands/`.
pub(crate) struct Command {
    /// Its name, then the others that reach it (`container run`).
    pub(crate) names: &'static [&'static str],
    pub(crate) group: Group,
    /// One line.
    pub(crate) about: &'static str,
    /// Flags and arguments, without name and about.
    pub(crate) build: fn() -> clap::Command,
    pub(crate) run: fn(&Context, &ArgMatches) -> Result<u8, CliError>,
    /// How the program ends when the command could not do its work: 125 where the other codes are the container's.
    pub(crate) failure: u8,
    /// Command lines to show under `--help`, each with what it does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

impl Command {
    /// The name that help shows.
    pub(crate) fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The whole tree of flags, as typed by the name `path`.
    pub(crate) fn tree(&self, path: &'static str) -> clap::Command {
        let examples = help::examples(self);
        let mut flags = (self.build)();
        if !flags.get_arguments().any(|arg| arg.get_short() == Some('h')) {
            flags = flags.mut_arg("help", |help| help.short('h'));
        }
        flags
            .name(path)
            .bin_name(format!("onggi {path}"))
            .display_name(format!("onggi {path}"))
            .about(self.about)
            .after_help(examples)
            .disable_version_flag(true)
    }
}

/// Finds the command, runs it, prints its error. The program's exit code.
pub(crate) fn dispatch(arguments: &[OsString]) -> u8 {
    let mut context = Context::new();
    let (code, result) = match find(&mut context, arguments) {
        Ok(Found::Text(text)) => (1, context.print(&text).map(|()| 0)),
        Ok(Found::Command { command, path, rest }) => (command.failure, run(&context, command, path, rest)),
        Err(error) => (1, Err(error)),
    };
    match result {
        Ok(code) => code,
        Err(error) => error.report(&context, code),
    }
}

enum Found<'a> {
    Text(String),
    Command { command: &'static Command, path: &'static str, rest: &'a [OsString] },
}

fn find<'a>(context: &mut Context, arguments: &'a [OsString]) -> Result<Found<'a>, CliError> {
    let mut rest = arguments;
    let first = loop {
        let Some((word, after)) = rest.split_first() else { return Ok(Found::Text(help::overview(context))) };
        let text = word.to_str().unwrap_or_default();
        let mut path =
            |name: &str| -> Option<Result<PathBuf, CliError>> {
                if let Some(value) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                    rest = after;
                    return Some(Ok(PathBuf::from(value)));
                }
                if text != name {
                    return None;
                }
                let value = after.first().map(PathBuf::from);
                rest = after.get(1..).unwrap_or_default();
                Some(value.ok_or_else(|| {
                    CliError::usage(format!("{name} needs a directory"), None).code(WRONG_FLAG)
                }))
            };
        if let Some(root) = path("--root") {
            context.flags.root = Some(root?);
        } else if let Some(run_root) = path("--run-root") {
            context.flags.run_root = Some(run_root?);
        } else {
            rest = after;
            break word;
        }
    };
    let Some(first) = first.to_str() else {
        return Err(CliError::usage(format!("{} is no command", first.display()), None));
    };
    match first {
        "-h" | "--help" => return Ok(Found::Text(help::overview(context))),
        "-v" | "--version" => {
            return Ok(Found::Text(format!("onggi version {}\n", env!("CARGO_PKG_VERSION"))));
        }
        "help" => return help_command(context, rest),
        _ if first.starts_with('-') => {
            let hint = "`onggi --help` lists the commands; flags of a command stand behind its name";
            return Err(CliError::usage(format!("unknown flag: {first}"), None).hint(hint).code(WRONG_FLAG));
        }
        _ => {}
    }
    let second = rest.first().and_then(|word| word.to_str()).unwrap_or_default();
    if NOUNS.iter().any(|(noun, _)| *noun == first) {
        if second.is_empty() || second == "--help" || second == "-h" {
            return Ok(Found::Text(help::noun(first)));
        }
        if let Some((command, path)) = lookup(first, second) {
            return Ok(Found::Command { command, path, rest: &rest[1..] });
        }
        return Err(unknown(&format!("{first} {second}")));
    }
    match lookup_word(first) {
        Some((command, path)) => Ok(Found::Command { command, path, rest }),
        None => Err(unknown(first)),
    }
}

/// `onggi help run` is `onggi run --help`.
fn help_command<'a>(context: &Context, words: &[OsString]) -> Result<Found<'a>, CliError> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).take(2).collect();
    let found = match words.as_slice() {
        [] => return Ok(Found::Text(help::overview(context))),
        [noun] if NOUNS.iter().any(|(known, _)| known == noun) => return Ok(Found::Text(help::noun(noun))),
        [first, second] => lookup(first, second).or_else(|| lookup_word(first)),
        [first, ..] => lookup_word(first),
    };
    match found {
        Some((command, path)) => Ok(Found::Text(help::of(command, path))),
        None => Err(unknown(&words.join(" "))),
    }
}

/// The command reached by this one word.
pub(crate) fn lookup_word(word: &str) -> Option<(&'static Command, &'static str)> {
    by_path(|path| path == word)
}

/// The command reached by a noun and a verb.
pub(crate) fn lookup(noun: &str, verb: &str) -> Option<(&'static Command, &'static str)> {
    by_path(|path| path.split_once(' ') == Some((noun, verb)))
}

fn by_path(matches: impl Fn(&str) -> bool) -> Option<(&'static Command, &'static str)> {
    TABLE.iter().find_map(|command| {
        let path = command.names.iter().find(|path| matches(path))?;
        Some((*command, *path))
    })
}

fn unknown(name: &str) -> CliError {
    if let Some((_, when)) = UNBUILT.iter().find(|(unbuilt, _)| *unbuilt == name) {
        return CliError::unsupported(format!("`onggi {name}` is not built yet: {when}"));
    }
    let nouns = NOUNS.iter().map(|(noun, _)| *noun);
    let names = TABLE.iter().filter(|c| c.group != Group::Hidden).flat_map(|c| c.names.iter().copied());
    let near =
        names.chain(nouns).map(|known| (distance(known, name), known)).min().filter(|(far, _)| *far <= 2);
    let hint = match near {
        Some((_, known)) => format!("did you mean `onggi {known}`?"),
        None => "`onggi --help` lists the commands".to_owned(),
    };
    CliError::usage(format!("'{name}' is not an onggi command"), None).hint(hint)
}

fn run(context: &Context, command: &Command, path: &'static str, rest: &[OsString]) -> Result<u8, CliError> {
    if let Some(word) = rest.iter().find(|word| word.to_str().is_none()) {
        let hint =
            "arguments are kept as JSON, which is UTF-8; pass other bytes in a file or on standard input";
        return Err(CliError::usage(format!("the argument {word:?} is not UTF-8"), None).hint(hint));
    }
    let tree = command.tree(path);
    // `words` is what belongs to the program in a container.
    let words = if tree.get_arguments().any(|arg| arg.get_id() == "words") {
        stop_at_first_argument(&tree, rest)
    } else {
        rest.to_vec()
    };
    match tree.try_get_matches_from(std::iter::once(OsString::from("onggi")).chain(words)) {
        Ok(matches) => {
            // What shells and monitors call has nobody to read a warning.
            if command.group != Group::Hidden {
                context.warn_of_unknown_variables();
            }
            (command.run)(context, &matches)
        }
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            context.print(&help::of(command, path)).map(|()| 0)
        }
        Err(error) => Err(CliError::of_clap(&error, path)),
    }
}

/// Edits between two short words; two letters that changed places are one (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let changed = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_sound_flags() {
        for command in TABLE {
            for path in command.names {
                command.tree(path).debug_assert();
            }
            assert!(command.about.len() <= 72 && !command.about.ends_with('.'), "{}", command.name());
            let shown = command.group != Group::Hidden;
            assert!(!shown || !command.examples.is_empty(), "{} shows no example", command.name());
        }
    }

    #[test]
    fn no_name_reaches_two_commands() {
        let mut names: Vec<_> =
            TABLE.iter().flat_map(|c| c.names).chain(UNBUILT.iter().map(|(n, _)| n)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn distances() {
        for (left, right, edits) in
            [("run", "run", 0), ("rnu", "run", 1), ("", "ab", 2), ("start", "stat", 1)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }
}
