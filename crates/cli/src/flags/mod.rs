//! Flags: how they are declared and read, the same for every command.
//!
//! Docker's flags follow Go's rules, and scripts rely on them: a switch takes `=false`, a value may begin
//! with a hyphen, the last one given wins. The helpers here declare flags so.

pub(crate) mod container;
pub(crate) mod environment;
mod health;
pub(crate) mod progress;
pub(crate) mod request;
pub(crate) mod time;
pub(crate) mod unbuilt;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::CliError;

/// A command's tree without flags, with Docker's rule for repeated ones.
pub(crate) fn command(usage: &'static str) -> Command {
    // Without clap's own flag for help: `run` needs `-h` for the host name.
    let help =
        Arg::new("help").long("help").action(ArgAction::Help).help("Show this page").display_order(999);
    Command::new("").override_usage(usage).args_override_self(true).disable_help_flag(true).arg(help)
}

/// `--name`, `--name=false`.
pub(crate) fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = Arg::new(name)
        .long(name)
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(ValueParser::new(boolean))
        .value_name("BOOL")
        .help(help);
    // Shown as the switch that it is.
    let arg = arg.hide_possible_values(true);
    match short {
        Some(letter) => arg.short(letter),
        None => arg,
    }
}

/// `--name VALUE`, the last one wins.
pub(crate) fn value(name: &'static str, short: Option<char>, shown: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_name(shown).help(help).allow_hyphen_values(true);
    match short {
        Some(letter) => arg.short(letter),
        None => arg,
    }
}

/// `--name VALUE`, any number of times.
pub(crate) fn values(
    name: &'static str,
    short: Option<char>,
    shown: &'static str,
    help: &'static str,
) -> Arg {
    value(name, short, shown, help).action(ArgAction::Append)
}

/// One required argument.
pub(crate) fn argument(name: &'static str, shown: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(shown).help(help).required(true)
}

/// One or more arguments.
pub(crate) fn arguments(name: &'static str, shown: &'static str, help: &'static str) -> Arg {
    argument(name, shown, help).num_args(1..)
}

/// Go's strconv.ParseBool.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("it takes true or false".to_owned()),
    }
}

/// Whether a switch is on.
pub(crate) fn is(matches: &ArgMatches, name: &str) -> bool {
    matches.get_one::<bool>(name).copied().unwrap_or(false)
}

/// The value of a flag or argument.
pub(crate) fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// All values of a flag or argument.
pub(crate) fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).unwrap_or_default().cloned().collect()
}

/// A value read by `parse`, whose error is a sentence.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    matches: &ArgMatches,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, CliError> {
    text(matches, name).map(|text| parse(text).map_err(|problem| CliError::flag(name, problem))).transpose()
}

/// Each value read by `parse`.
pub(crate) fn all_parsed<T, E: std::fmt::Display>(
    matches: &ArgMatches,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, CliError> {
    let read = |text: &String| parse(text).map_err(|problem| CliError::flag(name, problem));
    matches.get_many::<String>(name).unwrap_or_default().map(read).collect()
}

/// A whole number.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| number_wanted(text, std::any::type_name::<T>()))
}

/// What would have been accepted where `text` was not.
fn number_wanted(text: &str, kind: &str) -> String {
    let lowest = if kind.starts_with('i') { "" } else { "from 0 on " };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let problem = if text.starts_with('-') && !lowest.is_empty() { "negative" } else { "too large" };
        return format!("\"{text}\" is {problem}: write a whole number {lowest}such as 10");
    }
    format!("\"{text}\" is not a whole number: write digits only, such as 10")
}

/// `--filter key=value`, repeated.
pub(crate) fn filter() -> Arg {
    values("filter", Some('f'), "KEY=VALUE", "Show only what fits; repeat for more conditions")
}

/// The filters by key.
pub(crate) fn filters(matches: &ArgMatches) -> Result<BTreeMap<String, Vec<String>>, CliError> {
    let mut filters = BTreeMap::<String, Vec<String>>::new();
    for text in texts(matches, "filter") {
        let Some((key, value)) = text.split_once('=') else {
            return Err(CliError::flag("filter", format!("\"{text}\" is not KEY=VALUE")));
        };
        filters.entry(key.trim().to_lowercase()).or_default().push(value.trim().to_owned());
    }
    Ok(filters)
}

/// `key=value` pairs of labels and annotations; a key alone has an empty value.
pub(crate) fn pairs(matches: &ArgMatches, name: &str) -> Result<BTreeMap<String, String>, CliError> {
    let mut pairs = BTreeMap::new();
    for text in texts(matches, name) {
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        if key.is_empty() {
            return Err(CliError::flag(name, format!("\"{text}\" has no key")));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// Sets `--` before the first argument that is no flag, because what stands behind an image or a
/// container belongs to the program in it, hyphens and all.
pub(crate) fn stop_at_first_argument(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut split = words.len();
    let mut next = 0;
    while let Some(word) = words.get(next) {
        let bytes = word.as_encoded_bytes();
        if bytes == b"--" {
            return words.to_vec();
        }
        if bytes == b"-" || !bytes.starts_with(b"-") {
            split = next;
            break;
        }
        next += 1 + usize::from(wants_next(command, word));
    }
    let mut result = words.to_vec();
    if split < words.len() {
        result.insert(split, OsString::from("--"));
    }
    result
}

/// Whether the word is a flag whose value is the next word.
pub(crate) fn wants_next(command: &Command, word: &OsStr) -> bool {
    let takes_value = |arg: &Arg| {
        arg.get_num_args().is_some_and(|range| range.min_values() > 0)
            || (arg.get_num_args().is_none() && arg.get_action().takes_values())
    };
    let Some(text) = word.to_str() else { return false };
    if let Some(long) = text.strip_prefix("--") {
        let known = |arg: &&Arg| {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
        };
        return !long.contains('=') && command.get_arguments().find(known).is_some_and(takes_value);
    }
    let letters = &text[1..];
    for (at, letter) in letters.char_indices() {
        let known = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
        if known.is_some_and(takes_value) {
            return at + letter.len_utf8() == letters.len();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &[&str]) -> Vec<String> {
        let tree = command("x")
            .arg(switch("tty", Some('t'), ""))
            .arg(switch("interactive", Some('i'), ""))
            .arg(values("env", Some('e'), "E", ""))
            .arg(value("network", None, "N", "").alias("net"));
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        stop_at_first_argument(&tree, &words).into_iter().map(|w| w.into_string().unwrap()).collect()
    }

    #[test]
    fn flags_stop_at_the_first_argument() {
        for (typed, wanted) in [
            ("busybox ls -l", "-- busybox ls -l"),
            ("-it busybox -x", "-it -- busybox -x"),
            ("-e A=1 busybox", "-e A=1 -- busybox"),
            ("-eA=1 busybox", "-eA=1 -- busybox"),
            ("-ite A=1 busybox", "-ite A=1 -- busybox"),
            ("--env A busybox --env", "--env A -- busybox --env"),
            ("--env=A busybox", "--env=A -- busybox"),
            ("--net host busybox", "--net host -- busybox"),
            ("--tty busybox -- a", "--tty -- busybox -- a"),
            ("-t -- busybox", "-t -- busybox"),
            ("--unknown busybox", "--unknown -- busybox"),
            ("--tty=false", "--tty=false"),
            ("-", "-- -"),
        ] {
            let words: Vec<&str> = typed.split(' ').collect();
            assert_eq!(split(&words).join(" "), wanted, "{typed}");
        }
    }

    #[test]
    fn switches_are_gos() {
        let tree = || {
            command("x").no_binary_name(true).arg(switch("tty", Some('t'), "")).arg(switch(
                "interactive",
                Some('i'),
                "",
            ))
        };
        for (typed, tty, interactive) in [
            ("-it", true, true),
            ("-t", true, false),
            ("--tty=false", false, false),
            ("--tty --tty=0 -i=1", false, true),
        ] {
            let matches = tree().try_get_matches_from(typed.split(' ')).unwrap();
            assert_eq!((is(&matches, "tty"), is(&matches, "interactive")), (tty, interactive), "{typed}");
        }
        assert!(tree().try_get_matches_from(["--tty=maybe"]).is_err());
    }
}
