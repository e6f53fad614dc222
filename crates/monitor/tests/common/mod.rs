//! A container of busybox under a real monitor, with directories of its own and nothing left behind.
#![allow(dead_code, unreachable_pub)] // each test program has a copy and uses a part

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use onggi_monitor::client::{self, Connection};
use onggi_monitor::protocol::{Condition, Durability, LogConfig, Reply, Request, Start, Streams, VERSION};
use onggi_monitor::state::State;
use onggi_oci as oci;
use onggi_runtime::plan::{self, Extra, Input, JoinInput, Root};

/// The monitor under test; `ONGGI_TEST_MONITOR` names another one, for figures of a release build.
pub fn program() -> PathBuf {
    std::env::var_os("ONGGI_TEST_MONITOR")
        .map_or_else(|| env!("CARGO_BIN_EXE_onggi-monitor").into(), PathBuf::from)
}

/// One container's directories.
pub struct Fixture {
    pub id: String,
    directory: tempfile::TempDir,
    pub spec: oci::Spec,
    pub start: Start,
    /// What the path of the container's cgroup has after [`Fixture::cgroup`].
    pub cgroup_below: &'static str,
}

impl Fixture {
    /// A container that runs a shell script.
    pub fn new(script: &str) -> Fixture {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{:032x}", std::process::id(), number);
        let directory = tempfile::tempdir().unwrap();
        for name in ["container", "events", "sandboxes"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        std::fs::create_dir(directory.path().join("sandboxes").join(&id)).unwrap();
        let start = Start {
            version: VERSION,
            id: id.clone(),
            name: "kimchi".into(),
            attributes: BTreeMap::from([("image".into(), "busybox".into())]),
            durability: Durability::Volatile,
            log: LogConfig::default(),
            ..Start::default()
        };
        Fixture { id, directory, spec: spec(script), start, cgroup_below: "" }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn sandbox(&self) -> PathBuf {
        self.path("sandboxes").join(&self.id)
    }

    pub fn cgroup(&self) -> String {
        format!("/onggi-test-{}", self.id)
    }

    /// The root file system, unpacked when it is first asked for.
    fn rootfs(&self) -> PathBuf {
        let path = self.path("rootfs");
        if std::fs::create_dir(&path).is_ok() {
            assert!(rustix::process::geteuid().is_root(), "these tests make containers: run them as root");
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(onggi_testkit::image("busybox")).arg("-C").arg(&path);
            assert!(tar.status().unwrap().success());
        }
        path
    }

    /// The plan of the container.
    pub fn plan(&self) -> OwnedFd {
        let layout = onggi_cgroup::detect().unwrap();
        let mut spec = self.spec.clone();
        spec.process.as_mut().unwrap().terminal = self.start.terminal;
        spec.linux.as_mut().unwrap().cgroups_path = Some(self.cgroup() + self.cgroup_below);
        let root = Root::Directory { path: self.rootfs() };
        let input = Input { id: &self.id, spec: &spec, root, cgroups: &layout, extra: Extra::default() };
        onggi_runtime::encode(&plan::container(&input).unwrap()).unwrap()
    }

    /// The plan of a second process.
    pub fn exec_plan(&self, script: &str, terminal: bool) -> OwnedFd {
        let layout = onggi_cgroup::detect().unwrap();
        let mut spec = self.spec.clone();
        spec.linux.as_mut().unwrap().cgroups_path = Some(self.cgroup() + self.cgroup_below);
        let mut process = spec.process.clone().unwrap();
        process.terminal = terminal;
        process.args = vec!["/bin/sh".into(), "-c".into(), script.into()];
        let input = JoinInput {
            id: &self.id,
            spec: &spec,
            process: &process,
            cgroups: &layout,
            extra: Extra::default(),
            privileged: false,
        };
        onggi_runtime::encode(&plan::join(&input).unwrap()).unwrap()
    }

    pub fn spawn(&self) -> Connection {
        client::spawn(&program(), onggi_cgroup::detect().ok().as_ref()).unwrap()
    }

    /// Sends `start` without waiting for its answer.
    pub fn send_start(&self, monitor: &mut Connection) -> u32 {
        self.send_start_with(monitor, None)
    }

    /// The same with the container's lock.
    pub fn send_start_with(&self, monitor: &mut Connection, lock: Option<BorrowedFd<'_>>) -> u32 {
        let open = |path: PathBuf| OwnedFd::from(File::open(path).unwrap());
        let descriptors =
            [self.plan(), open(self.path("container")), open(self.sandbox()), open(self.path("events"))];
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).chain(lock).collect();
        monitor.send(&Request::Start { container: Box::new(self.start.clone()) }, &descriptors).unwrap()
    }

    /// Spawns a monitor and starts the container.
    pub fn run(&self) -> Running {
        self.run_attached(None)
    }

    /// The same with a stream attached before the start.
    pub fn run_attached(&self, streams: Option<Streams>) -> Running {
        let mut monitor = self.spawn();
        let mut stream = None;
        if let Some(streams) = streams {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let request = Request::Attach { exec: None, streams };
            let number = monitor.order(&request, &[theirs.as_fd()]).unwrap();
            stream = Some((ours, number));
        }
        let wait =
            monitor.order(&Request::Wait { condition: Condition::Exited, finish: false }, &[]).unwrap();
        let started = self.send_start(&mut monitor);
        let pid = match monitor.reply_to(started).unwrap() {
            Reply::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        };
        let (stream, attach) = stream.map_or((None, 0), |(stream, number)| (Some(stream), number));
        Running { monitor, wait, pid, stream, attach }
    }

    pub fn state(&self) -> State {
        State::read(File::open(self.path("container")).unwrap().as_fd()).unwrap()
    }

    /// What the log holds: stream and text.
    pub fn log(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path("container/log/json.log")).unwrap();
        let field = |value: &serde_json::Value, name: &str| value[name].as_str().unwrap().to_owned();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|value| (field(&value, "stream"), field(&value, "log")))
            .collect()
    }

    /// The actions of the events, with an exit code if they have one.
    pub fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("events/events.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let event: onggi_monitor::events::Event = serde_json::from_str(line).unwrap();
                assert_eq!(event.actor.attributes["image"], "busybox");
                let code = event.actor.attributes.get("exitCode").map(|code| format!(" {code}"));
                format!("{}{}", event.action, code.unwrap_or_default())
            })
            .collect()
    }

    /// Fails if the monitor left anything but the container's own directory.
    pub fn assert_nothing_left(&self) {
        assert!(!self.sandbox().exists(), "the sandbox's directory is left");
        let layout = onggi_cgroup::detect().unwrap();
        assert!(onggi_cgroup::Cgroup::open(&layout, &self.cgroup()).is_err(), "the cgroup is left");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let layout = onggi_cgroup::detect().unwrap();
        if let Ok(group) = onggi_cgroup::Cgroup::open(&layout, &self.cgroup()) {
            let _ = group.kill();
            let _ = group.remove();
        }
    }
}

/// A container that was started.
pub struct Running {
    pub monitor: Connection,
    pub wait: u32,
    pub pid: i32,
    pub stream: Option<UnixStream>,
    pub attach: u32,
}

impl Running {
    /// Waits for the end and returns the exit code.
    pub fn code(&mut self) -> i32 {
        self.exit().0
    }

    /// The exit code and whether the kernel killed for want of memory.
    pub fn exit(&mut self) -> (i32, bool) {
        match self.monitor.reply_to(self.wait).unwrap() {
            Reply::Exited { code, oom_killed, .. } => (code, oom_killed),
            other => panic!("{other:?}"),
        }
    }

    /// Everything that comes over the stream, to its end.
    pub fn read_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.as_mut().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Reads until this text has come.
    pub fn read_until(&mut self, text: &str) -> Vec<u8> {
        read_until(self.stream.as_mut().unwrap(), text)
    }
}

pub fn read_until(stream: &mut UnixStream, text: &str) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut bytes = [0; 4096];
    while !seen.windows(text.len()).rev().take(bytes.len() + 64).any(|window| window == text.as_bytes()) {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the stream ended after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    seen
}

/// Takes Docker's frames apart: the bytes of each stream.
pub fn unframe(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        assert_eq!(header[1..4], [0, 0, 0]);
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        match header[0] {
            1 => stdout.extend_from_slice(&rest[..length]),
            2 => stderr.extend_from_slice(&rest[..length]),
            other => panic!("stream {other}"),
        }
        bytes = &rest[length..];
    }
    (stdout, stderr)
}

pub fn output() -> Streams {
    Streams { stdout: true, stderr: true, framed: true, ..Streams::default() }
}

/// Kills the monitor and returns when it is dead.
pub fn kill_monitor(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
}

/// Stops everybody else in its pid namespace, for ever. Where there is nobody, `kill` complains, as often as it can: on the stream of a
/// client that is waiting for the end instead of reading, which holds that end back as soon as the socket is full.
pub const STOPS_ALL: &str = "trap '' TERM; exec 2> /dev/null; echo ready; while :; do kill -STOP -1; done";

/// The processes whose parent this is, dead ones too.
pub fn children(parent: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Has another monitor take the container over; the number is that of its wait.
pub fn adopt(fixture: &Fixture) -> (Connection, Result<u32, onggi_monitor::Error>) {
    let mut monitor = fixture.spawn();
    let open = |path: PathBuf| OwnedFd::from(File::open(path).unwrap());
    let descriptors =
        [open(fixture.path("container")), open(fixture.sandbox()), open(fixture.path("events"))];
    let descriptors = descriptors.each_ref().map(AsFd::as_fd);
    let state = fixture.state();
    let request = Request::Adopt { pid: state.pid, pid_start_time: state.pid_start_time };
    let wait = Request::Wait { condition: Condition::Exited, finish: false };
    let wait = monitor.order(&wait, &[]).unwrap();
    let adopted = monitor.call(&request, &descriptors);
    (monitor, adopted.map(|_| wait))
}

fn spec(script: &str) -> oci::Spec {
    let namespaces = [
        oci::NamespaceKind::Mount,
        oci::NamespaceKind::Pid,
        oci::NamespaceKind::Ipc,
        oci::NamespaceKind::Uts,
        oci::NamespaceKind::Network,
        oci::NamespaceKind::Cgroup,
    ];
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| oci::Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(source.into()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..oci::Mount::default()
    };
    oci::Spec {
        oci_version: oci::VERSION.into(),
        process: Some(oci::Process {
            args: vec!["/bin/sh".into(), "-c".into(), script.into()],
            env: vec!["PATH=/bin:/usr/bin:/sbin".into(), "TERM=dumb".into()],
            cwd: "/".into(),
            ..oci::Process::default()
        }),
        root: Some(oci::Root { path: "rootfs".into(), readonly: true }),
        mounts: vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            ),
            mount("/tmp", "tmpfs", "tmpfs", &["nosuid"]),
        ],
        linux: Some(oci::Linux {
            namespaces: namespaces.map(|kind| oci::Namespace { kind, path: None }).to_vec(),
            ..oci::Linux::default()
        }),
        ..oci::Spec::default()
    }
}
