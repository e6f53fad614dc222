//! Another engine with `onggi-runtime` in place of its own runtime, its state below a directory that both sides see. One that is not
//! installed is said and left out; `ONGGI_PEERS_ENTER` is a command that runs its arguments where they are.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::Jar;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine's client and what comes before each of its commands.
pub struct Engine {
    pub jar: Jar,
    pub words: Vec<String>,
    /// What is there only for this test, and goes with it.
    daemon: Option<Child>,
}

/// Whether it is here; says so if it is not: a test that has tested nothing must not look like one that has.
pub fn is_here(probe: &str) -> bool {
    let answer = there(&probe.split(' ').map(str::to_owned).collect::<Vec<_>>()).output();
    let problem = match answer {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let _ = std::io::stderr().write_all(format!("not tested: {probe}: {problem}\n").as_bytes());
    false
}

impl Engine {
    pub fn new() -> Engine {
        let jar = Jar::new("true");
        std::fs::copy(env!("CARGO_BIN_EXE_onggi-runtime"), jar.path("onggi-runtime")).unwrap();
        Engine { jar, words: Vec::new(), daemon: None }
    }

    /// A path of its own, as a word.
    pub fn at(&self, name: &str) -> String {
        self.jar.path(name).display().to_string()
    }

    pub fn id(&self) -> String {
        self.jar.request["id"].as_str().unwrap().to_owned()
    }

    /// The image's tree as one file.
    pub fn archive(&self) -> String {
        let archive = self.at("rootfs.tar");
        let made =
            Command::new("tar").args(["-cf", &archive, "-C", &self.at("rootfs"), "."]).status().unwrap();
        assert!(made.success());
        archive
    }

    /// Starts its daemon, and waits until the client's `probe` is answered.
    pub fn serve(&mut self, daemon: &[String], probe: &[&str]) {
        let log = std::fs::File::create(self.jar.path("daemon.log")).unwrap();
        let mut command = there(daemon);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let end = Instant::now() + PATIENCE;
        while !self.call(probe).status.success() {
            assert!(Instant::now() < end, "{daemon:?} does not answer: {}", self.said());
            std::thread::yield_now();
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.jar.path("daemon.log")).unwrap()
    }

    pub fn call(&self, line: &[&str]) -> Output {
        let line = line.iter().map(|&word| word.to_owned());
        there(&self.words.iter().cloned().chain(line).collect::<Vec<_>>()).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, line: &[&str]) -> String {
        let output = self.call(line);
        assert!(output.status.success(), "{line:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The exit code, and what was printed.
    pub fn end(&self, line: &[&str]) -> (Option<i32>, String) {
        let output = self.call(line);
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.code() == Some(125) {
            panic!("{line:?}: {output:?}");
        }
        (output.status.code(), printed)
    }

    /// Waits until a command prints this.
    #[track_caller]
    pub fn wait(&self, line: &[&str], wanted: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.ok(line);
            if now.contains(wanted) {
                return;
            }
            assert!(Instant::now() < end, "{line:?} says {now:?}, not {wanted:?}");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let pid = rustix::process::Pid::from_child(&daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = daemon.wait();
        // A daemon leaves its own group, above those of its containers.
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            let _ = std::fs::remove_dir(hierarchy.unwrap().path().join(self.id()));
        }
        let _ = std::fs::remove_dir(PathBuf::from("/sys/fs/cgroup").join(self.id()));
    }
}

fn there(words: &[String]) -> Command {
    let enter = std::env::var("ONGGI_PEERS_ENTER").unwrap_or_default();
    let mut words = enter.split_whitespace().chain(words.iter().map(String::as_str));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}
