//! What systemd is told of a container: properties of its unit, by runc's rules (systemd.resource-control(5)). Pure.
//!
//! The same limits are afterwards written into the cgroup's own files: systemd knows fewer than the kernel. It has to be told all the same,
//! or it would write its own idea of them over ours at the next `daemon-reload`.

use onggi_cgroup::{DeviceKind, Rule};
use onggi_oci as oci;

use crate::value::Value;
use crate::{Error, Unit, text};

/// A name and a value.
pub type Property = (String, Value);

/// Limits as systemd takes them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Planned {
    pub properties: Vec<Property>,
    /// systemd counts in hundredths of a processor. A quota that is none is rounded up, and this has to be written into the cgroup, or the
    /// two would contradict each other.
    pub quota: Option<i64>,
    /// What could not be said as it was meant.
    pub warnings: Vec<String>,
}

/// systemd's word for "no limit".
const INFINITY: u64 = u64::MAX;
/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;
const SECOND: u64 = 1_000_000;
/// One hundredth of a processor, in microseconds a second.
const PERCENT: u64 = 10_000;

// The versions of systemd that brought a property.
const HAS_DEVICE_NUMBERS: u32 = 240;
const HAS_PERIOD: u32 = 242;
const HAS_CPUSET: u32 = 244;
const HAS_IDLE: u32 = 252;

fn property(name: &str, value: impl Into<Value>) -> Property {
    (name.to_owned(), value.into())
}

/// With what a unit is started. `keeper` is the process that it begins with; a slice has none.
#[must_use]
pub fn start(unit: &Unit, id: &str, v2: bool, keeper: Option<u32>) -> Vec<Property> {
    let mut properties = vec![property("Description", format!("container {id}").as_str())];
    if unit.is_slice() {
        properties.push(property("Wants", Value::strings(&[&unit.slice])));
    } else {
        properties.push(property("Slice", unit.slice.as_str()));
        // Whatever is in the cgroup is the container's.
        properties.push(property("Delegate", true));
        if let Some(pid) = keeper {
            properties.push(property("PIDs", Value::Array("u".into(), vec![Value::Uint32(pid)])));
        }
    }
    let disks = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for accounting in ["MemoryAccounting", "CPUAccounting", disks, "TasksAccounting"] {
        properties.push(property(accounting, true));
    }
    properties.push(property("DefaultDependencies", false));
    properties
}

/// Annotations `org.systemd.property.NAME`: any property, its value in GVariant's text form.
///
/// # Errors
/// [`Error::BadAnnotation`].
pub fn annotated<'a>(
    annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<Property>, Error> {
    let mut properties = Vec::new();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
        let bad = |reason: String| Error::BadAnnotation { key: key.clone(), value: value.clone(), reason };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(bad("the name is not made of letters".into()));
        }
        let value = text::parse(value).map_err(bad)?;
        // Documented as TimeoutStopSec, known to the bus as TimeoutStopUSec.
        let is_word = |stem: &&str| stem.ends_with(|c: char| c.is_ascii_lowercase());
        properties.push(match name.strip_suffix("Sec").filter(is_word) {
            None => property(name, value),
            Some(stem) => {
                let number = microseconds(&value).ok_or_else(|| bad("it is not a number".into()))?;
                property(&format!("{stem}USec"), number)
            }
        });
    }
    Ok(properties)
}

fn microseconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Byte(number) => (*number).into(),
        Value::Int16(number) => u64::try_from(*number).ok()?,
        Value::Uint16(number) => (*number).into(),
        Value::Int32(number) => u64::try_from(*number).ok()?,
        Value::Uint32(number) => (*number).into(),
        Value::Int64(number) => u64::try_from(*number).ok()?,
        Value::Uint64(number) => *number,
        Value::Double(number) => return Some((number * 1e6) as u64),
        _ => return None,
    };
    seconds.checked_mul(SECOND)
}

/// The limits of a container, new or changed, for systemd of this version.
///
/// # Errors
/// [`Error::BadLimit`] for what means nothing, [`Error::Devices`].
pub fn limits(resources: &oci::Resources, v2: bool, version: u32) -> Result<Planned, Error> {
    let mut planned = Planned::default();
    if let Some(list) = &resources.devices {
        planned.devices(list, version)?;
    }
    if let Some(memory) = &resources.memory {
        planned.memory(memory, v2)?;
    }
    if let Some(cpu) = &resources.cpu {
        planned.cpu(cpu, v2, version)?;
    }
    let weight = resources.block_io.as_ref().and_then(|block| block.weight).filter(|&weight| weight != 0);
    if let (false, Some(weight)) = (v2, weight) {
        planned.push("BlockIOWeight", u64::from(weight));
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        // systemd takes no 0.
        planned.push("TasksMax", if limit < 0 { INFINITY } else { limit.max(1).cast_unsigned() });
    }
    // On version 1 the cgroup's plan refuses them.
    if v2 {
        planned.unified(resources, version)?;
    }
    Ok(planned)
}

fn bytes(limit: i64) -> u64 {
    if limit < 0 { INFINITY } else { limit.cast_unsigned() }
}

impl Planned {
    fn push(&mut self, name: &str, value: impl Into<Value>) {
        self.properties.push(property(name, value));
    }

    fn memory(&mut self, memory: &oci::Memory, v2: bool) -> Result<(), Error> {
        let given = |number: Option<i64>| number.filter(|&number| number != 0);
        let limit = given(memory.limit);
        if let Some(limit) = limit {
            self.push(if v2 { "MemoryMax" } else { "MemoryLimit" }, bytes(limit));
        }
        if !v2 {
            return Ok(());
        }
        if let Some(reservation) = given(memory.reservation) {
            self.push("MemoryLow", bytes(reservation));
        }
        match (given(memory.swap), limit) {
            (None, _) => {}
            (Some(swap), _) if swap < 0 => self.push("MemorySwapMax", INFINITY),
            (Some(swap), Some(limit)) if limit > 0 && swap >= limit => {
                self.push("MemorySwapMax", (swap - limit).cast_unsigned());
            }
            (Some(swap), _) => {
                let reason =
                    format!("{swap} bytes of memory and swap together do not go with the limit of memory");
                return Err(Error::BadLimit { what: "memory swap".into(), reason });
            }
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &oci::Cpu, v2: bool, version: u32) -> Result<(), Error> {
        let is_idle = v2 && cpu.idle == Some(1) && version >= HAS_IDLE;
        if is_idle {
            // systemd's way to say cpu.idle = 1.
            self.push("CPUWeight", 0_u64);
        }
        if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
            match (is_idle, v2) {
                (true, _) => {
                    let what = "unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight";
                    self.warnings.push(what.into());
                }
                (false, true) => self.push("CPUWeight", onggi_cgroup::cpu_weight(shares)),
                (false, false) => self.push("CPUShares", shares),
            }
        }
        let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.filter(|&period| period != 0));
        if quota != 0 || period.is_some() {
            self.quota = self.quota_properties(quota, period, version);
        }
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                self.cpuset(name, list, version)?;
            }
        }
        Ok(())
    }

    /// The quota that follows, if it is another one.
    fn quota_properties(&mut self, quota: i64, period: Option<u64>, version: u32) -> Option<i64> {
        if let Some(period) = period.filter(|_| version >= HAS_PERIOD) {
            self.push("CPUQuotaPeriodUSec", period);
        }
        if quota <= 0 {
            self.push("CPUQuotaPerSecUSec", INFINITY);
            return None;
        }
        let period = period.unwrap_or(PERIOD);
        let exact = quota.cast_unsigned().saturating_mul(SECOND) / period;
        let rounded = exact.div_ceil(PERCENT).saturating_mul(PERCENT);
        self.push("CPUQuotaPerSecUSec", rounded);
        if rounded == exact { None } else { i64::try_from(rounded.saturating_mul(period) / SECOND).ok() }
    }

    fn cpuset(&mut self, name: &str, list: &str, version: u32) -> Result<(), Error> {
        if version >= HAS_CPUSET {
            let bad = |reason| Error::BadLimit { what: format!("{name} {list:?}"), reason };
            self.push(name, Value::bytes(&bits(list).map_err(bad)?));
        }
        Ok(())
    }

    /// The kernel's own files, as far as systemd has a property for them; the others it leaves alone.
    fn unified(&mut self, resources: &oci::Resources, version: u32) -> Result<(), Error> {
        let files = &resources.unified;
        let is_idle = version >= HAS_IDLE && files.get("cpu.idle").is_some_and(|value| value.trim() == "1");
        for (file, value) in files {
            let value = value.trim();
            let bad = |reason: &str| Error::BadLimit {
                what: format!("unified {file:?}={value:?}"),
                reason: reason.into(),
            };
            let number = || match value {
                "max" => Ok(INFINITY),
                value => value.parse::<u64>().map_err(|_| bad("it is not a number")),
            };
            match file.as_str() {
                "cpu.idle" if is_idle => self.push("CPUWeight", 0_u64),
                "cpu.weight" if is_idle => {
                    let what = "unable to apply both cpu.weight and cpu.idle to systemd, ignoring cpu.weight";
                    self.warnings.push(what.into());
                }
                "cpu.weight" => self.push("CPUWeight", number()?),
                "cpu.max" => {
                    let (quota, period) =
                        quota_and_period(value).ok_or_else(|| bad("it is a quota and a period"))?;
                    // What is said in the kernel's own words is written as it is.
                    let _ = self.quota_properties(quota, Some(period), version);
                }
                "cpuset.cpus" => self.cpuset("AllowedCPUs", value, version)?,
                "cpuset.mems" => self.cpuset("AllowedMemoryNodes", value, version)?,
                "memory.high" => self.push("MemoryHigh", number()?),
                "memory.low" => self.push("MemoryLow", number()?),
                "memory.min" => self.push("MemoryMin", number()?),
                "memory.max" => self.push("MemoryMax", number()?),
                "memory.swap.max" => self.push("MemorySwapMax", number()?),
                "pids.max" => self.push("TasksMax", number()?.max(1)),
                _ => {}
            }
        }
        Ok(())
    }

    /// A list that systemd can say is one of what is allowed. For any other its own program lets everything pass, and only the one in the
    /// cgroup decides.
    fn devices(&mut self, list: &[oci::DeviceRule], version: u32) -> Result<(), Error> {
        let of = |allowed| Value::Array("(ss)".into(), allowed);
        // An empty list first, which takes away those that a unit of this name has.
        self.push("DeviceAllow", of(Vec::new()));
        match onggi_cgroup::device_exceptions(list).map_err(Error::Devices)? {
            Some((false, exceptions)) => {
                self.push("DevicePolicy", "strict");
                let allowed = exceptions.iter().filter_map(|rule| device(rule, version)).collect();
                self.push("DeviceAllow", of(allowed));
            }
            Some((true, _)) | None => self.push("DevicePolicy", "auto"),
        }
        Ok(())
    }
}

/// `cpu.max`: a number or `max` (0), and perhaps a period.
fn quota_and_period(text: &str) -> Option<(i64, u64)> {
    let mut words = text.split_whitespace();
    let quota = match words.next()? {
        "max" => 0,
        word => word.parse().ok()?,
    };
    let period = words.next().map_or(Some(PERIOD), |word| word.parse().ok().filter(|&period| period != 0))?;
    words.next().is_none().then_some((quota, period))
}

/// Processors as systemd takes them: one bit each, the first in the lowest of the first byte.
fn bits(list: &str) -> Result<Vec<u8>, String> {
    /// The kernel is built for fewer.
    const MOST: usize = 1 << 16;
    let mut bits: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number < MOST);
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) =
            number(first).zip(number(last)).ok_or_else(|| format!("{range:?} is no range"))?;
        if first > last {
            return Err(format!("invalid range: {range}"));
        }
        bits.resize(bits.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|number| bits[number / 8] |= 1 << (number % 8));
    }
    if bits.is_empty() { Err("empty value".into()) } else { Ok(bits) }
}

/// `None`: systemd has no word for it.
fn device(rule: &Rule, version: u32) -> Option<Value> {
    let kind = if rule.kind == DeviceKind::Block { "block" } else { "char" };
    let path = match (rule.major, rule.minor) {
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
        // Before this version a group's name from /proc/devices is wanted.
        (Some(major), None) => (version >= HAS_DEVICE_NUMBERS).then(|| format!("{kind}-{major}"))?,
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
    };
    let line = rule.line();
    let access = line.rsplit(' ').next().unwrap_or_default();
    Some(Value::Struct(vec![path.as_str().into(), access.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> oci::Resources {
        serde_json::from_str(json).unwrap()
    }

    fn show(value: &Value) -> String {
        match value {
            Value::Uint64(INFINITY) => "infinity".into(),
            Value::Uint64(number) => number.to_string(),
            Value::Uint32(number) => number.to_string(),
            Value::Byte(number) => number.to_string(),
            Value::Boolean(is) => is.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(_, values) | Value::Struct(values) => {
                format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    fn said(properties: &[Property]) -> Vec<String> {
        properties.iter().map(|(name, value)| format!("{name}={}", show(value))).collect()
    }

    /// Resources, what systemd 252 is told on v2 and on v1; words between spaces outside of brackets.
    const TABLE: &[(&str, &str, &str)] = &[
        ("{}", "", ""),
        (
            r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}}"#,
            "MemoryMax=100; MemoryLow=50; MemorySwapMax=200",
            "MemoryLimit=100",
        ),
        (
            r#"{"memory": {"limit": -1, "swap": -1}}"#,
            "MemoryMax=infinity; MemorySwapMax=infinity",
            "MemoryLimit=infinity",
        ),
        (
            r#"{"cpu": {"shares": 1024, "quota": 500000, "period": 1000000, "cpus": "0,2-3,9", "mems": "0"}}"#,
            "CPUWeight=100; CPUQuotaPeriodUSec=1000000; CPUQuotaPerSecUSec=500000; AllowedCPUs=[13 2]; \
             AllowedMemoryNodes=[1]",
            "CPUShares=1024; CPUQuotaPeriodUSec=1000000; CPUQuotaPerSecUSec=500000; AllowedCPUs=[13 2]; \
             AllowedMemoryNodes=[1]",
        ),
        (r#"{"cpu": {"quota": -1}}"#, "CPUQuotaPerSecUSec=infinity", "CPUQuotaPerSecUSec=infinity"),
        (
            r#"{"cpu": {"period": 20000}}"#,
            "CPUQuotaPeriodUSec=20000; CPUQuotaPerSecUSec=infinity",
            "CPUQuotaPeriodUSec=20000; CPUQuotaPerSecUSec=infinity",
        ),
        (r#"{"cpu": {"idle": 1, "shares": 0}}"#, "CPUWeight=0", ""),
        (r#"{"pids": {"limit": 0}}"#, "TasksMax=1", "TasksMax=1"),
        (r#"{"pids": {"limit": -1}}"#, "TasksMax=infinity", "TasksMax=infinity"),
        (r#"{"blockIO": {"weight": 500}}"#, "", "BlockIOWeight=500"),
        (
            r#"{"unified": {"memory.min": "1", "memory.low": "2", "memory.high": "3", "memory.max": "max",
                "memory.swap.max": "5", "pids.max": "0", "cpu.max": "10000 100000", "cpu.weight": "42",
                "cpuset.cpus": "1", "memory.oom.group": "1"}}"#,
            "CPUQuotaPeriodUSec=100000; CPUQuotaPerSecUSec=100000; CPUWeight=42; AllowedCPUs=[2]; MemoryHigh=3; \
             MemoryLow=2; MemoryMax=infinity; MemoryMin=1; MemorySwapMax=5; TasksMax=1",
            "",
        ),
        (
            r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
                {"allow": true, "type": "b", "major": 8}]}"#,
            DEVICES,
            DEVICES,
        ),
        (r#"{"devices": [{"allow": true}]}"#, ANY_DEVICE, ANY_DEVICE),
        (
            r#"{"devices": [{"allow": true}, {"allow": false, "type": "b", "major": 8}]}"#,
            ANY_DEVICE,
            ANY_DEVICE,
        ),
        (
            r#"{"devices": [{"allow": true, "type": "c", "major": 10},
                {"allow": false, "type": "c", "major": 10, "minor": 1}]}"#,
            ANY_DEVICE,
            ANY_DEVICE,
        ),
    ];
    const ANY_DEVICE: &str = "DeviceAllow=[]; DevicePolicy=auto";
    const DEVICES: &str = "DeviceAllow=[]; DevicePolicy=strict; DeviceAllow=[[/dev/char/10:200 rw] [block-8 rwm] [char-* m] \
        [block-* m] [/dev/char/1:3 rwm] [/dev/char/1:8 rwm] [/dev/char/1:7 rwm] [/dev/char/5:0 rwm] [/dev/char/1:5 rwm] \
        [/dev/char/1:9 rwm] [char-136 rwm] [/dev/char/5:2 rwm]]";

    #[test]
    fn limits_become_properties() {
        for (json, expected_v2, expected_v1) in TABLE {
            for (v2, expected) in [(true, expected_v2), (false, expected_v1)] {
                let planned = limits(&resources(json), v2, 252).unwrap();
                assert_eq!(said(&planned.properties).join("; "), **expected, "v2 is {v2}: {json}");
            }
        }
    }

    #[test]
    fn an_old_systemd_is_not_told_what_it_does_not_know() {
        let json = r#"{"cpu": {"period": 20000, "quota": 5000, "cpus": "0", "idle": 1},
            "devices": [{"allow": true, "type": "c", "major": 10, "access": "r"}]}"#;
        let planned = limits(&resources(json), true, 239).unwrap();
        let said = said(&planned.properties);
        assert!(said[2].starts_with("DeviceAllow=[[char-* m]") && !said[2].contains("char-136"), "{said:?}");
        assert_eq!(said[3..], ["CPUQuotaPerSecUSec=250000"]);
    }

    #[test]
    fn a_quota_is_rounded_up_to_a_hundredth_and_written_so() {
        let planned = limits(&resources(r#"{"cpu": {"quota": 5001, "period": 100000}}"#), true, 252).unwrap();
        assert_eq!(said(&planned.properties), ["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=60000"]);
        assert_eq!(planned.quota, Some(6000));
        let exact = limits(&resources(r#"{"cpu": {"quota": 5000}}"#), true, 252).unwrap();
        assert_eq!((said(&exact.properties), exact.quota), (vec!["CPUQuotaPerSecUSec=50000".into()], None));
    }

    #[test]
    fn idle_comes_before_a_weight_and_says_so() {
        for json in
            [r#"{"cpu": {"idle": 1, "shares": 100}}"#, r#"{"unified": {"cpu.idle": "1", "cpu.weight": "8"}}"#]
        {
            let planned = limits(&resources(json), true, 252).unwrap();
            assert_eq!(said(&planned.properties), ["CPUWeight=0"]);
            assert!(planned.warnings[0].starts_with("unable to apply both"), "{json}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for json in [
            r#"{"memory": {"limit": 100, "swap": 99}}"#,
            r#"{"memory": {"swap": 99}}"#,
            r#"{"cpu": {"cpus": "3-1"}}"#,
            r#"{"cpu": {"cpus": "x"}}"#,
            r#"{"cpu": {"cpus": ","}}"#,
            r#"{"cpu": {"cpus": "99999999999"}}"#,
            r#"{"unified": {"cpu.max": "1 2 3"}}"#,
            r#"{"unified": {"cpu.max": "1 0"}}"#,
            r#"{"unified": {"cpu.max": "x"}}"#,
            r#"{"unified": {"memory.max": "lots"}}"#,
        ] {
            let planned = limits(&resources(json), true, 252);
            assert!(matches!(planned, Err(Error::BadLimit { .. })), "{json}");
        }
    }

    #[test]
    fn a_scope_begins_with_its_keeper() {
        let unit = Unit::new(Some("machine.slice:libpod:1f"), "1f", false).unwrap();
        assert_eq!(
            said(&start(&unit, "1f", true, Some(7))).join("; "),
            "Description=container 1f; Slice=machine.slice; Delegate=true; PIDs=[7]; MemoryAccounting=true; \
             CPUAccounting=true; IOAccounting=true; TasksAccounting=true; DefaultDependencies=false"
        );
        let unit = Unit::new(Some("machine.slice:x:machine-pod.slice"), "1f", false).unwrap();
        let slice = said(&start(&unit, "1f", false, Some(7)));
        assert_eq!(slice[1], "Wants=[machine.slice]");
        assert!(slice.contains(&"BlockIOAccounting=true".into()));
        assert!(!slice.iter().any(|text| text.starts_with("PIDs")));
    }

    #[test]
    fn annotations_are_properties() {
        let of =
            |key: &str, value: &str| annotated([(&format!("org.systemd.property.{key}"), &value.to_owned())]);
        assert_eq!(of("KillMode", "'mixed'").unwrap(), [property("KillMode", "mixed")]);
        let stop = "TimeoutStopSec";
        assert_eq!(of(stop, "123").unwrap(), [property("TimeoutStopUSec", 123_000_000_u64)]);
        assert_eq!(of(stop, "0.5").unwrap(), [property("TimeoutStopUSec", 500_000_u64)]);
        assert_eq!(annotated([(&"com.example".to_owned(), &"x".to_owned())]).unwrap(), []);
        for (key, value) in [("X1y", "1"), ("Ab", "1"), ("KillMode", "mixed"), (stop, "'a'"), (stop, "-1")] {
            assert!(of(key, value).is_err(), "{key}={value}");
        }
    }
}
