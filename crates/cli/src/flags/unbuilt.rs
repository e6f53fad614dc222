//! Docker's flags for `run` and `create` that Onggi does not have yet.
//!
//! Each is known by name, so that it is refused with its reason and not as a misspelling. A flag leaves
//! this list when it is built. A test holds this list and the built flags against Docker's 102.

use clap::{Arg, ArgAction, ArgMatches};

use crate::error::CliError;

/// A flag that is only refused.
pub(crate) struct Unbuilt {
    name: &'static str,
    short: Option<char>,
    takes_value: bool,
    /// The one value that says what holds anyway.
    harmless: Option<&'static str>,
    reason: &'static str,
}

const REAL_TIME: &str = "real-time scheduling is not built yet; use --cpus or --cpu-shares";
const WINDOWS: &str = "it exists on Windows only";

const fn valued(name: &'static str, reason: &'static str) -> Unbuilt {
    Unbuilt { name, short: None, takes_value: true, harmless: None, reason }
}

const fn plain(name: &'static str, reason: &'static str) -> Unbuilt {
    Unbuilt { name, short: None, takes_value: false, harmless: None, reason }
}

/// In the order of the alphabet.
pub(crate) const FLAGS: &[Unbuilt] = &[
    valued("cpu-count", WINDOWS),
    valued("cpu-percent", WINDOWS),
    valued("cpu-rt-period", REAL_TIME),
    valued("cpu-rt-runtime", REAL_TIME),
    Unbuilt {
        harmless: Some("true"),
        ..plain("disable-content-trust", "signatures of Docker Content Trust are not checked")
    },
    valued("gpus", "graphics processors are not passed on yet"),
    valued("io-maxbandwidth", WINDOWS),
    valued("io-maxiops", WINDOWS),
    valued("kernel-memory", "the kernel no longer has this limit (since Linux 5.16); use --memory"),
    valued(
        "link",
        "containers of one network find each other by name: `onggi network create`, --network, --network-alias",
    ),
    valued("link-local-ip", "addresses of the link are the kernel's"),
    Unbuilt { harmless: Some("onggi"), ..valued("runtime", "there is one runtime, Onggi's own") },
    valued("storage-opt", "quotas on the writable layer are not built yet"),
    plain("use-api-socket", "there is no API socket yet"),
    Unbuilt {
        harmless: Some("host"),
        ..valued(
            "userns",
            "user namespaces are not built yet; a container's root is the host's, with fewer rights",
        )
    },
    Unbuilt { harmless: Some("local"), ..valued("volume-driver", "there is one kind of volume, local") },
];

/// The flags as hidden ones.
pub(crate) fn args() -> impl Iterator<Item = Arg> {
    FLAGS.iter().map(|flag| {
        let arg = Arg::new(flag.name).long(flag.name).hide(true);
        let arg = if flag.takes_value {
            arg.action(ArgAction::Append).allow_hyphen_values(true)
        } else {
            arg.action(ArgAction::Append).num_args(0..=1).require_equals(true).default_missing_value("true")
        };
        match flag.short {
            Some(letter) => arg.short(letter),
            None => arg,
        }
    })
}

/// Refuses the first of them that was given.
pub(crate) fn refuse(matches: &ArgMatches) -> Result<(), CliError> {
    for flag in FLAGS {
        for value in matches.get_many::<String>(flag.name).unwrap_or_default() {
            if flag.harmless != Some(value.as_str()) {
                return Err(CliError::unsupported(format!("--{}: {}", flag.name, flag.reason)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::flags::container;

    /// docker 29.7, `docs/reference/commandline/container_run.md`, with the hidden aliases of opts.go.
    const DOCKER: &str = "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile \
        cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach \
        detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops \
        disable-content-trust dns dns-opt dns-option dns-search domainname entrypoint env env-file expose gpus group-add health-cmd \
        health-interval health-retries health-start-interval health-start-period health-timeout hostname init interactive \
        io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label label-file link link-local-ip log-driver log-opt \
        mac-address memory memory-reservation memory-swap memory-swappiness mount name net net-alias network network-alias \
        no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet read-only \
        restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit \
        use-api-socket user userns uts volume volume-driver volumes-from workdir";

    #[test]
    fn every_flag_of_docker_run_is_known() {
        let tree = container::run_flags();
        let mut known: Vec<String> = Vec::new();
        for arg in tree.get_arguments() {
            known.extend(arg.get_long().map(str::to_owned));
            known.extend(arg.get_all_aliases().unwrap_or_default().iter().map(|a| (*a).to_owned()));
        }
        for name in DOCKER.split_whitespace() {
            assert!(known.iter().any(|k| k == name), "--{name} is unknown");
        }
        for flag in super::FLAGS {
            assert!(
                DOCKER.split_whitespace().any(|name| name == flag.name),
                "--{} is not Docker's",
                flag.name
            );
        }
    }
}
