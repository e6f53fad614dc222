//! What the tests in the kernel share: a cgroup of their own that is removed whatever happens, and a process inside it.
//!
//! The process is this very test program, started again: it joins as a container's first process does (`Cgroup::join_self`), execs as
//! that does too, and then acts a part. The test harness has two threads, of which one joins; the exec leaves that one alone.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests
#![allow(dead_code)] // each test program uses its share

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use onggi_cgroup::{Cgroup, Layout, plan};
use onggi_oci::Resources;

const GROUP: &str = "ONGGI_TEST_CGROUP";
const PART: &str = "ONGGI_TEST_PART";
const JOINED: &str = "ONGGI_TEST_JOINED";
const ARGUMENTS: [&str; 4] = ["--exact", "inside", "--nocapture", "--test-threads=1"];

/// Whether to run at all: these tests need root, and say so unless told that there is none.
pub(crate) fn may_run() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_some(),
        "this test needs root (or ONGGI_TEST_UNPRIVILEGED=1)"
    );
    println!("skipped: not root");
    false
}

pub(crate) fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// A cgroup for one test.
pub(crate) struct Group {
    pub(crate) layout: Layout,
    pub(crate) path: String,
    pub(crate) cgroup: Option<Cgroup>,
}

impl Group {
    pub(crate) fn new(layout: &Layout, name: &str, json: &str) -> Group {
        let path = format!("/onggi-test-{}-{name}/leaf", std::process::id());
        let cgroup = plan(layout, &path, &resources(json)).unwrap().create().unwrap();
        Group { layout: layout.clone(), path, cgroup: Some(cgroup) }
    }

    pub(crate) fn get(&self) -> &Cgroup {
        self.cgroup.as_ref().unwrap()
    }

    pub(crate) fn spawn(&self, part: &str) -> Inside {
        spawn(&self.path, part)
    }
}

/// Starts this program again in the cgroup of this path, playing a part of `inside`.
pub(crate) fn spawn(path: &str, part: &str) -> Inside {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(ARGUMENTS)
        .env(GROUP, path)
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    Inside { child, output }
}

impl Drop for Group {
    /// Nothing is left behind, the parent included.
    fn drop(&mut self) {
        drop(self.cgroup.take());
        let parent = self.path.rsplit_once('/').unwrap().0;
        for path in [self.path.as_str(), parent] {
            if let Ok(cgroup) = Cgroup::open(&self.layout, path) {
                let _ = cgroup.kill();
                let removed = cgroup.remove();
                assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
            }
        }
    }
}

/// The process inside.
pub(crate) struct Inside {
    pub(crate) child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Inside {
    /// The next line that the part says, without the test harness's own.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once("INSIDE ") {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    pub(crate) fn lines(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Lets a part that waits go on.
    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn signal(&mut self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&self.child.wait().unwrap())
    }
}

/// The part, in the process inside.
pub(crate) fn inside() {
    let (Ok(path), Ok(part)) = (std::env::var(GROUP), std::env::var(PART)) else { return };
    if std::env::var_os(JOINED).is_none() {
        Cgroup::open(&onggi_cgroup::detect().unwrap(), &path).unwrap().join_self().unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        let error = std::os::unix::process::CommandExt::exec(again.args(ARGUMENTS).env(JOINED, "1"));
        panic!("exec: {error}");
    }
    match part.as_str() {
        "show" => {
            for line in std::fs::read_to_string("/proc/self/cgroup").unwrap().lines() {
                say(line);
            }
        }
        // Until standard input has something or ends.
        "wait" => {
            say("ready");
            let _ = std::io::stdin().read_line(&mut String::new());
            say("went on");
        }
        "family" => {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            say(&child.id().to_string());
            // Both are killed from outside; this never ends by itself.
            child.wait().unwrap();
        }
        "eat" => {
            let _ = std::io::stdin().read_line(&mut String::new());
            let mut eaten = Vec::new();
            for _ in 0..100 {
                eaten.push(vec![1u8; 1 << 20]);
            }
            say(&format!("ate {}", eaten.iter().map(|piece| usize::from(piece[7])).sum::<usize>()));
        }
        "fork" => {
            let mut children = Vec::new();
            let error = loop {
                match Command::new("sleep").arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).spawn() {
                    Ok(child) => children.push(child),
                    Err(error) => break error,
                }
                assert!(children.len() < 100);
            };
            for child in &mut children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            say(&format!("{} {:?}", children.len(), error.raw_os_error()));
        }
        "devices" => {
            for path in ["/dev/null", "/dev/zero", "/dev/kmsg"] {
                let opened = std::fs::File::open(path).map(|_| ()).map_err(|error| error.raw_os_error());
                say(&format!("{path} {opened:?}"));
            }
        }
        // 60 ms of processor time, however long it takes: other load makes it longer, never shorter.
        "burn" => {
            let start = std::time::Instant::now();
            let used = || {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
                time.tv_sec * 1000 + time.tv_nsec / 1_000_000
            };
            while used() < 60 {}
            say(&start.elapsed().as_millis().to_string());
        }
        other => panic!("unknown part {other}"),
    }
}

fn say(text: &str) {
    println!("INSIDE {text}");
    std::io::stdout().flush().unwrap();
}

/// Whether the descriptor becomes readable within two seconds.
pub(crate) fn becomes_readable(file: &std::os::fd::OwnedFd) -> bool {
    let mut poll = [rustix::event::PollFd::new(file, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&timeout)).unwrap() == 1
}
