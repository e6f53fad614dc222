//! `list`: every container below `--root`.

use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::{Context, print};
use super::Command;
use super::state::Answer;

pub(crate) const COMMAND: Command = Command {
    name: "list",
    usage: "",
    about: "list containers started with the given root",
    flags: FLAGS,
    arguments: 0..=0,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::with("format", "FORMAT", "table or json (table)").short("f"),
    Flag::switch("quiet", "only ids").short("q"),
];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let mut answers = Vec::new();
    for id in context.store.ids()? {
        match context.store.find(&id).and_then(|directory| Answer::of(&directory)) {
            Ok(answer) => answers.push(answer),
            // Deleted since it was listed, or not there yet.
            Err(Error::DoesNotExist) => {}
            Err(error) => context.log.warn(&format!("load container {id}: {error}")),
        }
    }
    if flags.has("quiet") {
        for answer in &answers {
            print(&format!("{}\n", answer.id))?;
        }
        return Ok(0);
    }
    match flags.value("format").unwrap_or("table") {
        "table" => print(&table(&answers))?,
        "json" => {
            let text = serde_json::to_string(&answers)
                .map_err(|source| Error::Json { path: "the answer".to_owned(), source })?;
            print(&format!("{text}\n"))?;
        }
        _ => return Err(Error::usage("invalid format option")),
    }
    Ok(0)
}

/// Columns as wide as their widest cell and three spaces, but at least twelve: Go's `tabwriter` as runc sets it up.
fn table(answers: &[Answer]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |answer: &Answer| {
        let Answer { id, pid, status, bundle, created, owner, .. } = answer;
        [id.clone(), pid.to_string(), (*status).to_owned(), bundle.clone(), created.clone(), owner.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(answers.iter().map(row)).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
