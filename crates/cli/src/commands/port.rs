//! `onggi port`: where a container's ports are reached on the host.

use clap::{Arg, ArgMatches};
use onggi_engine::flags as words;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, text};

pub(crate) const COMMAND: Command = Command {
    names: &["port", "container port"],
    group: Group::Look,
    about: "Show where a container's ports are reached",
    build,
    run,
    failure: 1,
    examples: &[("port web", "All of them"), ("port web 80/tcp", "Where this one leads")],
};

fn build() -> clap::Command {
    flags::command("onggi port CONTAINER [PORT[/PROTOCOL]]")
        .arg(argument("container", "CONTAINER", "Name or id"))
        .arg(Arg::new("port").value_name("PORT[/PROTOCOL]").help("A port of the container's"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let name = text(matches, "container").unwrap_or_default();
    let ports = engine.published_ports(&engine.resolve(name)?)?;
    let place = |address: &std::net::IpAddr, port: u16| std::net::SocketAddr::new(*address, port).to_string();
    let Some(wanted) = text(matches, "port") else {
        for (port, places) in &ports {
            for (address, host) in places {
                context.line(&format!("{port} -> {}", place(address, *host)))?;
            }
        }
        return Ok(0);
    };
    let asked = words::exposed(wanted).map_err(CliError::invalid)?;
    let asked = format!("{}/{}", asked.container.0, asked.protocol.name());
    match ports.iter().find(|(port, _)| *port == asked) {
        Some((_, places)) => {
            for (address, host) in places {
                context.line(&place(address, *host))?;
            }
            Ok(0)
        }
        None => Err(CliError::invalid(format!("no public port '{asked}' published for {name}"))),
    }
}
