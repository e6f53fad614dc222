//! The texts that flags of `run` take, as Docker defines them, into the types of a request. Pure; each error is a sentence.
//!
//! The command line and, later, the other doors share these, so that a text means the same everywhere.

mod block;
mod device;
mod isolation;
mod limits;
mod mount;
mod network;
mod restart;
mod signal;
mod volume;

pub use block::{device_iops, device_rate, device_weight};
pub use device::{device, device_rule, sysctl};
pub use isolation::{cgroup_namespace, ipc_mode, pid_mode, security_option, uts_mode};
pub use limits::{cpus, ulimit};
pub use mount::{mount, tmpfs};
pub use network::{HOST_GATEWAY, add_host, alias, exposed, ipv4, ipv6, mac_address, networks, publish};
pub use restart::restart;
pub use signal::signal;
pub use volume::{volume, volumes_from};

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("invalid value '{text}': write true or false")),
    }
}
