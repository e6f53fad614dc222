//! `onggi system check`: are the records and the store sound?

use clap::ArgMatches;

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
        ("system check --repair", "Mend what can be mended from what is left"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi system check [OPTIONS]")
        .arg(switch("repair", Some('r'), "Mend what can be mended"))
        .arg(switch("quiet", Some('q'), "Only the exit code"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let (repair, quiet) = (is(matches, "repair"), is(matches, "quiet"));
    let report = context.store()?.check(repair)?;
    let mut lines = Vec::new();
    for finding in &report.findings {
        let state = if finding.mended { "mended" } else { severity(finding.severity) };
        lines.push(format!("{state:>9}  {}: {}", finding.path.display(), finding.message));
    }
    let records = context.engine()?.check(repair)?;
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
    if sound {
        return Ok(0);
    }
    if !repair && !quiet {
        context.complain("hint: `onggi system check --repair` mends what can be mended\n");
    }
    Ok(1)
}

fn severity(severity: onggi_store::Severity) -> &'static str {
    match severity {
        onggi_store::Severity::Leftover => "left over",
        onggi_store::Severity::Derived => "stale",
        onggi_store::Severity::Lost => "damaged",
    }
}
