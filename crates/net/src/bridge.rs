//! A network's bridge on the host: made on first use, found again by its name and the alias that is set when it is complete.

use std::io::ErrorKind;
use std::net::IpAddr;

use crate::Error;
use crate::address::Mac;
use crate::link;
use crate::netlink::Socket;

/// What a bridge is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    /// [`crate::instance::Instance::alias`].
    pub alias: String,
    pub mac: Mac,
    /// `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// The gateways, each with its prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Makes the bridge unless it is there. Answers whether it made it, so that the caller adds it to the table.
///
/// # Errors
/// A link of this name that is none of ours; [`Error::Netlink`]; [`Error::File`] for the kernel's parameters.
pub fn ensure(socket: &mut Socket, bridge: &Bridge) -> Result<bool, Error> {
    let Bridge { name, alias, mac, mtu, addresses } = bridge;
    match link::find(socket, name)? {
        Some(found) if found.alias == *alias && found.up => return Ok(false),
        // One that was left half made has no alias yet.
        Some(found) if found.kind == "bridge" && (found.alias.is_empty() || found.alias == *alias) => {}
        Some(_) => {
            return Err(Error::Invalid {
                what: format!("the link {name}"),
                reason: "it is there, and is not of this network".to_owned(),
            });
        }
        None => {}
    }
    match link::create_bridge(socket, name, *mac, *mtu) {
        // Half made, or being made beside us by the same steps.
        Err(error) if error.errno() == Some(EEXIST) => {}
        other => other?,
    }
    onggi_sys::fault::point("net.bridge.made");
    let index = link::find(socket, name)?
        .map(|link| link.index)
        .ok_or_else(|| Error::Answer { act: format!("make the bridge {name}") })?;
    let ipv6 = addresses.iter().any(|(address, _)| address.is_ipv6());
    // What goes to 127.0.0.1 and is published may leave by it; what comes in with such an address is dropped by the table's guard.
    parameter("ipv4", name, "route_localnet", "1")?;
    parameter("ipv6", name, "disable_ipv6", if ipv6 { "0" } else { "1" })?;
    if ipv6 {
        // No container tells the host its routes, and nobody else can have the bridge's addresses: without this it takes part in the
        // network only after a second of asking (duplicate address detection).
        parameter("ipv6", name, "accept_ra", "0")?;
        parameter("ipv6", name, "accept_dad", "0")?;
    }
    link::set_up(socket, index)?;
    for (address, prefix) in addresses {
        link::add_address(socket, index, *address, *prefix)?;
    }
    onggi_sys::fault::point("net.bridge.addressed");
    link::set_alias(socket, index, alias)?;
    Ok(true)
}

/// Has the host pass packets on, which it must for containers to reach anything. Answers whether it did not before.
///
/// # Errors
/// [`Error::File`].
pub fn ensure_forwarding(ipv6: bool) -> Result<bool, Error> {
    let mut changed = turn_on("/proc/sys/net/ipv4/ip_forward")?;
    if ipv6 {
        changed |= turn_on("/proc/sys/net/ipv6/conf/all/forwarding")?;
    }
    Ok(changed)
}

fn turn_on(path: &str) -> Result<bool, Error> {
    let before = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    if before.trim() != "0" {
        return Ok(false);
    }
    std::fs::write(path, "1").map_err(Error::file("write", path))?;
    Ok(true)
}

fn parameter(family: &str, link: &str, name: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/net/{family}/conf/{link}/{name}");
    match std::fs::write(&path, value) {
        // A kernel without IPv6 has nothing to turn off.
        Err(error) if error.kind() == ErrorKind::NotFound && family == "ipv6" && value != "0" => Ok(()),
        other => other.map_err(Error::file("write", path)),
    }
}

const EEXIST: i32 = 17;
