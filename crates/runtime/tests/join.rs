//! Processes that join a container: exec.

mod support;

use serde_json::json;
use support::{Jar, PODMAN_CAPABILITIES};

/// A first process that waits to be killed.
fn jar() -> Jar {
    Jar::new("mkdir /dev/shm/mine; touch /ready; exec sleep 100")
}

#[test]
fn it_is_inside() {
    let mut jar = jar();
    jar.exec(
        "for n in pid net ipc uts mnt cgroup; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo other $n; done; \
         hostname; ls -d /dev/shm/mine; cat /proc/self/cgroup | cut -d: -f3 | sort -u; set -- /proc/$$/fd/*; echo $#; pwd; echo $HOME",
    );
    // Three streams, and the directory that the shell itself reads for the pattern. (A pipe's end in the shell would race.)
    assert_eq!(jar.output(), "jar\n/dev/shm/mine\n/\n4\n/\n/root\n");
}

#[test]
fn it_is_in_the_containers_cgroups() {
    let mut jar = jar();
    jar.exec("exec sleep 100");
    let id = jar.request["id"].as_str().unwrap().to_owned();
    // Both processes are listed while they run, and the runner's own clean-up by cgroup ends both.
    jar.request["exec"] = json!([]);
    jar.exec(&format!(
        "cat /sys/fs/cgroup/memory/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | grep -c . # {id}"
    ));
    let count: u32 = jar.output().trim().parse().unwrap();
    assert!(count >= 2, "{count}");
}

#[test]
fn it_has_what_it_is_given_and_nothing_inheritable() {
    // CVE-2022-27650, CVE-2022-29162, CVE-2025-27612.
    let mut jar = jar();
    let inner = jar.exec("grep ^Cap /proc/self/status; id -u; echo $X; pwd; grep Seccomp: /proc/self/status; cat /etc/group | wc -l");
    inner["process"]["env"] = json!(["PATH=/bin", "X=y"]);
    inner["process"]["cwd"] = json!("/tmp");
    inner["extra"]["user"] = json!("www");
    let capabilities: Vec<String> = PODMAN_CAPABILITIES.map(String::from).to_vec();
    inner["extra"]["seccomp"] = json!(onggi_seccomp::default_program(&capabilities).into_owned());
    let none = "0000000000000000";
    assert_eq!(
        jar.output(),
        format!(
            "CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t00000000800405fb\nCapAmb:\t{none}\n33\ny\n/tmp\nSeccomp:\t2\n4\n"
        )
    );
}

#[test]
fn privileged_has_everything_and_no_filter() {
    let mut jar = jar();
    let inner = jar.exec("grep -E '^(CapEff|CapInh|Seccomp):' /proc/self/status");
    inner["privileged"] = json!(true);
    inner["process"]["noNewPrivileges"] = json!(true);
    // As much as there is: the machine that runs the tests may lack some.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapPrm")).unwrap().replace("CapPrm", "CapEff");
    assert_eq!(jar.output(), format!("CapInh:\t0000000000000000\n{own}\nSeccomp:\t0\n"));
}

#[test]
fn its_terminal_is_of_the_containers_devpts() {
    let mut jar = jar();
    let inner = jar.exec("tty; stty size; echo hi > /dev/tty");
    inner["process"]["terminal"] = json!(true);
    jar.request["size"] = json!([10, 20]);
    assert_eq!(jar.output(), "/dev/pts/0\r\n10 20\r\nhi\r\n");
}

#[test]
fn what_is_not_there_is_said_in_gos_words() {
    let mut jar = jar();
    jar.exec("")["process"]["args"] = json!(["none"]);
    assert_eq!(
        jar.failure(),
        ("find-program".into(), 2, "exec: \"none\": executable file not found in $PATH".into())
    );
    let mut jar = self::jar();
    jar.exec("")["process"]["cwd"] = json!("/none");
    let (step, errno, message) = jar.failure();
    assert_eq!((step.as_str(), errno), ("working-directory", 2));
    assert_eq!(message, "chdir to the working directory \"/none\": no such file or directory");
}

#[test]
fn a_container_joins_the_namespaces_of_another() {
    let mut first = jar();
    // The second one is started while the first runs, from the first one's runner's point of view: by paths of /proc.
    first.request["ready"] = json!(first.path("upper/ready"));
    let mut second = Jar::new(
        "hostname; for n in pid net ipc uts; do readlink /proc/self/ns/$n; done; ps | grep -c 'sleep 100'",
    );
    let mut child = first.start();
    let pid = first.first_process(&child);
    second.spec()["hostname"] = json!("");
    second.extra()["loopback"] = json!(false);
    second.spec()["linux"]["namespaces"] = json!([
        { "type": "mount" }, { "type": "cgroup" },
        { "type": "pid", "path": format!("/proc/{pid}/ns/pid") },
        { "type": "network", "path": format!("/proc/{pid}/ns/net") },
        { "type": "ipc", "path": format!("/proc/{pid}/ns/ipc") },
        { "type": "uts", "path": format!("/proc/{pid}/ns/uts") },
    ]);
    let expected: Vec<String> = ["pid", "net", "ipc", "uts"]
        .map(|name| {
            std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().to_str().unwrap().to_owned()
        })
        .to_vec();
    let run = second.run();
    first.stop(pid, &mut child);
    let lines: Vec<&str> = run.output.lines().collect();
    assert_eq!(lines.first(), Some(&"jar"), "{run:?}");
    assert_eq!(&lines[1..5], expected, "{run:?}");
    assert_ne!(lines[5], "0", "{run:?}");
}
