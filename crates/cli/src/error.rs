//! How a failure reaches the person: one line that says what failed, one that says what to do.
//!
//! Every crate's error arrives here through `Diagnose`; colour only on a terminal.

use std::fmt::Display;
use std::io;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use onggi_error::{Diagnose, Kind};

use crate::context::Context;
use crate::output::plain::plain;

/// How any command ends that was given a flag that it does not have, or a value that the flag does not take (Docker's code).
pub(crate) const WRONG_FLAG: u8 = 125;
/// How any command ends that was given too few arguments or too many, `run` too (Docker's code).
const WRONG_ARGUMENTS: u8 = 1;

/// A failed command.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    hint: Option<String>,
    kind: Kind,
    /// `None`: the command's own code for failures.
    code: Option<u8>,
    /// The command whose help would say more.
    usage: Option<String>,
    /// Already told, or not worth a word (a reader that closed its pipe).
    silent: bool,
}

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> CliError {
        CliError { message: message.into(), hint: None, kind, code: None, usage: None, silent: false }
    }

    /// What was typed cannot mean anything. `path`: the command whose help to name.
    pub(crate) fn usage(message: impl Into<String>, path: Option<&str>) -> CliError {
        let mut error = CliError::new(Kind::InvalidInput, message);
        error.usage = path.map(str::to_owned);
        error
    }

    /// A value of a flag, with what is wrong about it.
    pub(crate) fn flag(name: &str, problem: impl Display) -> CliError {
        let problem = problem.to_string();
        let flag = format!("--{name}");
        // Some sentences name their flag, some begin as this one would.
        let message = match () {
            () if problem.contains(&flag) => problem,
            () if problem.starts_with("invalid ") => format!("{flag}: {problem}"),
            () => format!("invalid argument for {flag}: {problem}"),
        };
        CliError::new(Kind::InvalidInput, message).code(WRONG_FLAG)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> CliError {
        CliError::new(Kind::InvalidInput, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> CliError {
        CliError::new(Kind::NotFound, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> CliError {
        CliError::new(Kind::Unsupported, message)
    }

    /// A person's word that ended the command before it had done anything that lasts.
    pub(crate) fn interrupted() -> CliError {
        let mut error = CliError::new(Kind::Interrupted, "interrupted; nothing is left behind");
        error.code = Some(130);
        error
    }

    /// A failed input or output; `act` says of what: `read /tmp/env`.
    pub(crate) fn io(act: impl Display, source: &io::Error) -> CliError {
        let mut error = CliError::new(Kind::of_io(source), io_sentence(act, source));
        error.silent = source.kind() == io::ErrorKind::BrokenPipe;
        if error.silent {
            error.code = Some(0);
        }
        error
    }

    /// Each problem was already printed.
    pub(crate) fn told() -> CliError {
        let mut error = CliError::new(Kind::Internal, "");
        error.silent = true;
        error
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn code(mut self, code: u8) -> CliError {
        self.code = Some(code);
        self
    }

    /// What failed, as it is printed but for the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether the thing asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Whether the reader of our output went away.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Prints it to standard error. The exit code, `default` unless it has its own.
    pub(crate) fn report(&self, context: &Context, default: u8) -> u8 {
        if !self.silent {
            context.complain(&self.text(context.colour));
        }
        self.code.unwrap_or(default)
    }

    fn text(&self, colour: bool) -> String {
        let (red, cyan, end) = if colour { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        // Names in it may come from an archive, the rest of it from a container's file system.
        let mut text = format!("{red}onggi:{end} {}\n", plain(&cut(&self.message)));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("{cyan}hint:{end} {}\n", plain(hint)));
        }
        if let Some(path) = &self.usage {
            text.push_str(&format!("See 'onggi {path} --help'.\n"));
        }
        text
    }

    /// A program that did not come to run, by the name under which its container is known. Which step failed is for `--explain`.
    pub(crate) fn of_start(error: onggi_engine::Error, name: &str) -> CliError {
        use onggi_engine::Error;
        let message = match &error {
            Error::Start { message, .. } => format!("failed to start container \"{name}\": {message}"),
            Error::Exec { message, .. } => format!("exec in container \"{name}\": {message}"),
            Error::Interrupted { .. } => {
                let code = error.exit_code();
                return CliError::new(
                    Kind::Interrupted,
                    format!("interrupted before \"{name}\" was started"),
                )
                .code(code);
            }
            _ => return error.into(),
        };
        let mut result = CliError::from(error);
        result.message = message;
        result
    }

    /// clap's findings in our words.
    pub(crate) fn of_clap(error: &clap::Error, path: &str) -> CliError {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => Some(texts.join(" ")),
            _ => None,
        };
        let argument = context(ContextKind::InvalidArg).unwrap_or_default();
        let value = context(ContextKind::InvalidValue).unwrap_or_default();
        // clap shows a flag with its value's name; the name alone is what was typed.
        let flag = argument.split([' ', '=', '[']).next().unwrap_or_default().trim_matches(['<', '>', '.']);
        let message = match error.kind() {
            ErrorKind::UnknownArgument if argument.starts_with('-') => format!("unknown flag: {argument}"),
            ErrorKind::UnknownArgument => format!("unexpected argument: {argument}"),
            ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => {
                format!("'onggi {path}' needs {}", needed(&argument))
            }
            ErrorKind::InvalidValue if value.is_empty() => format!("flag needs an argument: {flag}"),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                let wanted =
                    context(ContextKind::ValidValue).map(|v| format!("; it takes {}", v.replace(' ', ", ")));
                let problem = std::error::Error::source(error).map(|source| format!(": {source}"));
                format!("invalid argument \"{value}\" for {flag}{}", wanted.or(problem).unwrap_or_default())
            }
            ErrorKind::ArgumentConflict => {
                let other = context(ContextKind::PriorArg).unwrap_or_default();
                let other = other.split([' ', '=']).next().unwrap_or_default();
                if other.is_empty() || other == flag {
                    format!("{flag} is given more than once")
                } else {
                    format!("{flag} and {other} exclude each other")
                }
            }
            ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
                format!("unexpected argument: {value}")
            }
            _ => {
                error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        };
        let mut result = CliError::usage(message, Some(path));
        result.code = Some(match error.kind() {
            ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues => WRONG_ARGUMENTS,
            ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => WRONG_ARGUMENTS,
            _ if !argument.starts_with('-') => WRONG_ARGUMENTS,
            _ => WRONG_FLAG,
        });
        if let Some(near) = context(ContextKind::SuggestedArg) {
            result.hint = Some(format!("did you mean {near}?"));
        } else if let Some(near) = context(ContextKind::SuggestedValue) {
            result.hint = Some(format!("did you mean {near}?"));
        }
        result
    }
}

/// `open /none: No such file or directory`.
pub(crate) fn io_sentence(act: impl Display, source: &io::Error) -> String {
    without_numbers(&format!("{act}: {source}"))
}

/// No sentence is so long: what quotes something of any length has forgotten to shorten it, and would fill a person's screen.
fn cut(message: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 8000;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]).into(),
        None => message.into(),
    }
}

/// "(os error 2)" tells a person nothing that the words before it have not said.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => plain.push_str(rest),
            _ => plain.push_str(&format!(" (os error {part}")),
        }
    }
    plain
}

/// The names of arguments as clap spells them (`<CONTAINER COMMAND [ARG...]>...`), without its brackets and without
/// what may be left out: `CONTAINER and COMMAND`.
fn needed(spelled: &str) -> String {
    let mut depth = 0_usize;
    let required = spelled.chars().filter(|letter| {
        depth += usize::from(*letter == '[');
        let outside = depth == 0;
        depth -= usize::from(*letter == ']' && depth > 0);
        outside && !matches!(letter, '<' | '>' | '.')
    });
    let required: String = required.collect();
    // clap repeats a name as often as it must be given.
    let mut names: Vec<&str> = Vec::new();
    for name in required.split_whitespace() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" and ")
}

/// A person tells containers apart by twelve digits. A digest (`sha256:…`) and a path need all of theirs, and what Docker quotes
/// (`in use by container "…"`) scripts take from there.
fn shorten_ids(text: &str) -> String {
    const WHOLE: usize = 64;
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_hexdigit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_hexdigit).count();
        let (before, id) = (&rest[..start], &rest[start..start + digits]);
        let after = &rest[start + digits..];
        let alone = before.is_empty() || before.ends_with(' ');
        short.push_str(before);
        short.push_str(if digits == WHOLE && alone && !after.starts_with('/') { &id[..12] } else { id });
        rest = after;
    }
    short.push_str(rest);
    short
}

/// For an ordinary user who misses an image, on a machine on which root keeps some: the stores are two.
pub(crate) fn other_store() -> Option<String> {
    let missed = onggi_engine::is_ordinary_user() && std::path::Path::new(ROOTS_STORE).exists();
    let user = std::env::var("USER").unwrap_or_else(|_| "an ordinary user".to_owned());
    missed.then(|| format!("this is {user}'s own store; root's images need sudo: `sudo onggi …`"))
}

/// Where root's images are by default.
const ROOTS_STORE: &str = "/var/lib/onggi";

impl<E: Diagnose> From<E> for CliError {
    fn from(error: E) -> CliError {
        let mut result = CliError::new(error.kind(), shorten_ids(&without_numbers(&error.to_string())));
        result.hint = error.hint();
        if result.message.starts_with("No such image") {
            result.hint = other_store().or(result.hint);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_when_asked() {
        let error = CliError::usage("no", Some("run")).hint("yes");
        assert_eq!(error.text(false), "onggi: no\nhint: yes\nSee 'onggi run --help'.\n");
        assert!(error.text(true).starts_with("\x1b[1;31monggi:\x1b[0m no\n"));
    }

    #[test]
    fn what_an_error_quotes_cannot_write_lines_of_its_own() {
        let error = CliError::invalid("no such file: \x1b[2K\ronggi: all is well\n").hint("a\nb");
        assert_eq!(error.text(false), "onggi: no such file: \\x1b[2K\\ronggi: all is well\\n\nhint: a\\nb\n");
    }

    #[test]
    fn nothing_fills_the_screen() {
        let text = CliError::invalid("ö".repeat(1_000_000)).text(false);
        assert!(text.ends_with("ö…\n") && text.chars().count() < 8100);
    }

    #[test]
    fn arguments_are_named_without_brackets() {
        for (spelled, named) in [
            ("<CONTAINER COMMAND [ARG...]>...", "CONTAINER and COMMAND"),
            ("<IMAGE [COMMAND] [ARG...]>...", "IMAGE"),
            ("<CONTAINER COMMAND [ARG...]> <CONTAINER COMMAND [ARG...]>...", "CONTAINER and COMMAND"),
            ("<SOURCE> <TARGET>", "SOURCE and TARGET"),
            ("<NAME>...", "NAME"),
        ] {
            assert_eq!(needed(spelled), named);
        }
    }

    #[test]
    fn numbers_of_errors_are_left_out() {
        for (text, wanted) in [
            ("write a: No space left on device (os error 28)", "write a: No space left on device"),
            ("a (os error 2): b (os error 13); c", "a: b; c"),
            ("what (os error no", "what (os error no"),
            ("what (os error x) y", "what (os error x) y"),
        ] {
            assert_eq!(without_numbers(text), wanted);
        }
    }

    #[test]
    fn only_ids_of_containers_are_shortened() {
        let id = "0123456789abcdef".repeat(4);
        let text =
            format!("container {id} is in use by \"{id}\": sha256:{id}, /c/{id}/state.json, {id}0, café");
        let wanted = format!(
            "container 0123456789ab is in use by \"{id}\": sha256:{id}, /c/{id}/state.json, {id}0, café"
        );
        assert_eq!(shorten_ids(&text), wanted);
    }

    #[test]
    fn a_closed_pipe_is_silent_success() {
        let error = CliError::io("write", &io::Error::from_raw_os_error(32));
        assert!(error.silent);
        assert_eq!(error.code, Some(0));
    }
}
