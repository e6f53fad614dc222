//! A container in Docker's own words: the object of `GET /containers/{id}/json`, API 1.47, which templates and tools read.
//!
//! Fields that Docker has and Onggi has no value for are there with Docker's empty value, since Go templates fail on missing ones.

use std::collections::BTreeMap;
use std::time::Duration;

use onggi_monitor::client;
use onggi_monitor::protocol::{Reply, Request};
use onggi_monitor::state::State;
use serde_json::{Value, json};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::paths::Paths;
use crate::record::{MountKind, MountPoint, Record};
use crate::request::{DeviceAmount, MountRequest, Propagation, Relabel, VolumesFrom};
use crate::request::{IpcMode, Isolation, Network, PidMode, RunRequest, SeccompChoice, UtsMode};
use crate::state::Status;

impl Engine {
    /// Docker's description of a container.
    ///
    /// # Errors
    /// Its record is damaged.
    pub fn inspect(&self, id: &ContainerId) -> Result<Value, Error> {
        let record = self.record(id)?;
        let state = self.state(id)?;
        let network = self.network_settings(&record, status(&state).is_live(), state.pid);
        let mut described = describe(&record, &state, &self.paths, network);
        if status(&state).is_live()
            && let Some(execs) = self.execs(id).filter(|execs| !execs.is_empty())
        {
            described["ExecIDs"] = json!(execs);
        }
        Ok(described)
    }

    /// The ids of the exec sessions that run. A monitor that does not answer is no reason to hide what the files say, nor to wait for long.
    fn execs(&self, id: &ContainerId) -> Option<Vec<String>> {
        let patience = Duration::from_secs(1);
        match client::ask_within(&self.paths.sandbox(id), &Request::Status, patience).ok()? {
            Reply::Status(status) => Some(status.execs),
            _ => None,
        }
    }
}

/// Pure but for the paths, which need not exist.
fn describe(record: &Record, state: &State, paths: &Paths, network: Value) -> Value {
    let directory = paths.container(&record.id);
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let args = record.args();
    let log = match record.resolved.log.driver.as_str() {
        "none" => String::new(),
        _ => paths.log(&record.id).to_string_lossy().into_owned(),
    };
    json!({
        "Id": record.id,
        "Created": record.created,
        "Path": args.first().cloned().unwrap_or_default(),
        "Args": args.get(1..).unwrap_or_default(),
        "State": describe_state(state),
        "Image": record.image,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": log,
        "Name": format!("/{}", record.name),
        "RestartCount": state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(record),
        "GraphDriver": {
            "Data": {
                "LowerDir": record.resolved.layers.iter().rev()
                    .map(|layer| paths.run.join("layers").join(layer.hex()).to_string_lossy().into_owned())
                    .collect::<Vec<_>>().join(":"),
                // The container's mounts are in no other table than its own: this is where the host sees its root while it runs.
                "MergedDir": if state.pid > 0 { format!("/proc/{}/root", state.pid) } else { String::new() },
                "UpperDir": file("upper"),
                "WorkDir": file("work"),
            },
            "Name": "overlay",
        },
        "Mounts": record.resolved.mounts.iter()
            .filter(|mount| !by_tmpfs(&record.request).contains_key(&mount.destination))
            .map(|mount| describe_mount(mount, paths)).collect::<Vec<_>>(),
        "Config": config(record),
        "NetworkSettings": network,
    })
}

fn describe_state(state: &State) -> Value {
    let status = status(state);
    json!({
        "Status": status,
        "Running": status.is_live(),
        "Paused": status == Status::Paused,
        "Restarting": status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": status == Status::Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    })
}

fn config(record: &Record) -> Value {
    let (request, resolved) = (&record.request, &record.resolved);
    let set = |names: &[String]| -> BTreeMap<String, Value> {
        names.iter().map(|name| (name.clone(), json!({}))).collect()
    };
    let volumes: Vec<String> = resolved
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Volume { anonymous: true, .. }))
        .map(|mount| mount.destination.clone())
        .collect();
    let mut config = json!({
        "Hostname": resolved.hostname,
        "Domainname": request.domainname.clone().unwrap_or_default(),
        "User": resolved.user,
        "AttachStdin": request.attach.stdin,
        "AttachStdout": request.attach.stdout,
        "AttachStderr": request.attach.stderr,
        "ExposedPorts": set(&resolved.exposed_ports),
        "Tty": request.tty,
        "OpenStdin": request.interactive,
        "StdinOnce": request.stdin_once,
        "Env": resolved.env,
        "Cmd": if resolved.command.is_empty() { Value::Null } else { json!(resolved.command) },
        "Healthcheck": resolved.healthcheck,
        "Image": request.image,
        "Volumes": if volumes.is_empty() { Value::Null } else { json!(set(&volumes)) },
        "WorkingDir": resolved.working_dir,
        "Entrypoint": resolved.entrypoint,
        "OnBuild": null,
        "Labels": resolved.labels,
        "StopSignal": resolved.stop_signal,
        "StopTimeout": resolved.stop_timeout,
    });
    if let Value::Object(fields) = &mut config {
        // Docker leaves these out when there is nothing to say.
        for (name, empty) in [
            ("Healthcheck", resolved.healthcheck.is_none()),
            ("ExposedPorts", resolved.exposed_ports.is_empty()),
            ("StopSignal", resolved.stop_signal.is_empty()),
        ] {
            if empty {
                fields.shift_remove(name);
            }
        }
    }
    config
}

fn host_config(record: &Record) -> Value {
    let (request, resolved) = (&record.request, &record.resolved);
    let limits = &request.resources;
    let network = network_name(request);
    json!({
        "Binds": binds(record),
        "ContainerIDFile": "",
        "LogConfig": { "Type": resolved.log.driver, "Config": log_options(record) },
        "NetworkMode": network,
        "PortBindings": port_bindings(request),
        "RestartPolicy": { "Name": request.restart.name(), "MaximumRetryCount": request.restart.most() },
        "AutoRemove": request.remove,
        "VolumeDriver": "",
        "VolumesFrom": list(&request.volumes_from.iter().map(volumes_from).collect::<Vec<_>>()),
        "ConsoleSize": [0, 0],
        "Annotations": request.annotations,
        "CapAdd": list(&request.cap_add),
        "CapDrop": list(&request.cap_drop),
        "CgroupnsMode": if request.host_cgroup_namespace { "host" } else { "private" },
        "Dns": request.dns,
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "ExtraHosts": list(&request.add_hosts.iter().map(|host| format!("{}:{}", host.name, host.address)).collect::<Vec<_>>()),
        "GroupAdd": list(&request.group_add),
        "IpcMode": match &request.ipc {
            IpcMode::Private => "private".to_owned(),
            IpcMode::Shareable => "shareable".to_owned(),
            IpcMode::None => "none".to_owned(),
            IpcMode::Host => "host".to_owned(),
            IpcMode::Container(id) => format!("container:{id}"),
        },
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": request.oom_score_adj.unwrap_or(0),
        "PidMode": match &request.pid {
            PidMode::Private => String::new(),
            PidMode::Host => "host".to_owned(),
            PidMode::Container(id) => format!("container:{id}"),
        },
        "Privileged": request.privileged,
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": security_options(request),
        "UTSMode": if request.uts == UtsMode::Host { "host" } else { "" },
        "UsernsMode": "",
        "ShmSize": resolved.shm_size,
        "Runtime": "onggi",
        "Isolation": if request.isolation == Isolation::Process { "process" } else { "" },
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": request.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": limits.block.weight.unwrap_or(0),
        "BlkioWeightDevice": amounts("Weight", &limits.block.weight_device),
        "BlkioDeviceReadBps": amounts("Rate", &limits.block.read_bps),
        "BlkioDeviceWriteBps": amounts("Rate", &limits.block.write_bps),
        "BlkioDeviceReadIOps": amounts("Rate", &limits.block.read_iops),
        "BlkioDeviceWriteIOps": amounts("Rate", &limits.block.write_iops),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "Devices": request.devices.iter().map(|device| json!({ "PathOnHost": device.host, "PathInContainer": device.container, "CgroupPermissions": device.access })).collect::<Vec<_>>(),
        "DeviceCgroupRules": list(&request.device_rules.iter().map(device_rule).collect::<Vec<_>>()),
        "DeviceRequests": null,
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or_else(|| limits.memory.map_or(0, |memory| memory.saturating_mul(2).cast_signed())),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable.then_some(true),
        "PidsLimit": if resolved.pids_limit > 0 { json!(resolved.pids_limit) } else { Value::Null },
        "Ulimits": request.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
        "Mounts": mounts_asked(record),
        "Tmpfs": by_tmpfs(request),
        "Sysctls": request.sysctls,
        "Init": request.init,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": crate::spec::hidden_paths(record).0,
        "ReadonlyPaths": crate::spec::hidden_paths(record).1,
    })
}

fn volumes_from(lender: &VolumesFrom) -> String {
    format!("{}{}", lender.container, if lender.read_only { ":ro" } else { "" })
}

fn amounts(what: &str, amounts: &[DeviceAmount]) -> Vec<Value> {
    amounts.iter().map(|each| json!({ "Path": each.path, what: each.amount })).collect()
}

/// As it was typed: `c 13:* rwm`.
fn device_rule(rule: &crate::request::DeviceRuleRequest) -> String {
    let number = |number: Option<i64>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    format!("{} {}:{} {}", rule.kind, number(rule.major), number(rule.minor), rule.access)
}

/// As it was asked: a port of the container's with the places of the host.
fn port_bindings(request: &RunRequest) -> Value {
    let mut bindings = serde_json::Map::new();
    for wanted in &request.publish {
        let (first, last) = wanted.container;
        for number in first..=last {
            let host = match wanted.host {
                None => String::new(),
                Some((host, end)) if first == last && host != end => format!("{host}-{end}"),
                Some((host, _)) => (host + (number - first)).to_string(),
            };
            let address = wanted.address.map(|address| address.to_string()).unwrap_or_default();
            let place = json!({ "HostIp": address, "HostPort": host });
            let key = format!("{number}/{}", wanted.protocol.name());
            if let Value::Array(places) = bindings.entry(key).or_insert_with(|| json!([])) {
                places.push(place);
            }
        }
    }
    Value::Object(bindings)
}

/// Docker names the first network.
fn network_name(request: &RunRequest) -> String {
    match (&request.network, request.networks.first()) {
        (Network::Bridge, Some(first)) => first.name.clone(),
        (mode, _) => mode.name(),
    }
}

fn describe_mount(mount: &MountPoint, paths: &Paths) -> Value {
    let destination = &mount.destination;
    let writable = !mount.read_only;
    match &mount.kind {
        MountKind::Bind { source, propagation, relabel, .. } => json!({
            "Type": "bind",
            "Source": source,
            "Destination": destination,
            "Mode": mode(writable, *relabel),
            "RW": writable,
            "Propagation": propagation.name(),
        }),
        MountKind::Volume { name, relabel, .. } => json!({
            "Type": "volume",
            "Name": name,
            "Source": paths.volume(name).join("_data"),
            "Destination": destination,
            "Driver": "local",
            "Mode": mode(writable, *relabel),
            "RW": writable,
            "Propagation": "",
        }),
        MountKind::Tmpfs { .. } => json!({
            "Type": "tmpfs",
            "Source": "",
            "Destination": destination,
            "Mode": "",
            "RW": writable,
            "Propagation": "",
        }),
    }
}

/// The options of `-v` in its own form: `ro,z`.
fn mode(writable: bool, relabel: Option<Relabel>) -> String {
    let label = match relabel {
        None => None,
        Some(Relabel::Shared) => Some("z"),
        Some(Relabel::Private) => Some("Z"),
    };
    let words: Vec<&str> = (!writable).then_some("ro").into_iter().chain(label).collect();
    words.join(",")
}

/// What `-v` gave, in its own form; Docker lists nothing as `null`.
fn binds(record: &Record) -> Value {
    let by_mount = |destination: &str| {
        record.request.mounts.iter().any(|mount| match mount {
            MountRequest::Volume { by_mount, .. } => *by_mount && mount.destination() == destination,
            _ => false,
        })
    };
    let form = |mount: &MountPoint| {
        let (MountKind::Bind { relabel, .. } | MountKind::Volume { relabel, .. }) = &mount.kind else {
            return None;
        };
        let mode = mode(!mount.read_only, *relabel);
        let access = if mode.is_empty() { mode } else { format!(":{mode}") };
        match &mount.kind {
            MountKind::Bind { source, create_source: true, .. } => {
                Some(format!("{source}:{}{access}", mount.destination))
            }
            MountKind::Volume { name, anonymous: false, .. } if !by_mount(&mount.destination) => {
                Some(format!("{name}:{}{access}", mount.destination))
            }
            _ => None,
        }
    };
    list(&record.resolved.mounts.iter().filter_map(form).collect::<Vec<_>>())
}

/// What `--mount` gave: as Docker, without what was not said.
fn mounts_asked(record: &Record) -> Vec<Value> {
    let binds = record.resolved.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, create_source: false, propagation, .. } => {
            let mut asked = json!({ "Type": "bind", "Source": source, "Target": mount.destination });
            if mount.read_only {
                asked["ReadOnly"] = json!(true);
            }
            if *propagation != Propagation::default() {
                asked["BindOptions"] = json!({ "Propagation": propagation.name() });
            }
            Some(asked)
        }
        _ => None,
    });
    let others = record.request.mounts.iter().filter_map(|mount| match mount {
        MountRequest::Volume { name, destination, read_only, no_copy, labels, by_mount: true, .. } => {
            let mut asked = json!({ "Type": "volume" });
            if let Some(name) = name {
                asked["Source"] = json!(name);
            }
            asked["Target"] = json!(destination);
            if *read_only {
                asked["ReadOnly"] = json!(true);
            }
            if *no_copy || !labels.is_empty() {
                let mut options = json!({});
                if *no_copy {
                    options["NoCopy"] = json!(true);
                }
                if !labels.is_empty() {
                    options["Labels"] = json!(labels);
                }
                options["DriverConfig"] = json!({});
                asked["VolumeOptions"] = options;
            }
            Some(asked)
        }
        MountRequest::Tmpfs { destination, size, mode, text: None, .. } => Some(json!({
            "Type": "tmpfs",
            "Target": destination,
            "TmpfsOptions": { "SizeBytes": size.unwrap_or(0), "Mode": mode.unwrap_or(0) },
        })),
        _ => None,
    });
    binds.chain(others).collect()
}

/// What `--tmpfs` gave, in its own words. As in Docker, it is not among the mounts.
fn by_tmpfs(request: &RunRequest) -> BTreeMap<String, String> {
    let form = |mount: &MountRequest| match mount {
        MountRequest::Tmpfs { destination, text: Some(text), .. } => {
            Some((destination.clone(), text.clone()))
        }
        _ => None,
    };
    request.mounts.iter().filter_map(form).collect()
}

fn log_options(record: &Record) -> BTreeMap<String, String> {
    let log = &record.resolved.log;
    if log.driver == "none" {
        return BTreeMap::new();
    }
    BTreeMap::from([
        ("max-size".to_owned(), onggi_settings::bytes::show(log.max_size)),
        ("max-file".to_owned(), log.max_file.to_string()),
    ])
}

fn security_options(request: &RunRequest) -> Value {
    let security = &request.security;
    let mut options = Vec::new();
    if security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &security.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompChoice::Profile(profile) => options.push(format!("seccomp={profile}")),
    }
    if security.unconfined_paths {
        options.push("systempaths=unconfined".to_owned());
    }
    if !security.unmask.is_empty() {
        options.push(format!("unmask={}", security.unmask.join(":")));
    }
    list(&options)
}

fn ulimit(limit: &crate::request::Ulimit) -> Value {
    // "No limit" is −1 in Docker.
    json!({ "Name": limit.name, "Soft": limit.soft.cast_signed(), "Hard": limit.hard.cast_signed() })
}

fn list(values: &[String]) -> Value {
    if values.is_empty() { Value::Null } else { json!(values) }
}
