//! A process without namespaces.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Child, Command};

use serde_json::json;
use support::Jar;
use support::calls::{self, Argument::Data, Argument::Number, By};

fn bare(script: &str) -> Jar {
    let mut jar = Jar::new(script);
    jar.extra()["isolation"] = json!("process");
    jar.extra()["loopback"] = json!(false);
    let spec = jar.spec();
    spec["hostname"] = json!("");
    spec["mounts"] = json!([]);
    spec["linux"]["namespaces"] = json!([]);
    spec["linux"]["maskedPaths"] = json!([]);
    spec["linux"]["readonlyPaths"] = json!([]);
    jar
}

#[test]
fn it_has_the_images_tree_and_the_hosts_namespaces() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let output = bare("ls /; readlink /proc/self/ns/net /proc/self/ns/pid | wc -l; echo x > /dev/null && echo null; cat /etc/passwd | head -1; ls /proc/sys || echo none; touch /written")
        .output();
    assert!(output.contains("bin\ndata\ndev\netc\nproc\n"), "{output}");
    assert!(output.contains("null\nroot:x:0:0:root:/root:/bin/sh\nnone\n"), "{output}");
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(before.lines().count(), after.lines().count(), "a mount was left on the host");
}

#[test]
fn it_is_confined() {
    // Another process of the host's, its root, a signal; and the classic way out of a changed root.
    let victim = Victim::of(0);
    let output = bare(
        "ls /proc/PID/root/etc || echo no root of others; kill -0 PID || echo no signals; \
         mkdir -p /tmp/x; cd /tmp; busybox chroot /tmp/x /bin/sh -c true; ls ../../../../../../../../../work || echo no way up; \
         grep -E '^(Seccomp|CapEff)' /proc/self/status",
    );
    let output = victim.told(output).output();
    for expected in ["no root of others", "no signals", "no way up", "CapEff:\t00000000800405fb"] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn landlock_holds_where_the_root_does_not() {
    // The working directory of the first shell, by the procfs of a process that may be looked into: its own. Inside it works; the
    // standard streams, which lie outside, can be opened again.
    let mut jar = bare(
        "cat /proc/self/cwd/../etc/passwd > /dev/null && echo inside; echo again > /proc/self/fd/1; \
         cat < /proc/self/fd/0 && echo input; busybox mount -t tmpfs t /data || echo no mounts; \
         ls /proc/PID/root/ || echo no root of others",
    );
    jar.process()["cwd"] = json!("/made");
    // With capabilities by which other processes' files can be looked into, only Landlock stands between the process and the host's tree.
    let all: Vec<&str> =
        support::PODMAN_CAPABILITIES.iter().copied().chain(["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]).collect();
    jar.process()["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    let output = Victim::of(0).told(jar).output();
    for expected in ["inside\n", "again\n", "input\n", "no mounts\n", "no root of others"] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn volumes_terminals_and_users_work_as_in_a_container() {
    let mut jar = bare("tty; id -u; cat /data/sub/file; echo y > /data/sub/file");
    let volume = jar.path("volume");
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    let inner = jar.path("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("file"), "hello\n").unwrap();
    std::os::unix::fs::chown(inner.join("file"), Some(33), None).unwrap();
    jar.mount("bind", &volume, "/data", &["rbind"]);
    jar.mount("bind", &inner, "/data/sub", &["rbind"]);
    jar.process()["terminal"] = json!(true);
    jar.extra()["user"] = json!("www");
    assert_eq!(jar.output(), "/dev/pts/0\r\n33\r\nhello\r\n");
    assert_eq!(std::fs::read_to_string(inner.join("file")).unwrap(), "y\n");
    assert!(!volume.join("sub/file").exists(), "the inner mount reached the host");
}

#[test]
fn what_needs_a_namespace_is_refused() {
    let mut jar = bare("true");
    jar.spec()["hostname"] = json!("x");
    assert_eq!(jar.run().error.unwrap(), "hostname: it needs a namespace, and isolation process has none");
}

#[test]
fn what_a_procfs_shows_of_other_processes_cannot_be_written() {
    let victim = Victim::of(0);
    let jar =
        bare("echo 1000 > /proc/PID/oom_score_adj && echo wrote; echo again > /proc/self/fd/1; echo end");
    let output = victim.told(jar).output();
    assert!(!output.contains("wrote") && output.contains("again\nend\n"), "{output}");
}

#[test]
fn calls_that_name_another_process_of_the_same_user_fail() {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let victim = Victim::of(33);
    let pid = Number(victim.0.id().into());
    let zero = Number(0);
    let idle = Number(3 << 13);
    let attributes = words(&[48, 0, 0, 0, 0, 0]);
    let mut jar = bare("");
    jar.extra()["user"] = json!("www");
    for (name, number, arguments, data) in [
        ("prlimit64", 302, [pid, Number(7), Data, zero], words(&[77, 77])),
        ("sched_setaffinity", 203, [pid, Number(8), Data, zero], words(&[1])),
        ("sched_setattr", 314, [pid, Data, zero, zero], attributes),
        ("sched_setparam", 142, [pid, Data, zero, zero], words(&[0])),
        ("sched_setscheduler", 144, [pid, Number(3), Data, zero], words(&[0])),
        ("setpriority", 141, [zero, pid, Number(5), zero], vec![]),
        ("setpriority of its user", 141, [Number(2), zero, Number(5), zero], vec![]),
        ("ioprio_set", 251, [Number(1), pid, idle, zero], vec![]),
        ("ioprio_set of its user", 251, [Number(3), Number(33), idle, zero], vec![]),
    ] {
        let program = jar.rootfs().join("bin/call");
        calls::write(&program, By::Syscall, number, arguments, &data);
        jar.process()["args"] = json!(["sh", "-c", "/bin/call; echo $?"]);
        assert_eq!(jar.output(), "1\n", "{name} is EPERM");
        // Outside, the same user may: it is the filter that stands before it.
        let outside = as_user(&mut Command::new(&program), 33).status();
        assert_eq!(outside.unwrap().code(), Some(0), "{name}, outside");
    }
    // What a process does to itself is its own affair.
    let program = jar.rootfs().join("bin/call");
    calls::write(&program, By::Syscall, 302, [zero, Number(7), Data, zero], &words(&[77, 77]));
    jar.process()["args"] = json!(["sh", "-c", "/bin/call; echo $?; ulimit -n 66; ulimit -n"]);
    assert_eq!(jar.output(), "0\n66\n");
}

/// With the group that the jar's passwd gives the user: prlimit64 compares it as well.
fn as_user(command: &mut Command, user: u32) -> &mut Command {
    use std::os::unix::process::CommandExt;
    command.uid(user).gid(if user == 33 { 34 } else { 0 })
}

/// A process on the host, to be harmed.
struct Victim(Child);

impl Victim {
    fn of(user: u32) -> Victim {
        Victim(as_user(&mut Command::new("sleep"), user).arg("1000").spawn().unwrap())
    }

    /// The container, whose script knows the victim's number as PID.
    fn told(&self, mut jar: Jar) -> Jar {
        let script = jar.process()["args"][2].as_str().unwrap().replace("PID", &self.0.id().to_string());
        jar.process()["args"][2] = json!(script);
        jar
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_second_process_is_as_confined_as_the_first() {
    let mut jar = bare("touch /ready; exec sleep 100");
    jar.request["spec"]["process"]["env"] = json!(["PATH=/usr/bin:/bin", "TERM=xterm"]);
    let inner = jar.exec(
        "ls -d /ready; ls /proc/PID/root/etc || echo no root of others; kill -0 PID || echo no signals; \
         grep -E '^(CapEff|Seccomp):' /proc/self/status; \
         for n in ipc net; do readlink /proc/self/ns/$n; done; tty; \
         cat /proc/self/cgroup | cut -d: -f3 | sort -u | grep -v '^/$'",
    );
    inner["extra"]["isolation"] = json!("process");
    inner["process"]["terminal"] = json!(true);
    let victim = Victim::of(0);
    let script = inner["process"]["args"][2].as_str().unwrap().replace("PID", &victim.0.id().to_string());
    inner["process"]["args"][2] = json!(script);
    let output = jar.output();
    let id = jar.request["id"].as_str().unwrap();
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    for expected in [
        "/ready",
        "no root of others",
        "no signals",
        "CapEff:\t00000000800405fb",
        "Seccomp:\t2",
        own("net").to_str().unwrap(),
        "/dev/pts/0",
        &format!("/{id}"),
    ] {
        assert!(output.contains(&format!("{expected}\r\n")), "{expected:?} is not in:\n{output}");
    }
    assert!(!output.contains(own("ipc").to_str().unwrap()), "{output}");
    jar.request["exec"][0]["privileged"] = json!(true);
    assert_eq!(jar.run().error.unwrap(), "a privileged exec with isolation process is not supported");
}

#[test]
fn nobody_joins_a_process_that_has_changed_its_root() {
    let mut jar = bare(
        "mkdir /inner /inner/bin; cp /bin/busybox /inner/bin/sh; cp /bin/busybox /inner/bin/sleep; \
         touch /ready; exec busybox chroot /inner /bin/sleep 100",
    );
    jar.exec("true")["extra"]["isolation"] = json!("process");
    // The file is there a moment before the root is changed.
    let error = (0..100).find_map(|_| jar.run().error).expect("an error");
    assert!(
        error.contains("the container's first process has changed its root, so nobody can join it"),
        "{error}"
    );
}

#[test]
fn system_v_ipc_is_its_own() {
    // Landlock knows nothing of it, and root may read every segment by its number.
    let host = std::fs::read_link("/proc/self/ns/ipc").unwrap();
    let inside = bare("readlink /proc/self/ns/ipc").output();
    assert!(inside.starts_with("ipc:[") && inside.trim() != host.to_str().unwrap(), "{inside}");
}

#[test]
fn calls_of_other_architectures_do_not_exist() {
    // The filter's numbers are those of one architecture; `int 0x80` would be calls by other numbers.
    let jar = bare("/bin/other; echo $?");
    let program = jar.rootfs().join("bin/other");
    const GETUID_OF_I386: u32 = 24;
    calls::write(&program, By::Interrupt, GETUID_OF_I386, [Number(0); 4], &[]);
    let outside = Command::new(&program).status().unwrap();
    // A kernel may have been built without them; then there is nothing to refuse.
    if let Some(code) = outside.code() {
        assert_eq!(code, 0, "outside it is answered");
        assert_eq!(jar.output(), "38\n", "ENOSYS");
    }
}
