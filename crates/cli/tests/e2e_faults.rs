//! Any step may be the last: the programs are killed at each step of each act that writes, and the next command must find a
//! sound state.
//!
//! The steps are not listed here: each act is first run with `ONGGI_FAULT_TRACE`, which names every point that it passes, in the
//! command and in the monitor that it starts.

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::busybox;
use onggi_testkit::{Compression, ImageArchive, TestEnv};
use serde_json::json;

/// How many passages of one point are tried: the first, and one in the middle of a loop.
const PASSAGES: u32 = 2;

/// Runs `act` once for each point that it passes, killed there, each time in an Onggi of its own made by `prepare`; after each,
/// `sound` says what must hold.
fn at_each_step(prepare: fn() -> TestEnv, act: fn(&TestEnv) -> Vec<String>, sound: fn(&TestEnv, &str)) {
    let points = {
        let onggi = prepare();
        let trace = onggi.file("trace");
        onggi.command(act(&onggi)).env("ONGGI_FAULT_TRACE", &trace).output().code(0);
        let text = fs::read_to_string(&trace).unwrap_or_default();
        let mut counts = BTreeMap::new();
        text.lines().for_each(|name| *counts.entry(name.to_owned()).or_insert(0_u32) += 1);
        counts
    };
    assert!(!points.is_empty(), "the act has no steps at all");
    for (name, count) in points {
        for passage in 1..=count.min(PASSAGES) {
            let onggi = prepare();
            let fault = format!("{name}:{passage}");
            // Whatever the command answers when it, or the monitor, dies: only what is left counts.
            let output = onggi.command(act(&onggi)).env("ONGGI_FAULT", &fault).output();
            assert!(!output.stderr.contains("panicked"), "{fault}: {output}");
            everything_still_works(&onggi, &fault);
            sound(&onggi, &fault);
        }
    }
}

/// What must hold after any accident: the store is sound, lists answer, a container can be started and goes away.
fn everything_still_works(onggi: &TestEnv, fault: &str) {
    let check = |words: &[&str]| {
        let output = onggi.run(words);
        assert_eq!(output.code, 0, "after a kill at {fault}: {output}");
        output.stdout
    };
    check(&["ps", "-a"]);
    check(&["images"]);
    for id in check(&["ps", "-aq"]).split_whitespace() {
        check(&["inspect", id]);
    }
    check(&["system", "check"]);
    assert_eq!(check(&["run", "--rm", "busybox", "echo", "sound"]), "sound\n");
}

fn prepared() -> TestEnv {
    busybox()
}

fn with_created() -> TestEnv {
    let onggi = busybox();
    onggi.ok(["create", "--name", "jar", "busybox", "sleep", "1000"]);
    onggi
}

fn with_running() -> TestEnv {
    let onggi = with_created();
    onggi.ok(["start", "jar"]);
    onggi
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The container can be removed, and its name used again.
fn removable(onggi: &TestEnv, fault: &str) {
    if onggi.ok(["ps", "-a", "--format", "{{.Names}}"]).lines().any(|name| name == "jar") {
        let output = onggi.run(["rm", "-f", "jar"]);
        assert_eq!(output.code, 0, "after a kill at {fault}: {output}");
    }
    onggi.ok(["run", "--rm", "--name", "jar", "busybox", "true"]);
}

#[test]
fn create() {
    at_each_step(
        prepared,
        |_| words(&["create", "--name", "jar", "-v", "/data", "busybox", "true"]),
        removable,
    );
}

#[test]
fn start() {
    at_each_step(
        with_created,
        |_| words(&["start", "jar"]),
        |onggi, fault| {
            let state = onggi.inspect("jar", "{{.State.Status}}");
            assert!(["created", "running", "exited", "dead"].contains(&state.as_str()), "{fault}: {state}");
            if state != "running" {
                onggi.ok(["start", "jar"]);
            }
            onggi.ok(["exec", "jar", "true"]);
            removable(onggi, fault);
        },
    );
}

#[test]
fn run_with_rm() {
    at_each_step(prepared, |_| words(&["run", "--rm", "--name", "jar", "busybox", "true"]), removable);
}

#[test]
fn exec() {
    at_each_step(
        with_running,
        |_| words(&["exec", "jar", "true"]),
        |onggi, fault| {
            if onggi.inspect("jar", "{{.State.Running}}") == "true" {
                onggi.ok(["exec", "jar", "true"]);
            }
            removable(onggi, fault);
        },
    );
}

#[test]
fn stop() {
    at_each_step(
        with_running,
        |_| words(&["stop", "-t", "0", "jar"]),
        |onggi, fault| {
            onggi.ok(["stop", "-t", "0", "jar"]);
            assert_eq!(onggi.inspect("jar", "{{.State.Running}}"), "false", "{fault}");
            onggi.ok(["start", "jar"]);
            removable(onggi, fault);
        },
    );
}

#[test]
fn remove() {
    at_each_step(with_running, |_| words(&["rm", "-f", "jar"]), removable);
}

#[test]
fn load() {
    at_each_step(
        prepared,
        |onggi| {
            let tree = onggi.file("tree");
            fs::create_dir_all(&tree).expect("a directory");
            fs::write(tree.join("file"), "content\n").expect("a file");
            let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
            let image =
                ImageArchive::new("loaded:1", json!({"Cmd": ["cat", "/file"]})).layer(base).layer_of(&tree);
            let path = image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {});
            vec!["load".to_owned(), "-i".to_owned(), path.display().to_string()]
        },
        |onggi, fault| {
            let path = onggi.file("oci.tar").display().to_string();
            onggi.ok(["load", "-i", &path]);
            assert_eq!(onggi.ok(["run", "--rm", "loaded:1"]), "content", "{fault}");
            assert_eq!(onggi.ok(["run", "--rm", "busybox", "echo", "still"]), "still", "{fault}");
        },
    );
}

#[test]
fn the_monitor_alone() {
    // Points that only the monitor passes, killed there by the environment that it inherits.
    at_each_step(
        prepared,
        |_| words(&["run", "-d", "--name", "jar", "busybox", "sh", "-c", "echo said"]),
        |onggi, fault| {
            if onggi.ok(["ps", "-a", "--format", "{{.Names}}"]).contains("jar") {
                onggi.run(["wait", "jar"]);
            }
            removable(onggi, fault);
        },
    );
}
