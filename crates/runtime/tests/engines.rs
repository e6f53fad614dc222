//! Other engines with `onggi-runtime` in place of their own runtime: what they start, enter, stop and delete. An engine that is not installed is
//! said and left out; `ONGGI_PEERS_ENTER` is a command that runs its arguments where they are.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use support::Jar;

/// An engine's client with its own state, below a directory that both sides see.
struct Engine {
    jar: Jar,
    words: Vec<String>,
}

impl Engine {
    /// `None` if it is not here, with a word.
    fn new(probe: &str, words: impl Fn(&Path, &Path) -> Vec<String>) -> Option<Engine> {
        // A test that has tested nothing must not look like one that has.
        let absent = |problem: String| {
            let _ = std::io::stderr().write_all(format!("not tested: {probe}: {problem}\n").as_bytes());
        };
        match there(&probe.split(' ').map(str::to_owned).collect::<Vec<_>>()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                absent(String::from_utf8_lossy(&output.stderr).into_owned());
                return None;
            }
            Err(error) => {
                absent(error.to_string());
                return None;
            }
        }
        let jar = Jar::new("true");
        let program = jar.path("onggi-runtime");
        std::fs::copy(env!("CARGO_BIN_EXE_onggi-runtime"), &program).unwrap();
        let words = words(&jar.path(""), &program);
        Some(Engine { jar, words })
    }

    fn call(&self, line: &[&str]) -> Output {
        let words: Vec<String> =
            self.words.iter().cloned().chain(line.iter().map(|&word| word.to_owned())).collect();
        there(&words).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &[&str]) -> String {
        let output = self.call(line);
        assert!(output.status.success(), "{line:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn rootfs(&self) -> String {
        self.jar.rootfs().display().to_string()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // What a failed test has left running.
        self.call(&["rm", "--all", "--force", "--time", "0"]);
    }
}

fn there(words: &[String]) -> Command {
    let enter = std::env::var("ONGGI_PEERS_ENTER").unwrap_or_default();
    let mut words = enter.split_whitespace().chain(words.iter().map(String::as_str));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

#[test]
fn podman() {
    let podman = Engine::new("podman --version", |directory, program| {
        let at = |name: &str| directory.join(name).display().to_string();
        let flags = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"];
        let mut words =
            vec!["podman".to_owned(), "--root".to_owned(), at("storage"), "--runroot".to_owned(), at("run")];
        words.extend(flags.map(str::to_owned));
        words.extend(["--runtime".to_owned(), program.display().to_string()]);
        words
    });
    let Some(podman) = podman else { return };
    let rootfs = podman.rootfs();
    let run = |line: &[&str]| podman.call(&[&["run", "--network", "none"], line].concat());
    let end =
        |output: &Output| (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned());

    let here = run(&["--rm", "--rootfs", &rootfs, "sh", "-c", "echo out; exit 7"]);
    assert_eq!(end(&here), (Some(7), "out".to_owned()), "{here:?}");
    let terminal = run(&["--rm", "-t", "--rootfs", &rootfs, "tty"]);
    assert_eq!(end(&terminal), (Some(0), "/dev/pts/0".to_owned()), "{terminal:?}");
    let missing = run(&["--rm", "--rootfs", &rootfs, "nosuch"]);
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    let directory = run(&["--rm", "--rootfs", &rootfs, "/etc"]);
    assert_eq!(directory.status.code(), Some(126), "{directory:?}");

    let script = "trap 'exit 3' TERM; echo started; while :; do sleep 0.1; done";
    let started =
        run(&["-d", "--name", "jar", "--pids-limit", "50", "--rootfs", &rootfs, "sh", "-c", script]);
    assert!(started.status.success(), "{started:?}");
    let exec = podman.call(&["exec", "-u", "33:34", "jar", "sh", "-c", "id -u; exit 4"]);
    assert_eq!(end(&exec), (Some(4), "33".to_owned()), "{exec:?}");
    assert_eq!(podman.call(&["exec", "jar", "nosuch"]).status.code(), Some(127));
    podman.ok(&["pause", "jar"]);
    assert_eq!(podman.ok(&["inspect", "--format", "{{.State.Status}}", "jar"]), "paused");
    podman.ok(&["unpause", "jar"]);
    assert!(podman.ok(&["stats", "--no-stream", "--format", "{{.Name}}", "jar"]).contains("jar"));
    podman.ok(&["stop", "-t", "20", "jar"]);
    assert_eq!(podman.ok(&["inspect", "--format", "{{.State.ExitCode}}", "jar"]), "3");
    assert_eq!(podman.ok(&["logs", "jar"]), "started");
    podman.ok(&["rm", "jar"]);
    let left = podman.jar.path("run/onggi-runtime");
    assert!(!left.exists() || std::fs::read_dir(left).unwrap().count() == 0);
}
