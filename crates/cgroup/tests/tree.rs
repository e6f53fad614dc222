//! Plans carried out on a temporary directory that looks like a hierarchy: what is written where, and what is refused.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::fs;
use std::path::Path;

use onggi_cgroup::{Cgroup, Error, Hierarchy, Layout, plan};
use onggi_oci::Resources;

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

fn v2(root: &Path) -> Layout {
    let controllers = ["cpu", "io", "memory", "pids"].map(str::to_owned).into();
    Layout::V2 { root: root.into(), controllers }
}

/// The files that the kernel would make with the directory.
fn group(path: &Path, files: &[&str]) {
    fs::create_dir_all(path).unwrap();
    for file in ["cgroup.procs", "cgroup.subtree_control"].iter().chain(files) {
        fs::write(path.join(file), "").unwrap();
    }
}

fn content(path: &Path, file: &str) -> String {
    fs::read_to_string(path.join(file)).unwrap()
}

#[test]
fn v2_enables_what_is_missing_and_writes_the_limits() {
    let root = tempfile::tempdir().unwrap();
    let leaf = root.path().join("onggi/x");
    group(root.path(), &[]);
    group(&root.path().join("onggi"), &[]);
    group(&leaf, &["cpu.max", "memory.max", "io.weight"]);
    fs::write(root.path().join("cgroup.subtree_control"), "pids").unwrap();
    let json = r#"{"cpu": {"quota": 1000}, "memory": {"limit": 5, "swap": -1}, "blockIO": {"weight": 10}}"#;
    let cgroup = plan(&v2(root.path()), "/onggi/x", &resources(json)).unwrap().create().unwrap();
    assert_eq!(
        content(root.path(), "cgroup.subtree_control"),
        "+cpu +io +memory",
        "only what was missing, in one write"
    );
    assert_eq!(content(&root.path().join("onggi"), "cgroup.subtree_control"), "+cpu +io +memory +pids");
    assert_eq!(content(&leaf, "cgroup.subtree_control"), "");
    assert_eq!(content(&leaf, "cpu.max"), "1000 100000");
    assert_eq!(content(&leaf, "memory.max"), "5");
    assert_eq!(content(&leaf, "io.weight"), "default 1", "no BFQ: the other file");
    assert!(cgroup.v2_dir().is_some());
}

#[test]
fn v1_copies_an_empty_cpuset_from_above_and_lists_devices() {
    let root = tempfile::tempdir().unwrap();
    let (cpuset, devices) = (root.path().join("cpuset"), root.path().join("devices"));
    for path in [cpuset.clone(), cpuset.join("onggi"), cpuset.join("onggi/x")] {
        group(&path, &["cpuset.cpus", "cpuset.mems"]);
    }
    fs::write(cpuset.join("cpuset.cpus"), "0-3\n").unwrap();
    fs::write(cpuset.join("cpuset.mems"), "0\n").unwrap();
    fs::write(cpuset.join("onggi/cpuset.cpus"), "1-2\n").unwrap();
    group(&devices, &[]);
    group(&devices.join("onggi/x"), &["devices.allow", "devices.deny"]);
    let hierarchies = [("cpuset", &cpuset), ("devices", &devices)]
        .map(|(name, root)| Hierarchy { controllers: vec![name.into()], root: root.clone() })
        .into();
    let layout = Layout::V1 { hierarchies, unified: None };
    let json = r#"{"devices": [{"allow": false}, {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"}]}"#;
    let cgroup = plan(&layout, "/onggi/x", &resources(json)).unwrap().create().unwrap();
    assert_eq!(content(&cpuset.join("onggi/x"), "cpuset.cpus"), "1-2", "the parent's own choice");
    assert_eq!(content(&cpuset.join("onggi/x"), "cpuset.mems"), "0");
    assert_eq!(content(&cpuset.join("onggi"), "cpuset.mems"), "0", "the parent was empty too");
    assert_eq!(content(&devices.join("onggi/x"), "devices.deny"), "a");
    assert!(content(&devices.join("onggi/x"), "devices.allow").contains("b 8:0 r"));
    assert!(cgroup.v2_dir().is_none());
    let frozen = cgroup.freeze(true).unwrap_err();
    assert!(matches!(frozen, Error::NoController { controller: "freezer", .. }), "{frozen}");
}

#[test]
fn a_limit_without_its_file_is_refused() {
    let root = tempfile::tempdir().unwrap();
    group(root.path(), &[]);
    group(&root.path().join("x"), &["memory.max"]);
    let json = r#"{"memory": {"limit": 5, "swap": 5}}"#;
    let error = plan(&v2(root.path()), "x", &resources(json)).unwrap().create().unwrap_err();
    assert!(matches!(&error, Error::NoFile { file, .. } if file == "memory.swap.max"), "{error}");
    assert!(onggi_error::Diagnose::hint(&error).unwrap().contains("swapaccount"));
}

#[test]
fn symbolic_links_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    group(root.path(), &[]);
    group(&outside.path().join("x"), &["pids.max"]);
    std::os::unix::fs::symlink(outside.path(), root.path().join("onggi")).unwrap();
    let layout = Layout::V1 {
        hierarchies: vec![Hierarchy { controllers: vec!["pids".into()], root: root.path().into() }],
        unified: None,
    };
    let plan = plan(&layout, "onggi/x", &resources(r#"{"pids": {"limit": 1}}"#)).unwrap();
    assert!(matches!(plan.create(), Err(Error::MakeDirectory { .. })));
    assert!(matches!(plan.open(), Err(Error::OpenDirectory { .. })));
    assert_eq!(content(&outside.path().join("x"), "pids.max"), "");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "nothing is made outside");
}

#[test]
fn a_name_in_use_is_refused_and_a_missing_one_named() {
    let root = tempfile::tempdir().unwrap();
    group(root.path(), &[]);
    group(&root.path().join("x"), &[]);
    fs::write(root.path().join("x/cgroup.procs"), "17\n18\n").unwrap();
    let error = plan(&v2(root.path()), "x", &Resources::default()).unwrap().create().unwrap_err();
    assert!(matches!(error, Error::NotEmpty { count: 2, .. }), "{error}");
    // What kills the container would kill those below as well.
    fs::write(root.path().join("x/cgroup.procs"), "").unwrap();
    group(&root.path().join("x/service"), &[]);
    fs::write(root.path().join("x/service/cgroup.procs"), "19\n").unwrap();
    let error = plan(&v2(root.path()), "x", &Resources::default()).unwrap().create().unwrap_err();
    assert!(matches!(error, Error::NotEmpty { count: 1, .. }), "{error}");
    // What nobody can look into may be anybody's.
    fs::remove_file(root.path().join("x/service/cgroup.procs")).unwrap();
    fs::create_dir(root.path().join("x/service/cgroup.procs")).unwrap();
    let error = plan(&v2(root.path()), "x", &Resources::default()).unwrap().create().unwrap_err();
    assert!(error.is_of_another(), "{error}");
    let error = Cgroup::open(&v2(root.path()), "/y").unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}
