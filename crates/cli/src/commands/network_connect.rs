//! `onggi network connect` and `disconnect`: networks of a container that is there.

use clap::ArgMatches;
use onggi_engine::flags as words;
use onggi_engine::request::NetworkRequest;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, all_parsed, argument, parsed, switch, text, texts, value, values};

pub(crate) const COMMAND: Command = Command {
    names: &["network connect"],
    group: Group::Networks,
    about: "Connect a container to a network",
    build,
    run,
    failure: 1,
    examples: &[("network connect --alias db back web", "While it runs, or for its next start")],
};

pub(crate) const DISCONNECT: Command = Command {
    names: &["network disconnect"],
    group: Group::Networks,
    about: "Take a container off a network",
    build: build_disconnect,
    run: run_disconnect,
    failure: 1,
    examples: &[("network disconnect back web", "Its other networks stay")],
};

fn build() -> clap::Command {
    flags::command("onggi network connect [OPTIONS] NETWORK CONTAINER")
        .arg(values("alias", None, "NAME", "Another name to be found by"))
        .arg(value("ip", None, "ADDRESS", "A fixed IPv4 address"))
        .arg(value("ip6", None, "ADDRESS", "A fixed IPv6 address"))
        .args(
            ["driver-opt", "gw-priority", "link", "link-local-ip"]
                .map(|name| values(name, None, "VALUE", "Not built").hide(true)),
        )
        .arg(argument("network", "NETWORK", "Name or id"))
        .arg(argument("container", "CONTAINER", "Name or id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    for name in ["driver-opt", "gw-priority", "link", "link-local-ip"] {
        if !texts(matches, name).is_empty() {
            return Err(CliError::unsupported(format!("--{name} is not built")));
        }
    }
    let wanted = NetworkRequest {
        name: text(matches, "network").unwrap_or_default().to_owned(),
        aliases: all_parsed(matches, "alias", words::alias)?,
        ipv4: parsed(matches, "ip", words::ipv4)?,
        ipv6: parsed(matches, "ip6", words::ipv6)?,
        mac: None,
    };
    let engine = context.engine()?;
    engine.network_connect(&engine.resolve(text(matches, "container").unwrap_or_default())?, &wanted)?;
    Ok(0)
}

fn build_disconnect() -> clap::Command {
    flags::command("onggi network disconnect [OPTIONS] NETWORK CONTAINER")
        .arg(switch("force", Some('f'), "One that is not on it is no error"))
        .arg(argument("network", "NETWORK", "Name or id"))
        .arg(argument("container", "CONTAINER", "Name or id"))
}

fn run_disconnect(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let engine = context.engine()?;
    let id = engine.resolve(text(matches, "container").unwrap_or_default())?;
    match engine.network_disconnect(&id, text(matches, "network").unwrap_or_default()) {
        Err(onggi_engine::Error::NotConnected { .. }) if flags::is(matches, "force") => Ok(0),
        other => {
            other?;
            Ok(0)
        }
    }
}
