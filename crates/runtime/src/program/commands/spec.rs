//! `spec`: a first `config.json` to begin with, the one that runc writes.

use std::fs::OpenOptions;
use std::io::Write;

use serde_json::{Value, json};

use super::super::Context;
use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::launch::BUNDLE;
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "spec",
    usage: "",
    about: "create a new specification file",
    flags: FLAGS,
    arguments: 0..=0,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[BUNDLE, Flag::switch("rootless", "for an ordinary user")];

const FILE: &str = "config.json";

fn run(_: &Context, flags: &Parsed) -> Result<u8, Error> {
    if let Some(path) = flags.value("bundle").filter(|path| !path.is_empty()) {
        std::env::set_current_dir(path).map_err(|error| Error::io(format!("chdir {path}"), error))?;
    }
    let is_v2 = matches!(onggi_cgroup::detect(), Ok(onggi_cgroup::Layout::V2 { .. }));
    let mut spec = example(is_v2);
    if flags.has("rootless") {
        rootless(&mut spec, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(&spec, &mut serializer)
        .map_err(|source| Error::Json { path: FILE.to_owned(), source })?;
    text.push(b'\n');
    let file = OpenOptions::new().write(true).create_new(true).open(FILE);
    match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::usage("File config.json exists. Remove it first"))
        }
        other => other
            .and_then(|mut file| file.write_all(&text))
            .map(|()| 0)
            .map_err(|error| Error::io(format!("write {FILE}"), error)),
    }
}

fn example(is_v2: bool) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let mut mount = json!({ "destination": destination, "type": kind, "source": source });
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if is_v2 {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": onggi_oci::VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runc",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// As runc's `ToRootless`: a user namespace for the caller alone, the host's network, no limits.
fn rootless(spec: &mut Value, uid: u32, gid: u32) {
    let linux = &mut spec["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
        }
        let is_id = |option: &Value| {
            option.as_str().is_some_and(|text| text.starts_with("gid=") || text.starts_with("uid="))
        };
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            options.retain(|option| !is_id(option));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_specification() {
        let spec: onggi_oci::Spec = serde_json::from_value(example(true)).unwrap();
        assert_eq!(spec.linux.unwrap().namespaces.len(), 6);
        let mut value = example(false);
        rootless(&mut value, 1000, 1001);
        let spec: onggi_oci::Spec = serde_json::from_value(value).unwrap();
        let linux = spec.linux.unwrap();
        assert_eq!((linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id), (1000, 1001));
        assert_eq!(linux.resources, None);
        let pts = spec.mounts.iter().find(|mount| mount.destination == "/dev/pts").unwrap();
        assert!(!pts.options.contains(&"gid=5".to_owned()));
    }
}
