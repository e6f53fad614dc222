//! What a group has used: the same figures from both versions.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::directory;

mod details;

pub use details::{CPUSET, Counter, Details, Operations, Pressure, Waits};

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    /// By device, in the order of their numbers.
    pub io: Vec<DeviceIo>,
}

/// Nanoseconds and counts since the group was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    pub usage: u64,
    pub user: u64,
    pub system: u64,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: u64,
}

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// With the page cache.
    pub usage: u64,
    /// `None`: no limit.
    pub limit: Option<u64>,
    /// The most that was used at once, where the kernel says it (v2: Linux 5.19).
    pub peak: Option<u64>,
    /// Page cache that could be dropped; Docker and Podman show usage without it.
    pub inactive_file: u64,
    pub swap: Option<u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    pub current: u64,
    /// `None`: no limit.
    pub limit: Option<u64>,
}

/// What went to and from one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceIo {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// v1 says "no limit" as the largest number of whole pages.
const V1_NO_LIMIT: u64 = 0x7fff_ffff_ffff_0000;
/// v1's cpuacct.stat counts in the clock ticks that the kernel shows to programs, always 100 a second.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

impl Stats {
    pub(crate) fn read_v2(group: Option<&OwnedFd>) -> io::Result<Stats> {
        let Some(group) = group else { return Ok(Stats::default()) };
        let cpu = keyed(group, "cpu.stat")?;
        let micro = |key: &str| cpu.get(key).copied().unwrap_or(0);
        let memory = keyed(group, "memory.stat")?;
        Ok(Stats {
            cpu: CpuStats {
                usage: micro("usage_usec") * 1000,
                user: micro("user_usec") * 1000,
                system: micro("system_usec") * 1000,
                periods: micro("nr_periods"),
                throttled_periods: micro("nr_throttled"),
                throttled: micro("throttled_usec") * 1000,
            },
            memory: MemoryStats {
                usage: number(group, "memory.current")?.unwrap_or(0),
                limit: number(group, "memory.max")?,
                peak: number(group, "memory.peak")?,
                inactive_file: memory.get("inactive_file").copied().unwrap_or(0),
                swap: number(group, "memory.swap.current")?,
            },
            pids: PidsStats { current: processes_v2(group)?, limit: number(group, "pids.max")? },
            io: read(group, "io.stat")?.map(|text| io_v2(&text)).unwrap_or_default(),
        })
    }

    /// `directory` finds the group in the hierarchy of a controller.
    pub(crate) fn read_v1<'a>(directory: impl Fn(&str) -> Option<&'a OwnedFd>) -> io::Result<Stats> {
        let mut stats = Stats::default();
        if let Some(group) = directory("cpuacct") {
            let ticks = keyed(group, "cpuacct.stat")?;
            stats.cpu.usage = number(group, "cpuacct.usage")?.unwrap_or(0);
            stats.cpu.user = ticks.get("user").copied().unwrap_or(0) * NANOSECONDS_PER_TICK;
            stats.cpu.system = ticks.get("system").copied().unwrap_or(0) * NANOSECONDS_PER_TICK;
        }
        if let Some(group) = directory("cpu") {
            let cpu = keyed(group, "cpu.stat")?;
            let of = |key: &str| cpu.get(key).copied().unwrap_or(0);
            (stats.cpu.periods, stats.cpu.throttled_periods) = (of("nr_periods"), of("nr_throttled"));
            stats.cpu.throttled = of("throttled_time");
        }
        if let Some(group) = directory("memory") {
            let memory = keyed(group, "memory.stat")?;
            let of = |key: &str| memory.get(key).copied();
            stats.memory = MemoryStats {
                usage: number(group, "memory.usage_in_bytes")?.unwrap_or(0),
                limit: number(group, "memory.limit_in_bytes")?.filter(|&limit| limit < V1_NO_LIMIT),
                peak: number(group, "memory.max_usage_in_bytes")?,
                inactive_file: of("total_inactive_file").unwrap_or(0),
                swap: of("total_swap"),
            };
        }
        if let Some(group) = directory("pids") {
            stats.pids.current = number(group, "pids.current")?.unwrap_or(0);
            stats.pids.limit = number(group, "pids.max")?;
        }
        if let Some(group) = directory("blkio") {
            let bytes = read(group, "blkio.throttle.io_service_bytes")?.unwrap_or_default();
            let counts = read(group, "blkio.throttle.io_serviced")?.unwrap_or_default();
            stats.io = io_v1(&bytes, &counts);
        }
        Ok(stats)
    }
}

/// `None` if there is no such file: the controller or the kernel's option is missing.
fn read(group: &OwnedFd, file: &str) -> io::Result<Option<String>> {
    match directory::read(group, file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // What the kernel lists but does not keep: v2's memory.peak beneath a threaded group, say.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Without the controller those of the group itself are counted, as runc does: there is a number in any case.
fn processes_v2(group: &OwnedFd) -> io::Result<u64> {
    if let Some(current) = number(group, "pids.current")? {
        return Ok(current);
    }
    let list = match read(group, "cgroup.procs")? {
        Some(list) => list,
        // A threaded group has only threads.
        None => read(group, "cgroup.threads")?.unwrap_or_default(),
    };
    Ok(list.lines().count() as u64)
}

/// A file of one number; `max` is `None`.
fn number(group: &OwnedFd, file: &str) -> io::Result<Option<u64>> {
    Ok(read(group, file)?.and_then(|text| text.trim().parse().ok()))
}

/// The same with `max` as the largest number.
fn number_or_max(group: &OwnedFd, file: &str) -> io::Result<Option<u64>> {
    let value = |text: String| match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    };
    Ok(read(group, file)?.and_then(value))
}

/// A file of `key number` lines, empty if there is none.
fn keyed(group: &OwnedFd, file: &str) -> io::Result<BTreeMap<String, u64>> {
    Ok(read(group, file)?.map(|text| pairs(&text)).unwrap_or_default())
}

fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`
fn io_v2(text: &str) -> Vec<DeviceIo> {
    let mut devices = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let mut io = DeviceIo { major, minor, ..DeviceIo::default() };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.write_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
        devices.insert((major, minor), io);
    }
    devices.into_values().collect()
}

/// `8:0 Read 4096`, one line for each kind.
fn io_v1(bytes: &str, counts: &str) -> Vec<DeviceIo> {
    let mut devices: BTreeMap<(u32, u32), DeviceIo> = BTreeMap::new();
    for (text, is_bytes) in [(bytes, true), (counts, false)] {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(number), Some(kind), Some(value)) =
                (words.next().and_then(device), words.next(), words.next())
            else {
                continue;
            };
            let io = devices.entry(number).or_insert(DeviceIo {
                major: number.0,
                minor: number.1,
                ..DeviceIo::default()
            });
            let value = value.parse().unwrap_or(0);
            match (kind, is_bytes) {
                ("Read", true) => io.read_bytes = value,
                ("Write", true) => io.write_bytes = value,
                ("Read", false) => io.reads = value,
                ("Write", false) => io.writes = value,
                _ => {}
            }
        }
    }
    devices.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_disk_figures_read_the_same() {
        let expected =
            vec![DeviceIo { major: 8, minor: 0, read_bytes: 4096, write_bytes: 512, reads: 2, writes: 1 }];
        assert_eq!(io_v2("8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\nbad\n"), expected);
        let bytes = "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 9\n8:0 Total 4608\nTotal 4608\n";
        assert_eq!(io_v1(bytes, "8:0 Read 2\n8:0 Write 1\nTotal 3\n"), expected);
    }

    #[test]
    fn processes_are_counted_where_nobody_has_counted_them() {
        let tree = tempfile::tempdir().unwrap();
        let group = directory::open_root(tree.path()).unwrap();
        assert_eq!(processes_v2(&group).unwrap(), 0);
        for (file, text, expected) in
            [("cgroup.threads", "7\n8\n9\n", 3), ("cgroup.procs", "7\n9\n", 2), ("pids.current", "5\n", 5)]
        {
            std::fs::write(tree.path().join(file), text).unwrap();
            assert_eq!(processes_v2(&group).unwrap(), expected, "{file}");
        }
    }

    #[test]
    fn keys_and_numbers() {
        let expected = BTreeMap::from([("usage_usec".into(), 12), ("system_usec".into(), 3)]);
        assert_eq!(pairs("usage_usec 12\nnonsense\nuser_usec x\nsystem_usec 3\n"), expected);
    }
}
