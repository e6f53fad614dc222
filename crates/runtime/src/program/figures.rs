//! Figures as runc's `events` writes them (its `types.Stats`): the same names in the same order, and left out where runc leaves them out. Pure.

use std::collections::BTreeMap;

use onggi_cgroup::{CPUSET, Counter, Details, DeviceIo, Operations, Pressure, Stats, Waits};
use serde_json::{Map, Value, json};

/// `details` has the limits beside what is used, `resctrl` is [`super::resctrl::figures`], `stats` the rest.
pub(crate) fn of(stats: &Stats, details: &Details, resctrl: Value) -> Value {
    json!({
        "cpu": cpu(stats, details),
        "cpuset": cpuset(&details.cpuset),
        "memory": memory(details),
        "pids": given([
            ("current", stats.pids.current.into()),
            ("limit", stats.pids.limit.unwrap_or(0).into()),
        ]),
        "blkio": with_pressure(
            given([
                (
                    "ioServiceBytesRecursive",
                    io(stats, &details.io_bytes, |device| [("Read", device.read_bytes), ("Write", device.write_bytes)]),
                ),
                (
                    "ioServicedRecursive",
                    io(stats, &details.io_counts, |device| [("Read", device.reads), ("Write", device.writes)]),
                ),
            ]),
            details.io_pressure,
        ),
        "hugetlb": details.huge_pages.iter().map(|(size, pages)| (size.clone(), huge_pages(pages))).collect::<Map<_, _>>(),
        "intel_rdt": resctrl,
        // Of interfaces that a network of runc's own would have made; there are none for bundles.
        "network_interfaces": null,
    })
}

/// Without those that are zero or empty.
fn given<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_there = |value: &Value| match value {
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Null => false,
        _ => true,
    };
    let fields = fields.into_iter().filter(|(_, value)| is_there(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn cpu(stats: &Stats, details: &Details) -> Value {
    let mut usage = given([
        ("total", stats.cpu.usage.into()),
        ("percpu", details.processors.clone().into()),
        ("percpu_kernel", details.processors_kernel.clone().into()),
        ("percpu_user", details.processors_user.clone().into()),
    ]);
    usage["kernel"] = stats.cpu.system.into();
    usage["user"] = stats.cpu.user.into();
    let throttling = given([
        ("periods", stats.cpu.periods.into()),
        ("throttledPeriods", stats.cpu.throttled_periods.into()),
        ("throttledTime", stats.cpu.throttled.into()),
    ]);
    with_pressure(given([("usage", usage), ("throttling", throttling)]), details.cpu_pressure)
}

fn cpuset(files: &BTreeMap<String, String>) -> Value {
    let number = |name: &str| files.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let list = |name: &str| files.get(name).map(|text| numbers(text)).unwrap_or_default();
    let mut set = given([]);
    for name in CPUSET {
        match name {
            "cpus" | "mems" if list(name).is_empty() => {}
            "cpus" | "mems" => set[name] = list(name).into(),
            _ => set[name] = number(name).into(),
        }
    }
    set
}

/// `0-2,5`, one by one.
fn numbers(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

fn memory(details: &Details) -> Value {
    let memory = given([
        ("cache", details.cache.into()),
        ("usage", counter(&details.memory)),
        ("swap", counter(&details.swap)),
        ("kernel", counter(&details.kernel)),
        ("kernelTCP", counter(&details.kernel_tcp)),
        (
            "raw",
            details
                .memory_stat
                .iter()
                .map(|(key, &value)| (key.clone(), value.into()))
                .collect::<Map<_, _>>()
                .into(),
        ),
    ]);
    with_pressure(memory, details.memory_pressure)
}

fn counter(counter: &Counter) -> Value {
    if *counter == Counter::default() {
        return Value::Null;
    }
    let mut entry = json!({ "limit": counter.limit });
    for (name, value) in [("usage", counter.usage), ("max", counter.peak)] {
        if value != 0 {
            entry[name] = value.into();
        }
    }
    entry["failcnt"] = counter.failures.into();
    entry
}

fn huge_pages(pages: &Counter) -> Value {
    let mut entry = given([("usage", pages.usage.into()), ("max", pages.peak.into())]);
    entry["failcnt"] = pages.failures.into();
    entry
}

/// Version 1 tells more kinds apart than version 2, and each is told.
fn io(stats: &Stats, kinds: &[Operations], of: fn(&DeviceIo) -> [(&'static str, u64); 2]) -> Value {
    let entry = |major: u32, minor: u32, op: &str, value: u64| {
        given([("major", major.into()), ("minor", minor.into()), ("op", op.into()), ("value", value.into())])
    };
    if !kinds.is_empty() {
        return kinds.iter().map(|each| entry(each.major, each.minor, &each.kind, each.value)).collect();
    }
    let of = |device: &DeviceIo| of(device).map(|(op, value)| entry(device.major, device.minor, op, value));
    stats.io.iter().flat_map(of).collect()
}

fn with_pressure(mut value: Value, pressure: Option<Pressure>) -> Value {
    let waits = |waits: Waits| json!({ "avg10": waits.in_10, "avg60": waits.in_60, "avg300": waits.in_300, "total": waits.total });
    if let Some(pressure) = pressure {
        value["psi"] = json!({ "some": waits(pressure.some), "full": waits(pressure.full) });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_runcs_names_in_its_order() {
        let mut stats = Stats::default();
        stats.cpu.usage = 30;
        stats.cpu.user = 20;
        stats.pids.current = 2;
        stats.io = vec![DeviceIo { major: 8, minor: 0, read_bytes: 4096, reads: 1, ..DeviceIo::default() }];
        let details = Details {
            processors: vec![10, 20],
            cpuset: BTreeMap::from([
                ("cpus".into(), "0-1,3".into()),
                ("sched_relax_domain_level".into(), "-1".into()),
            ]),
            memory: Counter { limit: 100, usage: 11, peak: 0, failures: 3 },
            memory_stat: BTreeMap::from([("cache".into(), 5)]),
            huge_pages: BTreeMap::from([("2MB".into(), Counter::default())]),
            cpu_pressure: Some(Pressure::default()),
            ..Details::default()
        };
        let psi = r#"{"avg10":0.0,"avg60":0.0,"avg300":0.0,"total":0}"#;
        let expected = [
            r#"{"cpu":{"usage":{"total":30,"percpu":[10,20],"kernel":0,"user":20},"#,
            &format!(r#""psi":{{"some":{psi},"full":{psi}}}}},"#),
            r#""cpuset":{"cpus":[0,1,3],"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"#,
            r#""memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":-1},"#,
            r#""memory":{"usage":{"limit":100,"usage":11,"failcnt":3},"raw":{"cache":5}},"pids":{"current":2},"#,
            r#""blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096},{"major":8,"op":"Write"}],"#,
            r#""ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write"}]},"#,
            r#""hugetlb":{"2MB":{"failcnt":0}},"intel_rdt":{},"network_interfaces":null}"#,
        ];
        assert_eq!(of(&stats, &details, json!({})).to_string(), expected.concat());
        let total = Operations { major: 8, minor: 0, kind: "Total".into(), value: 7 };
        let details = Details { io_bytes: vec![total], ..details };
        let bytes = &of(&stats, &details, json!({}))["blkio"]["ioServiceBytesRecursive"];
        assert_eq!(*bytes, json!([{ "major": 8, "op": "Total", "value": 7 }]));
    }
}
