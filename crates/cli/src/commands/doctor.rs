//! `onggi doctor`: what this host offers and lacks, and the command that mends each lack.
//!
//! It only looks; `--fix` mends what is Onggi's own (what crashes have left over) and nothing of the host.

use clap::ArgMatches;

use super::host_checks::{self, Check, State};
use super::network_checks;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch};

pub(crate) const COMMAND: Command = Command {
    names: &["doctor"],
    group: Group::Host,
    about: "Say what this host lacks, and how to mend it",
    build,
    run,
    failure: 1,
    examples: &[
        ("doctor", "Exit code 1 if containers cannot run here"),
        ("doctor --fix", "Also tidy what crashes have left over"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi doctor [OPTIONS]").arg(switch("fix", None, "Mend what is Onggi's own"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let settings = context.settings()?;
    let mut checks = host_checks::all(settings);
    // An ordinary user's networks are none of the host's firewall. (Once the records are open he has root's number, in his own namespace.)
    if rustix::process::geteuid().is_root() {
        // Where Onggi was not used yet, looking makes no data root.
        let engine = if settings.root.exists() { context.engine().ok() } else { None };
        checks.extend(network_checks::all(engine));
    }
    checks.push(left_overs(context, is(matches, "fix")));
    let mut out = String::new();
    for check in &checks {
        out.push_str(&line(check));
    }
    context.print(&out)?;
    Ok(u8::from(checks.iter().any(|check| check.state == State::Fail)))
}

fn line(check: &Check) -> String {
    let state = match check.state {
        State::Ok => "ok",
        State::Warn => "warn",
        State::Fail => "FAIL",
    };
    let mut text = format!("{state:<5} {:<16} {}\n", check.name, check.found);
    if let Some(mend) = &check.mend {
        text.push_str(&format!("{:<22} mend: {mend}\n", ""));
    }
    text
}

/// Sandboxes whose monitor is dead, mounts and records that an act cut short left behind.
fn left_overs(context: &Context, fix: bool) -> Check {
    const NAME: &str = "left over";
    let kept = context.settings().is_ok_and(|settings| settings.root.exists());
    if !kept {
        return Check::ok(NAME, "nothing: Onggi was not used here yet");
    }
    let findings = match context.engine().and_then(|engine| Ok(engine.check(fix)?)) {
        Ok(findings) => findings,
        Err(error) => {
            error.report(context, 1);
            return Check::fail(NAME, "the records cannot be read", "onggi system check --repair");
        }
    };
    let open = findings.iter().filter(|finding| finding.repaired.is_none()).count();
    let text: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.problem)).collect();
    match (findings.len(), open) {
        (0, _) => Check::ok(NAME, "nothing"),
        (_, 0) => Check::ok(NAME, format!("tidied: {}", text.join("; "))),
        (_, _) if fix => Check::warn(NAME, text.join("; "), "onggi system check --repair"),
        _ => Check::warn(NAME, text.join("; "), "onggi doctor --fix"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_comes_with_its_cure() {
        assert_eq!(line(&Check::ok("kernel", "6.18")), "ok    kernel           6.18\n");
        let text = line(&Check::fail("overlayfs", "missing", "modprobe overlay"));
        assert_eq!(text, "FAIL  overlayfs        missing\n                       mend: modprobe overlay\n");
    }
}
