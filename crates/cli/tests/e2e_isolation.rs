//! The walls: what a program in a container may not do, see or keep open.

mod common;

use std::fs;
use std::path::Path;

use common::busybox;
use onggi_testkit::TestEnv;

/// Podman's eleven: chown, dac_override, fowner, fsetid, kill, net_bind_service, setfcap, setgid, setpcap, setuid, sys_chroot.
const ELEVEN: &str = "00000000800405fb";

fn status(onggi: &TestEnv, flags: &[&str], key: &str) -> String {
    let script = format!("grep '^{key}:' /proc/self/status | cut -f2");
    onggi.ok(["run", "--rm"].iter().chain(flags).chain(&["busybox", "sh", "-c", &script]))
}

fn says(onggi: &TestEnv, flags: &[&str], script: &str) -> String {
    let output = onggi.run(["run", "--rm"].iter().chain(flags).chain(&["busybox", "sh", "-c", script]));
    output.stdout.trim_end().to_owned() + output.stderr.trim_end()
}

#[test]
fn eleven_capabilities() {
    let onggi = busybox();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(&onggi, &[], set), ELEVEN, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(&onggi, &[], set), "0000000000000000", "{set}: CVE-2022-24769");
    }
    assert_eq!(status(&onggi, &["--cap-drop", "ALL"], "CapBnd"), "0000000000000000");
    assert_eq!(
        status(&onggi, &["--cap-drop", "ALL", "--cap-add", "net_admin"], "CapEff"),
        "0000000000001000"
    );
    assert_eq!(status(&onggi, &["-u", "www-data"], "CapEff"), "0000000000000000", "only root has them");
    assert_eq!(status(&onggi, &["-u", "www-data"], "CapBnd"), ELEVEN);
    assert_eq!(status(&onggi, &["--privileged"], "CapEff"), host_capabilities());
    onggi.run(["run", "--rm", "--cap-add", "FLY", "busybox", "true"]).code(125).says("FLY");
}

#[test]
fn the_system_call_filter_is_on() {
    let onggi = busybox();
    assert_eq!(status(&onggi, &[], "Seccomp"), "2");
    assert_eq!(status(&onggi, &["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    assert_eq!(status(&onggi, &["--privileged"], "Seccomp"), "0");
    // unshare(2) with a namespace needs CAP_SYS_ADMIN by the profile, whatever the kernel would allow.
    let refused = says(&onggi, &["-u", "www-data"], "unshare -U true");
    assert!(refused.contains("Operation not permitted"), "{refused}");
    assert_eq!(status(&onggi, &["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
}

#[test]
fn a_profile_of_the_user_s_own_is_obeyed() {
    let onggi = busybox();
    let profile = onggi.write(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#,
    );
    let option = format!("seccomp={}", profile.display());
    let refused = says(&onggi, &["--security-opt", &option], "mkdir /new; rmdir /new 2>/dev/null; echo ok");
    assert!(refused.contains("not supported"), "{refused}");
}

#[test]
fn masked_and_read_only_paths() {
    let onggi = busybox();
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats", "/proc/sched_debug"]
    {
        let content = says(&onggi, &[], &format!("[ ! -e {path} ] || head -c 10 {path} | wc -c"));
        assert!(content.is_empty() || content == "0", "{path}: {content}");
    }
    for path in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
        assert_eq!(says(&onggi, &[], &format!("ls -A {path} 2>/dev/null")), "", "{path}");
    }
    for path in ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger"] {
        let refused = says(&onggi, &[], &format!("[ ! -e {path} ] || echo x > {path}"));
        assert!(!Path::new(path).exists() || refused.contains("Read-only file system"), "{path}: {refused}");
    }
    let refused = says(
        &onggi,
        &[],
        "mkdir /sys/fs/cgroup/mine 2>&1; mkdir /sys/fs/cgroup/pids/mine 2>&1; mkdir /sys/new 2>&1",
    );
    assert!(refused.matches("Read-only file system").count() >= 2, "{refused}");
    // The masks are of the kernel's mounts, not tricks with permissions: root cannot take them off.
    assert!(says(&onggi, &[], "umount /proc/kcore; mount -o remount,rw /proc/sys").contains("permitted"));
}

/// By a mask or a stream that is the host's null device, the container's root could change that one's mode and owner, whatever
/// capabilities it lacks.
#[test]
fn the_hosts_null_device_is_out_of_reach() {
    let onggi = busybox();
    // To the mode that it has: nothing is harmed where this is not refused.
    let refused = says(
        &onggi,
        &[],
        "for file in /proc/keys /proc/timer_list; do [ ! -e $file ] || chmod 666 $file; done 2>&1",
    );
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert!(!refused.lines().any(|line| !line.contains("Read-only file system")), "{refused}");
    let own = "for fd in 0 1 2; do [ ! -c /proc/self/fd/$fd ] || stat -L -c %d:%i /proc/self/fd/$fd; done; stat -c %d:%i /dev/null";
    let all_one = |text: &str, least: usize| {
        let mut lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() >= least, "{text}");
        lines.dedup();
        assert_eq!(lines.len(), 1, "{text}");
    };
    all_one(&onggi.ok(["run", "--rm", "busybox", "sh", "-c", own]), 2);
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    all_one(&onggi.ok(["exec", "jar", "sh", "-c", own]), 2);
    let said = format!("exec >/tmp/said; {own}; echo >/tmp/done");
    onggi.ok(["exec", "-d", "jar", "sh", "-c", &said]);
    onggi.ok(["exec", "jar", "sh", "-c", "until [ -e /tmp/done ]; do sleep 0.01; done"]);
    all_one(&onggi.ok(["exec", "jar", "cat", "/tmp/said"]), 3);
}

#[test]
fn devices_are_a_short_list() {
    let onggi = busybox();
    let names = says(&onggi, &[], "ls /dev");
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    let expected = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        says(&onggi, &[], "head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; echo x > /dev/null"),
        "3\n5"
    );
    // With the right to make a node, the device list still denies its use: 1:1 is the memory, 1:5 is zero.
    let script = "mknod /m c 1 1 && head -c 1 /m; mknod /z c 1 5 && head -c 2 /z | wc -c";
    let refused = says(&onggi, &["--cap-add", "MKNOD"], script);
    assert!(refused.contains("Operation not permitted") && refused.starts_with('2'), "{refused}");
    assert!(says(&onggi, &[], "mknod /z c 1 5").contains("Operation not permitted"), "not one of the eleven");
}

#[test]
fn no_descriptor_of_the_caller_s_goes_in() {
    let onggi = busybox();
    // As a shell leaves them: 7 and 8 without close-on-exec.
    let script = "exec 7</etc/hostname 8</; exec \"$0\" \"$@\"";
    let list = |words: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_onggi")]).args(words);
        command.env("ONGGI_ROOT", onggi.data()).env("ONGGI_RUN_ROOT", onggi.run_root());
        let output = command.output().expect("sh starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    // The third is the directory that ls itself reads.
    assert_eq!(list(&["run", "--rm", "busybox", "ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
    list(&["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    assert_eq!(list(&["exec", "jar", "ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
    let monitor = onggi.monitor("jar");
    let open = fs::read_dir(format!("/proc/{}/fd", monitor.pid)).expect("descriptors");
    let targets: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    assert!(
        !targets.iter().any(|target| target.ends_with("etc/hostname") || target.as_os_str() == "/"),
        "{targets:?}"
    );
}

#[test]
fn namespaces_of_its_own() {
    let onggi = busybox();
    let own = |flags: &[&str], name: &str| {
        let inside = says(&onggi, flags, &format!("readlink /proc/self/ns/{name}"));
        let host = fs::read_link(format!("/proc/self/ns/{name}")).expect("a link").display().to_string();
        assert!(inside.starts_with(name), "{inside}");
        inside != host
    };
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        assert!(own(&[], name), "{name}");
    }
    for (flag, name) in [("--network", "net"), ("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
        assert!(!own(&[flag, "host"], name), "{flag} host");
    }
}

#[test]
fn another_container_s_namespaces_can_be_joined() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "first", "--ipc", "shareable", "busybox", "sleep", "1000"]);
    let of_first = |name: &str| onggi.ok(["exec", "first", "readlink", &format!("/proc/self/ns/{name}")]);
    for (flag, name) in [("--pid", "pid"), ("--ipc", "ipc")] {
        let joined = says(&onggi, &[flag, "container:first"], &format!("readlink /proc/self/ns/{name}"));
        assert_eq!(joined, of_first(name));
    }
    onggi.run(["run", "--rm", "--pid", "container:nobody", "busybox", "true"]).code(125).says("nobody");
}

#[test]
fn the_network_is_loopback_alone() {
    let onggi = busybox();
    let links = says(&onggi, &["--network", "none"], "ls /sys/class/net; cat /sys/class/net/lo/flags");
    // Up and loopback: IFF_UP is 1, IFF_LOOPBACK 8.
    assert_eq!(links, "lo\n0x9");
    // Anybody may ping, without a capability: ping sockets are open to all groups.
    assert_eq!(says(&onggi, &[], "cat /proc/sys/net/ipv4/ping_group_range"), "0\t2147483647");
    // And may have any port.
    assert_eq!(says(&onggi, &[], "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
}

#[test]
fn nothing_of_the_host_shows() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    assert_eq!(onggi.ok(["exec", "jar", "readlink", "/proc/1/exe"]), "/bin/busybox");
    assert_eq!(onggi.ok(["exec", "jar", "readlink", "/proc/self/exe"]), "/bin/busybox");
    // The shell lists by itself: no process of a pipeline, which may or may not be there yet.
    let own = onggi.ok(["exec", "jar", "sh", "-c", "set -- /proc/[0-9]*; echo $#"]);
    assert_eq!(own, "2", "sleep, sh");
    let mounts = onggi.ok(["exec", "jar", "cat", "/proc/self/mountinfo"]);
    let host: Vec<&str> = mounts
        .lines()
        .filter(|line| line.split(' ').nth(4).is_some_and(|place| place.contains("onggi")))
        .collect();
    assert!(host.is_empty(), "{host:?}");
    assert!(!mounts.contains(" shared:"), "mounts inside do not reach the host");
    let outside = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(
        !outside.lines().any(|line| line.contains(" - overlay ") && line.contains("onggi-test")),
        "the root is mounted inside only"
    );
}

#[test]
fn a_read_only_root_is_read_only() {
    let onggi = busybox();
    let flags = ["--read-only", "--tmpfs", "/tmp"];
    let refused =
        says(&onggi, &flags, "echo x > /file; echo x > /etc/hostname; echo x > /tmp/file && echo written");
    assert!(
        refused.starts_with("written") && refused.matches("Read-only file system").count() == 2,
        "{refused}"
    );
    assert_eq!(says(&onggi, &[], "echo x > /file && cat /file"), "x");
}

#[test]
fn a_group_of_processes_without_namespaces_can_be_asked_for() {
    let onggi = busybox();
    let host = fs::read_link("/proc/self/ns/pid").expect("a link").display().to_string();
    let inside = onggi.run([
        "run",
        "--rm",
        "--isolation",
        "process",
        "busybox",
        "/bin/busybox",
        "sh",
        "-c",
        "readlink /proc/self/ns/pid; grep Seccomp: /proc/self/status",
    ]);
    if kernel() < (6, 15) {
        // A tree of detached mounts cannot be put together before that.
        inside.code(125).says("6.15");
    } else {
        assert_eq!(inside.clone().code(0).stdout.lines().next(), Some(host.as_str()), "{inside}");
        assert!(inside.stdout.contains("Seccomp:\t2"), "{inside}");
    }
    onggi.run(["run", "--rm", "--isolation", "vm", "busybox", "true"]).code(125).says("vm");
}

#[test]
fn a_group_of_processes_without_namespaces_can_be_joined() {
    if kernel() < (6, 15) {
        return;
    }
    let onggi = busybox();
    let script = "echo mine >/file; exec sleep 1000";
    onggi.ok(["run", "-d", "--name", "jar", "--isolation", "process", "busybox", "sh", "-c", script]);
    let host = fs::read_link("/proc/self/ns/mnt").expect("a link").display().to_string();
    let script = "until cat /file 2>/dev/null; do :; done; readlink /proc/self/ns/mnt; grep Seccomp: /proc/self/status; \
        cut -d: -f3 /proc/self/cgroup | grep -c onggi >/dev/null && echo limited";
    let inside = onggi.ok(["exec", "jar", "sh", "-c", script]);
    assert_eq!(inside, format!("mine\n{host}\nSeccomp:\t2\nlimited"), "{inside}");
    onggi.run(["exec", "--privileged", "jar", "true"]).code(1).says("privileged");
    onggi.run(["exec", "jar", "sh", "-c", "exit 7"]).code(7);
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().expect("a number"));
    (numbers.next().expect("a major number"), numbers.next().expect("a minor number"))
}

fn host_capabilities() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("CapBnd").to_owned()
}

/// A caller in a broken chroot, or in an early boot, has none; the container's own and its masks are made from it.
#[test]
fn without_a_null_device_nothing_is_started_and_nothing_left() {
    let onggi = busybox();
    for (null, wanted) in [
        ("true", "open /dev/null: No such file or directory"),
        ("echo > /dev/file && ln -s file /dev/null", "the host's /dev/null is not the null device"),
        ("echo > /dev/null", "the host's /dev/null is not the null device"),
    ] {
        let script = format!("mount -t tmpfs none /dev && {null} && exec \"$@\"");
        let inner = onggi.command(["run", "--rm", "busybox", "true"]).into_command();
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().expect("unshare");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(wanted) && output.status.code() == Some(125), "{null}: {errors}");
        assert_eq!(onggi.ok(["ps", "-aq"]), "");
    }
}
