//! A small busybox root file system, a specification with everything that a container has by default, and a way to run it in a process of
//! its own (`examples/run.rs`): the threads of a test may not fork.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod bundle;
pub mod calls;
pub mod engine;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

const APPLETS: [&str; 34] = [
    "cat", "chmod", "cut", "dd", "echo", "env", "false", "find", "grep", "head", "hostname", "id", "ip",
    "kill", "ls", "mkdir", "mknod", "mount", "mv", "nproc", "ps", "readlink", "rm", "sh", "sleep", "sort",
    "stat", "stty", "tail", "test", "touch", "true", "tty", "wc",
];

pub const PODMAN_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
];

/// A container to be, and its files.
pub struct Jar {
    pub directory: tempfile::TempDir,
    pub request: Value,
    /// How often it is started, one life after another, from the same plan.
    pub lives: u32,
}

/// What one process came to.
#[derive(Debug)]
pub struct End {
    pub code: Option<i64>,
    pub failure: Option<Value>,
    pub timings: Vec<Value>,
}

#[derive(Debug)]
pub struct Run {
    pub output: String,
    /// The container's first process, then those that joined.
    pub ends: Vec<End>,
    /// What the runner said if it failed itself.
    pub error: Option<String>,
}

impl Jar {
    /// Runs a shell script by default; everything in `request` may be changed before.
    pub fn new(script: &str) -> Jar {
        need_root();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        build_root(&root);
        for name in ["upper", "work"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let id = format!("onggi-runtime-test-{}-{number}", std::process::id());
        let request = json!({
            "id": id,
            "spec": spec(&id, script),
            "root": { "overlay": {
                "lower": [root],
                "upper": directory.path().join("upper"),
                "work": directory.path().join("work"),
                "volatile": true,
            } },
            "extra": extra(),
        });
        Jar { directory, request, lives: 1 }
    }

    pub fn spec(&mut self) -> &mut Value {
        &mut self.request["spec"]
    }

    pub fn process(&mut self) -> &mut Value {
        &mut self.request["spec"]["process"]
    }

    pub fn extra(&mut self) -> &mut Value {
        &mut self.request["extra"]
    }

    /// The image's tree, on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// A path in the jar's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn mount(&mut self, kind: &str, source: impl AsRef<Path>, destination: &str, options: &[&str]) {
        let mount = json!({ "type": kind, "source": source.as_ref(), "destination": destination, "options": options });
        self.spec()["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// A second process, run when the first has made `/ready`.
    pub fn exec(&mut self, script: &str) -> &mut Value {
        let mut process = self.request["spec"]["process"].clone();
        process["args"] = json!(["sh", "-c", script]);
        self.request["ready"] = json!(self.path("upper/ready"));
        if self.request.get("exec").is_none() {
            self.request["exec"] = json!([]);
        }
        let list = self.request["exec"].as_array_mut().unwrap();
        let mut extra = extra();
        extra["loopback"] = json!(false);
        list.push(json!({ "process": process, "extra": extra }));
        list.last_mut().unwrap()
    }

    /// `ONGGI_TEST_REFUSED=openat2` runs every test as if there were no such call (see `older.rs`).
    fn whole_request(&self) -> Value {
        let mut request = self.request.clone();
        if let (Ok(names), Value::Null) = (std::env::var("ONGGI_TEST_REFUSED"), &request["refused"]) {
            request["refused"] = names.split(',').collect();
        }
        request
    }

    pub fn run(&self) -> Run {
        let path = self.path("request.json");
        std::fs::write(&path, serde_json::to_vec(&self.whole_request()).unwrap()).unwrap();
        let output = Command::new(runner())
            .arg(&path)
            .arg(self.lives.to_string())
            .stdin(Stdio::null())
            .output()
            .expect("the example program runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut run =
            Run { output: String::from_utf8_lossy(&output.stdout).into_owned(), ends: vec![], error: None };
        for line in errors.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                // The container's own standard error.
                run.output.push_str(line);
                run.output.push('\n');
                continue;
            };
            if let Some(error) = line.get("error") {
                run.error = Some(error.as_str().unwrap().to_owned());
                continue;
            }
            run.ends.push(End {
                code: line["code"].as_i64(),
                failure: Some(line["failure"].clone()).filter(|failure| !failure.is_null()),
                timings: line["timings"].as_array().cloned().unwrap_or_default(),
            });
        }
        run
    }

    /// Starts it and lets it run.
    pub fn start(&self) -> std::process::Child {
        let path = self.path("request.json");
        let mut request = self.whole_request();
        // Nothing is sent, and the runner waits for the end.
        request["ready"] = Value::Null;
        std::fs::write(&path, serde_json::to_vec(&request).unwrap()).unwrap();
        Command::new(runner())
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The host's number of the first process of a container that was started, once it has made `/ready`.
    pub fn first_process(&self, runner: &std::process::Child) -> u32 {
        while !self.path("upper/ready").exists() {
            std::thread::yield_now();
        }
        let children = format!("/proc/{0}/task/{0}/children", runner.id());
        std::fs::read_to_string(children).unwrap().trim().parse().unwrap()
    }

    /// Ends it, and waits for the runner to have cleaned up.
    pub fn stop(&self, pid: u32, runner: &mut std::process::Child) {
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        runner.wait().unwrap();
    }

    /// Runs, expects success, and gives what was printed.
    #[track_caller]
    pub fn output(&self) -> String {
        let run = self.run();
        assert!(run.error.is_none(), "{run:?}");
        for end in &run.ends {
            assert!(end.failure.is_none(), "{run:?}");
        }
        run.output
    }

    /// Runs, expects a step to fail, and gives its name, errno and message.
    #[track_caller]
    pub fn failure(&self) -> (String, i64, String) {
        let run = self.run();
        let failure = run.ends.last().and_then(|end| end.failure.clone());
        let failure = failure.unwrap_or_else(|| panic!("nothing failed: {run:?}"));
        let text = |name: &str| failure[name].as_str().unwrap().to_owned();
        (text("step"), failure["errno"].as_i64().unwrap(), text("message"))
    }
}

/// What a call has printed, which must have succeeded.
#[track_caller]
pub fn success(line: &str, output: std::process::Output) -> String {
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn extra() -> Value {
    json!({
        "user": "", "group_add": [], "home": true, "populate": [], "loopback": true, "init": false, "seccomp": null,
        "seccomp_flags": 0, "isolation": "container", "timings": false,
    })
}

/// Tests of kernel steps cannot pass without root: they fail, unless the caller says that this is known.
fn need_root() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_none(),
            "set ONGGI_TEST_UNPRIVILEGED=1 only together with a filter that leaves these tests out"
        );
        panic!("these tests make namespaces and mounts: run them as root");
    }
}

/// `examples/run.rs`, built.
pub fn runner() -> PathBuf {
    // Next to the directory that holds the test programs; cargo builds examples along with tests.
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/run");
    assert!(path.exists(), "{} is missing: cargo build -p onggi-runtime --examples", path.display());
    path
}

fn build_root(root: &Path) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox is missing: apt-get install busybox-static");
    for name in ["bin", "etc", "tmp", "data"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34:www:/srv:/bin/sh\n1:x:0:0:trap:/trap:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), passwd).unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nbin:x:1:root\nwww:x:34:\nvideo:x:44:www\n").unwrap();
}

/// What the engine writes for a container with every default.
pub fn spec(id: &str, script: &str) -> Value {
    let capabilities = PODMAN_CAPABILITIES;
    json!({
        "ociVersion": "1.3.0",
        "hostname": "jar",
        "root": { "path": "rootfs" },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh", "-c", script],
            "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "cgroup" },
            ],
            "maskedPaths": ["/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/timer_list",
                "/proc/nonexistent", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
