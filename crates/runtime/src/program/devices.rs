//! `linux.netDevices`: interfaces of the caller's that are moved into the container's network namespace before anything runs in it.
//!
//! What becomes of them is runc's rule, as the specification leaves it open: a new name if one is given, permanent global addresses
//! are kept, and they are up.

use std::fs::File;
use std::os::fd::AsFd;

use onggi_oci as oci;

use super::error::Error;

/// Moves every device to the network namespace of the container whose first process this is.
pub(crate) fn hand_over(linux: &oci::Linux, pid: i32) -> Result<(), Error> {
    let network = linux.namespaces.iter().find(|namespace| namespace.kind == oci::NamespaceKind::Network);
    let path = match network.and_then(|namespace| namespace.path.clone()) {
        Some(path) => path,
        None => format!("/proc/{pid}/ns/net"),
    };
    let namespace = File::open(&path).map_err(|error| Error::io(format!("open {path}"), error))?;
    for (name, device) in &linux.net_devices {
        let new = device.name.as_deref().filter(|new| !new.is_empty()).unwrap_or(name);
        onggi_net::device::hand_over(name, new, namespace.as_fd())
            .map_err(|error| Error::Failed(format!("network device {name}: {error}")))?;
    }
    Ok(())
}
