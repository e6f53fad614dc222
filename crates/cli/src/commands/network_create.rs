//! `onggi network create`: a network of containers that find each other by name.

use clap::ArgMatches;
use onggi_engine::request::NetworkCreate;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, all_parsed, argument, is, pairs, switch, text, texts, value, values};

pub(crate) const COMMAND: Command = Command {
    names: &["network create"],
    group: Group::Networks,
    about: "Make a network",
    build,
    run,
    failure: 1,
    examples: &[
        ("network create shop", "Then: onggi run --network shop --name db …"),
        ("network create --internal --subnet 10.9.0.0/24 back", "One that nothing goes in or out of"),
        ("network create --ipv6 both", "With addresses of both families"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi network create [OPTIONS] NETWORK")
        .arg(value("driver", Some('d'), "DRIVER", "bridge, the only one"))
        .arg(values("subnet", None, "ADDRESS/BITS", "Its addresses; one that is free by default"))
        .arg(values("gateway", None, "ADDRESS", "The host's address in it; the first by default"))
        .arg(values(
            "ip-range",
            None,
            "ADDRESS/BITS",
            "The part of the subnet that containers get theirs from",
        ))
        .arg(switch("internal", None, "Let nothing in or out"))
        .arg(switch("ipv6", None, "Give containers IPv6 addresses too"))
        .arg(switch("attachable", None, "As every network is").hide(true))
        .arg(values("label", None, "KEY[=VALUE]", "Add a label"))
        .arg(values(
            "opt",
            Some('o'),
            "KEY=VALUE",
            "com.docker.network.driver.mtu, com.docker.network.bridge.name",
        ))
        .args(
            ["aux-address", "config-from", "ipam-driver", "ipam-opt", "scope"]
                .map(|name| values(name, None, "VALUE", "Not built").hide(true).num_args(0..=1)),
        )
        .args(["config-only", "ingress", "ipv4"].map(|name| {
            let yes_or_no = values(name, None, "BOOL", "Not built").hide(true).num_args(0..=1);
            yes_or_no.require_equals(true).default_missing_value("true")
        }))
        .arg(argument("network", "NETWORK", "Its name"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(driver) = text(matches, "driver").filter(|driver| *driver != "bridge") {
        return Err(CliError::unsupported(format!(
            "--driver {driver}: there is one kind of network, bridge"
        )));
    }
    for (name, harmless) in [
        ("aux-address", &[][..]),
        ("config-from", &[]),
        ("config-only", &["false"]),
        ("ingress", &["false"]),
        ("ipam-driver", &["default"]),
        ("ipam-opt", &[]),
        ("ipv4", &["true"]),
        ("scope", &["local"]),
    ] {
        if texts(matches, name).iter().any(|given| !harmless.contains(&given.as_str())) {
            return Err(CliError::unsupported(format!("--{name} of networks is not built")));
        }
    }
    let request = NetworkCreate {
        name: text(matches, "network").unwrap_or_default().to_owned(),
        subnets: all_parsed(matches, "subnet", str::parse)?,
        gateways: all_parsed(matches, "gateway", address)?,
        ranges: all_parsed(matches, "ip-range", str::parse)?,
        internal: is(matches, "internal"),
        ipv6: is(matches, "ipv6"),
        labels: pairs(matches, "label")?,
        options: pairs(matches, "opt")?,
    };
    context.line(&context.engine()?.network_create(&request)?)?;
    Ok(0)
}

fn address(text: &str) -> Result<std::net::IpAddr, String> {
    text.parse().map_err(|_| format!("invalid gateway address: {text}"))
}
