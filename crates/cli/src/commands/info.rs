//! `onggi info`: this host, as Onggi sees it.

use std::fmt::Write as _;

use clap::ArgMatches;
use onggi_engine::request::ListOptions;
use serde_json::Value;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, text, value};
use crate::output::human;
use crate::output::list::render_one;

pub(crate) const COMMAND: Command = Command {
    names: &["info", "system info"],
    group: Group::Host,
    about: "Show what Onggi knows of this host",
    build,
    run,
    failure: 1,
    examples: &[("info", "For a person"), ("info --format '{{.CgroupVersion}}'", "For a script")],
};

fn build() -> clap::Command {
    flags::command("onggi info [OPTIONS]").arg(value(
        "format",
        Some('f'),
        "TEMPLATE",
        "Print with a Go template: '{{.Containers}}', json",
    ))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let info = context.engine()?.info()?;
    if let Some(format) = text(matches, "format").filter(|format| !format.is_empty()) {
        context.line(&render_one(format, &info, true)?)?;
        return Ok(0);
    }
    context.print(&page(&info))?;
    Ok(0)
}

/// One line a fact, what is within a fact further in.
fn page(info: &Value) -> String {
    let mut out = String::new();
    for (key, value) in info.as_object().into_iter().flatten() {
        if !NOISE.contains(&key.as_str()) {
            line(&mut out, 0, key, value);
        }
    }
    out
}

/// What programs expect in Docker's JSON, and a daemon alone would have something to say of.
const NOISE: &[&str] = &["Debug", "ExperimentalBuild", "NEventsListener", "NFd", "NGoroutines", "SystemTime"];

fn line(out: &mut String, depth: usize, key: &str, value: &Value) {
    let indent = " ".repeat(depth);
    let title = title(key);
    match value {
        Value::Null => {}
        Value::Object(map) if map.is_empty() => {}
        Value::Object(map) => {
            let _ = writeln!(out, "{indent}{title}:");
            for (key, value) in map {
                line(out, depth + 1, key, value);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            let _ = writeln!(out, "{indent}{title}: {}", words.join(" "));
        }
        Value::Array(items) => {
            let _ = writeln!(out, "{indent}{title}:");
            for item in items {
                // Docker's pairs of texts: [["Layers", "EROFS"]].
                let words: Option<Vec<&str>> =
                    item.as_array().map(|pair| pair.iter().filter_map(Value::as_str).collect());
                let shown = words.map_or_else(|| item.to_string(), |words| words.join(": "));
                let _ = writeln!(out, "{indent} {shown}");
            }
        }
        Value::Number(bytes) if key.starts_with("Mem") && bytes.is_u64() => {
            let _ = writeln!(out, "{indent}{title}: {}", human::binary_size(bytes.as_u64().unwrap_or(0)));
        }
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => {
            let _ = writeln!(out, "{indent}{title}: {text}");
        }
        other => {
            let _ = writeln!(out, "{indent}{title}: {other}");
        }
    }
}

/// `KernelVersion` is `Kernel Version`.
fn title(key: &str) -> String {
    let mut title = String::new();
    let mut after_lower = false;
    for letter in key.chars() {
        if letter.is_uppercase() && after_lower {
            title.push(' ');
        }
        after_lower = letter.is_lowercase() || letter.is_ascii_digit();
        title.push(letter);
    }
    title
}

/// What `onggi` alone ends with. Never an error, and it makes nothing: a host on which Onggi was never used stays so.
pub(crate) fn two_lines(context: &Context) -> String {
    let host = rustix::system::uname();
    let release = host.release().to_string_lossy();
    let user = if rustix::process::geteuid().is_root() { "root" } else { "an ordinary user" };
    let cgroup = match std::fs::exists("/sys/fs/cgroup/cgroup.controllers") {
        Ok(true) => "cgroup v2",
        _ => "cgroup v1",
    };
    let first = format!("Linux {release}, {cgroup}, as {user}. `onggi doctor` says what this host lacks.\n");
    let Ok(settings) = context.settings() else {
        return format!("The settings cannot be read: `onggi config show` says why.\n{first}");
    };
    if !settings.root.exists() {
        return format!(
            "{first}Nothing is kept in {} yet; begin with `onggi hello`.\n",
            settings.root.display()
        );
    }
    let options = ListOptions { all: true, ..ListOptions::default() };
    let containers = context.engine().and_then(|engine| Ok(engine.list(&options)?));
    let images = context.store().and_then(|store| Ok(store.images()?));
    match (containers, images) {
        (Ok(containers), Ok(images)) => {
            let running = containers.iter().filter(|container| container.state.is_live()).count();
            let bytes: u64 = images.iter().map(|image| image.size).sum();
            format!(
                "{first}{}, {running} running; {} of {}; all kept in {}.\n",
                count(containers.len(), "container"),
                count(images.len(), "image"),
                human::size(bytes, 3),
                settings.root.display()
            )
        }
        _ => format!("{first}What is kept in {} cannot be read.\n", settings.root.display()),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_a_person() {
        let info = serde_json::json!({
            "Containers": 3, "KernelVersion": "6.18", "MemTotal": 67_108_864u64, "Empty": "", "Warnings": [],
            "Plugins": {"Log": ["json-file", "none"]}, "CgroupVersion": "1", "NFd": 3, "DriverStatus": [["Layers", "EROFS"]],
        });
        assert_eq!(
            page(&info),
            "Containers: 3\nKernel Version: 6.18\nMem Total: 64MiB\nPlugins:\n Log: json-file none\nCgroup Version: 1\nDriver Status:\n Layers: EROFS\n"
        );
    }
}
