//! `features`: what this program can do (`features.md` of the specification), and what it refuses by saying so.
//!
//! The keys and their order are runc's, which engines parse. What the host lacks of it is in annotations beside: a profile for AppArmor
//! can be known here and refused on this machine.

use std::path::Path;

use onggi_runtime::plan;
use serde_json::json;

use super::super::arguments::Parsed;
use super::super::error::Error;
use super::super::help::RUNC;
use super::super::{Context, print};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "features",
    usage: "",
    about: "show the enabled features",
    flags: &[],
    arguments: 0..=0,
    stops_at_first: false,
    failure_code: 1,
    run,
};

/// Every flag of a filter that a profile may name, with its bit; in runc's order.
const FILTER_FLAGS: [(&str, u32); 4] = [
    // One thread loads the filter, so there is nothing to synchronise.
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    // The kernel knows it only together with a listener.
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5 | 1 << 3),
];

fn run(_: &Context, _: &Parsed) -> Result<u8, Error> {
    let (modes, flags) = plan::memory_policy_names();
    let known = FILTER_FLAGS.map(|(name, _)| name);
    let supported: Vec<_> = FILTER_FLAGS
        .iter()
        .filter(|(_, bits)| onggi_sys::seccomp::knows(*bits))
        .map(|(name, _)| *name)
        .collect();
    let answer = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": onggi_oci::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": plan::MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": plan::capability_names().collect::<Vec<_>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": onggi_seccomp::architecture_names(),
                "knownFlags": known,
                "supportedFlags": supported,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": { "modes": modes, "flags": flags },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "org.onggi.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.version": RUNC,
            // The commands; whether there is a criu that works, they say themselves.
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "org.onggi.host.apparmor": has("/sys/kernel/security/apparmor"),
            "org.onggi.host.selinux": has("/sys/fs/selinux/enforce"),
            "org.onggi.host.intelRdt": has("/sys/fs/resctrl/info"),
        },
        // What a bundle from somewhere else must not decide: properties of systemd's unit, and what CRIU does as root. `bundle`, which runc
        // has as well, means nothing here.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property.", "org.criu.config"],
    });
    let text = serde_json::to_string_pretty(&answer)
        .map_err(|source| Error::Json { path: "the answer".to_owned(), source })?;
    print(&format!("{text}\n"))?;
    Ok(0)
}

/// Annotations are texts.
fn has(path: &str) -> &'static str {
    if Path::new(path).exists() { "true" } else { "false" }
}
