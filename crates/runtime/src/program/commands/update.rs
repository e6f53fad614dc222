//! `update`: changes limits of a container.

use std::io::Read;

use onggi_oci as oci;

use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::status::{self, Status};
use super::super::{Context, bundle, prepare, resctrl, resources};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "update",
    usage: "<container-id>",
    about: "update container resource constraints",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::with("resources", "FILE", "limits as JSON; - is standard input").short("r"),
    Flag::with("blkio-weight", "N", "10 to 1000").number(),
    Flag::with("cpu-period", "MICROSECONDS", "the length of a period"),
    Flag::with("cpu-quota", "MICROSECONDS", "processor time in each period"),
    Flag::with("cpu-burst", "MICROSECONDS", "unused time that may be saved up"),
    Flag::with("cpu-share", "N", "part of the processors, relative to others"),
    Flag::with("cpu-rt-period", "MICROSECONDS", "the length of a period for real-time"),
    Flag::with("cpu-rt-runtime", "MICROSECONDS", "real-time in each period"),
    Flag::with("cpuset-cpus", "LIST", "processors to use"),
    Flag::with("cpuset-mems", "LIST", "memory nodes to use"),
    Flag::with("memory", "SIZE", "bytes, or with a unit as in 50M"),
    Flag::with("memory-reservation", "SIZE", "memory to leave it when the machine runs short"),
    Flag::with("memory-swap", "SIZE", "memory and swap together; -1 is no limit"),
    Flag::with("kernel-memory", "SIZE", "ignored with a warning, as the kernel does"),
    Flag::with("kernel-memory-tcp", "SIZE", "ignored with a warning, as the kernel does"),
    Flag::with("cpu-idle", "0|1", "1: only when nobody else wants the processor"),
    Flag::with("pids-limit", "N", "how many processes and threads").number(),
    Flag::with("l3-cache-schema", "TEXT", "which parts of the cache, of a container with Intel RDT"),
    Flag::with("mem-bw-schema", "TEXT", "how much memory bandwidth, of a container with Intel RDT"),
];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let given = |name: &str| flags.value(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let shares = oci::IntelRdt {
        l3_cache_schema: given("l3-cache-schema"),
        mem_bw_schema: given("mem-bw-schema"),
        ..oci::IntelRdt::default()
    };
    let locked = context.store.lock(&flags.positional[0])?;
    let mut record = locked.directory.read()?;
    if status::of(&locked.directory, &record) == Status::Stopped {
        return Err(Error::NotRunning);
    }
    if shares != oci::IntelRdt::default() {
        resctrl::update(record.resctrl.as_ref(), &shares)?;
    }
    let mut resources = match flags.value("resources").filter(|path| !path.is_empty()) {
        Some(path) => read(path)?,
        None => of(flags)?,
    };
    // runc never changes the devices of a living container, and engines send the list along with the limits.
    resources.devices = None;
    if prepare::forget_kernel_memory(resources.memory.get_or_insert_default()) {
        context.log.warn(prepare::KERNEL_MEMORY);
    }
    let before = record.limits.clone();
    let mut resources = resources::merge(&mut record.limits, &resources);
    let cgroup = record.own_cgroup()?;
    if let Some(systemd) = &record.systemd {
        // Before systemd writes it.
        cgroup.check_usage(&resources).map_err(Error::Cgroup)?;
        let v2 = matches!(record.cgroup.layout, onggi_cgroup::Layout::V2 { .. });
        systemd.update(&mut resources, v2, &context.log)?;
    }
    cgroup.update(&resources).map_err(Error::Cgroup)?;
    if record.limits != before {
        locked.write(&record)?;
    }
    Ok(0)
}

fn read(path: &str) -> Result<oci::Resources, Error> {
    let mut bytes = Vec::new();
    let outcome = if path == "-" {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    outcome.map_err(|error| Error::io(format!("open {path}"), error))?;
    bundle::parse(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}

fn of(flags: &Parsed) -> Result<oci::Resources, Error> {
    let text = |name: &str| flags.value(name).filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(oci::Resources {
        cpu: Some(oci::Cpu {
            shares: number(flags, "cpu-share")?,
            quota: number(flags, "cpu-quota")?,
            burst: number(flags, "cpu-burst")?,
            period: number(flags, "cpu-period")?,
            realtime_runtime: number(flags, "cpu-rt-runtime")?,
            realtime_period: number(flags, "cpu-rt-period")?,
            cpus: text("cpuset-cpus"),
            mems: text("cpuset-mems"),
            idle: number(flags, "cpu-idle")?,
        }),
        memory: Some(oci::Memory {
            limit: size(flags, "memory")?,
            reservation: size(flags, "memory-reservation")?,
            swap: size(flags, "memory-swap")?,
            kernel: size(flags, "kernel-memory")?,
            kernel_tcp: size(flags, "kernel-memory-tcp")?,
            ..oci::Memory::default()
        }),
        pids: Some(oci::Pids { limit: number(flags, "pids-limit")? }),
        block_io: Some(oci::BlockIo { weight: number(flags, "blkio-weight")?, ..oci::BlockIo::default() }),
        ..oci::Resources::default()
    })
}

fn number<T: std::str::FromStr>(flags: &Parsed, name: &str) -> Result<Option<T>, Error> {
    let Some(text) = flags.value(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::usage(format!("invalid value for {name}: {text:?}")))
}

/// Bytes: powers of 1024 by their letters, as Go's `units.RAMInBytes`.
fn size(flags: &Parsed, name: &str) -> Result<Option<i64>, Error> {
    let Some(text) = flags.value(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    bytes(text).map(Some).ok_or_else(|| Error::usage(format!("invalid value for {name}: {text:?}")))
}

fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match lower.chars().last()? {
        'k' => (&lower[..lower.len() - 1], 10),
        'm' => (&lower[..lower.len() - 1], 20),
        'g' => (&lower[..lower.len() - 1], 30),
        't' => (&lower[..lower.len() - 1], 40),
        'p' => (&lower[..lower.len() - 1], 50),
        _ => (lower, 0),
    };
    let number: i64 = digits.trim().parse().ok().filter(|&number| number >= 0)?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("33554432", Some(32 << 20)),
            ("50M", Some(50 << 20)),
            ("1gb", Some(1 << 30)),
            ("2KiB", Some(2048)),
            ("-2", None),
            ("M", None),
            ("1x", None),
            ("9999999999P", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
