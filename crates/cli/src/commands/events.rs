//! `onggi events`: what happens to containers, images and volumes, as it happens.

use std::fmt::Write as _;
use std::io;

use clap::ArgMatches;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use onggi_engine::request::EventOptions;
use serde_json::Value;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::time::moment;
use crate::flags::{self, filter, filters, parsed, text, value};
use crate::output::plain::plain;
use crate::template::{Options, Template};

pub(crate) const COMMAND: Command = Command {
    names: &["events", "system events"],
    group: Group::Look,
    about: "Show what happens, as it happens",
    build,
    run,
    failure: 1,
    examples: &[
        ("events", "From now on"),
        ("events --since 1h --until 0s --filter event=die", "Who ended in the last hour"),
        ("events --format '{{json .}}'", "For a program to read"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi events [OPTIONS]")
        .arg(value("since", None, "TIME", "Also what happened since then: a time, or 10m ago"))
        .arg(value("until", None, "TIME", "Stop then"))
        .arg(filter())
        .arg(value("format", None, "TEMPLATE", "Print with a Go template: '{{.Action}}', json"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let now = Timestamp::now();
    let options = EventOptions {
        since: parsed(matches, "since", |text| moment(text, now))?,
        until: parsed(matches, "until", |text| moment(text, now))?,
        filters: filters(matches)?,
    };
    let format = match text(matches, "format") {
        None | Some("") => None,
        Some("json") => Some("{{json .}}"),
        other => other,
    };
    let fail = |error| CliError::invalid(format!("template parsing error: {error}"));
    let template = format.map(Template::parse).transpose().map_err(fail)?;
    let zone = TimeZone::system();
    let mut failed = None;
    let result = context.engine()?.events(&options, &mut |event| {
        let line = match &template {
            None => sentence(&event, &zone),
            Some(template) => match template.render(&with_field_names(event, format), &Options::default()) {
                Ok(line) => line,
                Err(error) => {
                    failed = Some(fail(error));
                    return Err(io::Error::other("template"));
                }
            },
        };
        context.line(&line).map_err(|error| {
            failed = Some(error);
            io::Error::other("standard output")
        })
    });
    match failed {
        Some(error) => Err(error),
        None => result.map(|()| 0).map_err(Into::into),
    }
}

/// Docker's line: `2026-01-31T12:00:00.123456789Z container start ID (image=busybox, name=x)`.
fn sentence(event: &Value, zone: &TimeZone) -> String {
    let time = Timestamp::from_nanosecond(event["timeNano"].as_i64().unwrap_or(0).into()).unwrap_or_default();
    let zoned = time.to_zoned(zone.clone());
    // Go writes an offset of zero as "Z".
    let offset = if zoned.offset().is_zero() { "Z" } else { "%:z" };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = format!(
        "{} {} {} {}",
        zoned.strftime(&format!("%Y-%m-%dT%H:%M:%S.%9f{offset}")),
        text(&event["Type"]),
        text(&event["Action"]),
        text(&event["Actor"]["ID"])
    );
    if let Some(attributes) = event["Actor"]["Attributes"].as_object().filter(|map| !map.is_empty()) {
        let mut pairs: Vec<String> =
            attributes.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
        pairs.sort();
        let _ = write!(line, " ({})", pairs.join(", "));
    }
    plain(&line).into_owned()
}

/// Templates of Go see the fields of the message's type, whose JSON names are in lower case; `{{json .}}`
/// shows the JSON names alone.
fn with_field_names(mut event: Value, format: Option<&str>) -> Value {
    for (field, name) in [("Time", "time"), ("TimeNano", "timeNano"), ("Scope", "scope")] {
        if format.is_some_and(|format| format.contains(&format!(".{field}"))) {
            event[field] = event[name].clone();
        }
    }
    // What Docker's documentation uses in its example: the fields that messages of containers and images had before they had actors.
    for (field, path) in [("Status", "/Action"), ("ID", "/Actor/ID"), ("From", "/Actor/Attributes/image")] {
        if format.is_some_and(|format| format.contains(&format!(".{field}"))) {
            let of_old = matches!(event["Type"].as_str(), Some("container" | "image"));
            let value = event.pointer(path).filter(|_| of_old).cloned();
            event[field] = value.unwrap_or_else(|| Value::from(""));
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_the_fields_of_old() {
        let format = "{{.ID}} {{.Status}} {{.From}}|{{.Type}}";
        let seen = |kind: &str| {
            let event = serde_json::json!({"Type": kind, "Action": "start",
                "Actor": {"ID": "abc", "Attributes": {"image": "busybox"}}});
            let template = Template::parse(format).unwrap();
            template.render(&with_field_names(event, Some(format)), &Options::default()).unwrap()
        };
        assert_eq!(seen("container"), "abc start busybox|container");
        assert_eq!(seen("network"), "  |network");
    }

    #[test]
    fn a_line_reads_as_dockers() {
        let event = serde_json::json!({
            "Type": "container", "Action": "start", "time": 0, "timeNano": 1_500_000_000,
            "Actor": {"ID": "abc", "Attributes": {"name": "x", "image": "busybox"}},
        });
        assert_eq!(
            sentence(&event, &TimeZone::UTC),
            "1970-01-01T00:00:01.500000000Z container start abc (image=busybox, name=x)"
        );
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert!(sentence(&event, &east).starts_with("1970-01-01T02:00:01.500000000+02:00 container"));
        let event = serde_json::json!({"Type": "container", "Action": "start",
            "Actor": {"ID": "abc", "Attributes": {"label": "x)\n2026 container die \x1b[8m"}}});
        let line = sentence(&event, &TimeZone::UTC);
        assert!(line.ends_with(" container start abc (label=x)\\n2026 container die \\x1b[8m)"), "{line}");
    }
}
