//! `onggi system check`: are the records and the store sound?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use onggi_store::{Done, LostImage, Store};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};
use crate::output::plain::plain;

pub(crate) const COMMAND: Command = Command {
    names: &["system check"],
    group: Group::Host,
    about: "Verify everything that is kept, and mend it with --repair",
    build,
    run,
    failure: 1,
    examples: &[
        ("system check", "Look only; exit code 1 if something is wrong"),
        (
            "system check --repair",
            "Mend, fetch lost layers again; what cannot be had is set aside, not deleted",
        ),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi system check [OPTIONS]")
        .arg(switch(
            "repair",
            Some('r'),
            "Mend what can be mended, set aside what cannot, remove what was left over",
        ))
        .arg(switch("quiet", Some('q'), "Only the exit code"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let (repair, quiet) = (is(matches, "repair"), is(matches, "quiet"));
    // What keeps it from being opened at all comes before everything.
    let settings = context.settings()?;
    let version = if repair { Store::mend_version(&settings.root, &settings.run_root)? } else { None };
    let engine = context.engine()?;
    // First the containers: what of theirs cannot be read holds every image.
    let records = engine.check(repair)?;
    let mut report = if repair { engine.repair_store()? } else { engine.store().check(false)? };
    report.findings.splice(0..0, version);
    let data = engine.store().data();
    let (mut lines, mut aside) = (Vec::new(), BTreeSet::new());
    for finding in &report.findings {
        let path = below(data, &finding.path);
        let (state, place) = match &finding.done {
            Some(Done::Mended) => ("mended", None),
            Some(Done::Removed) => ("removed", None),
            // Below it, it has the place that it had.
            Some(Done::SetAside(place)) => ("set aside", place.ancestors().nth(path.components().count())),
            None => (severity(finding.severity), None),
        };
        let place = place.map(|place| {
            aside.insert(place.to_owned());
            format!("; it is now in {}", below(data, place).display())
        });
        let place = place.unwrap_or_default();
        lines.push(format!("{state:>9}  {}: {}{place}", path.display(), finding.message));
    }
    if !lines.is_empty() {
        lines.insert(0, format!("In {}:", data.display()));
    }
    for finding in &records {
        match &finding.repaired {
            Some(done) => lines.push(format!("   mended  {}: {}; {done}", finding.subject, finding.problem)),
            None => lines.push(format!("    wrong  {}: {}", finding.subject, finding.problem)),
        }
    }
    let sound = report.is_sound() && records.iter().all(|finding| finding.repaired.is_some());
    lines.push(format!(
        "{} records, {} blobs, {} layers: {}",
        report.records,
        report.blobs,
        report.layers,
        if sound { "sound" } else { "not sound" }
    ));
    if !quiet {
        for line in &lines {
            context.line(&plain(line))?;
        }
    }
    let left_over = report.findings.iter().any(|finding| finding.done.is_none());
    if !quiet {
        if !repair && (!sound || left_over) {
            context.complain(
                "hint: `onggi system check --repair` mends, fetches again, removes or sets aside what is named here\n",
            );
        }
        for hint in hints(&report.lost, &aside) {
            context.complain(&format!("hint: {}\n", plain(&hint)));
        }
    }
    Ok(if sound { 0 } else { 1 })
}

/// How to have again what was set aside.
fn hints(lost: &[LostImage], aside: &BTreeSet<PathBuf>) -> Vec<String> {
    let names = |in_registry| {
        let names = lost.iter().filter(|image| image.in_registry == in_registry);
        names.map(|image| image.name.as_str()).collect::<BTreeSet<_>>()
    };
    let mut hints: Vec<String> =
        names(true).into_iter().map(|name| format!("`onggi pull {name}` brings it again")).collect();
    let elsewhere: Vec<&str> = names(false).into_iter().collect();
    if !elsewhere.is_empty() {
        hints.push(format!("load or import again, as it came: {}", elsewhere.join(", ")));
    }
    hints.extend(
        aside.iter().map(|place| format!("what is in {} stays until you remove it", place.display())),
    );
    hints
}

/// A path without the data root, where it is below that.
fn below<'p>(data: &Path, path: &'p Path) -> &'p Path {
    path.strip_prefix(data).unwrap_or(path)
}

fn severity(severity: onggi_store::Severity) -> &'static str {
    match severity {
        onggi_store::Severity::Leftover => "left over",
        onggi_store::Severity::Derived => "stale",
        onggi_store::Severity::Lost => "damaged",
    }
}
