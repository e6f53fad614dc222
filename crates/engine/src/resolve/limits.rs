//! What a container may use of the host, and the cgroup that holds it to that: Docker's ranges, in its sentences.

use onggi_settings::Settings;

use super::invalid;
use crate::error::Error;
use crate::id::ContainerId;
use crate::request::{Limits, RunRequest};

/// `MAX_BW` of the kernel's `kernel/sched/sched.h`, microseconds.
const LARGEST_QUOTA: i64 = (1 << 44) - 1;
/// `PID_MAX_LIMIT` of `linux/threads.h`, on 64 bits.
const MOST_PIDS: i64 = 4 << 20;

/// Processor time, processes, memory and block devices, for a host with so many processors.
///
/// # Errors
/// A value that is outside its range, or that another value contradicts.
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
    if limits.cpu_quota.is_some_and(|quota| quota > LARGEST_QUOTA) {
        return Err(invalid(format!(
            "CPU cfs quota can not be larger than {LARGEST_QUOTA} (in microseconds, the kernel's largest): -1 is no limit"
        )));
    }
    if limits.pids.is_some_and(|pids| pids > MOST_PIDS) {
        return Err(invalid(format!(
            "PIDs limit can not be larger than {MOST_PIDS} (the kernel's largest): -1 is no limit"
        )));
    }
    Ok(())
}

/// The kernel would say "No space left on device" for an empty set, and "Numerical result out of range" for a processor that is not there.
///
/// # Errors
/// A set that is not written as one, or names a processor or memory node that is not among those given.
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

/// How willingly the kernel ends it when memory runs out: -1000 (never) to 1000 (first).
pub(super) fn check_oom_score(request: &RunRequest) -> Result<(), Error> {
    if request.oom_score_adj.is_some_and(|value| !(-1000..=1000).contains(&value)) {
        return Err(invalid("Invalid value for oom score adj, range for oom score adj is [-1000, 1000]"));
    }
    Ok(())
}

/// How many processes and threads; -1 for any number.
pub(super) fn pids(request: &RunRequest, settings: &Settings) -> i64 {
    match request.resources.pids.unwrap_or(settings.pids_limit) {
        // Docker takes 0 for "no limit" too.
        0 => -1,
        limit => limit,
    }
}

/// The one asked for. As in Docker, an empty one is none.
pub(crate) fn cgroup_parent(request: &RunRequest) -> Option<&str> {
    request.cgroup_parent.as_deref().filter(|parent| !parent.is_empty())
}

/// The path of its cgroup, from the root of the hierarchy.
///
/// # Errors
/// A parent that is the root itself or leads out of it, or that systemd would have to make.
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

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

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
    fn what_is_out_of_range_is_refused() {
        let limits = |resources| RunRequest { resources, ..RunRequest::default() };
        samples::refused(&[
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
                limits(Limits { cpu_quota: Some(i64::MAX), ..Limits::default() }),
                "CPU cfs quota can not be larger than 17592186044415",
            ),
            (
                limits(Limits { pids: Some(99_999_999_999), ..Limits::default() }),
                "PIDs limit can not be larger than 4194304",
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
                RunRequest { cgroup_parent: Some("/a/../b".into()), ..RunRequest::default() },
                "invalid cgroup parent",
            ),
            (
                RunRequest { cgroup_parent: Some("/".into()), ..RunRequest::default() },
                "invalid cgroup parent",
            ),
            (
                RunRequest { cgroup_parent: Some("a.slice".into()), ..RunRequest::default() },
                "is not built yet",
            ),
            (RunRequest { oom_score_adj: Some(2000), ..RunRequest::default() }, "range for oom score adj"),
        ]);
    }
}
