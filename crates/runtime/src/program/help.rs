//! `--help` and `--version`.

use std::fmt::Write;

use super::arguments::Flag;
use super::commands::{self, Command};

/// The release of runc whose command line this is: go-runc and runc's tests look for it in this place.
pub(crate) const RUNC: &str = "1.5.1";

pub(crate) fn version() -> String {
    let own = env!("CARGO_PKG_VERSION");
    format!("runc version {RUNC} (onggi-runtime {own})\ncommit: onggi-{own}\nspec: {}\n", onggi_oci::VERSION)
}

pub(crate) fn program(global: &[Flag]) -> String {
    let mut text = String::from(
        "NAME:\n   runc - Open Container Initiative runtime (onggi-runtime)\n\n\
         USAGE:\n   onggi-runtime [global options] command [command options] [arguments...]\n\nCOMMANDS:\n",
    );
    for command in commands::ALL {
        let _ = writeln!(text, "   {:<12} {}", command.name, command.about);
    }
    options(&mut text, "GLOBAL OPTIONS", global);
    text
}

pub(crate) fn command(command: &Command) -> String {
    let mut text = format!(
        "NAME:\n   onggi-runtime {0} - {1}\n\nUSAGE:\n   onggi-runtime {0} [command options] {2}\n",
        command.name, command.about, command.usage
    );
    options(&mut text, "OPTIONS", command.flags);
    text
}

fn options(text: &mut String, title: &str, flags: &[Flag]) {
    if flags.is_empty() {
        return;
    }
    let _ = write!(text, "\n{title}:\n");
    for flag in flags {
        let short = flag.short.map(|short| format!(", -{short}")).unwrap_or_default();
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let _ = writeln!(text, "   {:<32} {}", format!("--{}{short}{value}", flag.name), flag.about);
    }
}
