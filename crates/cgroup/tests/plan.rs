//! Plans for many resources, on v2 and v1, compared as text: no root needed.

use onggi_cgroup::{Error, Hierarchy, IfMissing, Layout, Plan, Step, plan};
use onggi_oci::Resources;

fn v2() -> Layout {
    let controllers = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"].map(str::to_owned).into();
    Layout::V2 { root: "/sys/fs/cgroup".into(), controllers }
}

fn v1() -> Layout {
    let hierarchies = [
        "cpu,cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "hugetlb",
        "net_cls",
        "net_prio",
        "name=systemd",
    ]
    .map(|names| Hierarchy {
        controllers: names.split(',').map(str::to_owned).collect(),
        root: format!("/sys/fs/cgroup/{names}").into(),
    })
    .into();
    Layout::V1 { hierarchies, unified: Some("/sys/fs/cgroup/unified".into()) }
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// `file=value` for each write.
fn writes(layout: &Layout, json: &str) -> Vec<String> {
    let plan = plan(layout, "/onggi/x", &resources(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
    let text = |step: &Step| match step {
        Step::Write { file, value, if_missing, .. } => Some(match if_missing {
            IfMissing::Refuse => format!("{file}={value}"),
            IfMissing::Skip => format!("{file}?={value}"),
            IfMissing::Instead { file: other, value: instead } => {
                format!("{file}={value} or {other}={instead}")
            }
        }),
        _ => None,
    };
    plan.steps.iter().filter_map(text).collect()
}

fn refusal(layout: &Layout, json: &str) -> Error {
    plan(layout, "/onggi/x", &resources(json)).expect_err(json)
}

/// Resources, what v2 writes, what v1 writes.
type Line = (&'static str, &'static [&'static str], &'static [&'static str]);

const TABLE: &[Line] = &[
    ("{}", &[], &[]),
    // Memory: 0 is "not given", -1 "no limit".
    (r#"{"memory": {"limit": 67108864}}"#, &["memory.max=67108864"], &["memory.limit_in_bytes=67108864"]),
    (
        r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}}"#,
        &["memory.max=100", "memory.swap.max=200", "memory.low=50"],
        &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=300", "memory.soft_limit_in_bytes=50"],
    ),
    (
        r#"{"memory": {"limit": 100, "swap": 100}}"#,
        &["memory.max=100", "memory.swap.max=0"],
        &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100"],
    ),
    (
        r#"{"memory": {"limit": 100, "swap": -1}}"#,
        &["memory.max=100", "memory.swap.max?=max"],
        &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes?=-1"],
    ),
    (
        r#"{"memory": {"limit": -1, "swap": -1}}"#,
        &["memory.max=max", "memory.swap.max?=max"],
        &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes?=-1"],
    ),
    (r#"{"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": false}}"#, &[], &[]),
    // Processors.
    (r#"{"cpu": {"shares": 1024}}"#, &["cpu.weight=100"], &["cpu.shares=1024"]),
    (r#"{"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}"#, &[], &[]),
    (r#"{"cpu": {"quota": 50000}}"#, &["cpu.max=50000 100000"], &["cpu.cfs_quota_us=50000"]),
    (
        r#"{"cpu": {"quota": 50000, "period": 20000, "burst": 1000}}"#,
        &["cpu.max=50000 20000", "cpu.max.burst=1000"],
        &["cpu.cfs_period_us=20000", "cpu.cfs_quota_us=50000", "cpu.cfs_burst_us=1000"],
    ),
    (r#"{"cpu": {"quota": -1}}"#, &["cpu.max=max 100000"], &["cpu.cfs_quota_us=-1"]),
    (r#"{"cpu": {"period": 20000}}"#, &["cpu.max=max 20000"], &["cpu.cfs_period_us=20000"]),
    (r#"{"cpu": {"idle": 1, "shares": 2}}"#, &["cpu.idle=1"], &["cpu.idle=1"]),
    (
        r#"{"cpu": {"cpus": "0-1", "mems": "0"}}"#,
        &["cpuset.cpus=0-1", "cpuset.mems=0"],
        &["cpuset.cpus=0-1", "cpuset.mems=0"],
    ),
    // Processes.
    (r#"{"pids": {"limit": 2048}}"#, &["pids.max=2048"], &["pids.max=2048"]),
    (r#"{"pids": {"limit": -1}}"#, &["pids.max=max"], &["pids.max=max"]),
    (r#"{"pids": {"limit": 0}}"#, &["pids.max=1"], &["pids.max=1"]),
    // Disks.
    (
        r#"{"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}"#,
        &["io.bfq.weight=default 500 or io.weight=default 4950", "io.bfq.weight=8:0 10 or io.weight=8:0 1"],
        &[
            "blkio.bfq.weight=500 or blkio.weight=500",
            "blkio.bfq.weight_device=8:0 10 or blkio.weight_device=8:0 10",
        ],
    ),
    (
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
                        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}"#,
        &["io.max=8:0 rbps=1000", "io.max=8:16 wiops=max"],
        &["blkio.throttle.read_bps_device=8:0 1000", "blkio.throttle.write_iops_device=8:16 0"],
    ),
    (
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
        &["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max?=4194304"],
        &["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes?=4194304"],
    ),
];

#[test]
fn resources_become_the_files_of_both_versions() {
    for (json, expected_v2, expected_v1) in TABLE {
        assert_eq!(writes(&v2(), json), *expected_v2, "v2: {json}");
        assert_eq!(writes(&v1(), json), *expected_v1, "v1: {json}");
    }
}

#[test]
fn what_only_one_version_has() {
    assert_eq!(
        writes(&v2(), r#"{"unified": {"memory.high": "100", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}}"#),
        ["io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=100"]
    );
    assert_eq!(
        writes(
            &v2(),
            r#"{"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaHandles": 0}}}"#
        ),
        ["rdma.max=mlx4_0 hca_handle=0", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"]
    );
    assert_eq!(
        writes(
            &v1(),
            r#"{"memory": {"swappiness": 10, "disableOOMKiller": true, "kernelTCP": 5, "useHierarchy": true},
                "cpu": {"realtimePeriod": 1000, "realtimeRuntime": 500},
                "network": {"classID": 65537, "priorities": [{"name": "eth0", "priority": 5}]}}"#
        ),
        [
            "cpu.rt_period_us=1000",
            "cpu.rt_runtime_us=500",
            "memory.kmem.tcp.limit_in_bytes=5",
            "memory.swappiness=10",
            "memory.oom_control=1",
            "memory.use_hierarchy=1",
            "net_cls.classid=65537",
            "net_prio.ifpriomap=eth0 5",
        ]
    );
}

#[test]
fn a_value_is_what_the_kernel_reads_of_it() {
    for json in [r#"{"cpu":{"mems":"0\u0000,1"}}"#, r#"{"cpu":{"cpus":"\u0000"}}"#] {
        for layout in [v1(), v2()] {
            assert!(refusal(&layout, json).to_string().ends_with(": the value holds a zero byte"), "{json}");
        }
    }
    let unified = refusal(&v2(), r#"{"unified":{"memory.high":"1\u00000"}}"#);
    assert_eq!(unified.to_string(), "memory.high: the value holds a zero byte");
}

#[test]
fn what_cannot_be_applied_is_refused_by_name() {
    let v2_refuses = [
        (r#"{"memory": {"swappiness": 10}}"#, "memory swappiness cannot be applied"),
        (r#"{"memory": {"disableOOMKiller": true}}"#, "disabling the out-of-memory killer cannot"),
        (r#"{"memory": {"kernel": 100}}"#, "kernel memory limit cannot"),
        (r#"{"memory": {"kernelTCP": 100}}"#, "kernel TCP memory limit cannot"),
        (r#"{"cpu": {"realtimeRuntime": 1}}"#, "cpu real-time period and runtime cannot"),
        (r#"{"network": {"classID": 1}}"#, "network class and priorities cannot"),
        (r#"{"blockIO": {"leafWeight": 10}}"#, "block io leaf weight cannot"),
        (r#"{"unified": {"cgroup.procs": "1"}}"#, "cgroup.procs"),
        (r#"{"unified": {"../memory.max": "1"}}"#, "no name of a file"),
        (r#"{"unified": {"perf_event.x": "1"}}"#, "no such cgroup controller"),
        (r#"{"memory": {"limit": 100, "swap": 99}}"#, "are less than the 100 bytes of memory"),
        (r#"{"memory": {"swap": 99}}"#, "needs a limit of memory"),
        (r#"{"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}"#, "page size"),
        (r#"{"blockIO": {"weight": 5}}"#, "not between 10 and 1000"),
        (r#"{"devices": [{"allow": true, "type": "z"}]}"#, "unknown type"),
    ];
    for (json, expected) in v2_refuses {
        let message = refusal(&v2(), json).to_string();
        assert!(message.contains(expected), "{json}: {message}");
    }
    let v1_refuses = [
        (r#"{"unified": {"memory.high": "1"}}"#, "unified \"memory.high\" cannot"),
        (r#"{"memory": {"limit": 100, "swap": 99}}"#, "are less than the 100 bytes of memory"),
        (r#"{"memory": {"kernel": 100}}"#, "Linux 5.16 removed it"),
        (r#"{"memory": {"swappiness": 101}}"#, "not between 0 and 100"),
        (r#"{"cpu": {"shares": 1}}"#, "the minimum allowed cpu-shares is 2"),
        (r#"{"cpu": {"shares": 262145}}"#, "the maximum allowed cpu-shares is 262144"),
        (r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#, "no rdma cgroup controller"),
    ];
    for (json, expected) in v1_refuses {
        let message = refusal(&v1(), json).to_string();
        assert!(message.contains(expected), "{json}: {message}");
    }
}

#[test]
fn a_missing_controller_is_named() {
    let bare = Layout::V2 { root: "/c".into(), controllers: vec!["pids".into()] };
    let message = refusal(&bare, r#"{"memory": {"limit": 1}}"#).to_string();
    assert_eq!(message, "memory limit cannot be applied: this host has no memory cgroup controller");
    assert!(plan(&bare, "x", &Resources::default()).is_ok(), "nothing asked, nothing missed");
    let bare = Layout::V1 { hierarchies: vec![], unified: None };
    assert!(matches!(
        refusal(&bare, r#"{"devices": []}"#),
        Error::NoController { controller: "devices", .. }
    ));
}

#[test]
fn the_plan_of_a_v2_container() {
    let json = r#"{"cpu": {"quota": 50000}, "pids": {"limit": 10}, "devices": [{"allow": false}, {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}]}"#;
    let plan = plan(&v2(), "/onggi/x", &resources(json)).unwrap();
    assert_eq!(
        plan.explain(),
        [
            "enable cpu, io, memory, pids on the way down (onggi/x)",
            "make the control group /sys/fs/cgroup/onggi/x",
            "write \"50000 100000\" to /sys/fs/cgroup/onggi/x/cpu.max: microseconds of processor time, in each period of so many",
            "write \"10\" to /sys/fs/cgroup/onggi/x/pids.max: no more processes and threads than this",
            "attach a program that decides on devices, the last matching rule wins: deny a *:* rwm; allow c 10:200 rw; allow c *:* m; \
             allow b *:* m; allow c 1:3 rwm; allow c 1:8 rwm; allow c 1:7 rwm; allow c 5:0 rwm; allow c 1:5 rwm; allow c 1:9 rwm; \
             allow c 136:* rwm; allow c 5:2 rwm; (onggi/x)",
        ]
    );
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn every_controller_is_asked_for_and_only_those_of_limits_are_needed() {
    let plan = plan(&v2(), "/a", &resources(r#"{"pids": {"limit": 1}}"#)).unwrap().with_every_controller();
    assert_eq!(
        plan.explain()[0],
        "enable pids on the way down, and cpu, cpuset, hugetlb, io, memory, rdma where that can be (a)"
    );
    let plan = crate::plan(&v2(), "/a", &resources("{}")).unwrap().with_every_controller();
    assert_eq!(
        plan.explain()[0],
        "enable cpu, cpuset, hugetlb, io, memory, pids, rdma on the way down where that can be (a)"
    );
}

#[test]
fn the_plan_of_a_v1_container_has_every_hierarchy() {
    let json = r#"{"pids": {"limit": 10}, "devices": [{"allow": false}]}"#;
    let steps: Vec<String> =
        plan(&v1(), "onggi//./x/", &resources(json)).unwrap().steps.iter().map(ToString::to_string).collect();
    let made = steps.iter().filter(|step| step.starts_with("make the control group")).count();
    assert_eq!(made, 12, "eleven of v1 and the v2 tree beside them");
    let cpuset = steps.iter().position(|step| step.starts_with("inherit")).unwrap();
    assert_eq!(steps[cpuset - 1], "make the control group in hierarchy 1");
    assert_eq!(
        steps[steps.len() - 2..],
        [
            "write \"10\" to pids.max: no more processes and threads than this",
            "deny all devices, allow: c *:* m, b *:* m, c 1:3 rwm, c 1:8 rwm, c 1:7 rwm, c 5:0 rwm, c 1:5 rwm, c 1:9 rwm, c 136:* rwm, \
             c 5:2 rwm",
        ]
    );
}

#[test]
fn paths_stay_beneath_the_root() {
    for bad in ["/onggi/../x", "..", "", "/", "/.", "a\0b", "system.slice:onggi:x"] {
        assert!(matches!(plan(&v2(), bad, &Resources::default()), Err(Error::BadPath { .. })), "{bad:?}");
    }
    assert_eq!(plan(&v2(), "/onggi/a:b:c", &Resources::default()).unwrap().path, "onggi/a:b:c");
}
