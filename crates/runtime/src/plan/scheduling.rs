//! When, where and with which memory a process runs: scheduler, I/O priority, processors, memory nodes.
//!
//! The limits and the sentences are runc's (`libcontainer/configs/validate`), where the specification leaves them open.

use onggi_oci as oci;

use super::error::invalid;
use super::{Error, Scheduling, Step};

/// More processors or nodes than any kernel is built for: a range that is larger is a mistake, and would be a large list.
const MOST: u32 = 8192;

/// `MPOL_…` of linux/mempolicy.h, by number.
pub(super) const MEMORY_MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
pub(super) const MEMORY_FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// In the order of their numbers in the kernel.
const POLICIES: [&str; 7] =
    ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];
/// In the order of their bits.
const SCHEDULER_FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

/// The names of modes and flags of memory policies, sorted: for `features`.
pub fn memory_policy_names() -> (Vec<&'static str>, Vec<&'static str>) {
    let sorted = |names: &[(&'static str, u32)]| {
        let mut names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    };
    (sorted(&MEMORY_MODES), sorted(&MEMORY_FLAGS))
}

pub(super) fn scheduler(given: &oci::Scheduler) -> Result<Step, Error> {
    let bad = |problem: String| invalid("process.scheduler", problem);
    if given.policy.is_empty() {
        return Err(bad("scheduler policy is required".into()));
    }
    let number = POLICIES.iter().position(|&name| name == given.policy);
    let policy = number.ok_or_else(|| bad(format!("invalid scheduler policy: {}", given.policy)))? as u32;
    let (nice, priority) = (given.nice.unwrap_or(0), given.priority.unwrap_or(0));
    if matches!(given.policy.as_str(), "SCHED_OTHER" | "SCHED_BATCH") && !(-20..=19).contains(&nice) {
        return Err(bad(format!("invalid scheduler.nice: {nice} when scheduler.policy is {}", given.policy)));
    }
    if priority != 0 && !matches!(given.policy.as_str(), "SCHED_FIFO" | "SCHED_RR") {
        return Err(bad("scheduler.priority can only be specified for SchedFIFO or SchedRR policy".into()));
    }
    let times = [given.runtime, given.deadline, given.period].map(Option::unwrap_or_default);
    if given.policy != "SCHED_DEADLINE" && times != [0; 3] {
        return Err(bad(
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy".into()
        ));
    }
    let mut flags = 0;
    for flag in &given.flags {
        let bit = SCHEDULER_FLAGS.iter().position(|name| name == flag);
        flags |= 1 << bit.ok_or_else(|| bad(format!("invalid scheduler flag: {flag}")))?;
    }
    let priority =
        u32::try_from(priority).map_err(|_| bad(format!("invalid scheduler.priority: {priority}")))?;
    let [runtime, deadline, period] = times;
    Ok(Step::Scheduler(Scheduling { policy, flags, nice, priority, runtime, deadline, period }))
}

pub(super) fn io_priority(priority: &oci::IoPriority) -> Result<Step, Error> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            return Err(invalid("process.ioPriority", format!("invalid ioPriority.Class: {other:?}")));
        }
    };
    let level = u8::try_from(priority.priority).ok().filter(|&level| level <= 7);
    let level = level.ok_or_else(|| {
        invalid("process.ioPriority", format!("invalid ioPriority.Priority: {}", priority.priority))
    })?;
    Ok(Step::IoPriority { class, level })
}

pub(super) fn memory_policy(given: &oci::MemoryPolicy) -> Result<Step, Error> {
    let bad = |problem: String| invalid("linux.memoryPolicy", problem);
    let find = |list: &[(&str, u32)], name: &str| {
        list.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    };
    let number = find(&MEMORY_MODES, &given.mode);
    let mut mode = number.ok_or_else(|| bad(format!("invalid memory policy mode {:?}", given.mode)))?;
    let text = given.nodes.as_deref().unwrap_or("");
    let nodes =
        numbers(text).map_err(|problem| bad(format!("invalid memory policy nodes {text:?}: {problem}")))?;
    match (given.mode.as_str(), nodes.len()) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", count @ 1..) => {
            return Err(bad(format!("memory policy mode requires 0 nodes but got {count}")));
        }
        ("MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_PREFERRED_MANY" | "MPOL_WEIGHTED_INTERLEAVE", 0) => {
            return Err(bad("memory policy mode requires at least one node but got 0".into()));
        }
        _ => {}
    }
    for flag in &given.flags {
        mode |=
            find(&MEMORY_FLAGS, flag).ok_or_else(|| bad(format!("invalid memory policy flag {flag:?}")))?;
    }
    Ok(Step::MemoryPolicy { mode, nodes })
}

/// Processors for a process that joins: before it is in the container's cgroup, and once it is. An empty list is none.
pub(super) type Affinity = (Option<Vec<u32>>, Option<Vec<u32>>);

pub(super) fn affinity(given: Option<&oci::ExecCpuAffinity>) -> Result<Affinity, Error> {
    let Some(given) = given else { return Ok((None, None)) };
    let parse = |text: &Option<String>, which: &str| {
        let parsed = numbers(text.as_deref().unwrap_or("")).map_err(|problem| {
            invalid("process.execCPUAffinity", format!("bad CPUAffinity.{which}: {problem}"))
        })?;
        Ok(Some(parsed).filter(|list| !list.is_empty()))
    };
    Ok((parse(&given.initial, "Initial")?, parse(&given.final_, "Final")?))
}

/// A list such as `0-3,5, 7-9`, sorted, each number once. Spaces and empty elements are let pass, as runc does.
fn numbers(text: &str) -> Result<Vec<u32>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u32>().ok().filter(|_| digits);
        let number = number.ok_or_else(|| format!("{text:?} is no number"))?;
        if number < MOST {
            Ok(number)
        } else {
            Err(format!("values larger than {} are not supported", MOST - 1))
        }
    };
    let mut list = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("invalid range: {range}"));
        }
        list.extend(first..=last);
    }
    if list.is_empty() {
        return Err(format!("no members found in set {text:?}"));
    }
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_of_numbers() {
        for (text, expected) in [
            ("", vec![]),
            ("0", vec![0]),
            ("0-3,5", vec![0, 1, 2, 3, 5]),
            (" 7 , 1-2,,1 ", vec![1, 2, 7]),
            ("8191", vec![8191]),
        ] {
            assert_eq!(numbers(text).unwrap(), expected, "{text:?}");
        }
        for text in [",", "a", "1-", "-1", "3-1", "8192", "0-9876543210", "+1", "1 2"] {
            assert!(numbers(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_list_is_bounded_whatever_is_written(text in "[0-9, -]{0,40}") {
            if let Ok(list) = numbers(&text) {
                prop_assert!(list.len() <= MOST as usize && list.is_sorted());
            }
        }
    }

    fn scheduled(policy: &str, change: impl FnOnce(&mut oci::Scheduler)) -> Result<Step, Error> {
        let mut given = oci::Scheduler { policy: policy.into(), ..oci::Scheduler::default() };
        change(&mut given);
        scheduler(&given)
    }

    #[test]
    fn schedulers() {
        let step = scheduled("SCHED_DEADLINE", |given| {
            given.flags = vec!["SCHED_FLAG_RESET_ON_FORK".into(), "SCHED_FLAG_UTIL_CLAMP_MAX".into()];
            (given.nice, given.runtime, given.deadline, given.period) = (Some(19), Some(1), Some(2), Some(3));
        });
        let expected =
            Scheduling { policy: 6, flags: 0x41, nice: 19, priority: 0, runtime: 1, deadline: 2, period: 3 };
        assert_eq!(step.unwrap(), Step::Scheduler(expected));
        for (number, policy) in POLICIES.into_iter().enumerate() {
            let Step::Scheduler(found) = scheduled(policy, |_| {}).unwrap() else { panic!() };
            assert_eq!(found.policy as usize, number);
        }
        let message = |step: Result<Step, Error>| step.unwrap_err().to_string();
        assert!(message(scheduled("", |_| {})).contains("scheduler policy is required"));
        assert!(message(scheduled("SCHED_X", |_| {})).contains("invalid scheduler policy: SCHED_X"));
        let step = scheduled("SCHED_BATCH", |given| given.nice = Some(20));
        assert!(message(step).contains("invalid scheduler.nice: 20"));
        let step = scheduled("SCHED_OTHER", |given| given.priority = Some(1));
        assert!(message(step).contains("SchedFIFO or SchedRR"));
        let step = scheduled("SCHED_FIFO", |given| given.period = Some(1));
        assert!(message(step).contains("SchedDeadline"));
        let step = scheduled("SCHED_FIFO", |given| given.flags = vec!["X".into()]);
        assert!(message(step).contains("invalid scheduler flag: X"));
        let step = scheduled("SCHED_RR", |given| given.priority = Some(-1));
        assert!(message(step).contains("invalid scheduler.priority"));
    }

    fn policy(mode: &str, nodes: &str, flags: &[&str]) -> Result<Step, String> {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let nodes = Some(nodes.to_owned()).filter(|nodes| !nodes.is_empty());
        memory_policy(&oci::MemoryPolicy { mode: mode.into(), nodes, flags })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn memory_policies() {
        let step = policy("MPOL_BIND", "0,2", &["MPOL_F_STATIC_NODES"]).unwrap();
        assert_eq!(step, Step::MemoryPolicy { mode: 2 | 1 << 15, nodes: vec![0, 2] });
        assert!(policy("MPOL_PREFERRED", "", &[]).is_ok());
        assert!(policy("MPOL_LOCAL", "", &[]).is_ok());
        for (mode, nodes, flags, text) in [
            ("", "0-7", &[][..], "invalid memory policy mode"),
            ("INTERLEAVE", "0", &[], "invalid memory policy mode \"INTERLEAVE\""),
            ("MPOL_DEFAULT", "0-7", &[], "mode requires 0 nodes but got 8"),
            ("MPOL_BIND", "", &[], "at least one node"),
            ("MPOL_BIND", "0-9876543210", &[], "invalid memory policy nodes"),
            ("MPOL_BIND", "0", &["badflag"], "invalid memory policy flag \"badflag\""),
        ] {
            let message = policy(mode, nodes, flags).unwrap_err();
            assert!(message.contains(text), "{message}");
        }
    }

    #[test]
    fn io_priorities() {
        let priority =
            |class: &str, priority| io_priority(&oci::IoPriority { class: class.into(), priority });
        assert_eq!(priority("IOPRIO_CLASS_BE", 4).unwrap(), Step::IoPriority { class: 2, level: 4 });
        assert!(priority("IOPRIO_CLASS_BE", 8).is_err());
        assert!(priority("BE", 4).is_err());
    }

    #[test]
    fn affinities() {
        let given = |initial: &str, last: &str| {
            let given = oci::ExecCpuAffinity { initial: Some(initial.into()), final_: Some(last.into()) };
            affinity(Some(&given))
        };
        assert_eq!(given("0-1", "1").unwrap(), (Some(vec![0, 1]), Some(vec![1])));
        assert_eq!(given("", "1").unwrap(), (None, Some(vec![1])));
        assert!(given("x", "").unwrap_err().to_string().contains("bad CPUAffinity.Initial"));
    }
}
