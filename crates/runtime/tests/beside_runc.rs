//! What the program `onggi-runtime` does where runc and crun were tried beside it, and engines had noticed a difference.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::bundle::Bundle;

#[test]
fn nodes_of_the_hosts_may_be_mounted_on_those_of_a_container() {
    let mut bundle = Bundle::new("stat -c %F /dev/null /dev/tty; grep -c ' /dev/tty ' /proc/mounts");
    bundle.bind("/dev/null", "/dev/null");
    bundle.bind("/dev/tty", "/dev/tty");
    assert_eq!(bundle.ok("run {}"), "character special file\ncharacter special file\n1\n");
}

/// Docker takes "is a directory" and "permission denied" for a program that cannot be executed, and then says 126 instead of 125.
#[test]
fn a_file_on_a_directory_is_called_that_and_nothing_else() {
    for (source, destination, text) in [
        ("/etc/passwd", "/tmp", "mount of the file /etc/passwd onto the directory /tmp: not a directory"),
        ("/tmp", "/etc/passwd", "mount of the directory /tmp onto the file /etc/passwd: not a directory"),
    ] {
        let mut bundle = Bundle::new("true");
        bundle.bind(source, destination);
        bundle.fails("run {}", 1, text);
        let said = String::from_utf8(bundle.call("run {}").stderr).unwrap();
        assert!(!said.contains("is a directory") && !said.contains("permission denied"), "{said}");
    }
}

#[test]
fn without_cgroups_there_are_no_rules_about_devices() {
    let mut bundle = Bundle::new("cat /proc/self/cgroup");
    bundle.config["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|each| each["type"] != "cgroup");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(bundle.ok("--cgroup-manager disabled run {}"), own);
    bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 9 });
    bundle.fails("--cgroup-manager disabled run {}", 1, "pids");
}

/// Who masks the file, or mounts something else there, means that there are no accounts. What it is, is not tried: `hostile.rs`.
#[test]
fn passwd_may_be_no_file() {
    let home = || Bundle::new("echo $HOME");
    let mut masked = home();
    masked.config["linux"]["maskedPaths"] = json!(["/etc/passwd"]);
    assert_eq!(masked.ok("run {}"), "/\n");
    let mut device = home();
    device.bind("/dev/null", "/etc/passwd");
    assert_eq!(device.ok("run {}"), "/\n");
    let directory = home();
    let passwd = directory.jar.rootfs().join("etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    std::fs::create_dir(&passwd).unwrap();
    assert_eq!(directory.ok("run {}"), "/\n");
}

/// The caller's own group in each hierarchy, by the names that it has there.
fn groups() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let line = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        Some((names.to_owned(), path.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// What limits the caller limits a container that names no group, or one without a slash before it: its groups are below the caller's, and on
/// version 2 beside it.
#[test]
fn a_container_stays_in_the_groups_of_who_runs_it() {
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for given in [None, Some("onggi-relative"), Some("onggi:relative:path"), Some("../../onggi-relative")] {
        let mut bundle = Bundle::new("cat /proc/self/cgroup");
        let linux = bundle.config["linux"].as_object_mut().unwrap();
        linux.remove("cgroupsPath");
        if let Some(given) = given {
            linux.insert("cgroupsPath".to_owned(), json!(given));
        }
        linux["namespaces"].as_array_mut().unwrap().retain(|each| each["type"] != "cgroup");
        let name = given.map_or(bundle.id.clone(), |given| given.replace("../", ""));
        let said = bundle.ok("run {}");
        for (names, own) in groups() {
            // A hierarchy that is mounted nowhere nobody can move in.
            let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let is_mounted = names.is_empty() || mounted.contains(&format!(",{names}"));
            let above = if is_v2 { own.rsplit_once('/').unwrap().0 } else { own.trim_end_matches('/') };
            let line = format!(":{names}:{above}/{name}\n");
            assert!(!is_mounted || said.contains(&line), "{line} is not in {said}");
        }
        let left = Path::new("/sys/fs/cgroup/memory/onggi").join(&bundle.id);
        assert!(!left.exists());
    }
}

#[test]
fn nobody_else_comes_near_a_containers_state() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::new("echo ran");
    let fresh = bundle.jar.path("state/fresh");
    let mut command = bundle.command(&["--root", fresh.to_str().unwrap(), "create", &bundle.id]);
    let output = std::fs::File::create(bundle.jar.path("output")).unwrap();
    assert!(command.stdout(output.try_clone().unwrap()).stderr(output).status().unwrap().success());
    for path in [fresh.clone(), fresh.join(&bundle.id)] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
    }
    bundle.ok(&format!("--root {} delete --force {{}}", fresh.display()));
    std::fs::remove_dir(fresh).unwrap();
    // A process of another user's waits at the FIFO all the same.
    bundle.config["process"]["user"] = json!({ "uid": 33, "gid": 33 });
    bundle.create();
    bundle.ok("start {}");
    while bundle.status() != "stopped" {
        std::thread::yield_now();
    }
    assert_eq!(bundle.output(), "ran\n");
}

#[test]
fn a_root_by_way_of_a_link_is_refused() {
    let mut bundle = Bundle::new("echo ran");
    std::os::unix::fs::symlink("rootfs", bundle.jar.path("link")).unwrap();
    bundle.config["root"]["path"] = json!("link");
    bundle.fails("run {}", 1, "invalid rootfs: not an absolute path, or a symlink");
    bundle.config["root"]["path"] = json!("./link/../rootfs/");
    assert_eq!(bundle.ok("run {}"), "ran\n");
}

#[test]
fn a_damaged_state_can_be_cleared_by_force() {
    for (damage, is_older) in [("cut", false), ("junk", false), ("cut", true), ("junk", true)] {
        let bundle = Bundle::new("exec sleep 1000");
        bundle.quietly(&["run", "-d", &bundle.id]);
        let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
        let path = bundle.jar.path("state").join(&bundle.id).join("state.json");
        let whole = std::fs::read(&path).unwrap();
        let left = if damage == "cut" { &whole[..whole.len() / 2] } else { b"{junk" };
        std::fs::write(&path, left).unwrap();
        if is_older {
            std::fs::remove_file(path.with_file_name("birth.json")).unwrap();
        }
        let (code, said) = bundle.said("delete {}");
        assert_eq!(code, Some(1), "{said}");
        let (code, said) = bundle.said("delete --force {}");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("the state of the container is damaged"), "{said}");
        bundle.fails("state {}", 1, "container does not exist");
        let process = format!("/proc/{}/status", state["pid"]);
        let has_ended = || std::fs::read_to_string(&process).map_or(true, |text| text.contains("State:\tZ"));
        let layout = onggi_cgroup::detect().unwrap();
        // What the program says to be left is for the test to take away.
        let group = bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
        let group = onggi_cgroup::Cgroup::open(&layout, group);
        if !is_older {
            assert!(has_ended() && group.is_err(), "{said}");
            continue;
        }
        assert_eq!(said.contains("its first process was killed"), damage == "cut", "{said}");
        let group = group.unwrap();
        group.kill().unwrap();
        group.remove().unwrap();
        assert!(has_ended());
    }
}

/// Nobody but the first process is known then.
#[test]
fn without_cgroups_a_damaged_state_ends_the_first_process() {
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.config["linux"]["resources"] = json!({});
    for (damage, words) in [("cut", "its first process was killed; it has no cgroup"), ("none", "neither")] {
        bundle.quietly(&["--cgroup-manager", "disabled", "run", "-d", &bundle.id]);
        let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
        let pid = rustix::process::Pid::from_raw(state["pid"].as_i64().unwrap() as i32).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let path = bundle.jar.path("state").join(&bundle.id).join("state.json");
        let whole = std::fs::read(&path).unwrap();
        match damage {
            "cut" => std::fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        let (code, said) = bundle.said("delete --force {}");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(words), "{said}");
        if damage == "none" {
            rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        }
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&limit)).unwrap(), 1, "{damage}: it lives on");
    }
}

#[test]
fn words_that_are_wrong_are_no_code_of_a_programs() {
    let bundle = Bundle::new("true");
    for line in ["exec --bogus {} true", "exec", "exec -g abc {} true", "exec --preserve-fds x {} true"] {
        assert_eq!(bundle.said(line).0, Some(1), "{line}");
    }
    assert_eq!(bundle.said("exec nosuch true").0, Some(255));
    assert_eq!(bundle.said("nosuch").0, Some(3));
}

/// Found, and not to be executed: the process has begun, and ends with 255.
#[test]
fn what_the_kernel_does_not_execute_has_begun() {
    use std::os::unix::fs::PermissionsExt;
    let bundle = Bundle::new("exec sleep 1000");
    for (name, text) in [("empty", ""), ("without", "#!/nosuch\n")] {
        let path = bundle.jar.rootfs().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    bundle.quietly(&["run", "-d", &bundle.id]);
    let format = "exec /empty: exec format error\n".to_owned();
    assert_eq!(bundle.said("exec {} /empty"), (Some(255), format.clone()));
    assert_eq!(bundle.said("exec -d --pid-file pid {} /empty"), (Some(0), format));
    assert!(bundle.jar.path("pid").exists());
    let missing = "exec /without: no such file or directory\n".to_owned();
    assert_eq!(bundle.said("exec {} /without"), (Some(255), missing));
    bundle.kill();
}

#[test]
fn what_runc_passes_over_is_said_and_passed_over() {
    let mut bundle = Bundle::new("echo ran");
    bundle.config["linux"]["resources"] = json!({ "memory": { "kernel": 1 << 30, "kernelTCP": 1 << 30 } });
    let (code, said) = bundle.said("run {}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Kernel memory settings are ignored and will be removed"), "{said}");
    bundle.config["linux"]["resources"] = json!({});
    for version in [Value::Null, json!("9.0.0")] {
        bundle.config["ociVersion"] = version;
        if bundle.config["ociVersion"].is_null() {
            bundle.config.as_object_mut().unwrap().remove("ociVersion");
        }
        let (code, said) = bundle.said("run {}");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("is taken for 1.3.0"), "{said}");
    }
}

/// Processor 99999 is nowhere: the limit of processes that was written before is set back, and the state keeps what is.
#[test]
fn an_update_that_fails_changes_nothing() {
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.config["linux"]["resources"] = json!({ "pids": { "limit": 20 }, "cpu": { "shares": 512 } });
    bundle.quietly(&["run", "-d", &bundle.id]);
    let pids = || {
        let stats: Value = serde_json::from_str(&bundle.ok("events --stats {}")).unwrap();
        stats["data"]["pids"]["limit"].clone()
    };
    assert_eq!(bundle.said("update --cpu-share 700 --cpuset-cpus 99999 --pids-limit 30 {}").0, Some(1));
    assert_eq!(pids(), 20);
    bundle.ok("update --pids-limit 30 {}");
    assert_eq!(pids(), 30);
    bundle.kill();
}

#[test]
fn options_that_do_nothing_are_passed_over() {
    let mut bundle = Bundle::new("echo ran");
    bundle.bind("/tmp", "/data");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.last_mut().unwrap()["options"] = json!(["bind", "sync", "lazytime", "ro"]);
    mounts
        .push(json!({ "type": "tmpfs", "source": "tmpfs", "destination": "/tmp", "options": ["iversion"] }));
    let (code, said) = bundle.said("run {}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("mount of /data: ignoring options without effect: [sync lazytime]"), "{said}");
    assert!(said.contains("mount of /tmp: ignoring options without effect: [iversion]"), "{said}");
}
