//! `onggi system check`: are the records and the store sound?

use clap::ArgMatches;
use onggi_store::Done;

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
    // First the containers: what of theirs cannot be read holds every image.
    let engine = context.engine()?;
    let records = engine.check(repair)?;
    let report = if repair { engine.repair_store()? } else { engine.store().check(false)? };
    let (mut lines, mut set_aside) = (Vec::new(), false);
    for finding in &report.findings {
        let (state, place) = match &finding.done {
            Some(Done::Mended) => ("mended", None),
            Some(Done::Removed) => ("removed", None),
            Some(Done::SetAside(place)) => ("set aside", Some(place)),
            None => (severity(finding.severity), None),
        };
        let place = place.map(|place| format!("; it is now {}", place.display())).unwrap_or_default();
        lines.push(format!("{state:>9}  {}: {}{place}", finding.path.display(), finding.message));
        set_aside |= !place.is_empty();
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
    if set_aside && !quiet {
        context.complain(
            "hint: load or import the images that are named here again; what is set aside stays until you remove it\n",
        );
    } else if !repair && !quiet && (!sound || left_over) {
        context.complain(
            "hint: `onggi system check --repair` mends, removes or sets aside what is named here\n",
        );
    }
    Ok(if sound { 0 } else { 1 })
}

fn severity(severity: onggi_store::Severity) -> &'static str {
    match severity {
        onggi_store::Severity::Leftover => "left over",
        onggi_store::Severity::Derived => "stale",
        onggi_store::Severity::Lost => "damaged",
    }
}
