//! How what is typed wrong is answered: message, hint, exit code, whole. Needs no root: nothing here gets as
//! far as the engine.

mod cli;

use std::fmt::Write as _;

use cli::{Place, shown};

/// Each command line with all that it answers.
fn answers(place: &Place, lines: &[&[&str]]) -> String {
    let mut text = String::new();
    for words in lines {
        let (out, err, code) = place.run(words);
        let _ = writeln!(text, "$ onggi {}  # {code}\n{out}{err}", words.join(" "));
    }
    shown(place, &text)
}

#[test]
fn unknown_words() {
    let place = Place::new();
    let text = answers(
        &place,
        &[
            &["rnu"],
            &["--nope"],
            &["volume", "lss"],
            &["contaner", "ls"],
            &["image", "nothing-like-it"],
            &["help", "nothing-like-it"],
            &["--root"],
            &["ps", "extra"],
            &["ps", "--qiuet"],
            &["ps", "--last"],
            &["ps", "--all=maybe"],
            &["ps", "--last", "many"],
            &["ps", "--filter", "nothing"],
            &["completion", "tcsh"],
            &["tag"],
            &["tag", "one"],
            &["volume", "create", "a", "b"],
            &["import"],
            &["logs"],
            &["inspect"],
            &["inspect", "--type", "network", "x"],
            &["wait", "--condition", "never", "x"],
            &["kill", "-s", "NOPE", "x"],
            &["logs", "--since", "yesterday", "x"],
            &["tag", "a", "Not A Name"],
            &["start", "-a", "one", "two"],
            &["import", "https://example.com/x.tar"],
            &["load", "-i", "missing.tar"],
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn commands_that_are_not_built() {
    let place = Place::new();
    let text =
        answers(&place, &[&["pull", "debian"], &["build", "."], &["swarm", "init"], &["system", "prune"]]);
    insta::assert_snapshot!(text);
}

#[test]
fn flags_of_run() {
    let place = Place::new();
    std::fs::write(place.directory().join("bad.env"), "GOOD=1\nno good=2\n").expect("a file");
    std::fs::write(place.directory().join("cid"), "").expect("a file");
    let text = answers(
        &place,
        &[
            &["run"],
            &["run", "--no-such-flag", "busybox"],
            &["run", "--read-onyl", "busybox"],
            &["run", "--name"],
            &["run", "-m", "lots", "busybox"],
            &["run", "--cpus", "half", "busybox"],
            &["run", "-v", "a:b:c:d", "busybox"],
            &["run", "-v", "./here:/there", "busybox"],
            &["run", "--mount", "type=bind,source=/a", "busybox"],
            &["run", "--ulimit", "nofile", "busybox"],
            &["run", "--add-host", "db", "busybox"],
            &["run", "--pid", "shared", "busybox"],
            &["run", "--pull", "sometimes", "busybox"],
            &["run", "--isolation", "vm", "busybox"],
            &["run", "--detach-keys", "ctrl-ö", "busybox"],
            &["run", "--security-opt", "seccomp=missing.json", "busybox"],
            &["run", "-a", "stdfoo", "busybox"],
            &["run", "-d", "-a", "stdout", "busybox"],
            &["run", "--env-file", "bad.env", "busybox"],
            &["run", "-e", "=x", "busybox"],
            &["run", "--log-opt", "mode=non-blocking", "busybox"],
            &["run", "-it", "busybox", "sh"],
            &["run", "--rm", "--cidfile", "cid", "busybox"],
            &["create", "--nope", "busybox"],
            &["exec"],
            &["exec", "x"],
            &["exec", "--nope", "x", "y"],
        ],
    );
    insta::assert_snapshot!(text);
}

/// Every flag of Docker's `run` that is not built, with the reason that is given for it.
#[test]
fn flags_of_run_that_are_not_built() {
    let place = Place::new();
    let valued = "blkio-weight blkio-weight-device cgroupns cpu-count cpu-percent cpu-rt-period cpu-rt-runtime device \
        device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops gpus health-cmd \
        health-interval health-retries health-start-interval health-start-period health-timeout io-maxbandwidth io-maxiops \
        kernel-memory link link-local-ip memory-swappiness platform restart \
        runtime storage-opt userns volume-driver volumes-from";
    let plain = "disable-content-trust no-healthcheck oom-kill-disable use-api-socket";
    let mut text = String::new();
    for name in valued.split_whitespace() {
        let flag = format!("--{name}");
        let (out, err, code) = place.run(&["run", &flag, "x", "busybox"]);
        assert_eq!((out.as_str(), code), ("", 125), "{name}");
        text.push_str(&err);
    }
    for name in plain.split_whitespace() {
        let (out, err, code) = place.run(&["run", &format!("--{name}"), "busybox"]);
        assert_eq!((out.as_str(), code), ("", 125), "{name}");
        text.push_str(&err);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn settings_that_cannot_be_read() {
    let place = Place::new();
    std::fs::create_dir(place.directory().join("etc")).expect("a directory");
    std::fs::write(place.directory().join("etc/onggi.toml"), "colour = true\n").expect("a file");
    let text = answers(&place, &[&["config", "show"], &["ps"]]);
    insta::assert_snapshot!(text);
}

#[test]
fn arguments_that_are_not_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let mut command = place.command(&["run", "busybox", "echo"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"caf\xe9")).output().expect("it starts");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(errors.starts_with("onggi: the argument \"caf\\xE9\" is not UTF-8\nhint: "), "{errors}");
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let place = Place::new();
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    let output = place.command(&["run", "--help"]).stdout(write).output().expect("it starts");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn no_colour_without_a_terminal() {
    let place = Place::new();
    assert!(!place.run(&["rnu"]).1.contains('\x1b'));
}
