//! `exec`: a second program in a container that runs.

mod common;

use common::busybox;
use onggi_testkit::TestEnv;

fn with_jar() -> TestEnv {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "-e", "FROM=run", "-w", "/tmp", "busybox", "sleep", "1000"]);
    onggi
}

#[test]
fn it_sees_what_the_container_sees() {
    let onggi = with_jar();
    let host = onggi.ok(["exec", "jar", "hostname"]);
    assert_eq!(host, onggi.inspect("jar", "{{.Config.Hostname}}"));
    assert_eq!(
        onggi.ok(["exec", "jar", "sh", "-c", "echo $FROM; pwd; tr '\\0' ' ' < /proc/1/cmdline"]),
        "run\n/tmp\nsleep 1000 "
    );
    for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"] {
        let link = onggi.ok(["exec", "jar", "readlink", &format!("/proc/self/ns/{namespace}")]);
        let first = onggi.first_process("jar");
        let host = std::fs::read_link(format!("/proc/{}/ns/{namespace}", first.pid)).expect("a link");
        assert_eq!(link, host.display().to_string());
    }
}

#[test]
fn its_cgroup_and_its_limits_are_the_container_s() {
    let onggi = with_jar();
    let status = |file: &str| onggi.ok(["exec", "jar", "grep", "-E", "^(Cap|Seccomp:|NoNewPrivs)", file]);
    assert_eq!(status("/proc/self/status"), status("/proc/1/status"));
    assert_eq!(
        onggi.ok(["exec", "jar", "cat", "/proc/self/cgroup"]),
        onggi.ok(["exec", "jar", "cat", "/proc/1/cgroup"])
    );
}

#[test]
fn exit_codes_are_docker_s() {
    let onggi = with_jar();
    onggi.run(["exec", "jar", "sh", "-c", "exit 9"]).code(9);
    onggi.run(["exec", "jar", "nosuch"]).code(127).says("executable file not found in $PATH");
    onggi.run(["exec", "jar", "/etc/passwd"]).code(126).says("permission denied");
    onggi.run(["exec", "jar", "sh", "-c", "kill -9 $$"]).code(137);
    onggi.run(["exec", "nosuch", "true"]).code(1).says("nosuch");
    onggi.ok(["kill", "jar"]);
    onggi.ok(["wait", "jar"]);
    onggi.run(["exec", "jar", "true"]).code(1).says("not running");
}

#[test]
fn flags_shape_it() {
    let onggi = with_jar();
    assert_eq!(onggi.ok(["exec", "-e", "A=b", "-w", "/etc", "jar", "sh", "-c", "echo $A; pwd"]), "b\n/etc");
    assert!(
        onggi.ok(["exec", "-u", "www-data", "jar", "id"]).starts_with("uid=33(www-data) gid=33(www-data)")
    );
    let all = onggi.ok(["exec", "--privileged", "jar", "grep", "CapEff", "/proc/self/status"]);
    let host = std::fs::read_to_string("/proc/self/status").expect("/proc");
    assert!(host.contains(all.trim_start_matches("CapEff:")), "all that the host has: {all}");
    let file = onggi.write("env", "FILE=yes\n").display().to_string();
    assert_eq!(onggi.ok(["exec", "--env-file", &file, "jar", "sh", "-c", "echo $FILE"]), "yes");
}

#[test]
fn input_goes_in_and_ends() {
    let onggi = with_jar();
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let hash = onggi_testkit::sha256_hex(&bytes);
    assert_eq!(
        onggi.command(["exec", "-i", "jar", "sha256sum"]).input(bytes).success(),
        format!("{hash}  -")
    );
    assert_eq!(onggi.command(["exec", "jar", "wc", "-c"]).input("unread").success(), "0");
}

#[test]
fn detached_it_goes_on_alone() {
    let onggi = with_jar();
    let mut events = onggi.events(&["event=exec_die"]);
    assert_eq!(onggi.ok(["exec", "-d", "jar", "sh", "-c", "echo done > /tmp/file"]), "");
    events.expect("exec_die");
    assert_eq!(onggi.ok(["exec", "jar", "cat", "/tmp/file"]), "done");
}

#[test]
fn it_ends_with_the_container() {
    let onggi = with_jar();
    let mut session = onggi.spawn(["exec", "jar", "sh", "-c", "echo ready; sleep 1000"]);
    session.expect("ready");
    onggi.ok(["kill", "jar"]);
    session.wait().code(137);
}

#[test]
fn a_variable_without_a_value_is_the_caller_s_or_none() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "-e", "KNOWN=1", "busybox", "sleep", "1000"]);
    let env = |name: &str| {
        let words = ["exec", "-e", name, "-e", "CALLERS", "jar", "env"];
        onggi.command(words).env("CALLERS", "2").success()
    };
    assert!(env("NOBODYS").contains("\nCALLERS=2\n") && env("NOBODYS").contains("\nKNOWN=1\n"));
    assert!(!env("KNOWN").contains("KNOWN"));
    onggi.ok(["rm", "-f", "jar"]);
}

#[test]
fn what_does_not_run_cannot_be_attached_to_nor_sent_no_signal() {
    let onggi = with_jar();
    for signal in ["BOGUS", "0", "99"] {
        let refused = onggi.fails(["kill", "-s", signal, "jar"]).code(1).stderr;
        assert_eq!(refused, format!("onggi: Invalid signal: {signal}\n"));
    }
    onggi.ok(["stop", "-t", "0", "jar"]);
    let refused = onggi.fails(["attach", "jar"]).code(1).stderr;
    assert_eq!(refused, "onggi: You cannot attach to a stopped container, start it first\n");
    onggi.ok(["rm", "jar"]);
}
