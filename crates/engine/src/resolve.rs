//! From a request, an image and the settings to what will hold: Docker's rules for each field, and its refusals. Pure.
//!
//! The rules are those of moby's `runconfig`, `daemon/create.go`, `daemon/container.go` and `daemon/daemon_unix.go`.

use std::collections::{BTreeMap, BTreeSet};

use onggi_image::Digest;
use onggi_image::config::{Healthcheck, RunConfig};
use onggi_settings::Settings;

use crate::capabilities;
use crate::error::Error;
use crate::flags;
use crate::id::ContainerId;
use crate::record::{Log, MountKind, MountPoint, Resolved};
use crate::request::{Isolation, Limits, MountRequest, Network, PidMode, RunRequest, UtsMode};

/// What is given besides the request.
pub(crate) struct Facts<'a> {
    pub id: &'a ContainerId,
    pub layers: &'a [Digest],
    pub config: &'a RunConfig,
    pub settings: &'a Settings,
    /// The host's own name, for a container that shares it.
    pub host_name: &'a str,
    /// Processors of the host.
    pub processors: u64,
    /// Names for anonymous volumes.
    pub new_volume: &'a mut dyn FnMut() -> String,
}

/// # Errors
/// The request means nothing: Docker's sentence for it.
pub(crate) fn resolve(request: &RunRequest, facts: &mut Facts<'_>) -> Result<Resolved, Error> {
    let image = facts.config;
    check_limits(&request.resources, facts.processors)?;
    check_isolation(request)?;
    let (entrypoint, command) = command(request, image)?;
    let stop_signal = request.stop_signal.clone().unwrap_or_else(|| image.stop_signal.clone());
    if !stop_signal.is_empty() {
        flags::signal(&stop_signal).map_err(invalid)?;
    }
    let settings = facts.settings;
    let mut labels = image.labels.clone();
    labels.extend(request.labels.clone());
    Ok(Resolved {
        layers: facts.layers.to_vec(),
        entrypoint,
        command,
        env: environment(&request.env, &image.env)?,
        working_dir: working_directory(request.workdir.as_deref(), &image.working_dir)?,
        user: request.user.clone().unwrap_or_else(|| image.user.clone()),
        hostname: hostname(request, facts)?,
        labels,
        exposed_ports: image.exposed_ports.keys().cloned().collect(),
        healthcheck: image.healthcheck.clone().filter(|check: &Healthcheck| !check.test.is_empty()),
        stop_signal,
        stop_timeout: request.stop_timeout.unwrap_or(settings.stop_timeout),
        mounts: mounts(request, image, facts.new_volume)?,
        capabilities: capabilities::resolve(request, settings.compat).map_err(invalid)?,
        shm_size: request.shm_size.unwrap_or(settings.shm_size),
        pids_limit: match request.resources.pids.unwrap_or(settings.pids_limit) {
            // Docker takes 0 for "no limit" too.
            0 => -1,
            limit => limit,
        },
        cgroup: cgroup(request.cgroup_parent.as_deref().unwrap_or(&settings.cgroup_parent), facts.id)?,
        log: log(request, settings)?,
        detach_keys: match &request.detach_keys {
            Some(keys) => keys.clone(),
            None => onggi_settings::detach_keys::parse(&settings.detach_keys).map_err(invalid)?,
        },
    })
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Invalid { what: what.into() }
}

/// An entrypoint of the user's takes the image's CMD away with it; an empty one leaves only the user's command.
fn command(request: &RunRequest, image: &RunConfig) -> Result<(Option<Vec<String>>, Vec<String>), Error> {
    let (entrypoint, command) = match &request.entrypoint {
        Some(entrypoint) => {
            let entrypoint = entrypoint.clone();
            let none = entrypoint.is_empty() || entrypoint == [""];
            ((!none).then_some(entrypoint), request.command.clone())
        }
        None if request.command.is_empty() => {
            (image.entrypoint.clone(), image.cmd.clone().unwrap_or_default())
        }
        None => (image.entrypoint.clone(), request.command.clone()),
    };
    let entrypoint = entrypoint.filter(|words| !words.is_empty());
    if entrypoint.is_none() && command.is_empty() {
        return Err(Error::NoCommand);
    }
    Ok((entrypoint, command))
}

/// The user's first, then the image's that the user did not set; a name alone takes one away.
fn environment(user: &[String], image: &[String]) -> Result<Vec<String>, Error> {
    if let Some(bad) =
        user.iter().find(|entry| entry.is_empty() || entry.starts_with('=') || entry.contains('\0'))
    {
        return Err(invalid(format!("invalid environment variable: {bad:?}")));
    }
    let mut merged = Vec::<String>::new();
    let mut taken_away = BTreeSet::new();
    for entry in user {
        let name = variable(entry);
        merged.retain(|known| variable(known) != name);
        if entry.contains('=') {
            merged.push(entry.clone());
            taken_away.remove(name);
        } else {
            taken_away.insert(name);
        }
    }
    for entry in image.iter().filter(|entry| entry.contains('=') && !entry.contains('\0')) {
        let name = variable(entry);
        if !taken_away.contains(name) && !merged.iter().any(|known| variable(known) == name) {
            merged.push(entry.clone());
        }
    }
    Ok(merged)
}

/// The name in `NAME=value`.
pub(crate) fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn working_directory(user: Option<&str>, image: &str) -> Result<String, Error> {
    let path = user.filter(|path| !path.is_empty()).unwrap_or(image);
    if let Some(path) = user.filter(|path| !path.is_empty() && !path.starts_with('/')) {
        return Err(invalid(format!(
            "the working directory '{path}' is invalid, it needs to be an absolute path"
        )));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

fn hostname(request: &RunRequest, facts: &Facts<'_>) -> Result<String, Error> {
    let shares = request.uts == UtsMode::Host || request.isolation == Isolation::Process;
    match &request.hostname {
        Some(_) if shares => Err(invalid("conflicting options: hostname and the UTS mode")),
        Some(name) => {
            // 64 bytes are the kernel's limit, and a NUL or a line end would forge lines of /etc/hosts.
            let sound =
                !name.is_empty() && name.len() <= 64 && !name.bytes().any(|byte| byte <= b' ' || byte == 127);
            if sound { Ok(name.clone()) } else { Err(invalid(format!("invalid hostname: {name:?}"))) }
        }
        None if shares || request.network == Network::Host => Ok(facts.host_name.to_owned()),
        None => Ok(facts.id.short().to_owned()),
    }
}

fn mounts(
    request: &RunRequest,
    image: &RunConfig,
    new_volume: &mut dyn FnMut() -> String,
) -> Result<Vec<MountPoint>, Error> {
    let mut points = Vec::new();
    let mut destinations = BTreeSet::new();
    for mount in &request.mounts {
        if !destinations.insert(mount.destination().to_owned()) {
            return Err(invalid(format!("Duplicate mount point: {}", mount.destination())));
        }
        points.push(mount_point(mount, new_volume));
    }
    for destination in image.volumes.keys() {
        let destination = working_directory(None, destination)?;
        // `VOLUME /` would hide the image itself.
        if destination != "/" && destinations.insert(destination.clone()) {
            let (name, labels) = (new_volume(), BTreeMap::new());
            let kind = MountKind::Volume { name, anonymous: true, no_copy: false, labels };
            points.push(MountPoint { destination, read_only: false, kind });
        }
    }
    Ok(points)
}

fn mount_point(mount: &MountRequest, new_volume: &mut dyn FnMut() -> String) -> MountPoint {
    let destination = mount.destination().to_owned();
    let (read_only, kind) = match mount.clone() {
        MountRequest::Bind { source, read_only, propagation, recursive, create_source, .. } => {
            (read_only, MountKind::Bind { source, propagation, recursive, create_source })
        }
        MountRequest::Volume { name, read_only, no_copy, labels, .. } => {
            let anonymous = name.is_none();
            let name = name.unwrap_or_else(new_volume);
            (read_only, MountKind::Volume { name, anonymous, no_copy, labels })
        }
        MountRequest::Tmpfs { size, mode, mut options, .. } => {
            let read_only = options.iter().any(|option| option == "ro");
            options.retain(|option| !matches!(option.as_str(), "ro" | "rw"));
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            (read_only, MountKind::Tmpfs { options })
        }
    };
    MountPoint { destination, read_only, kind }
}

fn cgroup(parent: &str, id: &ContainerId) -> Result<String, Error> {
    let parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(invalid(format!("invalid cgroup parent: {parent:?}")));
    }
    if parent.ends_with(".slice") {
        return Err(Error::NotBuilt { what: format!("cgroup parent {parent}: making systemd slices") });
    }
    Ok(format!("/{}/{id}", parts.join("/")))
}

fn log(request: &RunRequest, settings: &Settings) -> Result<Log, Error> {
    let driver = match &request.log.driver {
        None => settings.log_driver,
        Some(name) => name.parse().map_err(|reason| invalid(format!("log driver {name}: {reason}")))?,
    };
    let max_file = request.log.max_file.unwrap_or(settings.log_max_file);
    if max_file == 0 {
        return Err(invalid("invalid log option max-file: it must be at least 1"));
    }
    Ok(Log {
        driver: driver.name().to_owned(),
        max_size: request.log.max_size.unwrap_or(settings.log_max_size),
        max_file,
    })
}

/// Without namespaces there is nothing that these flags could change but the host itself.
fn check_isolation(request: &RunRequest) -> Result<(), Error> {
    if request.isolation == Isolation::Process {
        let refused = [
            (request.privileged, "--privileged"),
            (request.network == Network::None && request.domainname.is_some(), "--domainname"),
            (request.pid != PidMode::Private, "--pid"),
            (request.init, "--init"),
            (!request.sysctls.is_empty(), "--sysctl"),
            (!request.mounts.is_empty(), "--volume, --mount and --tmpfs"),
            (request.read_only, "--read-only"),
        ];
        if let Some((_, flag)) = refused.into_iter().find(|(given, _)| *given) {
            return Err(invalid(format!(
                "{flag} needs a namespace, which --isolation process does not make"
            )));
        }
    }
    if request.init && request.pid != PidMode::Private {
        return Err(invalid(
            "--init needs a process id namespace of the container's own; it conflicts with --pid",
        ));
    }
    if request.oom_score_adj.is_some_and(|value| !(-1000..=1000).contains(&value)) {
        return Err(invalid("Invalid value for oom score adj, range for oom score adj is [-1000, 1000]"));
    }
    Ok(())
}

fn check_limits(limits: &Limits, processors: u64) -> Result<(), Error> {
    const SMALLEST_MEMORY: u64 = 6 << 20;
    let memory = limits.memory.unwrap_or(0);
    if memory != 0 && memory < SMALLEST_MEMORY {
        return Err(invalid("Minimum memory limit allowed is 6MB"));
    }
    match limits.memory_swap {
        Some(swap) if swap != 0 && memory == 0 => {
            return Err(invalid(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ));
        }
        Some(swap) if swap < -1 || (swap > 0 && swap.unsigned_abs() < memory) => {
            return Err(invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
        }
        _ => {}
    }
    if limits.memory_reservation.is_some_and(|reservation| memory != 0 && reservation > memory) {
        return Err(invalid("Minimum memory limit can not be less than memory reservation limit, see usage"));
    }
    if limits.nano_cpus.is_some() && (limits.cpu_quota.is_some() || limits.cpu_period.is_some()) {
        return Err(invalid("Conflicting options: Nano CPUs and CPU Quota or Period cannot both be set"));
    }
    if limits.nano_cpus.is_some_and(|nano| nano < 10_000_000 || nano > processors * 1_000_000_000) {
        return Err(invalid(format!(
            "Range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )));
    }
    if limits.cpu_period.is_some_and(|period| period != 0 && !(1000..=1_000_000).contains(&period)) {
        return Err(invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if limits.cpu_quota.is_some_and(|quota| quota > 0 && quota < 1000) {
        return Err(invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    for (flag, set) in [("cpuset-cpus", &limits.cpuset_cpus), ("cpuset-mems", &limits.cpuset_mems)] {
        let sound =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-'));
        if set.as_deref().is_some_and(|set| !sound(set)) {
            return Err(invalid(format!("Invalid value {} for {flag}", set.as_deref().unwrap_or_default())));
        }
    }
    Ok(())
}
