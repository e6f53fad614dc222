//! `onggi logs`: what a container has written.

use std::io::{self, BufWriter, Write as _};

use clap::ArgMatches;
use jiff::Timestamp;
use onggi_engine::request::LogOptions;
use onggi_engine::{LogLine, LogStream};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::time::moment;
use crate::flags::{self, argument, is, parsed, switch, text, value};

pub(crate) const COMMAND: Command = Command {
    names: &["logs", "container logs"],
    group: Group::Look,
    about: "Show what a container has written",
    build,
    run,
    failure: 1,
    examples: &[
        ("logs -f --tail 20 web", "The last twenty lines, and all that follow"),
        ("logs --since 10m -t web", "The last ten minutes, with times"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi logs [OPTIONS] CONTAINER")
        .arg(switch("follow", Some('f'), "Go on until the container ends"))
        .arg(value(
            "since",
            None,
            "TIME",
            "From then on: 2026-01-31T12:00:00Z, seconds since 1970, or 10m ago",
        ))
        .arg(value("until", None, "TIME", "Until then"))
        .arg(value("tail", Some('n'), "NUMBER", "Only the last lines; all by default"))
        .arg(switch("timestamps", Some('t'), "With the time of each line"))
        .arg(switch("details", None, "Not built: attributes of log drivers").hide(true))
        .arg(argument("container", "CONTAINER", "Name or id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if is(matches, "details") {
        return Err(CliError::unsupported("--details: attributes of log drivers are not built yet"));
    }
    let now = Timestamp::now();
    let options = LogOptions {
        follow: is(matches, "follow"),
        tail: parsed(matches, "tail", tail)?.flatten(),
        since: parsed(matches, "since", |text| moment(text, now))?,
        until: parsed(matches, "until", |text| moment(text, now))?,
        stdout: true,
        stderr: true,
    };
    let timestamps = is(matches, "timestamps");
    let engine = context.engine()?;
    let id = engine.resolve(text(matches, "container").unwrap_or_default())?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut err = io::stderr().lock();
    let mut failed = None;
    let mut write = |line: LogLine| -> io::Result<()> {
        let stamp = if timestamps { format!("{} ", nine_digits(&line.time)) } else { String::new() };
        match line.stream {
            LogStream::Stdout => {
                out.write_all(stamp.as_bytes())?;
                out.write_all(&line.text)?;
                if options.follow { out.flush() } else { Ok(()) }
            }
            LogStream::Stderr => {
                // On one terminal the two must stay in order.
                out.flush()?;
                err.write_all(stamp.as_bytes())?;
                err.write_all(&line.text)
            }
        }
    };
    let result = engine.logs(&id, &options, &mut |line| {
        write(line).map_err(|error| {
            let copy = io::Error::from(error.kind());
            failed = Some(error);
            copy
        })
    });
    if let Some(error) = failed {
        return Err(CliError::io("write the log", &error));
    }
    result?;
    out.flush().map_err(|error| CliError::io("write the log", &error))?;
    Ok(0)
}

/// As Docker's client: nine digits always, so that lines stand in columns, where the file has as many as it needs.
fn nine_digits(time: &str) -> String {
    time.parse::<Timestamp>().map_or_else(|_| time.to_owned(), |time| format!("{time:.9}"))
}

/// `all` and negative numbers are all.
fn tail(text: &str) -> Result<Option<u64>, String> {
    match text {
        "all" => Ok(None),
        _ => flags::number::<i64>(text).map(|n| u64::try_from(n).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(nine_digits("2026-01-31T12:00:00.5Z"), "2026-01-31T12:00:00.500000000Z");
        assert_eq!(nine_digits("2026-01-31T12:00:00Z"), "2026-01-31T12:00:00.000000000Z");
        assert_eq!(nine_digits("damaged"), "damaged");
    }
}
