//! A process without namespaces.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::Jar;

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
    // /proc of the host's first process, its root, other processes; and the classic way out of a changed root.
    let output = bare(
        "ls /proc/1/root/etc || echo no root of others; kill -0 1 || echo no signals; \
         mkdir -p /tmp/x; cd /tmp; busybox chroot /tmp/x /bin/sh -c true; ls ../../../../../../../../../work || echo no way up; \
         grep -E '^(Seccomp|CapEff)' /proc/self/status",
    );
    let output = output.output();
    for expected in ["no root of others", "no signals", "no way up", "CapEff:\t00000000800405fb"] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn landlock_holds_where_the_root_does_not() {
    // The working directory of the first shell, by the procfs of a process that may be looked into: its own. Inside it works; the
    // standard streams, which lie outside, can be opened again; and the host's tree cannot, whatever leads to it.
    let mut jar = bare(
        "cat /proc/self/cwd/../etc/passwd > /dev/null && echo inside; echo again > /proc/self/fd/1; \
         cat < /proc/self/fd/0 && echo input; busybox mount -t tmpfs t /tmp || echo no mounts",
    );
    jar.process()["cwd"] = json!("/made");
    // With every capability there is, only Landlock stands between the process and a mount.
    let all: Vec<&str> =
        support::PODMAN_CAPABILITIES.iter().copied().chain(["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]).collect();
    jar.process()["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    let output = jar.output();
    for expected in ["inside\n", "again\n", "input\n", "no mounts\n"] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    jar.process()["args"] = json!(["sh", "-c", "ls /proc/1/root/ || echo no root of others"]);
    assert!(jar.output().contains("no root of others"));
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
fn other_processes_of_the_same_user_stay_as_they_are() {
    let mut victim = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = victim.id();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let before = (read("limits"), read("oom_score_adj"), read("stat").split(' ').nth(18).unwrap().to_owned());
    // No one of these may work, and all of them but the writing are calls that name a process.
    let output = bare(&format!(
        "cd /; for pid in {pid}; do echo 1000 > /proc/$pid/oom_score_adj && echo wrote; \
         busybox renice -n 5 -p $pid && echo reniced; busybox chrt -o -p 0 $pid && echo scheduled; \
         busybox taskset -p 1 $pid && echo bound; busybox ionice -c 3 -p $pid && echo ioniced; done; \
         ulimit -n 77 && ulimit -n; echo again > /proc/self/fd/1; echo end"
    ))
    .output();
    let after = (read("limits"), read("oom_score_adj"), read("stat").split(' ').nth(18).unwrap().to_owned());
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(before, after, "{output}");
    for word in ["wrote", "reniced", "scheduled", "bound", "ioniced"] {
        assert!(!output.contains(word), "{word}: {output}");
    }
    assert!(output.contains("77\n") && output.contains("again\n") && output.contains("end\n"), "{output}");
}
