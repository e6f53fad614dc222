//! The program `onggi-runtime`, as engines call it: one bundle for each test, real namespaces and cgroups, nothing left at the end.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::bundle::Bundle;

#[test]
fn a_run_is_as_its_program() {
    let bundle = Bundle::new("echo out; echo err >&2; exit 7");
    let output = bundle.call("run {}");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    bundle.fails("state {}", 1, "container does not exist");
}

/// CVE-2019-5736: by `onggi_sys::entry`, of which the slow way, which comes later, would cover up a failure.
#[test]
#[cfg(target_arch = "x86_64")]
fn its_program_is_executed_from_a_read_only_mount_before_its_beginning() {
    use std::os::unix::fs::FileExt;
    const AT_EXECFN: u64 = 31;
    let bundle = Bundle::new("true");
    bundle.create();
    let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
    let of_it = |file: &str| format!("/proc/{}/{file}", state["pid"]);
    let flags = rustix::fs::statvfs(of_it("exe")).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let auxiliary = std::fs::read(of_it("auxv")).unwrap();
    let numbers: Vec<u64> =
        auxiliary.chunks_exact(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap())).collect();
    let address = numbers.chunks_exact(2).find(|pair| pair[0] == AT_EXECFN).unwrap()[1];
    // What was executed, as the kernel says it for execveat(2) alone.
    let mut start = [0; 8];
    std::fs::File::open(of_it("mem")).unwrap().read_exact_at(&mut start, address).unwrap();
    assert_eq!(std::str::from_utf8(&start), Ok("/dev/fd/"));
}

/// The scheduler's policy is field 41 of proc_pid_stat(5).
const PLACE: &str = "cut -d' ' -f41 /proc/self/stat; grep Cpus_allowed_list /proc/self/status; \
                     head -n 1 /proc/self/numa_maps | cut -d' ' -f2";

#[test]
fn a_process_runs_when_and_where_it_is_told() {
    let mut bundle = Bundle::new(&format!("{PLACE}; exec sleep 1000"));
    bundle.config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 19 });
    bundle.config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
    bundle.config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" });
    // What the caller is limited to is not for the container.
    let every = onggi_sys::schedule::affinity().unwrap();
    onggi_sys::schedule::set_affinity(&[0]).unwrap();
    bundle.quietly(&["run", "-d", &bundle.id]);
    onggi_sys::schedule::set_mask(&every).unwrap();
    let all = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let all = all.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned();
    // It has been let go before its script has written anything.
    while bundle.output().lines().count() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(bundle.output(), format!("3\n{all}\ninterleave:0\n"));

    let output = bundle.command(&["exec", &bundle.id, "sh", "-c", PLACE]).output().unwrap();
    let place = "3\nCpus_allowed_list:\t0\ninterleave:0\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), place, "{:?}", output.stderr);

    // A whole process of its own has the container's scheduling where it says nothing.
    let process = json!({ "args": ["sh", "-c", PLACE], "cwd": "/", "env": ["PATH=/bin"],
        "scheduler": { "policy": "SCHED_IDLE" } });
    std::fs::write(bundle.jar.path("process.json"), process.to_string()).unwrap();
    assert_eq!(bundle.ok("exec -p process.json {}"), place.replace('3', "5"));
}

#[test]
fn signals_reach_the_program_in_the_foreground() {
    let bundle = Bundle::new("trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done");
    let mut child = bundle.command(&["run", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_container_has_states() {
    let bundle = Bundle::new("echo started; exec sleep 1000");
    bundle.create();
    assert_eq!(bundle.status(), "created");
    assert_eq!(bundle.output(), "");
    bundle.fails("create {}", 1, "container with given ID already exists");
    bundle.ok("start {}");
    bundle.fails("start {}", 1, "cannot start an already running container");
    bundle.fails(
        "delete {}",
        1,
        &format!("cannot delete container {} that is not stopped: running", bundle.id),
    );
    bundle.ok("pause {}");
    assert_eq!(bundle.status(), "paused");
    bundle.fails("exec {} true", 255, "cannot exec in a paused container");
    bundle.ok("resume {}");
    assert_eq!(bundle.status(), "running");
    let table = bundle.ok("list");
    assert!(
        table.starts_with("ID  ") && table.contains(&bundle.id) && table.contains("  running  "),
        "{table}"
    );
    assert_eq!(bundle.ok("list -q"), format!("{}\n", bundle.id));
    assert_eq!(bundle.ok("ps --format json {}").matches(',').count(), 0, "one process");
    bundle.kill();
    assert_eq!(bundle.status(), "stopped");
    assert_eq!(bundle.output(), "started\n");
    bundle.fails("kill {} TERM", 1, "container not running");
    bundle.fails("start {}", 1, "cannot start a container that has stopped");
    bundle.fails("exec {} true", 255, "cannot exec in a stopped container");
    bundle.ok("delete {}");
    bundle.ok("delete --force {}");
}

#[test]
fn a_created_container_may_be_deleted_before_it_starts() {
    let bundle = Bundle::new("true");
    bundle.create();
    bundle.ok("delete {}");
}

#[test]
fn exec_joins_as_it_is_told() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create();
    bundle.ok("start {}");
    assert_eq!(
        bundle.ok("exec -u 33:34 -g 44 --cwd /data {} id"),
        "uid=33(www) gid=34(www) groups=44(video)\n"
    );
    assert_eq!(bundle.ok("exec -e A=b {} env").matches("A=b\n").count(), 1);
    let output = bundle.call("exec {} false");
    assert_eq!(output.status.code(), Some(1));
    bundle.fails("exec {} nosuch", 255, "exec: \\\"nosuch\\\": executable file not found in $PATH");
    let process = json!({ "cwd": "/", "args": ["sh", "-c", "exit 9"], "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    std::fs::write(bundle.jar.path("process.json"), process.to_string()).unwrap();
    assert_eq!(bundle.call("exec --process process.json {}").status.code(), Some(9));
    bundle.quietly(&["exec", "--detach", "--pid-file", "pid", &bundle.id, "sleep", "1000"]);
    let pids = bundle.ok("ps --format json {}");
    let pid = std::fs::read_to_string(bundle.jar.path("pid")).unwrap();
    assert!(pids.contains(&pid), "{pids} {pid}");
    bundle.kill();
}

#[test]
fn what_cannot_run_leaves_nothing() {
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["args"] = json!(["nosuch"]);
    let log = bundle.jar.path("log.json");
    let output = bundle
        .command(&["--log", log.to_str().unwrap(), "--log-format=json", "create", &bundle.id])
        .output()
        .unwrap();
    let message = "runc create failed: unable to start container process: error during container init: \
                   exec: \"nosuch\": executable file not found in $PATH";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{message}\n"));
    let line: Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("error"), Some(message)));
    assert_eq!(bundle.ok("list -q"), "");
    for (field, value, message) in [
        (
            "timeOffsets",
            json!({ "boottime": { "secs": 1 } }),
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        ("netDevices", json!({ "onggi-none": {} }), "network device onggi-none: look for the link"),
        ("netDevices", json!({ "a/b": {} }), "invalid network device name"),
    ] {
        bundle.config["linux"][field] = value;
        bundle.fails("run {}", 1, message);
        bundle.config["linux"].as_object_mut().unwrap().remove(field);
    }
    assert_eq!(bundle.ok("list -q"), "");
}

#[test]
fn hooks_run_in_their_order_and_places() {
    let mut bundle = Bundle::new("echo program >> /data/order");
    let order = bundle.jar.rootfs().join("data/order");
    let note = |name: &str, file: &str| {
        let script = format!("cat > /dev/null; echo {name} >> {file}");
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 10 }])
    };
    let on_host = order.to_str().unwrap();
    bundle.config["hooks"] = json!({
        "prestart": note("prestart", on_host),
        "createRuntime": note("createRuntime", on_host),
        "createContainer": note("createContainer", on_host),
        "startContainer": note("startContainer", "/data/order"),
        "poststart": note("poststart", "/dev/null"),
        "poststop": note("poststop", on_host),
    });
    bundle.ok("run {}");
    let expected = "prestart\ncreateRuntime\ncreateContainer\nstartContainer\nprogram\npoststop\n";
    assert_eq!(std::fs::read_to_string(order).unwrap(), expected);
    for point in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        bundle.config["hooks"] = json!({ point: [{ "path": "/bin/true" }, { "path": "/bin/false" }] });
        bundle.fails("run {}", 1, &format!("error running {point} hook #1: exit status 1"));
    }
    bundle.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "exec sleep 1000"], "timeout": 1 }] });
    bundle.fails("run {}", 1, "hook ran past specified timeout of 1.0s");
}

#[test]
fn a_terminal_goes_to_whoever_asks_for_it() {
    let mut bundle = Bundle::new("tty; stty size; exec sleep 1000");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({ "height": 33, "width": 77 });
    bundle.fails("create {}", 1, "cannot allocate tty if runc will detach without setting console socket");
    bundle.fails(
        "run --console-socket x {}",
        1,
        "cannot use console socket if runc will not detach or allocate tty",
    );
    let path = bundle.jar.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.ok("run --detach --console-socket console {}");
    let (connection, _) = listener.accept().unwrap();
    let mut terminal = std::fs::File::from(receive(&connection));
    let mut text = Vec::new();
    while text.iter().filter(|&&byte| byte == b'\n').count() < 2 {
        let mut bytes = [0; 64];
        let count = terminal.read(&mut bytes).unwrap();
        text.extend_from_slice(&bytes[..count]);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "/dev/pts/0\r\n33 77\r\n");
    bundle.kill();
}

#[test]
fn descriptors_are_passed_on_and_no_others() {
    let bundle = Bundle::new("cat <&3; echo $LISTEN_FDS; ls /proc/self/fd | wc -l");
    std::fs::write(bundle.jar.path("passed"), "passed\n").unwrap();
    let program = env!("CARGO_BIN_EXE_onggi-runtime");
    let state = bundle.jar.path("state");
    let script = format!(
        "exec 3<passed 4<passed; exec {program} --root {} run --preserve-fds 1 {}",
        state.display(),
        bundle.id
    );
    bundle.command(&[]);
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // The three streams, the one that was passed, and the listing's own.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "passed\n\n5\n", "{output:?}");
    bundle.fails("run --preserve-fds 1 {}", 1, "please check that preserved-fd 1 (of 1) is present");
}

#[test]
fn the_manager_hears_that_the_container_is_ready() {
    // busybox has nothing that sends a datagram: that the socket is there and the end is noticed is what can be seen.
    let bundle = Bundle::new("test -S \"$NOTIFY_SOCKET\" && echo $NOTIFY_SOCKET");
    let manager = UnixDatagram::bind(bundle.jar.path("manager")).unwrap();
    let mut command = bundle.command(&["run", "--detach", &bundle.id]);
    command.env("NOTIFY_SOCKET", bundle.jar.path("manager"));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/run/notify/notify.sock\n", "{output:?}");
    drop(manager);
}

#[test]
fn limits_change_while_it_runs() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create();
    bundle.ok("start {}");
    bundle.ok("update --memory 50M --pids-limit 20 {}");
    let stats: Value = serde_json::from_str(&bundle.ok("events --stats {}")).unwrap();
    assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!(bundle.id)));
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], json!(50 << 20));
    assert_eq!(stats["data"]["pids"]["limit"], json!(20));
    if !std::path::Path::new("/sys/fs/resctrl/info").exists() {
        bundle.fails("update --l3-cache-schema x {}", 1, "Intel RDT/CAT: l3 cache schema is not enabled");
    }
    bundle.kill();
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let bundle = Bundle::new("true");
    for (line, text) in [
        ("checkpoint {}", "container does not exist"),
        ("--criu /nonexistent restore {}", "executable file not found in $PATH: install the package criu"),
        ("run --nonsense {}", "flag provided but not defined: -nonsense"),
        ("run a/b", "invalid container ID format"),
        ("--root / list", "Option --root argument should not be set to /"),
        ("run", "\\\"run\\\" requires exactly 1 argument(s)"),
    ] {
        bundle.fails(line, 1, text);
    }
    assert_eq!(bundle.ok("list -q"), "");
}

#[test]
fn a_specification_to_begin_with_can_be_run() {
    let bundle = Bundle::new("");
    let path = bundle.jar.path("fresh");
    std::fs::create_dir(&path).unwrap();
    bundle.ok("spec --bundle fresh");
    bundle.fails("spec --bundle fresh", 1, "File config.json exists. Remove it first");
    let text = std::fs::read_to_string(path.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "from the specification"]);
    config["root"]["path"] = json!(bundle.jar.rootfs());
    // The capability that the machine's own root may lack is left out with a warning.
    config["process"]["rlimits"] = json!([]);
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    assert_eq!(bundle.ok("run --bundle fresh {}"), "from the specification\n");
}

/// The descriptor that came with a message.
fn receive(socket: &std::os::unix::net::UnixStream) -> std::os::fd::OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    assert!(socket.as_raw_fd() > 2);
    let mut bytes = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let descriptors = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptors.unwrap()
}

/// `stat` asks an agent; the descriptor and the container's state come over the socket.
#[test]
fn an_agent_is_handed_the_listener_of_a_filter() {
    let mut bundle = Bundle::new("exec sleep 1000");
    let socket = bundle.jar.path("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": socket,
        "listenerMetadata": "jar",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_NOTIFY" }],
    });
    for (line, status) in [("create", "creating"), ("exec -d", "running")] {
        if line == "create" {
            bundle.create();
        } else {
            bundle.ok("start {}");
            bundle.quietly(&["exec", "-d", &bundle.id, "sleep", "1000"]);
        }
        let (connection, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [std::io::IoSliceMut::new(&mut bytes)];
        let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
        let count = rustix::net::recvmsg(&connection, slices, &mut ancillary, flags).unwrap().bytes;
        let message: Value = serde_json::from_slice(&bytes[..count]).unwrap();
        assert_eq!(message["fds"], json!(["seccompFd"]), "{message}");
        assert_eq!((&message["metadata"], &message["state"]["id"]), (&json!("jar"), &json!(bundle.id)));
        assert_eq!(message["state"]["status"], status, "{message}");
        let received = ancillary.drain().find_map(|message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let link = format!("/proc/self/fd/{}", received.as_ref().unwrap().as_raw_fd());
        assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some("anon_inode:seccomp notify"));
    }
    bundle.kill();
}

#[test]
fn a_profile_that_asks_needs_somebody_who_answers() {
    let mut bundle = Bundle::new("true");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_NOTIFY" }],
    });
    bundle.config["linux"]["seccomp"] = profile;
    bundle.fails("run {}", 1, "seccomp listenerPath is not set");
    bundle.config["linux"]["seccomp"]["listenerPath"] = json!("@onggi-nobody-is-here");
    bundle.fails("run {}", 1, "failed to connect with seccomp agent");
    bundle.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["write"]);
    bundle.fails("run {}", 1, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
}

#[test]
fn a_foreground_run_passes_the_word_on_and_stays() {
    let bundle = Bundle::new("read -r line; echo $line");
    let manager = UnixDatagram::bind(bundle.jar.path("manager")).unwrap();
    let mut command = bundle.command(&["run", &bundle.id]);
    command.env("NOTIFY_SOCKET", bundle.jar.path("manager")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let inside = bundle.jar.path("state").join(&bundle.id).join("notify/notify.sock");
    let container = UnixDatagram::unbound().unwrap();
    // The container's shell has nothing for datagrams, so one is sent from here. The socket is there before the program.
    while container.send_to(b"STATUS=x\nREADY=1", &inside).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::yield_now();
    }
    let mut bytes = [0; 64];
    let count = manager.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"READY=1\n");
    let count = manager.recv(&mut bytes).unwrap();
    assert!(bytes[..count].starts_with(b"MAINPID="), "{:?}", &bytes[..count]);
    child.stdin.as_mut().unwrap().write_all(b"end\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"end\n"[..]));
}

#[test]
fn a_root_that_cannot_be_swapped_is_moved() {
    let bundle = Bundle::new("ls -d /bin /proc/1; ls / | grep -c rootfs");
    let output = bundle.call("run --no-pivot {}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "/bin\n/proc/1\n0\n", "{output:?}");
}

#[test]
fn a_device_of_the_hosts_becomes_the_containers() {
    let ip = |line: &str| {
        let output = Command::new("ip").args(line.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {line}: {output:?}");
    };
    let (ours, theirs) = (format!("ot{}a", std::process::id()), format!("ot{}b", std::process::id()));
    ip(&format!("link add {ours} type veth peer name {theirs}"));
    ip(&format!("address add 198.51.100.7/24 dev {ours}"));
    ip(&format!("address add 127.0.9.9/32 scope host dev {ours}"));
    ip(&format!("link set {ours} mtu 1400"));
    let mut bundle = Bundle::new("ip -o addr show dev moved; ip -o link show dev moved");
    bundle.config["linux"]["netDevices"] = json!({ ours.as_str(): { "name": "moved" } });
    let output = bundle.call("run {}");
    // The pair has gone with the namespace; or, if something went wrong, it goes here.
    let _ = Command::new("ip").args(["link", "delete", &theirs]).output();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("inet 198.51.100.7/24"), "{output:?}");
    assert!(!said.contains("127.0.9.9"), "{said}");
    assert!(said.contains("mtu 1400") && said.contains("UP"), "{said}");
}

#[test]
fn exec_waits_for_a_paused_container_if_it_is_told_to() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create();
    bundle.ok("start {}");
    bundle.ok("pause {}");
    let mut command = bundle.command(&["exec", "--ignore-paused", &bundle.id, "echo", "thawed"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // Until it has a child of its own, which is on its way into the frozen cgroup.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    while std::fs::read_to_string(&children).unwrap_or_default().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::yield_now();
    }
    bundle.ok("resume {}");
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), "thawed\n"));
    bundle.kill();
}

#[test]
fn exec_goes_to_a_group_below_the_containers() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create();
    bundle.ok("start {}");
    bundle.fails("exec --cgroup .. {} true", 255, "bad sub cgroup path: ..");
    bundle.fails("exec --cgroup whatever:/ {} true", 255, "unknown controller whatever");
    bundle.fails("exec --cgroup onggi-none {} true", 255, "no such file or directory");
    let said = bundle.ok("exec --cgroup / {} cat /proc/self/cgroup");
    assert!(!said.is_empty());
    bundle.kill();
}

/// On a host that has neither: what such a host says. What one with them does is for a host with them.
#[test]
fn a_profile_or_label_that_the_host_cannot_give_ends_the_start() {
    let mut bundle = Bundle::new("echo ran");
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        bundle.config["process"]["apparmorProfile"] = json!("onggi");
        bundle.fails("run {}", 1, "unable to apply apparmor profile: apparmor failed to apply profile");
        bundle.config["process"]["apparmorProfile"] = json!("unconfined");
        assert_eq!(bundle.ok("run {}"), "ran\n");
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        let text = "selinux label is specified in config, but selinux is disabled or not supported";
        bundle.config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
        bundle.fails("run {}", 1, text);
        bundle.config["process"].as_object_mut().unwrap().remove("selinuxLabel");
        bundle.config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
        bundle.fails("run {}", 1, "context");
        bundle.config["linux"].as_object_mut().unwrap().remove("mountLabel");
    }
    if !std::path::Path::new("/sys/fs/resctrl/info").exists() {
        bundle.config["linux"]["intelRdt"] = json!({ "enableMonitoring": true });
        bundle.fails("run {}", 1, "intelRdt is specified in config, but Intel RDT is not enabled");
    }
    assert_eq!(bundle.ok("list -q"), "");
}

#[test]
fn a_container_in_the_hosts_mount_namespace_leaves_no_mount() {
    let mut bundle = Bundle::new("ls -d /bin /proc/1 /dev/pts; exec sleep 1000");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "mount");
    bundle.quietly(&["run", "-d", &bundle.id]);
    let own = bundle.jar.path("rootfs");
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(own.to_str().unwrap()), "{table}");
    assert_eq!(bundle.ok("exec {} ls -d /bin /etc/passwd"), "/bin\n/etc/passwd\n");
    assert_eq!(bundle.output(), "/bin\n/dev/pts\n/proc/1\n");
    bundle.kill();
}

#[test]
fn what_engines_ask_is_answered_as_runc_does() {
    let mut bundle = Bundle::new("exec sleep 1000");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    let options = ["sync", "dirsync", "lazytime", "nomand"];
    mounts.push(json!({ "destination": "/t", "type": "tmpfs", "source": "t", "options": options }));
    // That of the state, not that of the bundle.
    bundle.config["ociVersion"] = json!("1.0.2");
    bundle.quietly(&["run", "-d", &bundle.id]);
    let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
    let listed: Value = serde_json::from_str(&bundle.ok("list -f json")).unwrap();
    assert_eq!((&state["ociVersion"], &listed[0]["ociVersion"]), (&json!("1.3.0"), &json!("1.3.0")));
    let mounted = bundle.ok("exec {} grep /t /proc/self/mountinfo");
    assert!(mounted.contains("- tmpfs t rw,sync,dirsync,lazytime"), "{mounted}");

    let features: Value = serde_json::from_str(&bundle.ok("features")).unwrap();
    assert_eq!(
        features["potentiallyUnsafeConfigAnnotations"],
        json!(["org.systemd.property.", "org.criu.config"])
    );
    let known = features["mountOptions"].as_array().unwrap();
    assert!(known.iter().map(Value::as_str).is_sorted(), "{known:?}");
    assert!(options.iter().all(|&option| known.contains(&json!(option))), "{known:?}");
    bundle.kill();
}

/// With one flag named all others are off (runc's rule), but for those that a user namespace may not change.
#[test]
fn a_bind_mount_has_the_flags_that_are_named() {
    let mut bundle = Bundle::new("grep ' /m ' /proc/self/mountinfo | cut -d' ' -f6");
    std::fs::set_permissions(bundle.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for directory in ["data", "rootfs/m"] {
        std::fs::create_dir(bundle.jar.path(directory)).unwrap();
    }
    let source = bundle.jar.path("data");
    bundle.config["mounts"].as_array_mut().unwrap().push(json!({}));
    let show = |bundle: &mut Bundle, flags: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        let last = bundle.config["mounts"].as_array().unwrap().len() - 1;
        bundle.config["mounts"][last] =
            json!({ "source": source, "destination": "/m", "type": "bind", "options": options });
        let run = bundle.command(&["run", &bundle.id]);
        // As options of the mount alone: those of its file system nobody could take away.
        let script = "mount -t tmpfs t data && mount -o remount,bind,$0 data && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, flags]).arg(run.get_program()).args(run.get_args());
        let output = command.current_dir(bundle.path()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(if output.status.success() { output.stdout } else { output.stderr });
        said.unwrap().trim_end().to_owned()
    };
    for (flags, options, expected) in [
        ("ro,noexec,nosymfollow", "bind", "ro,noexec,relatime,nosymfollow"),
        ("ro,noexec,nosymfollow", "bind,dev", "rw,relatime"),
        ("nosuid,noexec,noatime", "bind,ro", "ro,noatime"),
        ("noatime", "bind,atime", "rw,noatime"),
        ("noatime", "bind,nodiratime", "rw,nodiratime,relatime"),
    ] {
        assert_eq!(show(&mut bundle, flags, options), expected, "{flags} and {options}");
    }
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_534 }]);
    let linux = bundle.config["linux"].as_object_mut().unwrap();
    linux.insert("uidMappings".into(), map.clone());
    linux.insert("gidMappings".into(), map);
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    for (flags, options, expected) in [
        ("ro,noexec,nosymfollow", "bind,dev", "ro,noexec,relatime"),
        ("nosuid,noexec,noatime", "bind,ro", "ro,nosuid,noexec,noatime"),
    ] {
        assert_eq!(show(&mut bundle, flags, options), expected, "{flags} and {options}");
    }
    for (flags, options) in [("ro", "bind,rw,nosuid"), ("relatime", "bind,noatime")] {
        let said = show(&mut bundle, flags, options);
        assert!(said.contains("error mounting") && said.contains("operation not permitted"), "{said}");
    }
}

/// A process in a mount namespace of its own, which ends with the test.
struct Elsewhere(std::process::Child);

impl Elsewhere {
    fn new() -> Elsewhere {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "echo there; exec sleep 1000"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"there\n");
        Elsewhere(child)
    }

    /// A file of its in /proc.
    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0.id())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As with runc: the namespace's root, and that of everybody in it, is then the container's.
#[test]
fn a_mount_namespace_is_joined_by_its_path() {
    let mut bundle = Bundle::new("exec sleep 1000");
    let elsewhere = Elsewhere::new();
    let join = |bundle: &mut Bundle, path: &str| {
        let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "mount");
        // First, though the paths of the others lead nowhere in it.
        namespaces.insert(0, json!({ "type": "mount", "path": path }));
    };
    let net = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    net.retain(|namespace| namespace["type"] != "network");
    net.push(json!({ "type": "network", "path": elsewhere.file("ns/net") }));
    join(&mut bundle, &elsewhere.file("ns/mnt"));
    bundle.quietly(&["run", "-d", &bundle.id]);
    let there = std::fs::read_link(elsewhere.file("ns/mnt")).unwrap();
    let there = format!("{}\n", there.display());
    for process in ["1", "self"] {
        assert_eq!(bundle.ok(&format!("exec {{}} readlink /proc/{process}/ns/mnt")), there);
    }
    assert_eq!(bundle.ok("exec {} ls -d /bin /dev/null"), "/bin\n/dev/null\n");
    let table = std::fs::read_to_string(elsewhere.file("mountinfo")).unwrap();
    let numbers = |table: &str| {
        table.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let inside = bundle.ok("exec {} cat /proc/self/mountinfo");
    assert_eq!(numbers(&table), numbers(&inside), "whoever is there has the same root and the same mounts");
    let own = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!own.contains(bundle.jar.path("rootfs").to_str().unwrap()), "{own}");
    bundle.kill();
    bundle.ok("delete {}");

    // Nobody may mean this: the root would be swapped under the caller.
    join(&mut bundle, "/proc/self/ns/mnt");
    bundle.fails("run {}", 1, "whose processes would all get the container's root");
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(own.lines().next(), after.lines().next());
    join(&mut bundle, &elsewhere.file("ns/net"));
    bundle.fails("run {}", 1, "invalid argument");
}

#[test]
fn a_hook_in_the_container_need_not_read_its_state() {
    let mut bundle = Bundle::new("echo ran");
    // More than a pipe holds; and not process 1 of its own, which no signal of its own could end.
    bundle.config["annotations"] = json!({ "long": "x".repeat(200_000) });
    let others = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    others.retain(|namespace| namespace["type"] != "pid");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "exec 0<&-; true"] }]);
    bundle.config["hooks"] = json!({ "createContainer": hook, "startContainer": hook });
    assert_eq!(bundle.ok("run {}"), "ran\n");
}

#[test]
fn a_pid_file_is_written_through_no_link() {
    let bundle = Bundle::new("exec sleep 1000");
    let place = bundle.jar.path("pids");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("victim"), "whole").unwrap();
    std::os::unix::fs::symlink("victim", place.join(".pid")).unwrap();
    bundle.quietly(&["create", "--pid-file", "pids/pid", &bundle.id]);
    assert_eq!(std::fs::read_to_string(place.join("victim")).unwrap(), "whole");
    assert!(std::fs::read_to_string(place.join("pid")).unwrap().parse::<u32>().is_ok());
    bundle.ok("delete --force {}");

    std::fs::create_dir(place.join("taken")).unwrap();
    bundle.fails("create --pid-file pids/taken {}", 1, "pids/taken: ");
    let mut left: Vec<_> =
        std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".pid", "pid", "taken", "victim"], "what is somebody else's stays");
}

#[test]
fn every_command_works_where_openat2_is_refused() {
    let bundle = Bundle::new("exec sleep 1000");
    std::thread::scope(|scope| {
        // Only this thread, and what it starts.
        scope.spawn(|| {
            refuse(&["openat2"]);
            bundle.create();
            for line in [
                "start {}",
                "exec {} true",
                "ps {}",
                "events --stats {}",
                "update --pids-limit 50 {}",
                "pause {}",
            ] {
                bundle.ok(line);
            }
            for line in ["resume {}", "state {}", "list", "kill --all {} KILL", "delete --force {}"] {
                bundle.ok(line);
            }
        });
    });
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let bundle = Bundle::new("true");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = bundle.command(&["list"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no space left on device"), "{output:?}");
}

/// Has the kernel answer this thread as if it did not know the calls.
fn refuse(names: &[&str]) {
    let rule = json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 38 });
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let profile = serde_json::from_value(profile).unwrap();
    let filter = onggi_seccomp::compile(&profile, onggi_seccomp::Arch::NATIVE).unwrap();
    onggi_sys::seccomp::load(&filter.to_bytes(), 0).unwrap();
}
