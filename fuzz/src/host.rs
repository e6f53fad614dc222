//! A made-up host to plan for: both generations of control groups, with every controller.

use onggi_cgroup::{Hierarchy, Layout};

/// Version 2, version 1 with a version 2 tree beside it, and no control groups at all.
pub fn layouts() -> [Layout; 3] {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    let hierarchy = |names: &[&str]| Hierarchy {
        controllers: names.iter().map(|&name| name.to_owned()).collect(),
        root: format!("/sys/fs/cgroup/{}", names.join(",")).into(),
    };
    let hierarchies: [&[&str]; 11] = [
        &["cpuset"],
        &["cpu", "cpuacct"],
        &["blkio"],
        &["memory"],
        &["devices"],
        &["freezer"],
        &["net_cls", "net_prio"],
        &["hugetlb"],
        &["pids"],
        &["rdma"],
        &["name=systemd"],
    ];
    [
        Layout::V2 { root: "/sys/fs/cgroup".into(), controllers: controllers.map(str::to_owned).into() },
        Layout::V1 {
            hierarchies: hierarchies.map(hierarchy).into(),
            unified: Some("/sys/fs/cgroup/unified".into()),
        },
        Layout::none(),
    ]
}
