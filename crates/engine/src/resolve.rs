//! From a request, an image and the settings to what will hold: Docker's rules for each field, and its refusals. Pure.
//!
//! The rules are those of moby's `runconfig`, `daemon/create.go`, `daemon/container.go` and `daemon/daemon_unix.go`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use onggi_image::Digest;
use onggi_image::config::{Healthcheck, RunConfig};
use onggi_settings::Settings;

use crate::capabilities;
use crate::error::Error;
use crate::flags;
use crate::id::ContainerId;
use crate::record::{Log, MountKind, MountPoint, Resolved};
use crate::request::{
    IpcMode, Isolation, Limits, MountRequest, Network, PidMode, Restart, RunRequest, UtsMode,
};

/// Bytes of all variables together. execve(2) takes a quarter of the stack's limit for arguments and environment: 2 MiB as a rule.
const LARGEST_ENVIRONMENT: usize = 1 << 20;
/// The kernel takes a size of 0 for "no limit"; Docker takes it for its default.
const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// What is given besides the request.
pub(crate) struct Facts<'a> {
    pub id: &'a ContainerId,
    pub layers: &'a [Digest],
    pub config: &'a RunConfig,
    pub settings: &'a Settings,
    /// The host's own name, for a container that shares it.
    pub host_name: &'a str,
    /// Of the container whose network it joins.
    pub shared_hostname: Option<&'a str>,
    /// Processors of the host.
    pub processors: u64,
    /// Those that are online, and the memory nodes, as the kernel lists them: `0-3`. Empty: not known.
    pub processor_list: &'a str,
    pub memory_nodes: &'a str,
    /// What the containers of `volumes_from` have mounted, in their order.
    pub borrowed: &'a [MountPoint],
    /// Names for anonymous volumes.
    pub new_volume: &'a mut dyn FnMut() -> String,
}

/// # Errors
/// The request means nothing: Docker's sentence for it.
pub(crate) fn resolve(request: &RunRequest, facts: &mut Facts<'_>) -> Result<Resolved, Error> {
    let image = facts.config;
    check_limits(&request.resources, facts.processors)?;
    check_cpuset(&request.resources, facts.processor_list, facts.memory_nodes)?;
    check_isolation(request)?;
    check_restart(request)?;
    check_network_files(request)?;
    check_network(request)?;
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
        exposed_ports: exposed_ports(request, image)?,
        networks: request.networks.clone(),
        healthcheck: healthcheck(request.healthcheck.as_ref(), image.healthcheck.as_ref())?,
        stop_signal,
        stop_timeout: request.stop_timeout.unwrap_or(settings.stop_timeout),
        mounts: mounts(request, image, facts)?,
        capabilities: capabilities::resolve(request, settings.compat).map_err(invalid)?,
        shm_size: match request.shm_size.unwrap_or(settings.shm_size) {
            0 => DEFAULT_SHM_SIZE,
            size => size,
        },
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
    // A name's last word counts, and its place is where that word stands.
    let last: HashMap<&str, usize> =
        user.iter().enumerate().map(|(at, entry)| (variable(entry), at)).collect();
    let users = user.iter().enumerate().filter(|(at, entry)| last.get(variable(entry)) == Some(at));
    let mut merged: Vec<String> =
        users.map(|(_, entry)| entry).filter(|entry| entry.contains('=')).cloned().collect();
    let mut known = HashSet::new();
    for entry in image.iter().filter(|entry| entry.contains('=') && !entry.contains('\0')) {
        if !last.contains_key(variable(entry)) && known.insert(variable(entry)) {
            merged.push(entry.clone());
        }
    }
    let size: usize = merged.iter().map(|entry| entry.len() + 1).sum();
    if size > LARGEST_ENVIRONMENT {
        return Err(invalid(format!(
            "the environment has {} variables of {size} bytes together; more than {LARGEST_ENVIRONMENT} bytes are no use to any program",
            merged.len()
        )));
    }
    Ok(merged)
}

/// The name in `NAME=value`.
pub(crate) fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn working_directory(user: Option<&str>, image: &str) -> Result<String, Error> {
    if let Some(path) = user.filter(|path| !path.is_empty() && !path.starts_with('/')) {
        return Err(invalid(format!(
            "the working directory '{path}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(clean(user.filter(|path| !path.is_empty()).unwrap_or(image)))
}

/// An absolute path without `.`, `..` and repeated slashes, as Go's `path.Clean` makes it: without looking at what is there.
fn clean(path: &str) -> String {
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
    format!("/{}", parts.join("/"))
}

/// The image's, the user's, and those that are published: as in Docker, each by itself and in order.
fn exposed_ports(request: &RunRequest, image: &RunConfig) -> Result<Vec<String>, Error> {
    let mut ports = BTreeSet::new();
    let named = image.exposed_ports.keys().chain(&request.expose).map(|text| flags::exposed(text));
    for port in named.chain(request.publish.iter().cloned().map(Ok)) {
        let port = port.map_err(invalid)?;
        ports.extend((port.container.0..=port.container.1).map(|number| (number, port.protocol)));
    }
    Ok(ports.into_iter().map(|(number, protocol)| format!("{number}/{}", protocol.name())).collect())
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
        None if facts.shared_hostname.is_some() => Ok(facts.shared_hostname.unwrap_or_default().to_owned()),
        None => Ok(facts.id.short().to_owned()),
    }
}

/// The user's, each field that is empty from the image; an image's that says nothing is none.
fn healthcheck(
    user: Option<&Healthcheck>,
    image: Option<&Healthcheck>,
) -> Result<Option<Healthcheck>, Error> {
    let mut check = user.cloned().unwrap_or_default();
    // Docker's smallest, since each run is a program started in the container.
    const SHORTEST: i64 = 1_000_000;
    for (what, time) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if time != 0 && time < SHORTEST {
            return Err(invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(invalid("Retries in Healthcheck cannot be negative"));
    }
    if let Some(image) = image {
        if check.test.is_empty() {
            check.test.clone_from(&image.test);
        }
        for (mine, theirs) in [
            (&mut check.interval, image.interval),
            (&mut check.timeout, image.timeout),
            (&mut check.start_period, image.start_period),
            (&mut check.start_interval, image.start_interval),
            (&mut check.retries, image.retries),
        ] {
            if *mine == 0 {
                *mine = theirs;
            }
        }
    }
    Ok((!check.test.is_empty()).then_some(check))
}

/// The request's, then what other containers lend for places that are free, then the image's volumes.
fn mounts(request: &RunRequest, image: &RunConfig, facts: &mut Facts<'_>) -> Result<Vec<MountPoint>, Error> {
    let mut points = Vec::new();
    let mut destinations = BTreeSet::new();
    for mount in &request.mounts {
        if !destinations.insert(mount.destination().to_owned()) {
            return Err(invalid(format!("Duplicate mount point: {}", mount.destination())));
        }
        points.push(mount_point(mount, facts.new_volume));
    }
    // As in Docker, of two containers that lend for one place the later is taken.
    let mut lent = BTreeMap::new();
    for point in facts.borrowed.iter().filter(|point| !destinations.contains(&point.destination)) {
        lent.insert(point.destination.clone(), point.clone());
    }
    destinations.extend(lent.keys().cloned());
    points.extend(lent.into_values());
    for destination in image.volumes.keys() {
        let destination = working_directory(None, destination)?;
        // It would hide the image itself; `-v x:/` is refused in the same words.
        if destination == "/" {
            return Err(invalid("invalid specification: destination can't be '/'"));
        }
        if destinations.insert(destination.clone()) {
            let (name, labels) = ((facts.new_volume)(), BTreeMap::new());
            let kind = MountKind::Volume { name, anonymous: true, no_copy: false, labels, relabel: None };
            points.push(MountPoint { destination, read_only: false, kind });
        }
    }
    Ok(points)
}

fn mount_point(mount: &MountRequest, new_volume: &mut dyn FnMut() -> String) -> MountPoint {
    let destination = mount.destination().to_owned();
    let (read_only, kind) = match mount.clone() {
        MountRequest::Bind { source, read_only, propagation, recursive, create_source, relabel, .. } => {
            // Or what a `..` takes back would be made on the host.
            let source = clean(&source);
            (read_only, MountKind::Bind { source, propagation, recursive, create_source, relabel })
        }
        MountRequest::Volume { name, read_only, no_copy, labels, relabel, .. } => {
            let anonymous = name.is_none();
            let name = name.unwrap_or_else(new_volume);
            (read_only, MountKind::Volume { name, anonymous, no_copy, labels, relabel })
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

pub(crate) fn cgroup(parent: &str, id: &ContainerId) -> Result<String, Error> {
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

/// What a monitor starts again by itself must need nothing that another container may have changed meanwhile.
pub(crate) fn check_restart(request: &RunRequest) -> Result<(), Error> {
    if request.restart == Restart::No {
        return Ok(());
    }
    if request.remove {
        return Err(invalid("conflicting options: cannot specify both --restart and --rm"));
    }
    if matches!(request.pid, PidMode::Container(_)) || matches!(request.ipc, IpcMode::Container(_)) {
        let what = "a restart policy for a container that joins another's namespaces (--pid, --ipc)";
        return Err(Error::NotBuilt { what: what.to_owned() });
    }
    Ok(())
}

/// Without namespaces there is nothing that these flags could change but the host itself.
fn check_isolation(request: &RunRequest) -> Result<(), Error> {
    if request.isolation == Isolation::Process {
        let refused = [
            (request.privileged, "--privileged"),
            (request.network != Network::Host && request.domainname.is_some(), "--domainname"),
            (request.network == Network::Bridge, "--network"),
            (matches!(request.network, Network::Container(_)), "--network container"),
            (request.pid != PidMode::Private, "--pid"),
            (request.init, "--init"),
            (!request.sysctls.is_empty(), "--sysctl"),
            (!request.devices.is_empty(), "--device"),
            (request.read_only, "--read-only"),
            (request.host_cgroup_namespace, "--cgroupns"),
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

pub(crate) fn check_limits(limits: &Limits, processors: u64) -> Result<(), Error> {
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
    if let Some(swappiness) = limits.memory_swappiness.filter(|swappiness| *swappiness > 100) {
        return Err(invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100")));
    }
    if limits.block.weight.is_some_and(|weight| !(10..=1000).contains(&weight)) {
        return Err(invalid("Range of blkio weight is from 10 to 1000"));
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
    Ok(())
}

/// The kernel would say "No space left on device" for an empty set, and "Numerical result out of range" for a processor that is not there.
pub(crate) fn check_cpuset(limits: &Limits, processor_list: &str, memory_nodes: &str) -> Result<(), Error> {
    for (flag, what, set, available) in [
        ("cpuset-cpus", "CPUs", &limits.cpuset_cpus, processor_list),
        ("cpuset-mems", "memory nodes", &limits.cpuset_mems, memory_nodes),
    ] {
        let Some(set) = set.as_deref().filter(|set| !set.is_empty()) else { continue };
        let wanted = ranges(set).ok_or_else(|| invalid(format!("Invalid value {set} for {flag}")))?;
        let Some(there) = ranges(available) else { continue };
        // A range may be as long as its writer likes, so it is compared and not counted.
        let mut sorted = there;
        sorted.sort_unstable();
        let within = |&(first, last): &(u64, u64)| {
            let mut next = first;
            for &(from, to) in &sorted {
                if from <= next && next <= to {
                    if last <= to {
                        return true;
                    }
                    next = to + 1;
                }
            }
            false
        };
        if !wanted.iter().all(within) {
            return Err(invalid(format!(
                "Requested {what} are not available - requested {set}, available: {available}"
            )));
        }
    }
    Ok(())
}

/// `0-3,5` as first and last of each range.
fn ranges(text: &str) -> Option<Vec<(u64, u64)>> {
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten().map(u64::from)
    };
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
        })
        .collect()
}

/// What becomes lines of `/etc/resolv.conf` and `/etc/hosts` must not be able to write others.
fn check_network_files(request: &RunRequest) -> Result<(), Error> {
    let word = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if let Some(bad) = request.dns.iter().find(|address| {
        let (address, zone) = address.split_once('%').unwrap_or((address, "any"));
        address.parse::<std::net::IpAddr>().is_err() || !word(zone)
    }) {
        return Err(invalid(format!("--dns: {bad:?} is not an IP address")));
    }
    for (flag, values) in [("--dns-search", &request.dns_search), ("--dns-option", &request.dns_options)] {
        if let Some(bad) = values.iter().find(|value| !word(value)) {
            return Err(invalid(format!("{flag}: {bad:?} is not one word")));
        }
    }
    if let Some(bad) = request.add_hosts.iter().find(|host| !word(&host.name)) {
        return Err(invalid(format!("--add-host: {:?} is not the name of a host", bad.name)));
    }
    if let Some(bad) = request
        .add_hosts
        .iter()
        .find(|host| host.address != flags::HOST_GATEWAY && host.address.parse::<std::net::IpAddr>().is_err())
    {
        return Err(invalid(format!("--add-host: {:?} is not an IP address", bad.address)));
    }
    if let Some(bad) = request.domainname.as_ref().filter(|name| !word(name)) {
        return Err(invalid(format!("--domainname: {bad:?} is not the name of a domain")));
    }
    Ok(())
}

/// What means nothing without a network of the container's own. Docker's sentences.
fn check_network(request: &RunRequest) -> Result<(), Error> {
    let shares = matches!(request.network, Network::Container(_));
    let publishes = !request.publish.is_empty() || request.publish_all;
    let refused = [
        (shares && request.hostname.is_some(), "hostname and the network mode"),
        (shares && !request.dns.is_empty(), "dns and the network mode"),
        (shares && !request.add_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (shares && publishes, "port publishing and the container type network mode"),
        (shares && !request.expose.is_empty(), "port exposing and the container type network mode"),
        (
            matches!(request.network, Network::None | Network::Host) && !request.publish.is_empty(),
            "port publishing and the network mode",
        ),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(asked, _)| *asked) {
        return Err(invalid(format!("conflicting options: {what}")));
    }
    let gateway = request.add_hosts.iter().any(|host| host.address == flags::HOST_GATEWAY);
    if gateway && request.network != Network::Bridge {
        return Err(invalid("--add-host: host-gateway is the host's address in a bridge network"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::request::{Propagation, Ulimit};

    /// A record as `create` would write it, with everything random or of the host fixed.
    pub(crate) fn record(request: &RunRequest, image: &RunConfig) -> Result<crate::record::Record, Error> {
        let nowhere = |_: &str| None;
        let sources = onggi_settings::Sources { system: "/nowhere".into(), variable: &nowhere };
        let settings = Settings::load_from(&sources, 0, &onggi_settings::Flags::default()).unwrap();
        let id: ContainerId = "c0ffee".repeat(11)[..64].parse().unwrap();
        let mut volumes = 0;
        let mut new_volume = || {
            volumes += 1;
            format!("anonymous-{volumes}")
        };
        let resolved = resolve(
            request,
            &mut Facts {
                id: &id,
                layers: &[],
                config: image,
                settings: &settings,
                host_name: "the-host",
                shared_hostname: None,
                processors: 4,
                processor_list: "0-2,5",
                memory_nodes: "0",
                borrowed: &[],
                new_volume: &mut new_volume,
            },
        )?;
        Ok(crate::record::Record {
            version: crate::record::VERSION,
            id,
            name: "box".to_owned(),
            created: "2026-01-02T03:04:05.000000006Z".to_owned(),
            image: Digest::of(b"image"),
            run: false,
            request: request.clone(),
            resolved,
        })
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn image(entrypoint: Option<&[&str]>, cmd: Option<&[&str]>) -> RunConfig {
        RunConfig { entrypoint: entrypoint.map(texts), cmd: cmd.map(texts), ..RunConfig::default() }
    }

    fn refusal(request: &RunRequest) -> String {
        record(request, &image(None, Some(&["sh"]))).unwrap_err().to_string()
    }

    #[test]
    fn entrypoint_and_command() {
        let (e, c): (&[&str], &[&str]) = (&["/e", "x"], &["c"]);
        for (asked_entrypoint, asked_command, entrypoint, cmd, args) in [
            (None, &[][..], Some(e), Some(c), Some("/e x c")),
            (None, &["d", "f"][..], Some(e), Some(c), Some("/e x d f")),
            (None, &[][..], None, Some(c), Some("c")),
            (None, &[][..], Some(e), None, Some("/e x")),
            // A given entrypoint takes the image's CMD away.
            (Some(&["/n"][..]), &[][..], Some(e), Some(c), Some("/n")),
            (Some(&["/n"][..]), &["d"][..], Some(e), Some(c), Some("/n d")),
            // --entrypoint ""
            (Some(&[""][..]), &["d"][..], Some(e), Some(c), Some("d")),
            (Some(&[][..]), &[][..], Some(e), Some(c), None),
            (None, &[][..], None, None, None),
        ] {
            let request = RunRequest {
                entrypoint: asked_entrypoint.map(texts),
                command: texts(asked_command),
                ..RunRequest::default()
            };
            let result = record(&request, &image(entrypoint, cmd));
            match args {
                Some(args) => assert_eq!(result.unwrap().args().join(" "), args),
                None => assert!(matches!(result, Err(Error::NoCommand))),
            }
        }
    }

    #[test]
    fn environments_merge_with_the_users_first() {
        let merged =
            environment(&texts(&["A=1", "B", "C=", "A=2"]), &texts(&["A=0", "B=0", "D=x=y"])).unwrap();
        assert_eq!(merged, ["C=", "A=2", "D=x=y"]);
        assert!(environment(&texts(&["=x"]), &[]).is_err());
        assert!(environment(&texts(&["A=\0"]), &[]).is_err());
    }

    #[test]
    fn an_environment_is_merged_in_one_pass_and_has_a_limit() {
        let image: Vec<String> = (0..60_000).map(|number| format!("NAME{number}=x")).collect();
        assert_eq!(environment(&texts(&["NAME7=y"]), &image).unwrap().len(), 60_000);
        let error = environment(&[format!("A={}", "x".repeat(1 << 20))], &image).unwrap_err().to_string();
        assert!(error.starts_with("the environment has 60001 variables of "), "{error}");
    }

    #[test]
    fn shared_memory_is_never_without_a_limit() {
        let image = image(None, Some(&["sh"]));
        for (asked, size) in [(None, 64 << 20), (Some(0), 64 << 20), (Some(4096), 4096)] {
            let request = RunRequest { shm_size: asked, ..RunRequest::default() };
            assert_eq!(record(&request, &image).unwrap().resolved.shm_size, size);
        }
    }

    #[test]
    fn sets_of_processors() {
        for (text, wanted) in [
            ("0-3,5", Some(vec![(0, 3), (5, 5)])),
            ("7", Some(vec![(7, 7)])),
            ("", None),
            ("1,", None),
            ("3-1", None),
            ("-1", None),
            ("1-2-3", None),
            ("99999999999", None),
        ] {
            assert_eq!(ranges(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_bind_is_of_the_path_that_is_meant() {
        let bind = MountRequest::Bind {
            source: "/tmp/nope/../../etc//x/.".into(),
            destination: "/x".into(),
            read_only: false,
            propagation: Propagation::default(),
            recursive: true,
            create_source: true,
            relabel: None,
        };
        let request = RunRequest { mounts: vec![bind], ..RunRequest::default() };
        let record = record(&request, &image(None, Some(&["sh"]))).unwrap();
        assert!(
            matches!(&record.resolved.mounts[0].kind, MountKind::Bind { source, .. } if source == "/etc/x")
        );
    }

    #[test]
    fn directories_are_absolute_and_clean() {
        for (user, image, expected) in [
            (None, "", "/"),
            (None, "app", "/app"),
            (None, "/a//b/../c/", "/a/c"),
            (Some("/w"), "/a", "/w"),
            (Some(""), "/a", "/a"),
        ] {
            assert_eq!(working_directory(user, image).unwrap(), expected);
        }
        assert!(working_directory(Some("w"), "/").is_err());
    }

    #[test]
    fn what_means_nothing_is_refused_in_dockers_words() {
        let limits = |resources| RunRequest { resources, ..RunRequest::default() };
        let cases = [
            (
                limits(Limits { memory: Some(1 << 20), ..Limits::default() }),
                "Minimum memory limit allowed is 6MB",
            ),
            (
                limits(Limits { memory_swap: Some(1 << 30), ..Limits::default() }),
                "You should always set the Memory limit",
            ),
            (
                limits(Limits { memory: Some(64 << 20), memory_swap: Some(1 << 20), ..Limits::default() }),
                "Minimum memoryswap limit should be larger",
            ),
            (
                limits(Limits {
                    memory: Some(64 << 20),
                    memory_reservation: Some(1 << 30),
                    ..Limits::default()
                }),
                "Minimum memory limit can not be less than memory reservation",
            ),
            (
                limits(Limits { nano_cpus: Some(5_000_000_000), ..Limits::default() }),
                "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
            ),
            (
                limits(Limits { nano_cpus: Some(1_000_000_000), cpu_quota: Some(1000), ..Limits::default() }),
                "Conflicting options: Nano CPUs",
            ),
            (
                limits(Limits { cpu_period: Some(1), ..Limits::default() }),
                "CPU cfs period can not be less than 1ms",
            ),
            (
                limits(Limits { cpuset_cpus: Some("0;1".into()), ..Limits::default() }),
                "Invalid value 0;1 for cpuset-cpus",
            ),
            (
                limits(Limits { cpuset_cpus: Some(",".into()), ..Limits::default() }),
                "Invalid value , for cpuset-cpus",
            ),
            (
                limits(Limits { cpuset_cpus: Some("0-99".into()), ..Limits::default() }),
                "Requested CPUs are not available - requested 0-99, available: 0-2,5",
            ),
            (
                limits(Limits { cpuset_cpus: Some("2-5".into()), ..Limits::default() }),
                "Requested CPUs are not available - requested 2-5, available: 0-2,5",
            ),
            (
                limits(Limits { cpuset_mems: Some("1".into()), ..Limits::default() }),
                "Requested memory nodes are not available - requested 1, available: 0",
            ),
            (
                RunRequest { dns: vec!["1.1.1.1\nnameserver 2.2.2.2".into()], ..RunRequest::default() },
                "--dns: \"1.1.1.1\\nnameserver 2.2.2.2\" is not an IP address",
            ),
            (
                RunRequest { dns_search: vec!["a b".into()], ..RunRequest::default() },
                "--dns-search: \"a b\" is not one word",
            ),
            (
                RunRequest { dns_options: vec!["a\n".into()], ..RunRequest::default() },
                "--dns-option: \"a\\n\" is not one word",
            ),
            (
                RunRequest {
                    add_hosts: vec![crate::request::ExtraHost {
                        name: "a\n6.6.6.6 b".into(),
                        address: "1.2.3.4".into(),
                    }],
                    ..RunRequest::default()
                },
                "--add-host: \"a\\n6.6.6.6 b\" is not the name of a host",
            ),
            (
                RunRequest { cgroup_parent: Some("/a/../b".into()), ..RunRequest::default() },
                "invalid cgroup parent",
            ),
            (
                RunRequest { cgroup_parent: Some("a.slice".into()), ..RunRequest::default() },
                "is not built yet",
            ),
            (RunRequest { hostname: Some("a\nb".into()), ..RunRequest::default() }, "invalid hostname"),
            (
                RunRequest { stop_signal: Some("SIGFOO".into()), ..RunRequest::default() },
                "Invalid signal: SIGFOO",
            ),
            (RunRequest { oom_score_adj: Some(2000), ..RunRequest::default() }, "range for oom score adj"),
            (RunRequest { init: true, pid: PidMode::Host, ..RunRequest::default() }, "conflicts with --pid"),
            (RunRequest { cap_add: texts(&["COFFEE"]), ..RunRequest::default() }, "invalid capability"),
            (
                RunRequest { mounts: vec![tmpfs("/a"), tmpfs("/a")], ..RunRequest::default() },
                "Duplicate mount point: /a",
            ),
        ];
        for (request, expected) in cases {
            let message = refusal(&request);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn image_volumes_become_anonymous_unless_something_is_there() {
        let mut image = image(None, Some(&["sh"]));
        for path in ["/data", "var/lib//db", "/a"] {
            image.volumes.insert(path.to_owned(), onggi_image::config::Empty {});
        }
        let request = RunRequest { mounts: vec![tmpfs("/a")], ..RunRequest::default() };
        let record = record(&request, &image).unwrap();
        let destinations: Vec<&str> =
            record.resolved.mounts.iter().map(|mount| mount.destination.as_str()).collect();
        assert_eq!(destinations, ["/a", "/data", "/var/lib/db"]);
        assert_eq!(record.volumes().collect::<Vec<_>>(), [("anonymous-1", true), ("anonymous-2", true)]);
    }

    #[test]
    fn an_image_cannot_have_a_volume_in_its_own_place() {
        for path in ["/", "", "/.", "/a/.."] {
            let mut image = image(None, Some(&["sh"]));
            image.volumes.insert(path.to_owned(), onggi_image::config::Empty {});
            let error = record(&RunRequest::default(), &image).unwrap_err().to_string();
            assert_eq!(error, "invalid specification: destination can't be '/'", "{path:?}");
        }
    }

    pub(crate) fn tmpfs(destination: &str) -> MountRequest {
        MountRequest::Tmpfs { destination: destination.into(), size: None, mode: None, options: vec![] }
    }

    /// A request with something in every field.
    pub(crate) fn full_request() -> RunRequest {
        RunRequest {
            image: "debian".into(),
            command: texts(&["nginx", "-g", "daemon off;"]),
            env: texts(&["A=1"]),
            workdir: Some("/srv".into()),
            user: Some("www-data".into()),
            group_add: texts(&["audio"]),
            tty: true,
            hostname: Some("jar".into()),
            domainname: Some("example.org".into()),
            read_only: true,
            shm_size: Some(1 << 20),
            cap_add: texts(&["NET_ADMIN"]),
            cap_drop: texts(&["CHOWN"]),
            security: crate::request::Security {
                no_new_privileges: true,
                unmask: texts(&["/proc/kcore", "/sys/*"]),
                ..Default::default()
            },
            sysctls: BTreeMap::from([("kernel.shmmax".into(), "1024".into())]),
            oom_score_adj: Some(500),
            ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: 20 }],
            resources: Limits {
                memory: Some(64 << 20),
                nano_cpus: Some(500_000_000),
                cpu_shares: Some(512),
                cpuset_cpus: Some("0-1".into()),
                pids: Some(100),
                ..Limits::default()
            },
            cgroup_parent: Some("tests".into()),
            mounts: vec![
                MountRequest::Bind {
                    source: "/host/deep".into(),
                    destination: "/srv/deep/er".into(),
                    read_only: true,
                    propagation: Propagation::Rslave,
                    recursive: true,
                    create_source: true,
                    relabel: None,
                },
                MountRequest::Volume {
                    name: Some("box".into()),
                    destination: "/srv".into(),
                    read_only: false,
                    no_copy: false,
                    labels: BTreeMap::new(),
                    relabel: None,
                },
                MountRequest::Tmpfs {
                    destination: "/run".into(),
                    size: Some(4096),
                    mode: Some(0o755),
                    options: texts(&["ro"]),
                },
                tmpfs("/dev/shm"),
            ],
            ..RunRequest::default()
        }
    }
}
