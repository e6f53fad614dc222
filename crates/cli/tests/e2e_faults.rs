//! Any step may be the last: the programs are killed at each step of each act that writes, and the next command must find a
//! sound state.
//!
//! The steps are not listed here: each act is first run with `ONGGI_FAULT_TRACE`, which names every point that it passes, in the
//! command and in the monitor. Then it is run again for each of them, killed there, each time in an Onggi of its own.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use common::busybox;
use onggi_testkit::{Compression, ImageArchive, Output, TestEnv};
use serde_json::json;

/// How many passages of one point are tried: the first, and one more for what is done in a loop.
const PASSAGES: u32 = 2;

/// An act, what must have been done before it, and what must hold after it was cut short.
struct Act {
    before: &'static [&'static [&'static str]],
    words: fn(&TestEnv) -> Vec<String>,
    sound: fn(&TestEnv, &str),
}

impl Act {
    fn is_killed_at_each_step(&self) {
        let points = self.points();
        assert!(!points.is_empty(), "the act has no steps at all");
        for (name, (earlier, count)) in points {
            for passage in earlier + 1..=count.min(earlier + PASSAGES) {
                let fault = format!("{name}:{passage}");
                let onggi = self.prepare("ONGGI_FAULT", &fault, in_monitor(&name));
                // Whatever the command answers when it, or the monitor, dies: only what is left counts.
                let command = onggi.command((self.words)(&onggi));
                // Where a monitor was there before, a command with the switch would give it to the next monitor as well.
                let switched = !in_monitor(&name) || !self.before.contains(&STARTED);
                let output = if switched { command.env("ONGGI_FAULT", &fault) } else { command }.output();
                assert!(!output.stderr.contains("panicked"), "{fault}: {output}");
                everything_still_works(&onggi, &fault);
                (self.sound)(&onggi, &fault);
                debris_can_be_swept(&onggi, &fault);
            }
        }
    }

    /// The points that the act passes: how often before it (in a monitor that was started then), and how often with it.
    fn points(&self) -> BTreeMap<String, (u32, u32)> {
        let trace = tempfile::NamedTempFile::new().expect("a file");
        let path = trace.path().to_str().expect("text");
        let onggi = self.prepare("ONGGI_FAULT_TRACE", path, true);
        let earlier = counts(path);
        onggi.command((self.words)(&onggi)).env("ONGGI_FAULT_TRACE", path).output().code(0);
        let later = counts(path).into_iter().map(|(name, count)| {
            let before = earlier.get(&name).copied().unwrap_or_default();
            // A command is a new process, and counts from one.
            if in_monitor(&name) { (name, (before, count)) } else { (name, (0, count - before)) }
        });
        later.filter(|(_, (before, count))| count > before).collect()
    }

    /// An Onggi in which all has been done that must come before, by programs that have the variable if `always`.
    fn prepare(&self, variable: &str, value: &str, always: bool) -> TestEnv {
        let onggi = busybox();
        for words in self.before {
            let command = onggi.command(*words);
            if always { command.env(variable, value) } else { command }.success();
        }
        onggi
    }
}

/// A monitor lives on between commands, and counts its passages since it was started.
fn in_monitor(point: &str) -> bool {
    point.starts_with("monitor.") || point.starts_with("runtime.")
}

fn counts(trace: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.lines().for_each(|name| *counts.entry(name.to_owned()).or_insert(0) += 1);
    counts
}

fn after(onggi: &TestEnv, fault: &str, words: &[&str]) -> Output {
    let output = onggi.run(words);
    assert_eq!(output.code, 0, "after a kill at {fault}: {output}");
    output
}

/// What must hold after any accident, at once: lists answer, whatever is listed can be inspected, a container can be run.
fn everything_still_works(onggi: &TestEnv, fault: &str) {
    after(onggi, fault, &["images"]);
    for id in after(onggi, fault, &["ps", "-aq"]).stdout.split_whitespace() {
        // One that is on its way out may be gone by now, but only if the list says so as well.
        let gone = onggi.run(["inspect", id]).code != 0;
        assert!(
            !gone || !onggi.ok(["ps", "-aq"]).contains(id),
            "after a kill at {fault}: {id} is listed and not there"
        );
    }
    assert_eq!(after(onggi, fault, &["run", "--rm", "busybox", "echo", "sound"]).stdout, "sound\n");
}

/// Nothing is damaged, and what the act left half done is known and can be taken away.
fn debris_can_be_swept(onggi: &TestEnv, fault: &str) {
    after(onggi, fault, &["system", "check", "--repair"]);
    after(onggi, fault, &["system", "check"]);
}

/// The container can be removed if it is there, and its name used again.
fn removable(onggi: &TestEnv, fault: &str) {
    if onggi.ok(["ps", "-a", "--format", "{{.Names}}"]).lines().any(|name| name == "jar") {
        after(onggi, fault, &["rm", "-f", "jar"]);
    }
    after(onggi, fault, &["run", "--rm", "--name", "jar", "busybox", "true"]);
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

const CREATED: &[&str] = &["create", "--name", "jar", "busybox", "sleep", "1000"];
const STARTED: &[&str] = &["start", "jar"];
const NETWORK: &[&str] = &["network", "create", "shop"];
const CONNECT: &[&str] = &["network", "connect", "shop", "jar"];
const DISCONNECT: &[&str] = &["network", "disconnect", "shop", "jar"];

/// Its pipe to the monitor closes as it does when the program runs.
#[test]
fn a_process_that_is_killed_before_its_program_has_not_started() {
    let onggi = busybox();
    let words = ["run", "-d", "--name", "jar", "-v", "filled:/etc", "busybox", "sleep", "1000"];
    let output = onggi.command(words).env("ONGGI_FAULT", "runtime.fill.copied:1").output();
    assert_eq!(output.stdout.lines().count(), 0, "{output}");
    output.code(125).says("was killed before its program ran");
    everything_still_works(&onggi, "runtime.fill.copied");
    removable(&onggi, "runtime.fill.copied");
}

#[test]
fn create() {
    Act {
        before: &[],
        words: |_| words(&["create", "--name", "jar", "-v", "/data", "busybox", "true"]),
        sound: removable,
    }
    .is_killed_at_each_step();
}

#[test]
fn start() {
    Act {
        before: &[CREATED],
        words: |_| words(STARTED),
        sound: |onggi, fault| {
            let state = onggi.inspect("jar", "{{.State.Status}}");
            assert!(["created", "running", "exited", "dead"].contains(&state.as_str()), "{fault}: {state}");
            if state != "running" {
                after(onggi, fault, STARTED);
            }
            after(onggi, fault, &["exec", "jar", "true"]);
            removable(onggi, fault);
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn fill_a_volume() {
    const LIST: &[&str] = &["run", "--rm", "-v", "data:/etc", "busybox", "ls", "-A", "/etc"];
    Act {
        before: &[],
        words: |_| words(&["run", "-d", "--name", "jar", "-v", "data:/etc", "busybox", "sleep", "1000"]),
        sound: |onggi, fault| {
            let image = after(onggi, fault, &["run", "--rm", "busybox", "ls", "-A", "/etc"]).stdout;
            // Half of a fill passes for all of it nowhere.
            assert_eq!(after(onggi, fault, LIST).stdout, image, "after a kill at {fault}");
            removable(onggi, fault);
            let volume = onggi.data().join("volumes/data");
            let mut left: Vec<_> =
                fs::read_dir(volume).expect("a volume").flatten().map(|e| e.file_name()).collect();
            left.sort();
            assert_eq!(left, ["_data", "volume.json"], "after a kill at {fault}");
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn run_with_rm() {
    Act {
        before: &[],
        words: |_| words(&["run", "--rm", "--name", "jar", "busybox", "true"]),
        sound: removable,
    }
    .is_killed_at_each_step();
}

#[test]
fn run_and_end_in_the_background() {
    Act {
        before: &[],
        words: |_| words(&["run", "-d", "--name", "jar", "busybox", "sh", "-c", "echo said"]),
        sound: |onggi, fault| {
            if onggi.ok(["ps", "-a", "--format", "{{.Names}}"]).contains("jar") {
                onggi.run(["wait", "jar"]);
            }
            removable(onggi, fault);
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn exec() {
    Act {
        before: &[CREATED, STARTED],
        words: |_| words(&["exec", "jar", "true"]),
        sound: |onggi, fault| {
            if onggi.inspect("jar", "{{.State.Running}}") == "true" {
                after(onggi, fault, &["exec", "jar", "true"]);
            }
            removable(onggi, fault);
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn stop() {
    Act {
        before: &[CREATED, STARTED],
        words: |_| words(&["stop", "-t", "0", "jar"]),
        sound: |onggi, fault| {
            after(onggi, fault, &["stop", "-t", "0", "jar"]);
            assert_eq!(onggi.inspect("jar", "{{.State.Running}}"), "false", "{fault}");
            after(onggi, fault, STARTED);
            removable(onggi, fault);
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn restart() {
    const CREATED: &[&str] = &["create", "--name", "jar", "--restart", "always", "busybox", "sleep", "1000"];
    Act { before: &[CREATED, STARTED], words: |_| words(&["restart", "-t", "0", "jar"]), sound: is_up_again }
        .is_killed_at_each_step();
}

#[test]
fn restart_without_a_policy() {
    Act { before: &[CREATED, STARTED], words: |_| words(&["restart", "-t", "0", "jar"]), sound: is_up_again }
        .is_killed_at_each_step();
}

/// Nobody has stopped it for good, so lists are enough to bring it back (while a monitor is at it, it is left alone); unless its monitor
/// died at the start, which was told.
fn is_up_again(onggi: &TestEnv, fault: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let list = after(onggi, fault, &["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).stdout;
        if list.contains("jar Up") {
            after(onggi, fault, &["exec", "jar", "true"]);
            break;
        }
        if !onggi.inspect("jar", "{{.State.Error}}").is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "after a kill at {fault}: {list}");
    }
    removable(onggi, fault);
}

#[test]
fn remove() {
    Act { before: &[CREATED, STARTED], words: |_| words(&["rm", "-f", "jar"]), sound: removable }
        .is_killed_at_each_step();
}

#[test]
fn load() {
    Act {
        before: &[],
        words: |onggi| {
            let tree = onggi.file("tree");
            fs::create_dir_all(&tree).expect("a directory");
            fs::write(tree.join("file"), "content\n").expect("a file");
            let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
            let image =
                ImageArchive::new("loaded:1", json!({"Cmd": ["cat", "/file"]})).layer(base).layer_of(&tree);
            let path = image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {});
            vec!["load".to_owned(), "-i".to_owned(), path.display().to_string()]
        },
        sound: |onggi, fault| {
            let path = onggi.file("oci.tar").display().to_string();
            after(onggi, fault, &["load", "-i", &path]);
            assert_eq!(after(onggi, fault, &["run", "--rm", "loaded:1"]).stdout, "content\n");
        },
    }
    .is_killed_at_each_step();
}

/// Whatever the accident: said again, either command does what it says, and nothing of the network stays when it goes.
fn connects_and_disconnects(onggi: &TestEnv, fault: &str) {
    let links = || onggi.ok(["exec", "jar", "ls", "/sys/class/net"]).split_whitespace().count();
    let answer = onggi.run(CONNECT);
    assert!(answer.code == 0 || answer.stderr.contains("already exists"), "{fault}: {answer}");
    assert_eq!(links(), 3, "{fault}: lo, and one for each of two networks");
    let shop = onggi.inspect("jar", "{{(index .NetworkSettings.Networks \"shop\").IPAddress}}");
    assert!(onggi.ok(["exec", "jar", "cat", "/etc/hosts"]).contains(&shop), "{fault}: {shop}");
    onggi.run(["network", "rm", "shop"]).code(1).says("has active endpoints");
    after(onggi, fault, DISCONNECT);
    assert_eq!(links(), 2, "{fault}");
    assert!(!onggi.ok(["exec", "jar", "cat", "/etc/hosts"]).contains(&shop), "{fault}: {shop}");
    gone_for_good(onggi, fault);
}

/// The network goes, and the container lives on without it.
fn gone_for_good(onggi: &TestEnv, fault: &str) {
    after(onggi, fault, &["network", "rm", "shop"]);
    after(onggi, fault, &["system", "check"]);
    after(onggi, fault, &["stop", "-t", "0", "jar"]);
    after(onggi, fault, STARTED);
    removable(onggi, fault);
}

#[test]
fn connect_to_a_network() {
    Act { before: &[NETWORK, CREATED, STARTED], words: |_| words(CONNECT), sound: connects_and_disconnects }
        .is_killed_at_each_step();
}

#[test]
fn connect_to_a_network_and_think_better_of_it() {
    Act {
        before: &[NETWORK, CREATED, STARTED],
        words: |_| words(CONNECT),
        sound: |onggi, fault| {
            let answer = onggi.run(DISCONNECT);
            assert!(answer.code == 0 || answer.stderr.contains("is not connected"), "{fault}: {answer}");
            gone_for_good(onggi, fault);
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn disconnect_from_a_network() {
    Act {
        before: &[NETWORK, CREATED, STARTED, CONNECT],
        words: |_| words(DISCONNECT),
        sound: |onggi, fault| {
            let answer = onggi.run(DISCONNECT);
            assert!(answer.code == 0 || answer.stderr.contains("is not connected"), "{fault}: {answer}");
            connects_and_disconnects(onggi, fault);
        },
    }
    .is_killed_at_each_step();
}

#[test]
fn disconnect_from_a_network_and_connect_again() {
    Act {
        before: &[NETWORK, CREATED, STARTED, CONNECT],
        words: |_| words(DISCONNECT),
        sound: connects_and_disconnects,
    }
    .is_killed_at_each_step();
}
