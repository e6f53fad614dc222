//! `--quiet` and `--progress`: in which form a command that moves images tells how far it is.

use clap::{Arg, ArgMatches};

use super::{is, switch, text, value};
use crate::error::CliError;

/// How far it is, told as …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// Lines, on a terminal too.
    Plain,
    /// Lines for programs: `output::messages`.
    Json,
    /// Not at all.
    Quiet,
}

/// Both flags; `quiet` says what is left with that one.
pub(crate) fn flags(quiet: &'static str) -> [Arg; 2] {
    let help = "How far it is: auto (bars on a terminal), plain, json or none";
    [
        switch("quiet", Some('q'), quiet),
        value("progress", None, "FORM", help)
            .value_parser(["auto", "plain", "json", "none"])
            .hide_possible_values(true),
    ]
}

/// What was asked for.
///
/// # Errors
/// Both flags, if they cannot both be obeyed.
pub(crate) fn form(matches: &ArgMatches) -> Result<Form, CliError> {
    match (is(matches, "quiet"), text(matches, "progress")) {
        (true, None) | (_, Some("none")) => Ok(Form::Quiet),
        (true, Some(_)) => Err(CliError::invalid("--quiet and --progress cannot be given together")),
        (false, Some("json")) => Ok(Form::Json),
        (false, Some("plain")) => Ok(Form::Plain),
        (false, _) => Ok(Form::Auto),
    }
}
