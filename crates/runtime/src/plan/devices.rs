//! Device nodes and links: those that every container has, and those of the specification.

use onggi_oci as oci;

use super::error::invalid;
use super::mounts::clean;
use super::{DeviceKind, DeviceNode, Error, Link, Step};

/// `config-linux.md`, "Default Devices".
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// `runtime-linux.md`, "Dev symbolic links", and ptmx of the container's own devpts.
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// `mounted`: where something lies in the container's /dev already. It stays, as with runc: a mount of the host's node is how an ordinary
/// user gets it, and what is mounted on a name cannot be replaced.
pub(crate) fn plan(devices: &[oci::Device], mounted: &[&str]) -> Result<Step, Error> {
    let mut nodes: Vec<DeviceNode> = Vec::new();
    for device in devices {
        let node = parse(device)?;
        // The last of two with the same path counts, as a later mount covers an earlier one.
        nodes.retain(|other| other.path != node.path);
        nodes.push(node);
    }
    for (path, major, minor) in DEFAULT {
        if !nodes.iter().any(|node| node.path == path) {
            let kind = DeviceKind::Character;
            nodes.push(DeviceNode { path: path.into(), kind, major, minor, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    // Docker's privileged containers list the host's ptmx as a device; the link to their own devpts takes its place.
    nodes.retain(|node| !LINKS.iter().any(|&(path, _)| path == node.path));
    nodes.retain(|node| !mounted.contains(&node.path.as_str()));
    let links = LINKS.iter().filter(|(path, _)| !mounted.contains(path));
    let links = links.map(|&(path, target)| Link { path: path.into(), target: target.into() }).collect();
    Ok(Step::MakeDevices { devices: nodes, links })
}

fn parse(device: &oci::Device) -> Result<DeviceNode, Error> {
    let field = |name: &str| format!("device {}: {name}", device.path);
    let kind = match device.kind.as_str() {
        "c" | "u" => DeviceKind::Character,
        "b" => DeviceKind::Block,
        "p" => DeviceKind::Fifo,
        other => return Err(invalid(field("type"), format!("{other:?} is not c, u, b or p"))),
    };
    if !device.path.starts_with('/') {
        return Err(invalid(field("path"), "it is not absolute"));
    }
    let number = |value: i64, name: &str, most: u32| {
        u32::try_from(value)
            .ok()
            .filter(|&number| number <= most)
            .ok_or_else(|| invalid(field(name), format!("{value} is out of range")))
    };
    Ok(DeviceNode {
        path: clean(&device.path),
        kind,
        // `MKDEV` of the kernel has 12 and 20 bits.
        major: number(device.major, "major", 0xfff)?,
        minor: number(device.minor, "minor", 0xf_ffff)?,
        // Set-user-ID means nothing on a node; runc drops it as well.
        mode: device.file_mode.unwrap_or(0o666) & 0o777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}
