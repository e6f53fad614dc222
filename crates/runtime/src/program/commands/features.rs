//! `features`: what this program can do (`features.md` of the specification), and what it refuses by saying so.

use onggi_runtime::plan;
use serde_json::json;

use super::super::arguments::Parsed;
use super::super::error::Error;
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

fn run(_: &Context, _: &Parsed) -> Result<u8, Error> {
    let off = json!({ "enabled": false });
    let answer = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": onggi_oci::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": plan::MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
            "capabilities": plan::capability_names().collect::<Vec<_>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            },
            "apparmor": off,
            "selinux": off,
            "intelRdt": off,
            "mountExtensions": { "idmap": off },
            "netDevices": off,
        },
        "annotations": { "org.onggi.version": env!("CARGO_PKG_VERSION") },
    });
    let text = serde_json::to_string_pretty(&answer)
        .map_err(|source| Error::Json { path: "the answer".to_owned(), source })?;
    print(&format!("{text}\n"));
    Ok(0)
}
