//! `onggi stats`: what containers use, once or as a table that is drawn anew.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use onggi_engine::request::ListOptions;
use onggi_engine::{ContainerId, Engine, Error, Usage};
use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch, text, texts};
use crate::output::human::{binary_size, size};
use crate::output::list::{self, Row, format_flag};
use crate::output::plain::plain_lines;

pub(crate) const COMMAND: Command = Command {
    names: &["stats", "container stats"],
    group: Group::Look,
    about: "Show what containers use of processors, memory and disks",
    build,
    run,
    failure: 1,
    examples: &[
        ("stats", "All that run, drawn anew every second"),
        ("stats --no-stream web db", "Two, once"),
        ("stats --no-stream --format '{{.Name}} {{.MemPerc}}'", "In your own words"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi stats [OPTIONS] [CONTAINER...]")
        .arg(switch("all", Some('a'), "Also those that do not run"))
        .arg(format_flag())
        .arg(switch("no-stream", None, "Show them once and end"))
        .arg(switch("no-trunc", None, "Do not shorten ids"))
        .arg(
            Arg::new("containers").value_name("CONTAINER").help("Names or ids; all by default").num_args(0..),
        )
}

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const TITLES: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// Between the two readings of which the first figures are the difference.
const GLANCE: Duration = Duration::from_millis(250);
/// Between two pictures.
const PERIOD: Duration = Duration::from_secs(1);

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let names = texts(matches, "containers");
    let mut asked = Vec::new();
    let all_known = context.each(&names, |name| {
        asked.push((name.to_owned(), engine.resolve(name)?));
        Ok(())
    });
    all_known?;
    let named = !names.is_empty();
    let whole = is(matches, "no-trunc");
    let format = text(matches, "format");
    let once = is(matches, "no-stream");
    // Programs that read a stream of tables get one after the other.
    let draw = !once && std::io::stdout().is_terminal();
    let mut before = Readings::new();
    loop {
        if !named {
            asked = list(engine, is(matches, "all"))?;
        }
        let mut now = read(engine, &mut asked)?;
        if before.is_empty() && !now.is_empty() {
            std::thread::sleep(GLANCE);
            before = std::mem::replace(&mut now, read(engine, &mut asked)?);
        }
        let rows: Vec<Row> = now.iter().map(|(name, usage)| row(name, usage, &before, whole)).collect();
        let text = list::render(&rows, format, TABLE, TITLES)?;
        let drawn = draw.then(|| picture(&plain_lines(&text)));
        drawn.map_or_else(|| context.print(&text), |picture| context.draw(&picture))?;
        if once || (named && asked.is_empty()) {
            return Ok(0);
        }
        before = now;
        std::thread::sleep(PERIOD);
    }
}

/// What was asked for, as it was named.
type Asked = Vec<(String, ContainerId)>;
type Readings = Vec<(String, Usage)>;

fn list(engine: &Engine, all: bool) -> Result<Asked, CliError> {
    let containers = engine.list(&ListOptions { all, ..ListOptions::default() })?;
    Ok(containers.into_iter().map(|container| (container.id.short().to_owned(), container.id)).collect())
}

/// Containers that are gone are not asked for any more.
fn read(engine: &Engine, asked: &mut Asked) -> Result<Readings, CliError> {
    let mut readings = Vec::new();
    let mut gone = Vec::new();
    for (name, id) in asked.iter() {
        match engine.usage(id) {
            Ok(usage) => readings.push((name.clone(), usage)),
            Err(Error::NoSuchContainer { .. }) => gone.push(id.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    asked.retain(|(_, id)| !gone.contains(id));
    Ok(readings)
}

fn row(name: &str, usage: &Usage, before: &Readings, whole: bool) -> Row {
    let last = before.iter().find(|(_, last)| last.id == usage.id);
    let processors = last.map_or(0.0, |(_, last)| usage.processors(last));
    let share = match usage.memory_limit {
        0 => 0.0,
        limit => usage.memory() as f64 / limit as f64,
    };
    let (read, written) = usage.disk();
    let fields = json!({
        "BlockIO": format!("{} / {}", size(read, 3), size(written, 3)),
        "CPUPerc": format!("{:.2}%", processors * 100.0),
        "Container": name,
        "ID": if whole { usage.id.as_str() } else { usage.id.short() },
        "MemPerc": format!("{:.2}%", share * 100.0),
        "MemUsage": format!("{} / {}", binary_size(usage.memory()), binary_size(usage.memory_limit)),
        "Name": usage.name,
        "NetIO": format!("{} / {}", size(usage.received, 3), size(usage.sent, 3)),
        "PIDs": usage.cgroup.pids.current.to_string(),
    });
    let Value::Object(fields) = fields else {
        return Row { fields: Default::default(), labels: Default::default() };
    };
    Row { fields, labels: Default::default() }
}

/// Over the last picture: from the corner, each line's rest wiped, and what is below.
fn picture(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests {
    use super::picture;

    #[test]
    fn a_picture_covers_the_last() {
        assert_eq!(picture("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
