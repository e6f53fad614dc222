//! Limits and the device allow-list in OCI's terms. Nothing is written that was not asked for, but for the number of processes.

use onggi_oci as oci;

use super::Facts;
use crate::record::Record;
use crate::request::{BlockLimits, DeviceAmount, Limits};

/// Microseconds; the kernel's own default, in which `--cpus` is measured out.
pub(crate) const PERIOD: u64 = 100_000;

pub(crate) fn all(record: &Record, facts: &Facts) -> oci::Resources {
    let limits = &record.request.resources;
    oci::Resources {
        // Root of a user namespace can make no device, and may load no program for the kernel to ask.
        devices: (!facts.rootless).then(|| devices(record, facts)),
        memory: memory(limits, facts.swap_limit),
        cpu: cpu(limits),
        block_io: block_io(&limits.block, facts),
        pids: pids(record, facts),
        ..oci::Resources::default()
    }
}

/// The one limit that is set without being asked for, where the host can.
fn pids(record: &Record, facts: &Facts) -> Option<oci::Pids> {
    let asked_for = record.request.resources.pids.is_some_and(|limit| limit > 0);
    let limit = record.resolved.pids_limit;
    (asked_for || !facts.rootless || facts.pids_limit).then_some(oci::Pids { limit: Some(limit) })
}

/// Swap that was not spoken of is as much again as the memory (Docker's default), where the host can limit it at all.
fn memory(limits: &Limits, swap_limit: bool) -> Option<oci::Memory> {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let limit = limits.memory.filter(|bytes| *bytes != 0).map(signed);
    let swap = match (limits.memory_swap, limit) {
        (Some(swap), _) if swap != 0 => Some(swap),
        (_, Some(limit)) if swap_limit => Some(limit.saturating_mul(2)),
        _ => None,
    };
    let reservation = limits.memory_reservation.filter(|bytes| *bytes != 0).map(signed);
    let memory = oci::Memory {
        limit,
        swap,
        reservation,
        swappiness: limits.memory_swappiness,
        disable_oom_killer: limits.oom_kill_disable.then_some(true),
        ..oci::Memory::default()
    };
    (memory != oci::Memory::default()).then_some(memory)
}

fn cpu(limits: &Limits) -> Option<oci::Cpu> {
    let (quota, period) = match limits.nano_cpus.filter(|nano| *nano != 0) {
        Some(nano) => {
            let quota = u128::from(nano) * u128::from(PERIOD) / 1_000_000_000;
            (Some(i64::try_from(quota).unwrap_or(i64::MAX)), Some(PERIOD))
        }
        None => {
            (limits.cpu_quota.filter(|quota| *quota != 0), limits.cpu_period.filter(|period| *period != 0))
        }
    };
    let cpu = oci::Cpu {
        // What is out of the kernel's range is the nearest number within, as with Docker.
        shares: limits.cpu_shares.filter(|shares| *shares != 0).map(|shares| shares.clamp(2, 262_144)),
        quota,
        period,
        cpus: limits.cpuset_cpus.clone().filter(|set| !set.is_empty()),
        mems: limits.cpuset_mems.clone().filter(|set| !set.is_empty()),
        ..oci::Cpu::default()
    };
    (cpu != oci::Cpu::default()).then_some(cpu)
}

fn block_io(block: &BlockLimits, facts: &Facts) -> Option<oci::BlockIo> {
    // Whoever made the facts has looked up every device of the request.
    let number = |amount: &DeviceAmount| facts.block_devices.get(&amount.path).copied().unwrap_or_default();
    let throttles = |amounts: &[DeviceAmount]| {
        let throttle = |amount: &DeviceAmount| {
            let (major, minor) = number(amount);
            oci::ThrottleDevice { major, minor, rate: amount.amount }
        };
        amounts.iter().map(throttle).collect()
    };
    let weight = |amount: &DeviceAmount| {
        let (major, minor) = number(amount);
        oci::WeightDevice { major, minor, weight: u16::try_from(amount.amount).ok(), ..Default::default() }
    };
    (!block.is_empty()).then(|| oci::BlockIo {
        weight: block.weight,
        weight_device: block.weight_device.iter().map(weight).collect(),
        throttle_read_bps_device: throttles(&block.read_bps),
        throttle_write_bps_device: throttles(&block.write_bps),
        throttle_read_iops_device: throttles(&block.read_iops),
        throttle_write_iops_device: throttles(&block.write_iops),
        ..oci::BlockIo::default()
    })
}

/// Nothing but making nodes, and the harmless devices (Docker's list, and what runc adds to it for terminals).
fn devices(record: &Record, facts: &Facts) -> Vec<oci::DeviceRule> {
    let rule = |allow, kind: &str, major, minor, access: &str| oci::DeviceRule {
        allow,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    if record.request.privileged {
        return vec![rule(true, "a", None, None, "rwm")];
    }
    let mut rules = vec![
        rule(false, "a", None, None, "rwm"),
        rule(true, "c", None, None, "m"),
        rule(true, "b", None, None, "m"),
    ];
    // null, zero, full, random, urandom, tty, console, ptmx
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    // Terminals of devpts.
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    for (device, access) in &facts.asked_devices {
        rules.push(rule(true, &device.kind, Some(device.major), Some(device.minor), access));
    }
    for asked in &record.request.device_rules {
        rules.push(rule(true, &asked.kind, asked.major, asked.minor, &asked.access));
    }
    rules
}
