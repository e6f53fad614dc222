//! What the host is and offers, looked up only where a request depends on it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use onggi_oci as oci;

use crate::error::Error;
use crate::request::{DeviceAmount, DeviceRequest};

/// The host's device nodes, for a privileged container; without what each container has of its own (moby `HostDevices`).
pub(crate) fn devices() -> Result<Vec<oci::Device>, Error> {
    const OWN: [&str; 11] = [
        "/dev/pts",
        "/dev/shm",
        "/dev/fd",
        "/dev/mqueue",
        "/dev/console",
        "/dev/ptmx",
        "/dev/lxc",
        "/dev/lxd-fs",
        "/dev/.lxc",
        "/dev/.udev",
        "/dev/initctl",
    ];
    let mut devices = Vec::new();
    let mut directories = vec![Path::new("/dev").to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // A device may go while we look.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", directory)(error)),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(data) = path.symlink_metadata() else { continue };
            let kind = data.file_type();
            let Some(text) = path.to_str().filter(|text| !OWN.contains(text)) else { continue };
            if kind.is_dir() {
                directories.push(path);
            } else {
                devices.extend(node(&data, text));
            }
        }
    }
    devices.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(devices)
}

/// The devices that a container is given, each with the access that is allowed; of a directory all that are in it (moby's
/// `getDevicesFromPath`).
///
/// # Errors
/// Docker's sentence: there is none of this name, or it is no device.
pub(crate) fn asked_devices(requests: &[DeviceRequest]) -> Result<Vec<(oci::Device, String)>, Error> {
    let mut devices = Vec::new();
    for request in requests {
        let fail = |what: &str| Error::Invalid {
            what: format!(
                "error gathering device information while adding custom device \"{}\": {what}",
                request.host
            ),
        };
        let words = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => fail("no such file or directory"),
            _ => fail(&error.to_string()),
        };
        // The caller's links are followed, as /dev/cdrom is one.
        let host = fs::canonicalize(&request.host).map_err(words)?;
        let data = host.metadata().map_err(words)?;
        let access = request.access.clone();
        if !data.is_dir() {
            let device = node(&data, &request.container).ok_or_else(|| fail("not a device node"))?;
            devices.push((device, access));
            continue;
        }
        let before = devices.len();
        let mut directories = vec![(host, request.container.trim_end_matches('/').to_owned())];
        while let Some((directory, inside)) = directories.pop() {
            for entry in fs::read_dir(&directory).map_err(words)?.flatten() {
                let (Ok(data), Some(name)) =
                    (entry.metadata(), entry.file_name().to_str().map(str::to_owned))
                else {
                    continue;
                };
                let inside = format!("{inside}/{name}");
                if data.is_dir() {
                    directories.push((entry.path(), inside));
                } else if let Some(device) = node(&data, &inside) {
                    devices.push((device, access.clone()));
                }
            }
        }
        if devices.len() == before {
            return Err(fail("not a device node"));
        }
        devices[before..].sort_by(|(left, _), (right, _)| left.path.cmp(&right.path));
    }
    Ok(devices)
}

fn node(data: &fs::Metadata, path: &str) -> Option<oci::Device> {
    let kind = data.file_type();
    let kind = match () {
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () => return None,
    };
    Some(oci::Device {
        kind: kind.to_owned(),
        path: path.to_owned(),
        major: i64::from(rustix::fs::major(data.rdev())),
        minor: i64::from(rustix::fs::minor(data.rdev())),
        file_mode: Some(data.mode() & 0o7777),
        uid: Some(data.uid()),
        gid: Some(data.gid()),
    })
}

/// Whether a limit of memory and swap together can be set. On version 1 the kernel may have been started without it.
pub(crate) fn can_limit_swap(cgroups: &onggi_cgroup::Layout) -> bool {
    match cgroups {
        onggi_cgroup::Layout::V1 { hierarchies, .. } => hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.controllers.iter().any(|name| name == "memory"))
            .any(|hierarchy| hierarchy.root.join("memory.memsw.limit_in_bytes").exists()),
        // Only below the root of the tree; the first cgroup down tells.
        onggi_cgroup::Layout::V2 { root, .. } => fs::read_dir(root).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.path().join("memory.swap.max").exists()))
        }),
    }
}

/// The capabilities that this process and its children can have at all, as bits.
pub(crate) fn bounding_capabilities() -> Result<u64, Error> {
    let path = "/proc/self/status";
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let bits = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .ok_or_else(|| Error::io("read CapBnd in", path)(ErrorKind::InvalidData.into()))
}
/// Major and minor number of the block devices that limits name.
pub(crate) fn block_devices<'a>(
    amounts: impl Iterator<Item = &'a DeviceAmount>,
) -> Result<BTreeMap<String, (i64, i64)>, Error> {
    let mut numbers = BTreeMap::new();
    for DeviceAmount { path, .. } in amounts {
        let metadata = std::fs::metadata(path).map_err(Error::io("look at the block device", path))?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::Invalid { what: format!("{path} is not a block device") });
        }
        let device = metadata.rdev();
        let number = |number: u32| i64::from(number);
        numbers.insert(path.clone(), (number(rustix::fs::major(device)), number(rustix::fs::minor(device))));
    }
    Ok(numbers)
}
