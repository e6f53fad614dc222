//! Golden plans: the whole plan of a container with every default, and for each other configuration how its plan differs. No root, no
//! kernel: `cargo insta review` shows what a change of the planner does to all of them.

use std::path::PathBuf;

use onggi_cgroup::{Hierarchy, Layout};
use onggi_oci as oci;
use onggi_oci::NamespaceKind as Kind;
use onggi_runtime::plan::{self, Extra, Input, Isolation, JoinInput, Plan, Populate, Root};

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.into()).collect()
}

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> oci::Mount {
    oci::Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(source.into()),
        options: strings(options),
        ..oci::Mount::default()
    }
}

fn spec() -> oci::Spec {
    let set = strings(&["CAP_CHOWN", "CAP_KILL"]);
    let capabilities = oci::Capabilities {
        bounding: set.clone(),
        effective: set.clone(),
        permitted: set,
        ..oci::Capabilities::default()
    };
    let namespace = |kind| oci::Namespace { kind, path: None };
    let namespaces =
        [Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts, Kind::Mount, Kind::Cgroup].map(namespace).to_vec();
    oci::Spec {
        oci_version: "1.3.0".into(),
        hostname: Some("jar".into()),
        process: Some(oci::Process {
            args: strings(&["nginx", "-g", "daemon off;"]),
            env: strings(&["PATH=/usr/bin:/bin"]),
            cwd: "/srv".into(),
            capabilities: Some(capabilities),
            ..oci::Process::default()
        }),
        root: Some(oci::Root { path: "rootfs".into(), readonly: false }),
        mounts: vec![
            mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        linux: Some(oci::Linux {
            namespaces,
            masked_paths: strings(&["/proc/kcore"]),
            readonly_paths: strings(&["/proc/sys"]),
            ..oci::Linux::default()
        }),
        ..oci::Spec::default()
    }
}

fn v1() -> Layout {
    let hierarchy = |controllers: &[&str], name: &str| Hierarchy {
        controllers: strings(controllers),
        root: PathBuf::from("/sys/fs/cgroup").join(name),
    };
    Layout::V1 {
        hierarchies: vec![
            hierarchy(&["cpu", "cpuacct"], "cpu,cpuacct"),
            hierarchy(&["memory"], "memory"),
            hierarchy(&["name=systemd"], "systemd"),
        ],
        unified: None,
    }
}

fn v2() -> Layout {
    Layout::V2 { root: "/sys/fs/cgroup".into(), controllers: strings(&["memory", "pids"]) }
}

fn root() -> Root {
    Root::Overlay {
        lower: vec!["/run/onggi/layers/b".into(), "/run/onggi/layers/a".into()],
        upper: "/var/lib/onggi/containers/id/upper".into(),
        work: "/var/lib/onggi/containers/id/work".into(),
        volatile: false,
        user_attributes: false,
    }
}

fn planned(spec: &oci::Spec, layout: &Layout, extra: Extra) -> Plan {
    plan::container(&Input { id: "id", spec, root: root(), cgroups: layout, extra })
        .expect("it can be planned")
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| serde_json::to_string(step).expect("a step is JSON")).collect()
}

/// What the change adds to the default plan and takes from it, in order.
fn difference(change: impl FnOnce(&mut oci::Spec, &mut Extra)) -> String {
    let before = lines(&planned(&spec(), &v2(), Extra::default()));
    let (mut spec, mut extra) = (spec(), Extra::default());
    change(&mut spec, &mut extra);
    let after = lines(&planned(&spec, &v2(), extra));
    let removed = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let added = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    removed.chain(added).collect::<Vec<_>>().join("\n")
}

fn linux(spec: &mut oci::Spec) -> &mut oci::Linux {
    spec.linux.as_mut().expect("the specification has it")
}

fn process(spec: &mut oci::Spec) -> &mut oci::Process {
    spec.process.as_mut().expect("the specification has it")
}

fn without(spec: &mut oci::Spec, kind: Kind) {
    linux(spec).namespaces.retain(|namespace| namespace.kind != kind);
}

#[test]
fn without_a_cgroup_namespace_version_2_shows_the_hosts_tree() {
    let changed = difference(|spec, _| without(spec, Kind::Cgroup));
    insta::assert_snapshot!(changed);
}

#[test]
fn every_default_on_version_2() {
    let plan = planned(&spec(), &v2(), Extra::default());
    insta::assert_snapshot!(lines(&plan).join("\n"));
    insta::assert_snapshot!(
        "every_default_explained",
        plan.steps.iter().map(onggi_runtime::Step::explain).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_default_on_version_1() {
    insta::assert_snapshot!(lines(&planned(&spec(), &v1(), Extra::default())).join("\n"));
}

#[test]
fn a_terminal() {
    insta::assert_snapshot!(difference(|spec, _| process(spec).terminal = true));
}

#[test]
fn host_network_and_names() {
    insta::assert_snapshot!(difference(|spec, _| {
        spec.hostname = None;
        for kind in [Kind::Network, Kind::Uts, Kind::Ipc, Kind::Pid] {
            without(spec, kind);
        }
    }));
}

#[test]
fn namespaces_of_another_container() {
    insta::assert_snapshot!(difference(|spec, _| {
        for namespace in &mut linux(spec).namespaces {
            let path = |name: &str| Some(format!("/proc/7/ns/{name}"));
            match namespace.kind {
                Kind::Network => namespace.path = path("net"),
                Kind::Pid => namespace.path = path("pid"),
                _ => {}
            }
        }
    }));
}

#[test]
fn a_mount_namespace_is_joined_after_all_others() {
    insta::assert_snapshot!(difference(|spec, extra| {
        extra.bundle.state = Some(oci::State::default());
        for namespace in &mut linux(spec).namespaces {
            let path = |name: &str| Some(format!("/proc/7/ns/{name}"));
            match namespace.kind {
                Kind::Mount => namespace.path = path("mnt"),
                Kind::Uts => namespace.path = path("uts"),
                _ => {}
            }
        }
        linux(spec).namespaces.sort_by_key(|namespace| namespace.kind != Kind::Mount);
    }));
}

fn ids(container_id: u32, host_id: u32, size: u32) -> oci::IdMapping {
    oci::IdMapping { container_id, host_id, size }
}

fn in_user_namespace(spec: &mut oci::Spec) {
    let linux = linux(spec);
    linux.namespaces.push(oci::Namespace { kind: Kind::User, path: None });
    linux.uid_mappings = vec![ids(0, 100_000, 65536)];
    linux.gid_mappings = vec![ids(0, 200_000, 65536)];
}

/// The parent's part as well.
fn whole(change: impl FnOnce(&mut oci::Spec, &mut Extra)) -> String {
    let (mut spec, mut extra) = (spec(), Extra::default());
    change(&mut spec, &mut extra);
    let plan = planned(&spec, &v1(), extra);
    let launch = serde_json::to_string(&(&plan.launch.user, plan.launch.sources)).expect("it is JSON");
    [vec![launch], lines(&plan)].concat().join("\n")
}

#[test]
fn a_user_namespace() {
    insta::assert_snapshot!(whole(|spec, _| {
        in_user_namespace(spec);
        spec.mounts.push(mount("bind", "/srv", "/srv", &["rbind"]));
        process(spec).oom_score_adj = Some(100);
        process(spec).rlimits = vec![oci::Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 1, hard: 2 }];
        linux(spec).namespaces.push(oci::Namespace { kind: Kind::Time, path: None });
        let offset = oci::TimeOffset { secs: -7, nanosecs: 5 };
        linux(spec).time_offsets = [("monotonic".to_owned(), offset)].into();
    }));
}

#[test]
fn a_user_namespace_of_another_container() {
    insta::assert_snapshot!(whole(|spec, _| {
        in_user_namespace(spec);
        for namespace in &mut linux(spec).namespaces {
            let path = |name: &str| Some(format!("/proc/7/ns/{name}"));
            match namespace.kind {
                Kind::Network => namespace.path = path("net"),
                Kind::User => namespace.path = path("user"),
                _ => {}
            }
        }
    }));
}

#[test]
fn a_user_namespace_of_somebody_without_privilege() {
    insta::assert_snapshot!(whole(|spec, extra| {
        in_user_namespace(spec);
        spec.mounts.push(mount("bind", "/srv", "/srv", &["rbind"]));
        extra.bundle.unprivileged = true;
    }));
}

#[test]
fn mounts_with_ids_of_their_own() {
    insta::assert_snapshot!(difference(|spec, _| {
        let mut mapped = mount("bind", "/srv", "/srv", &["rbind", "ro", "rnosuid", "rshared", "ridmap"]);
        mapped.uid_mappings = vec![ids(0, 100_000, 10), ids(10, 5, 1)];
        mapped.gid_mappings = vec![ids(0, 200_000, 10)];
        spec.mounts.push(mapped);
    }));
}

#[test]
fn a_time_namespace() {
    insta::assert_snapshot!(difference(|spec, _| {
        linux(spec).namespaces.push(oci::Namespace { kind: Kind::Time, path: None });
        let offset = |secs| oci::TimeOffset { secs, nanosecs: 1 };
        linux(spec).time_offsets =
            [("monotonic".to_owned(), offset(7)), ("boottime".to_owned(), offset(-7))].into();
    }));
}

/// `config-linux.md`, "Cgroup ownership".
#[test]
fn a_group_is_for_whom_it_is_writable() {
    let owner = |change: fn(&mut oci::Spec, &mut Extra), layout: &Layout| {
        let (mut spec, mut extra) = (spec(), Extra::default());
        in_user_namespace(&mut spec);
        spec.mounts.iter_mut().for_each(|mount| mount.options.retain(|option| option != "ro"));
        change(&mut spec, &mut extra);
        planned(&spec, layout, extra).launch.cgroup.steps.iter().find_map(|step| match step {
            onggi_cgroup::Step::Delegate { owner } => Some(*owner),
            _ => None,
        })
    };
    let host = |spec: &mut oci::Spec| {
        without(spec, Kind::User);
        linux(spec).uid_mappings.clear();
        linux(spec).gid_mappings.clear();
    };
    assert_eq!(owner(|_, _| {}, &v2()), Some(100_000), "its root");
    assert_eq!(owner(|spec, _| process(spec).user.uid = 7, &v2()), Some(100_007));
    assert_eq!(owner(|spec, _| process(spec).user.uid = 70_000, &v2()), None, "nobody's id");
    assert_eq!(owner(|_, extra| extra.user = Some("www".into()), &v2()), None, "not known yet");
    assert_eq!(owner(|_, _| {}, &v1()), None);
    assert_eq!(owner(|spec, _| without(spec, Kind::Cgroup), &v2()), None, "it sees the host's");
    let read_only = |spec: &mut oci::Spec, _: &mut Extra| {
        spec.mounts.last_mut().expect("it has mounts").options.push("ro".into());
    };
    assert_eq!(owner(read_only, &v2()), None);
    let of_host = |uid: u32| {
        let (mut spec, extra) = (spec(), Extra::default());
        host(&mut spec);
        spec.mounts.iter_mut().for_each(|mount| mount.options.retain(|option| option != "ro"));
        process(&mut spec).user.uid = uid;
        planned(&spec, &v2(), extra).launch.cgroup.steps.len()
    };
    assert_eq!(of_host(7), of_host(0) + 1, "without a user namespace root of the host has it already");
}

#[test]
fn volumes_and_tmpfs() {
    insta::assert_snapshot!(difference(|spec, extra| {
        spec.mounts.push(mount(
            "bind",
            "/var/lib/onggi/volumes/v/_data",
            "/data",
            &["rbind", "rprivate", "nosuid"],
        ));
        spec.mounts.push(mount("bind", "/etc/hosts", "/etc/hosts", &["rbind", "ro", "rslave"]));
        spec.mounts.push(mount("bind", "/srv", "/srv/../all", &["rbind", "rro"]));
        spec.mounts.push(mount("tmpfs", "tmpfs", "/tmp", &["ro", "noexec", "size=1m", "tmpcopyup"]));
        extra.populate =
            vec![Populate { destination: "/data/".into(), volume: "/var/lib/onggi/volumes/v/_data".into() }];
    }));
}

#[test]
fn a_read_only_root() {
    insta::assert_snapshot!(difference(
        |spec, _| spec.root = Some(oci::Root { path: "/".into(), readonly: true })
    ));
}

#[test]
fn users_home_init_and_loopback() {
    insta::assert_snapshot!(difference(|_, extra| {
        extra.user = Some("www:video".into());
        extra.group_add = strings(&["audio", "7"]);
        extra.home = true;
        extra.init = true;
        extra.loopback = true;
    }));
}

#[test]
fn limits_scores_and_parameters() {
    insta::assert_snapshot!(difference(|spec, _| {
        process(spec).oom_score_adj = Some(500);
        process(spec).rlimits = vec![oci::Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 1, hard: u64::MAX }];
        process(spec).io_priority = Some(oci::IoPriority { class: "IOPRIO_CLASS_BE".into(), priority: 4 });
        process(spec).user = oci::User { uid: 5, gid: 6, umask: Some(0o77), additional_gids: vec![7] };
        linux(spec).sysctl = [("net.ipv4.ping_group_range".into(), "0 2147483647".into())].into();
        linux(spec).personality = Some(oci::Personality { domain: "LINUX32".into(), flags: Vec::new() });
    }));
}

#[test]
fn a_filter_with_and_without_new_privileges() {
    insta::assert_snapshot!(difference(|spec, extra| {
        extra.seccomp = Some(vec![6, 0, 0, 0, 0, 0, 255, 127]);
        extra.seccomp_flags = 2;
        process(spec).no_new_privileges = true;
    }));
}

#[test]
fn privileged() {
    insta::assert_snapshot!(difference(|spec, _| {
        linux(spec).masked_paths.clear();
        linux(spec).readonly_paths.clear();
        for mount in &mut spec.mounts[2..] {
            mount.options.retain(|option| option != "ro");
        }
        linux(spec).devices = vec![oci::Device {
            path: "/dev/kmsg".into(),
            kind: "c".into(),
            major: 1,
            minor: 11,
            ..Default::default()
        }];
    }));
}

#[test]
fn what_is_mounted_in_dev_stays() {
    let nodes = |mounts: &[oci::Mount]| {
        let mut spec = spec();
        spec.mounts.extend_from_slice(mounts);
        let plan = planned(&spec, &v2(), Extra::default());
        let made = plan.steps.into_iter().find_map(|step| match step {
            plan::Step::MakeDevices { devices, links } => Some((devices, links)),
            _ => None,
        });
        let (devices, links) = made.unwrap();
        let nodes = devices.into_iter().map(|node| node.path);
        nodes.chain(links.into_iter().map(|link| link.path)).collect::<Vec<_>>()
    };
    let bind = |path: &str| mount("bind", path, path, &["bind"]);
    let every = nodes(&[]);
    let left = nodes(&[bind("/dev/null"), bind("/dev/ptmx")]);
    let missing: Vec<_> = every.iter().filter(|path| !left.contains(path)).collect();
    assert_eq!(missing, ["/dev/null", "/dev/ptmx"]);
    // One that lies hidden below a later /dev.
    let dev = mount("tmpfs", "tmpfs", "/dev", &[]);
    assert_eq!(nodes(&[bind("/dev/null"), dev]), every);
}

#[test]
fn the_hosts_dev_and_a_shared_root() {
    insta::assert_snapshot!(difference(|spec, _| {
        spec.mounts[1] = mount("bind", "/dev", "/dev", &["rbind"]);
        linux(spec).rootfs_propagation = Some("rshared".into());
    }));
}

#[test]
fn a_process_without_namespaces() {
    let mut spec = spec();
    spec.hostname = None;
    spec.mounts.clear();
    linux(&mut spec).namespaces.clear();
    linux(&mut spec).masked_paths.clear();
    linux(&mut spec).readonly_paths.clear();
    let extra = Extra { isolation: Isolation::Process, seccomp: Some(vec![0; 8]), ..Extra::default() };
    insta::assert_snapshot!(lines(&planned(&spec, &v2(), extra)).join("\n"));
}

#[test]
fn exec() {
    let spec = spec();
    let mut inner = spec.process.clone().expect("the specification has it");
    inner.args = strings(&["sh"]);
    inner.terminal = true;
    let layout = v1();
    let input = |privileged| JoinInput {
        id: "id",
        spec: &spec,
        process: &inner,
        cgroups: &layout,
        extra: Extra { user: Some(String::new()), seccomp: Some(vec![0; 8]), ..Extra::default() },
        privileged,
    };
    insta::assert_snapshot!(lines(&plan::join(&input(false)).expect("it can be planned")).join("\n"));
    insta::assert_snapshot!(
        "exec_privileged",
        lines(&plan::join(&input(true)).expect("it can be planned")).join("\n")
    );
}

#[test]
fn scheduling_and_memory() {
    let changed = difference(|spec, extra| {
        let scheduler = oci::Scheduler { policy: "SCHED_BATCH".into(), nice: Some(5), ..Default::default() };
        process(spec).scheduler = Some(scheduler);
        linux(spec).memory_policy = Some(oci::MemoryPolicy {
            mode: "MPOL_INTERLEAVE".into(),
            nodes: Some("0-1".into()),
            flags: strings(&["MPOL_F_STATIC_NODES"]),
        });
        extra.bundle.every_processor = true;
    });
    insta::assert_snapshot!(changed);
}

#[test]
fn exec_in_a_user_namespace() {
    let mut spec = spec();
    in_user_namespace(&mut spec);
    let mut inner = spec.process.clone().expect("the specification has it");
    inner.oom_score_adj = Some(-5);
    let layout = v2();
    let extra = Extra::default();
    let input =
        JoinInput { id: "id", spec: &spec, process: &inner, cgroups: &layout, extra, privileged: false };
    let plan = plan::join(&input).expect("it can be planned");
    let launch = serde_json::to_string(&plan.launch.user).expect("it is JSON");
    insta::assert_snapshot!([vec![launch], lines(&plan)].concat().join("\n"));
}

#[test]
fn security_modules() {
    let changed = difference(|spec, _| {
        process(spec).apparmor_profile = Some("onggi-default".into());
        process(spec).selinux_label = Some("system_u:system_r:container_t:s0:c4,c5".into());
        linux(spec).mount_label = Some("system_u:object_r:container_file_t:s0:c4,c5".into());
        spec.mounts.push(mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid"]));
    });
    insta::assert_snapshot!(changed);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    type Change = fn(&mut oci::Spec, &mut Extra);
    let cases: &[(Change, &str)] = &[
        (|spec, _| spec.oci_version = "2.0".into(), "ociVersion \"2.0\" is not supported"),
        (
            |spec, _| {
                let prestart = vec![oci::Hook { path: "/bin/true".into(), ..Default::default() }];
                spec.hooks = Some(oci::Hooks { prestart, ..Default::default() });
            },
            "hooks is not supported",
        ),
        (|spec, _| spec.vm = Some(serde_json::json!({})), "vm is not supported"),
        (
            |spec, _| linux(spec).uid_mappings = vec![ids(0, 1, 1)],
            "linux.uidMappings: user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            |spec, _| linux(spec).namespaces.push(oci::Namespace { kind: Kind::User, path: None }),
            "linux.namespaces: user namespaces enabled, but no namespace path to join nor mappings to apply specified",
        ),
        (
            |spec, _| {
                in_user_namespace(spec);
                linux(spec).time_offsets = [("boottime".to_owned(), oci::TimeOffset::default())].into();
            },
            "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            |spec, _| {
                linux(spec).namespaces.push(oci::Namespace { kind: Kind::Time, path: None });
                linux(spec).time_offsets = [("realtime".to_owned(), oci::TimeOffset::default())].into();
            },
            "linux.timeOffsets.realtime: there is no such clock",
        ),
        (
            |spec, _| {
                let path = Some("/proc/7/ns/time".to_owned());
                linux(spec).namespaces.push(oci::Namespace { kind: Kind::Time, path });
                linux(spec).time_offsets = [("boottime".to_owned(), oci::TimeOffset::default())].into();
            },
            "linux.timeOffsets: time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
        ),
        (
            |spec, _| spec.mounts.push(mount("bind", "/srv", "/srv", &["bind", "idmap"])),
            "mount of /srv: id-mapped mounts must have both uid and gid mappings specified",
        ),
        (
            |spec, extra| {
                in_user_namespace(spec);
                spec.mounts.push(mount("bind", "/srv", "/srv", &["bind", "idmap"]));
                extra.bundle.unprivileged = true;
            },
            "mount of /srv: id-mapped mounts are not supported for rootless containers",
        ),
        (|spec, _| linux(spec).intel_rdt = Some(Default::default()), "linux.intelRdt is not supported"),
        (
            |spec, _| linux(spec).net_devices = [("eth0".to_owned(), oci::NetDevice::default())].into(),
            "linux.netDevices is not supported",
        ),
        (|spec, _| without(spec, Kind::Mount), "a container without a new mount namespace is not supported"),
        (
            |spec, _| {
                let path = Some("/proc/7/ns/mnt".to_owned());
                without(spec, Kind::Mount);
                linux(spec).namespaces.push(oci::Namespace { kind: Kind::Mount, path });
            },
            "a container without a new mount namespace is not supported",
        ),
        (|spec, _| without(spec, Kind::Uts), "hostname: it cannot be set without a private UTS namespace"),
        (
            |spec, extra| {
                without(spec, Kind::Network);
                extra.loopback = true;
            },
            "loopback: the network namespace is not the container's own",
        ),
        (
            |spec, extra| {
                without(spec, Kind::Pid);
                extra.init = true;
            },
            "init: the pid namespace is not the container's own",
        ),
        (|spec, _| process(spec).args.clear(), "process.args: there is no program to execute"),
        (|spec, _| process(spec).cwd = "srv".into(), "process.cwd: \"srv\" is not absolute"),
    ];
    for (change, expected) in cases {
        let (mut spec, mut extra) = (spec(), Extra::default());
        change(&mut spec, &mut extra);
        let error = plan::container(&Input { id: "id", spec: &spec, root: root(), cgroups: &v2(), extra });
        assert_eq!(error.expect_err(expected).to_string(), *expected);
    }
}

#[test]
fn a_plan_comes_back_from_its_file() {
    use std::os::fd::AsFd;
    let extra = Extra { seccomp: Some(vec![1; 800]), isolation: Isolation::Container, ..Extra::default() };
    let plan = planned(&spec(), &v1(), extra);
    let file = onggi_runtime::encode(&plan).expect("it fits into memory");
    assert_eq!(onggi_runtime::decode_launch(file.as_fd()).expect("launch"), plan.launch);
    assert_eq!(onggi_runtime::decode_steps(file.as_fd()).expect("steps"), plan.steps);
    assert_eq!(onggi_runtime::decode_filter(file.as_fd()).expect("filter"), plan.filter);
    assert!(rustix::io::pwrite(&file, b"x", 0).is_err(), "it can still be changed");
}

#[test]
fn what_is_no_plan_is_refused() {
    use std::io::Write;
    use std::os::fd::AsFd;
    for (text, expected) in [
        ("", "not a plan: no header"),
        (
            "{\"version\":9,\"launch\":1,\"steps\":1,\"filter\":0}\n",
            "not a plan: version 9 is newer than 1, this program's",
        ),
        ("{\"version\":1,\"launch\":9,\"steps\":1,\"filter\":0}\n{}", "not a plan: cut short"),
        (
            "{\"version\":1,\"launch\":99999999999,\"steps\":1,\"filter\":0}\n{}",
            "not a plan: a part is too large",
        ),
    ] {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        assert_eq!(onggi_runtime::decode_launch(file.as_fd()).expect_err(text).to_string(), expected);
    }
}
