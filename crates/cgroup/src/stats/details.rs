//! What only few readers of figures ask for: of each processor, of huge pages, of pressure, and the limits beside what is used.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use super::{device, keyed, number_or_max, read};

/// One reading. What the host does not have is zero, empty or `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// Nanoseconds of each processor, by its number (v1 only); with the kernel's and the programs' parts.
    pub processors: Vec<u64>,
    pub processors_kernel: Vec<u64>,
    pub processors_user: Vec<u64>,
    /// v1's files of the cpuset, by the names behind `cpuset.`: `cpus`, `mems`, `cpu_exclusive`, …
    pub cpuset: BTreeMap<String, String>,
    /// v1's `blkio.throttle.io_service_bytes` and `io_serviced`, each kind of operation as the kernel names it.
    pub io_bytes: Vec<Operations>,
    pub io_counts: Vec<Operations>,
    /// Bytes of files.
    pub cache: u64,
    pub memory: Counter,
    /// Memory and swap together.
    pub swap: Counter,
    /// v1 only.
    pub kernel: Counter,
    /// v1 only.
    pub kernel_tcp: Counter,
    /// `memory.stat`, as the kernel has it.
    pub memory_stat: BTreeMap<String, u64>,
    /// By the size of the pages, as in `2MB`.
    pub huge_pages: BTreeMap<String, Counter>,
    /// v2 only.
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
}

/// Of one device and one kind: `Read`, `Write`, `Sync`, `Async`, `Discard`, or `Total`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operations {
    pub major: u32,
    pub minor: u32,
    pub kind: String,
    pub value: u64,
}

/// `8:0 Read 4096`, one line for each; the last, which is of all devices, has no device.
fn operations(text: &str) -> Vec<Operations> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = device(words.next()?)?;
        let (kind, value) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Operations { major, minor, kind, value })
    };
    text.lines().filter_map(line).collect()
}

/// Bytes, and how often the limit was met. Without a limit it is the largest number there is, on v1 the largest whole page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    pub limit: u64,
    pub usage: u64,
    pub peak: u64,
    pub failures: u64,
}

/// For how much of the time some processes, or all of them, waited (`Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    pub some: Waits,
    pub full: Waits,
}

/// Percent of the last 10, 60 and 300 seconds; microseconds since the group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Waits {
    pub in_10: f64,
    pub in_60: f64,
    pub in_300: f64,
    pub total: u64,
}

/// v1's files of the cpuset that are figures, in the order in which runc has them.
pub const CPUSET: [&str; 11] = [
    "cpus",
    "cpu_exclusive",
    "mems",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];

impl Details {
    pub(crate) fn read_v2(group: Option<&OwnedFd>) -> io::Result<Details> {
        let Some(group) = group else { return Ok(Details::default()) };
        let counter = |name: &str| counter(group, name, ["current", "max", "peak", ""]);
        let memory_stat = keyed(group, "memory.stat")?;
        let memory = counter("memory")?;
        let mut swap = counter("memory.swap")?;
        // As on v1, where both are one figure; of its highest value nothing is known then.
        swap.usage += memory.usage;
        swap.limit = if swap.limit == u64::MAX { u64::MAX } else { swap.limit.saturating_add(memory.limit) };
        swap.peak = 0;
        let mut huge_pages = BTreeMap::new();
        for size in huge_page_sizes() {
            let current = |kind: &str| number_or_max(group, &format!("hugetlb.{size}{kind}.current"));
            let Some(usage) = current(".rsvd")?.or(current("")?) else { continue };
            let events = keyed(group, &format!("hugetlb.{size}.events"))?;
            let failures = events.get("max").copied().unwrap_or(0);
            huge_pages.insert(size, Counter { usage, failures, ..Counter::default() });
        }
        let pressure = |file: &str| Ok::<_, io::Error>(read(group, file)?.as_deref().map(pressure));
        Ok(Details {
            cache: memory_stat.get("file").copied().unwrap_or(0),
            memory,
            swap,
            memory_stat,
            huge_pages,
            cpu_pressure: pressure("cpu.pressure")?,
            memory_pressure: pressure("memory.pressure")?,
            io_pressure: pressure("io.pressure")?,
            ..Details::default()
        })
    }

    /// `directory` finds the group in the hierarchy of a controller.
    pub(crate) fn read_v1<'a>(directory: impl Fn(&str) -> Option<&'a OwnedFd>) -> io::Result<Details> {
        const FILES: [&str; 4] = ["usage_in_bytes", "limit_in_bytes", "max_usage_in_bytes", "failcnt"];
        let mut details = Details::default();
        if let Some(group) = directory("cpuacct") {
            let each = read(group, "cpuacct.usage_percpu")?.unwrap_or_default();
            details.processors = each.split_whitespace().filter_map(|text| text.parse().ok()).collect();
            let modes = read(group, "cpuacct.usage_all")?.unwrap_or_default();
            (details.processors_user, details.processors_kernel) = modes_of(&modes);
        }
        if let Some(group) = directory("cpuset") {
            for name in CPUSET {
                if let Some(text) = read(group, &format!("cpuset.{name}"))? {
                    details.cpuset.insert(name.to_owned(), text.trim().to_owned());
                }
            }
        }
        if let Some(group) = directory("blkio") {
            let of = |file: &str| Ok::<_, io::Error>(operations(&read(group, file)?.unwrap_or_default()));
            details.io_bytes = of("blkio.throttle.io_service_bytes")?;
            details.io_counts = of("blkio.throttle.io_serviced")?;
        }
        if let Some(group) = directory("memory") {
            let counter = |name: &str| counter(group, name, FILES);
            details.memory_stat = keyed(group, "memory.stat")?;
            details.cache = details.memory_stat.get("cache").copied().unwrap_or(0);
            details.memory = counter("memory")?;
            details.swap = counter("memory.memsw")?;
            details.kernel = counter("memory.kmem")?;
            details.kernel_tcp = counter("memory.kmem.tcp")?;
        }
        if let Some(group) = directory("hugetlb") {
            for size in huge_page_sizes() {
                let reserved = counter(group, &format!("hugetlb.{size}.rsvd"), FILES)?;
                let used = counter(group, &format!("hugetlb.{size}"), FILES)?;
                details.huge_pages.insert(size, if reserved == Counter::default() { used } else { reserved });
            }
        }
        Ok(details)
    }
}

/// `name.usage`, `name.limit`, `name.peak`, `name.failures`, by the names that a version has for them.
fn counter(group: &OwnedFd, name: &str, files: [&str; 4]) -> io::Result<Counter> {
    let of = |file: &str| match file {
        "" => Ok(0),
        file => Ok::<_, io::Error>(number_or_max(group, &format!("{name}.{file}"))?.unwrap_or(0)),
    };
    let [usage, limit, peak, failures] = files;
    Ok(Counter { usage: of(usage)?, limit: of(limit)?, peak: of(peak)?, failures: of(failures)? })
}

/// `cpu user system`, then a line for each.
fn modes_of(text: &str) -> (Vec<u64>, Vec<u64>) {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().skip(1).map(str::parse::<u64>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    text.lines().skip(1).filter_map(line).unzip()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let waits = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => waits.in_10 = value.parse().unwrap_or(0.0),
                "avg60" => waits.in_60 = value.parse().unwrap_or(0.0),
                "avg300" => waits.in_300 = value.parse().unwrap_or(0.0),
                "total" => waits.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    pressure
}

/// The sizes that this machine has, as they are in the names of files: `2MB`, `1GB`.
fn huge_page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
    let mut sizes: Vec<String> = names.filter_map(|name| size_of(&name)).collect();
    sizes.sort();
    sizes
}

/// `hugepages-2048kB`.
fn size_of(name: &str) -> Option<String> {
    let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        number if number >= 1 << 20 => format!("{}GB", number >> 20),
        number if number >= 1 << 10 => format!("{}MB", number >> 10),
        number => format!("{number}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::pairs;
    use super::*;

    #[test]
    fn pages_of_each_size_have_a_name() {
        for (name, size) in [
            ("hugepages-64kB", Some("64KB")),
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("hugepages-x", None),
        ] {
            assert_eq!(size_of(name).as_deref(), size, "{name}");
        }
    }

    #[test]
    fn waits_are_read() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=3\n";
        let some = Waits { in_10: 1.5, in_60: 0.25, in_300: 0.0, total: 12 };
        let full = Waits { in_10: 0.1, in_60: 0.0, in_300: 0.0, total: 3 };
        assert_eq!(pressure(text), Pressure { some, full });
    }

    #[test]
    fn processors_have_two_modes() {
        assert_eq!(modes_of("cpu user system\n0 12 3\n1 4 0\n"), (vec![12, 4], vec![3, 0]));
    }

    #[test]
    fn both_versions_files_give_the_same_figures() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("memory.stat", "file 5\nanon 6\n");
        write("memory.current", "11\n");
        write("memory.max", "100\n");
        write("memory.peak", "20\n");
        write("memory.swap.current", "1\n");
        write("memory.swap.max", "max\n");
        let group = std::fs::File::open(directory.path()).unwrap().into();
        let details = Details::read_v2(Some(&group)).unwrap();
        assert_eq!(details.memory, Counter { limit: 100, usage: 11, peak: 20, failures: 0 });
        assert_eq!(details.swap, Counter { limit: u64::MAX, usage: 12, peak: 0, failures: 0 });
        assert_eq!(
            (details.cache, details.memory_stat, details.cpu_pressure),
            (5, pairs("file 5\nanon 6\n"), None)
        );

        write("memory.stat", "cache 5\n");
        write("memory.usage_in_bytes", "11\n");
        write("memory.limit_in_bytes", "100\n");
        write("memory.max_usage_in_bytes", "20\n");
        write("memory.failcnt", "3\n");
        write("cpuacct.usage_percpu", "7 8 \n");
        write("cpuset.cpus", "0-1\n");
        let details = Details::read_v1(|_| Some(&group)).unwrap();
        assert_eq!(details.memory, Counter { limit: 100, usage: 11, peak: 20, failures: 3 });
        assert_eq!((details.cache, details.processors), (5, vec![7, 8]));
        assert_eq!(details.cpuset["cpus"], "0-1");
    }
}
