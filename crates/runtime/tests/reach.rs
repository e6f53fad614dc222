//! What is within reach of a container's processes while `onggi-runtime` makes, joins or keeps one: nothing of the host's or the caller's.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Stdio;

use serde_json::{Value, json};
use support::bundle::Bundle;

/// CVE-2024-40635: setresuid(2) takes 4294967295 for "as it is", and that is root.
#[test]
fn a_user_that_is_no_number_of_one_is_refused() {
    let mut bundle = Bundle::new("sleep 1000");
    let user = bundle.config["process"]["user"].clone();
    for (field, id) in [("uid", u32::MAX), ("gid", u32::MAX), ("uid", 1 << 31)] {
        bundle.config["process"]["user"][field] = json!(id);
        let text = format!("process.user.{field}: {id} is not in 0 to 2147483647");
        bundle.fails("run {}", 1, &text);
        let process = json!({ "args": ["id"], "cwd": "/", "user": bundle.config["process"]["user"] });
        std::fs::write(bundle.jar.path("process.json"), process.to_string()).unwrap();
        bundle.config["process"]["user"] = user.clone();
        bundle.create();
        bundle.fails("exec -p process.json {}", 255, &text);
        bundle.ok("delete --force {}");
    }
}

/// What waits is within reach of whoever joins the container, and has to be under its filter; and a profile is made for the program, not
/// for what the wait takes.
#[test]
fn what_waits_for_its_start_is_under_the_filter_and_asks_little_of_it() {
    let mut bundle = Bundle::new("");
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        // `fcntl` is asked by debug builds of this program alone.
        "names": ["poll", "ppoll", "select", "pselect6", "epoll_wait", "signalfd4", "rt_sigaction", "rt_sigprocmask",
            "close_range", "openat", "openat2", "prctl", "futex"],
        "action": "SCMP_ACT_KILL_PROCESS",
    }] });
    bundle.config["process"]["noNewPrivileges"] = json!(true);
    bundle.create();
    let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", state["pid"])).unwrap();
    assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
    assert_eq!(bundle.status(), "created");
    bundle.ok("kill {} TERM");
    while bundle.status() != "stopped" {}
}

/// `/proc/PID/environ` asks for CAP_SYS_ADMIN only, and `cmdline` for nothing.
#[test]
fn the_callers_words_are_not_to_be_read_in_a_process_that_joins() {
    const SECRET: &[u8] = b"hunter2-hunter2";
    let bundle = Bundle::new("exec sleep 1000");
    bundle.quietly(&["run", "-d", &bundle.id]);
    let secret = std::str::from_utf8(SECRET).unwrap();
    let mut command = bundle.command(&["exec", "--ignore-paused", &bundle.id, "echo", secret]);
    // Whoever gives birth to it stops right after that.
    command.env("ONGGI_FAULT", "runtime.enter.born").env("ONGGI_FAULT_SIGNAL", "19");
    let exec = command.env("USERS_SECRET", secret).stdout(Stdio::piped()).spawn().unwrap();
    let state = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").map_or(' ', |(_, rest)| rest.chars().next().unwrap())
    };
    let children = || {
        let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", exec.id())).unwrap();
        list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let born = loop {
        let children = children();
        if let [_, _] = children.as_slice()
            && children.iter().any(|pid| state(pid) == 'T')
        {
            break children;
        }
    };
    let read = |pid: &String, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
    let words: Vec<Vec<u8>> =
        born.iter().flat_map(|pid| [read(pid, "environ"), read(pid, "cmdline")]).collect();
    for pid in born.iter().filter(|pid| state(pid) == 'T') {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    }
    let output = exec.wait_with_output().unwrap();
    assert_eq!(output.stdout, [SECRET, b"\n"].concat(), "{output:?}");
    for words in words {
        let text = String::from_utf8_lossy(&words);
        assert!(!text.contains(secret), "{text}");
    }
}

/// By a path a container can have the host's network namespace as well, whose parameters are the machine's.
#[test]
fn parameters_of_a_namespace_of_the_hosts_are_refused() {
    for (kind, name, parameter) in [
        ("network", "net", "net.core.somaxconn"),
        ("ipc", "ipc", "kernel.shmmni"),
        ("uts", "uts", "kernel.domainname"),
    ] {
        let mut bundle = Bundle::new("true");
        bundle.config["hostname"] = Value::Null;
        for namespace in bundle.config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == kind {
                namespace["path"] = json!(format!("/proc/{}/ns/{name}", std::process::id()));
            }
        }
        let now = std::fs::read_to_string(format!("/proc/sys/{}", parameter.replace('.', "/"))).unwrap();
        bundle.config["linux"]["sysctl"] = json!({ parameter: now.trim() });
        bundle.fails("run {}", 1, &format!("not allowed in host {kind} namespace"));
    }
}

#[test]
fn parameters_of_a_neighbours_namespace_are_set() {
    let neighbour = Bundle::new("exec sleep 1000");
    neighbour.quietly(&["run", "-d", &neighbour.id]);
    let state: Value = serde_json::from_str(&neighbour.ok("state {}")).unwrap();
    let mut bundle = Bundle::new("cat /proc/sys/net/core/somaxconn");
    for namespace in bundle.config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(format!("/proc/{}/ns/net", state["pid"]));
        }
    }
    bundle.config["linux"]["sysctl"] = json!({ "net.core.somaxconn": "321" });
    assert_eq!(bundle.ok("run {}"), "321\n");
}

#[test]
fn no_text_holds_a_zero_byte() {
    for (field, value) in [
        ("hostname", json!("a\0b")),
        ("domainname", json!("a\0b")),
        ("annotations", json!({ "a": "b\0c" })),
        ("annotations", json!({ "a\0b": "c" })),
        ("hooks", json!({ "poststop": [{ "path": "/bin/true", "args": ["a\0b"] }] })),
    ] {
        let mut bundle = Bundle::new("true");
        bundle.config[field] = value;
        bundle.fails("run {}", 1, "holds a zero byte");
    }
}
