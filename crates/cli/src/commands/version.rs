//! `onggi version`: what this program is. It asks nobody, so it is also the measure of the bare start.

use clap::ArgMatches;
use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, text, value};
use crate::output::list::render_one;

pub(crate) const COMMAND: Command = Command {
    names: &["version"],
    group: Group::Host,
    about: "Show the versions of Onggi and of the kernel",
    build,
    run,
    failure: 1,
    examples: &[("version", "For a person"), ("version --format '{{.Client.Version}}'", "For a script")],
};

fn build() -> clap::Command {
    flags::command("onggi version [OPTIONS]").arg(value(
        "format",
        Some('f'),
        "TEMPLATE",
        "Print with a Go template: '{{.Client.Version}}', json",
    ))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(format) = text(matches, "format").filter(|format| !format.is_empty()) {
        context.line(&render_one(format, &facts(), true)?)?;
        return Ok(0);
    }
    let facts = facts();
    let client = &facts["Client"];
    let server = &facts["Server"];
    let show = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    context.print(&format!(
        "Onggi {}\n OS/Arch:           {}/{}\n Kernel:            {}\n Monitor protocol:  {}\n",
        show(&client["Version"]),
        show(&client["Os"]),
        show(&client["Arch"]),
        show(&server["KernelVersion"]),
        server["MonitorProtocol"],
    ))?;
    Ok(0)
}

/// Docker's two halves. There is no daemon: both are this program.
fn facts() -> Value {
    let kernel = rustix::system::uname();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "Client": {"Version": env!("CARGO_PKG_VERSION"), "Os": "linux", "Arch": arch},
        "Server": {
            "Version": env!("CARGO_PKG_VERSION"),
            "Os": "linux",
            "Arch": arch,
            "KernelVersion": kernel.release().to_string_lossy(),
            "MonitorProtocol": onggi_monitor::protocol::VERSION,
        },
    })
}
