//! What `update` makes of the limits that it is given and those that a container has, by runc's rules. Pure.
//!
//! Some limits mean something together only: a quota and its period, memory and memory with swap. If one of them changes, the other is
//! written again as it was. The others are left alone.

use onggi_oci as oci;

/// Of a container's limits those that a later change may need.
pub(crate) fn kept(resources: Option<&oci::Resources>) -> oci::Resources {
    let Some(resources) = resources else { return oci::Resources::default() };
    let memory = resources.memory.as_ref();
    let cpu = resources.cpu.as_ref();
    oci::Resources {
        memory: memory.map(|memory| oci::Memory {
            limit: memory.limit,
            swap: memory.swap,
            ..oci::Memory::default()
        }),
        cpu: cpu.map(|cpu| oci::Cpu { quota: cpu.quota, period: cpu.period, ..oci::Cpu::default() }),
        ..oci::Resources::default()
    }
}

/// What has to be written, and in `kept` what holds from then on.
pub(crate) fn merge(kept: &mut oci::Resources, given: &oci::Resources) -> oci::Resources {
    let mut merged = given.clone();
    if let Some(memory) = &mut merged.memory
        && (memory.limit.is_some() || memory.swap.is_some())
    {
        let before = kept.memory.get_or_insert_default();
        if memory.limit == Some(-1) && memory.swap.is_none() {
            // "No limit" is meant for both; what is kept then knows of no swap.
            before.swap = None;
            memory.swap = Some(-1);
        } else {
            before.swap = memory.swap.or(before.swap);
            memory.swap = before.swap;
        }
        before.limit = memory.limit.or(before.limit);
        memory.limit = before.limit;
    }
    if let Some(cpu) = &mut merged.cpu {
        let (quota, period) =
            (cpu.quota.filter(|&quota| quota != 0), cpu.period.filter(|&period| period != 0));
        let before = kept.cpu.get_or_insert_default();
        if quota.is_some() || period.is_some() {
            before.quota = quota.or(before.quota);
            before.period = period.or(before.period);
            (cpu.quota, cpu.period) = (before.quota, before.period);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(limit: Option<i64>, swap: Option<i64>) -> oci::Resources {
        let memory = oci::Memory { limit, swap, ..oci::Memory::default() };
        oci::Resources { memory: Some(memory), ..oci::Resources::default() }
    }

    fn cpu(quota: Option<i64>, period: Option<u64>) -> oci::Resources {
        let cpu = oci::Cpu { quota, period, ..oci::Cpu::default() };
        oci::Resources { cpu: Some(cpu), ..oci::Resources::default() }
    }

    #[test]
    fn memory_and_swap_stay_together() {
        // What is kept, what is given, what is written, what is kept then.
        for (before, given, written, after) in [
            ((Some(100), Some(300)), (Some(200), None), (Some(200), Some(300)), (Some(200), Some(300))),
            ((Some(100), None), (None, Some(300)), (Some(100), Some(300)), (Some(100), Some(300))),
            ((Some(100), Some(300)), (Some(-1), None), (Some(-1), Some(-1)), (Some(-1), None)),
            ((Some(100), Some(300)), (None, None), (None, None), (Some(100), Some(300))),
            ((None, None), (None, Some(-1)), (None, Some(-1)), (None, Some(-1))),
        ] {
            let mut kept = memory(before.0, before.1);
            assert_eq!(
                merge(&mut kept, &memory(given.0, given.1)),
                memory(written.0, written.1),
                "{given:?}"
            );
            assert_eq!(kept, memory(after.0, after.1), "{given:?}");
        }
    }

    #[test]
    fn a_quota_stays_with_its_period() {
        for (before, given, written) in [
            ((Some(500), Some(1000)), (None, Some(900)), (Some(500), Some(900))),
            ((Some(500), Some(1000)), (Some(-1), None), (Some(-1), Some(1000))),
            ((None, None), (None, Some(900)), (None, Some(900))),
            ((Some(500), Some(1000)), (Some(7), Some(9)), (Some(7), Some(9))),
            ((Some(500), Some(1000)), (None, None), (None, None)),
            ((Some(500), Some(1000)), (Some(0), Some(0)), (Some(0), Some(0))),
        ] {
            let mut kept = cpu(before.0, before.1);
            assert_eq!(merge(&mut kept, &cpu(given.0, given.1)), cpu(written.0, written.1), "{given:?}");
        }
    }

    #[test]
    fn of_a_containers_limits_few_are_kept() {
        let resources = r#"{"memory": {"limit": 1, "swap": 2, "reservation": 3}, "cpu": {"shares": 4, "quota": 5, "period": 6},
            "pids": {"limit": 7}, "devices": [{"allow": false}]}"#;
        let resources: oci::Resources = serde_json::from_str(resources).unwrap();
        let kept = kept(Some(&resources));
        assert_eq!(
            serde_json::to_string(&kept).unwrap(),
            r#"{"memory":{"limit":1,"swap":2},"cpu":{"quota":5,"period":6}}"#
        );
    }
}
