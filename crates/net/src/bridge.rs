//! A network's bridge on the host: made on first use, found again by its name and the alias that says whose it is.
//!
//! A bridge without that alias is somebody else's (docker0, a virtual machine's) and is neither used nor changed. The kernel takes no alias when it
//! makes a link, so ours is born under a name that nobody else has, and has its own name only once it says whose it is.

use std::io::ErrorKind;
use std::net::IpAddr;

use crate::Error;
use crate::address::Mac;
use crate::link::{self, Link};
use crate::netlink::Socket;

/// What a bridge is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    /// Where it is until it has its alias: [`crate::instance::bridge`]. It may be the same as `name`.
    pub birth_name: String,
    /// [`crate::instance::Instance::alias`].
    pub alias: String,
    pub mac: Mac,
    /// `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// The gateways, each with its prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Whether the bridge is there and complete.
///
/// # Errors
/// [`Error::LinkTaken`], [`Error::Netlink`].
pub fn is_made(socket: &mut Socket, bridge: &Bridge) -> Result<bool, Error> {
    Ok(own(socket, bridge)?.is_some_and(|link| link.up))
}

/// Makes the bridge, or goes on with one that was left half made. One at a time for each bridge.
///
/// # Errors
/// [`Error::LinkTaken`]; [`Error::Netlink`]; [`Error::File`] for the kernel's parameters.
pub fn make(socket: &mut Socket, bridge: &Bridge) -> Result<(), Error> {
    let Bridge { name, addresses, .. } = bridge;
    let index = match own(socket, bridge)? {
        Some(found) => found.index,
        None => bear(socket, bridge)?,
    };
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
    for (address, prefix) in addresses {
        link::add_address(socket, index, *address, *prefix)?;
    }
    onggi_sys::fault::point("net.bridge.addressed");
    // Last: one that is up is complete.
    link::set_up(socket, index)
}

/// Takes the bridge away, whole or half made, and never one that is another's. Answers whether there was one.
///
/// # Errors
/// [`Error::Netlink`].
pub fn remove(socket: &mut Socket, bridge: &Bridge) -> Result<bool, Error> {
    let mut removed = false;
    for name in [&bridge.name, &bridge.birth_name] {
        if link::find(socket, name)?.is_some_and(|link| bridge.owns(&link)) {
            link::delete(socket, name)?;
            removed = true;
        }
    }
    Ok(removed)
}

impl Bridge {
    fn owns(&self, link: &Link) -> bool {
        link.alias == self.alias
            || (link.name == self.birth_name && link.kind == "bridge" && link.alias.is_empty())
    }

    fn taken(&self) -> Error {
        Error::LinkTaken { name: self.name.clone() }
    }
}

/// The link with the bridge's name; one that is another's is refused.
fn own(socket: &mut Socket, bridge: &Bridge) -> Result<Option<Link>, Error> {
    match link::find(socket, &bridge.name)? {
        Some(link) if link.alias == bridge.alias => Ok(Some(link)),
        Some(link) if !bridge.owns(&link) => Err(bridge.taken()),
        _ => Ok(None),
    }
}

/// Makes the link, with its name and alias, and answers its number.
fn bear(socket: &mut Socket, bridge: &Bridge) -> Result<u32, Error> {
    let Bridge { name, birth_name, alias, mac, mtu, .. } = bridge;
    match link::create_bridge(socket, birth_name, *mac, *mtu) {
        // Left half made.
        Err(error) if error.errno() == Some(EEXIST) => {}
        other => other?,
    }
    onggi_sys::fault::point("net.bridge.made");
    let born = link::find(socket, birth_name)?.filter(|link| bridge.owns(link));
    let index = born.ok_or_else(|| bridge.taken())?.index;
    link::set_alias(socket, index, alias)?;
    onggi_sys::fault::point("net.bridge.owned");
    if name != birth_name {
        match link::rename(socket, index, name) {
            // Somebody's since we looked.
            Err(error) if error.errno() == Some(EEXIST) => {
                link::delete(socket, birth_name)?;
                return Err(bridge.taken());
            }
            other => other?,
        }
    }
    Ok(index)
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
