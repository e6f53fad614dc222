//! How the flags that make a container become a request.
//!
//! The meaning of each text is the engine's; what is decided here is only what a command line adds: files
//! and variables of the caller, and which flag was meant.

use std::fs;

use clap::ArgMatches;
use onggi_engine::flags as words;
use onggi_engine::request::{
    BlockLimits, Isolation, Limits, LogRequest, Network, NetworkRequest, Pull, RunRequest, Security, Streams,
};
use onggi_settings::{bytes, detach_keys};

use super::{all_parsed, environment, health, is, number, pairs, parsed, text, texts, unbuilt};
use crate::error::{CliError, io_sentence};

/// The request that the flags make. `attached`: `run` without `-d`.
pub(crate) fn container(
    matches: &ArgMatches,
    attached: bool,
    default_network: &str,
) -> Result<RunRequest, CliError> {
    unbuilt::refuse(matches)?;
    let mut words = texts(matches, "words").into_iter();
    let image = words.next().unwrap_or_default();
    let interactive = is(matches, "interactive");
    let mut request = RunRequest {
        image,
        command: words.collect(),
        entrypoint: text(matches, "entrypoint").map(|text| {
            let program = Some(text.to_owned()).filter(|text| !text.is_empty());
            program.into_iter().collect()
        }),
        // As for Docker, an empty name is none: `--name "$NAME"`.
        name: text(matches, "name").filter(|name| !name.is_empty()).map(str::to_owned),
        remove: is(matches, "rm"),
        restart: parsed(matches, "restart", words::restart)?.unwrap_or_default(),
        pull: parsed(matches, "pull", pull)?.unwrap_or_default(),
        platform: text(matches, "platform").filter(|platform| !platform.is_empty()).map(str::to_owned),
        healthcheck: health::check(matches)?,
        volumes_from: all_parsed(matches, "volumes-from", words::volumes_from)?,
        interactive,
        tty: is(matches, "tty"),
        detach_keys: keys(matches)?,
        env: variables(matches)?,
        workdir: text(matches, "workdir").map(str::to_owned),
        user: text(matches, "user").map(str::to_owned),
        group_add: texts(matches, "group-add"),
        labels: labels(matches)?,
        annotations: pairs(matches, "annotation")?,
        read_only: is(matches, "read-only"),
        shm_size: parsed(matches, "shm-size", bytes::parse)?,
        publish: all_parsed(matches, "publish", words::publish)?,
        publish_all: is(matches, "publish-all"),
        expose: exposed(matches)?,
        hostname: text(matches, "hostname").map(str::to_owned),
        domainname: text(matches, "domainname").map(str::to_owned),
        add_hosts: all_parsed(matches, "add-host", words::add_host)?,
        dns: texts(matches, "dns"),
        dns_search: texts(matches, "dns-search"),
        dns_options: texts(matches, "dns-option"),
        cap_add: texts(matches, "cap-add"),
        cap_drop: texts(matches, "cap-drop"),
        privileged: is(matches, "privileged"),
        security: security(matches)?,
        devices: all_parsed(matches, "device", words::device)?,
        device_rules: all_parsed(matches, "device-cgroup-rule", words::device_rule)?,
        sysctls: all_parsed(matches, "sysctl", words::sysctl)?.into_iter().collect(),
        oom_score_adj: parsed(matches, "oom-score-adj", number)?,
        ulimits: all_parsed(matches, "ulimit", words::ulimit)?,
        init: is(matches, "init"),
        pid: parsed(matches, "pid", words::pid_mode)?.unwrap_or_default(),
        ipc: parsed(matches, "ipc", words::ipc_mode)?.unwrap_or_default(),
        uts: parsed(matches, "uts", words::uts_mode)?.unwrap_or_default(),
        host_cgroup_namespace: parsed(matches, "cgroupns", words::cgroup_namespace)?.unwrap_or_default(),
        isolation: parsed(matches, "isolation", isolation)?.unwrap_or_default(),
        resources: limits(matches)?,
        cgroup_parent: text(matches, "cgroup-parent").map(str::to_owned),
        stop_signal: text(matches, "stop-signal").map(str::to_owned),
        stop_timeout: parsed(matches, "stop-timeout", number)?,
        log: log(matches)?,
        ..RunRequest::default()
    };
    (request.network, request.networks) = networks(matches, request.isolation, default_network)?;
    request.mounts = all_parsed(matches, "volume", |text| words::volume(text, &directory))?;
    request.mounts.extend(all_parsed(matches, "mount", |text| words::mount(text, &directory))?);
    request.mounts.extend(all_parsed(matches, "tmpfs", words::tmpfs)?);
    request.attach = streams(matches, attached, interactive)?;
    request.stdin_once = interactive && request.attach.stdin;
    Ok(request)
}

/// `--network` and the flags that say more of the first one. A process without a network namespace has the host's network.
fn networks(
    matches: &ArgMatches,
    isolation: Isolation,
    default: &str,
) -> Result<(Network, Vec<NetworkRequest>), CliError> {
    let single = NetworkRequest {
        name: String::new(),
        aliases: all_parsed(matches, "network-alias", words::alias)?,
        ipv4: parsed(matches, "ip", words::ipv4)?,
        ipv6: parsed(matches, "ip6", words::ipv6)?,
        mac: parsed(matches, "mac-address", words::mac_address)?,
    };
    let mut given = texts(matches, "network");
    let without = isolation == Isolation::Process;
    if given.is_empty() && without && single == NetworkRequest::default() {
        return Ok((Network::None, Vec::new()));
    }
    if given.is_empty() {
        given.push(default.to_owned());
    }
    words::networks(&given, single).map_err(|reason| CliError::flag("network", reason))
}

fn exposed(matches: &ArgMatches) -> Result<Vec<String>, CliError> {
    let ports = texts(matches, "expose");
    all_parsed(matches, "expose", words::exposed)?;
    Ok(ports)
}

/// From which relative paths are taken. It may have been removed, which matters only to who names one.
fn directory() -> Result<String, String> {
    let path =
        std::env::current_dir().map_err(|error| format!("cannot find the current directory: {error}"))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| format!("the current directory {} is not UTF-8 text", path.to_string_lossy()))
}

/// `-a`, or what follows from the other flags.
fn streams(matches: &ArgMatches, attached: bool, interactive: bool) -> Result<Streams, CliError> {
    let named = texts(matches, "attach");
    if named.is_empty() {
        return Ok(Streams { stdin: attached && interactive, stdout: attached, stderr: attached });
    }
    let mut streams = Streams::default();
    for name in named {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => streams.stdin = true,
            "stdout" => streams.stdout = true,
            "stderr" => streams.stderr = true,
            _ => return Err(CliError::flag("attach", format!("\"{name}\" is not stdin, stdout or stderr"))),
        }
    }
    Ok(streams)
}

/// `--detach-keys`, where the command has it.
pub(crate) fn keys(matches: &ArgMatches) -> Result<Option<Vec<u8>>, CliError> {
    if matches.try_contains_id("detach-keys").unwrap_or(false) {
        // As for Docker, empty ones are those of the settings: `--detach-keys "$KEYS"`.
        let some = |text: &str| if text.is_empty() { Ok(None) } else { detach_keys::parse(text).map(Some) };
        return parsed(matches, "detach-keys", some).map(Option::flatten);
    }
    Ok(None)
}

/// `--env-file` first, so that `--env` wins.
pub(crate) fn variables(matches: &ArgMatches) -> Result<Vec<String>, CliError> {
    let mut variables = Vec::new();
    for path in texts(matches, "env-file") {
        variables.extend(environment::env_file(&path)?);
    }
    variables.extend(all_parsed(matches, "env", environment::variable)?);
    Ok(variables)
}

fn labels(matches: &ArgMatches) -> Result<std::collections::BTreeMap<String, String>, CliError> {
    let mut labels = std::collections::BTreeMap::new();
    for path in texts(matches, "label-file") {
        for line in environment::label_file(&path)? {
            let (key, value) = line.split_once('=').unwrap_or((&line, ""));
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    labels.extend(pairs(matches, "label")?);
    Ok(labels)
}

fn pull(text: &str) -> Result<Pull, String> {
    match text {
        "missing" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        "always" => Ok(Pull::Always),
        _ => Err(format!("\"{text}\" is not missing, never or always")),
    }
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "container" | "default" => Ok(Isolation::Container),
        "process" => Ok(Isolation::Process),
        "vm" => Err("vm: virtual machines are not built yet; use container or process".to_owned()),
        _ => Err(format!("\"{text}\" is not container or process")),
    }
}

fn security(matches: &ArgMatches) -> Result<Security, CliError> {
    let mut security = Security::default();
    for option in texts(matches, "security-opt") {
        let read = |path: &str| {
            fs::read_to_string(path)
                .map_err(|error| format!("seccomp profile: {}", io_sentence(format!("open {path}"), &error)))
        };
        words::security_option(&option, &mut security, read)
            .map_err(|problem| CliError::flag("security-opt", problem))?;
    }
    Ok(security)
}

/// What `update` was given; the rest is not there.
pub(crate) fn changes(matches: &ArgMatches) -> Result<Limits, CliError> {
    let swap = |text: &str| match text {
        "-1" => Ok(-1),
        _ => bytes::parse(text).and_then(|n| i64::try_from(n).map_err(|_| "it is too large".to_owned())),
    };
    // Docker takes 0 for "not limited" throughout.
    let some = |amount: Option<u64>| amount.filter(|amount| *amount != 0);
    Ok(Limits {
        memory: some(parsed(matches, "memory", bytes::parse)?),
        memory_swap: parsed(matches, "memory-swap", swap)?.filter(|amount| *amount != 0),
        memory_reservation: some(parsed(matches, "memory-reservation", bytes::parse)?),
        nano_cpus: some(parsed(matches, "cpus", words::cpus)?),
        cpu_shares: some(parsed(matches, "cpu-shares", number)?),
        cpu_quota: parsed(matches, "cpu-quota", number)?.filter(|quota| *quota != 0),
        cpu_period: some(parsed(matches, "cpu-period", number)?),
        cpuset_cpus: text(matches, "cpuset-cpus").filter(|list| !list.is_empty()).map(str::to_owned),
        cpuset_mems: text(matches, "cpuset-mems").filter(|list| !list.is_empty()).map(str::to_owned),
        pids: parsed(matches, "pids-limit", number)?,
        block: BlockLimits {
            weight: parsed(matches, "blkio-weight", number)?.filter(|weight| *weight != 0),
            ..BlockLimits::default()
        },
        ..Limits::default()
    })
}

fn limits(matches: &ArgMatches) -> Result<Limits, CliError> {
    let limits = changes(matches)?;
    Ok(Limits {
        // −1 is Docker's "not given".
        memory_swappiness: match parsed::<i64, _>(matches, "memory-swappiness", number)? {
            None | Some(-1) => None,
            Some(value) => Some(u64::try_from(value).map_err(|_| {
                CliError::flag("memory-swappiness", format!("{value} is not between 0 and 100"))
            })?),
        },
        oom_kill_disable: is(matches, "oom-kill-disable"),
        block: BlockLimits {
            weight_device: all_parsed(matches, "blkio-weight-device", words::device_weight)?,
            read_bps: all_parsed(matches, "device-read-bps", words::device_rate)?,
            write_bps: all_parsed(matches, "device-write-bps", words::device_rate)?,
            read_iops: all_parsed(matches, "device-read-iops", words::device_iops)?,
            write_iops: all_parsed(matches, "device-write-iops", words::device_iops)?,
            ..limits.block
        },
        ..limits
    })
}

fn log(matches: &ArgMatches) -> Result<LogRequest, CliError> {
    let mut log =
        LogRequest { driver: text(matches, "log-driver").map(str::to_owned), ..LogRequest::default() };
    for option in texts(matches, "log-opt") {
        let fail = |problem: String| CliError::flag("log-opt", format!("{option}: {problem}"));
        match option.split_once('=') {
            Some(("max-size", "-1")) => log.max_size = Some(0),
            Some(("max-size", size)) => log.max_size = Some(bytes::parse(size).map_err(fail)?),
            Some(("max-file", count)) => log.max_file = Some(number(count).map_err(fail)?),
            Some((key, _)) => return Err(fail(format!("{key} is not built yet; max-size and max-file are"))),
            None => return Err(fail("it is not KEY=VALUE".to_owned())),
        }
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{container, stop_at_first_argument};

    fn parse(typed: &str) -> Result<RunRequest, CliError> {
        let tree = container::run_flags().no_binary_name(true);
        let words: Vec<_> = typed.split(' ').map(Into::into).collect();
        let matches = tree.clone().try_get_matches_from(stop_at_first_argument(&tree, &words)).unwrap();
        super::container(&matches, !is(&matches, "detach"), "bridge")
    }

    #[test]
    fn what_stands_behind_the_image_is_the_programs() {
        let request = parse("-it --rm -e A=1 --name x busybox sh -c --rm -- -x").unwrap();
        assert_eq!(request.image, "busybox");
        assert_eq!(request.command, ["sh", "-c", "--rm", "--", "-x"]);
        assert!(request.tty && request.interactive && request.remove && request.stdin_once);
        assert_eq!((request.env, request.name.as_deref()), (vec!["A=1".to_owned()], Some("x")));
        assert!(request.attach.stdin && request.attach.stdout && request.attach.stderr);
    }

    #[test]
    fn detached_attaches_nothing() {
        let request = parse("-di busybox").unwrap();
        assert!(!request.attach.any() && request.interactive && !request.stdin_once);
        let request = parse("-a stdout busybox").unwrap();
        assert!(request.attach.stdout && !request.attach.stderr && !request.attach.stdin);
    }

    #[test]
    fn limits_are_read_as_dockers() {
        let request =
            parse("-m 64m --memory-swap -1 --cpus 0.5 --pids-limit -1 --cpu-shares 0 busybox").unwrap();
        let limits = request.resources;
        assert_eq!((limits.memory, limits.memory_swap), (Some(64 << 20), Some(-1)));
        assert_eq!((limits.nano_cpus, limits.pids, limits.cpu_shares), (Some(500_000_000), Some(-1), None));
    }

    #[test]
    fn the_unbuilt_is_refused_by_name() {
        for (typed, word) in
            [("--log-opt mode=non-blocking busybox", "mode"), ("--isolation vm busybox", "virtual machines")]
        {
            let error = format!("{:?}", parse(typed).unwrap_err());
            assert!(error.contains(word), "{typed}: {error}");
        }
        assert!(parse("--cgroupns private busybox").is_ok());
    }

    #[test]
    fn entrypoints() {
        assert_eq!(parse("busybox").unwrap().entrypoint, None);
        assert_eq!(parse("--entrypoint= busybox").unwrap().entrypoint, Some(vec![]));
        assert_eq!(parse("--entrypoint sh busybox").unwrap().entrypoint, Some(vec!["sh".to_owned()]));
    }
}
