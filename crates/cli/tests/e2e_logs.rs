//! `logs`: what a container said, while it runs and after, through rotation.

mod common;

use common::busybox;

#[test]
fn what_was_said_can_be_read_again() {
    let onggi = busybox();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2";
    onggi.run(["run", "--name", "talker", "busybox", "sh", "-c", script]).code(0);
    let output = onggi.run(["logs", "talker"]).code(0);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("line 1\nline 2\nline 3\nline 4\nline 5\n", "oops\n")
    );
    // Two pipes have no common order: of the last four lines, one may be the other stream's.
    assert!(onggi.run(["logs", "--tail", "3", "talker"]).code(0).stdout.ends_with("line 4\nline 5\n"));
    onggi.run(["run", "--name", "one", "busybox", "seq", "100"]).code(0);
    assert_eq!(onggi.run(["logs", "--tail", "2", "one"]).code(0).stdout, "99\n100\n");
    assert_eq!(onggi.run(["logs", "-n", "0", "talker"]).code(0).stdout, "");
    assert_eq!(
        onggi.run(["logs", "--since", "2000-01-01T00:00:00Z", "talker"]).code(0).stdout.lines().count(),
        5
    );
    assert_eq!(onggi.run(["logs", "--until", "2000-01-01T00:00:00Z", "talker"]).code(0).stdout, "");
    for line in onggi.run(["logs", "-t", "talker"]).code(0).stdout.lines() {
        let (time, text) = line.split_once(' ').expect("a time and a text");
        assert!(time.ends_with('Z') && time.len() > 20 && text.starts_with("line"), "{line}");
    }
}

#[test]
fn following_sees_new_lines_and_ends_with_the_container() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "-i", "--name", "echo", "busybox", "sh", "-c", "echo first; cat"]);
    let mut follower = onggi.spawn(["logs", "-f", "echo"]);
    follower.expect("first\n");
    onggi.command(["attach", "--sig-proxy=false", "echo"]).input("second\n").spawn();
    let mut attached = onggi.command(["attach", "echo"]).piped().spawn();
    std::io::Write::write_all(&mut attached.stdin(), b"third\n").expect("a pipe");
    follower.expect("third\n");
    onggi.ok(["kill", "echo"]);
    follower.wait().code(0);
    attached.wait();
}

#[test]
fn a_last_line_without_an_end_is_kept_and_bytes_stay_bytes() {
    let onggi = busybox();
    onggi.run(["run", "--name", "odd", "busybox", "printf", "a\\nb\\303\\251\\000c"]).code(0);
    assert_eq!(onggi.run(["logs", "odd"]).code(0).bytes, b"a\nb\xc3\xa9\0c");
}

#[test]
fn a_line_of_any_length_is_one_line() {
    let onggi = busybox();
    onggi
        .run([
            "run",
            "--name",
            "long",
            "busybox",
            "sh",
            "-c",
            "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end",
        ])
        .code(0);
    let text = onggi.run(["logs", "long"]).code(0).stdout;
    assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [100_000, 3]);
}

const FIVE_THOUSAND: &str = "i=0; while [ $i -lt 5000 ]; do echo number $i; i=$((i+1)); done";

fn five_thousand_lines() -> String {
    (0..5000).map(|number| format!("number {number}\n")).collect()
}

#[test]
fn a_follower_loses_nothing_while_files_rotate() {
    let onggi = busybox();
    // So many files that none is deleted unread, however late the follower is: a deleted one is lost to it, as with Docker.
    let options = ["--log-opt", "max-size=50k", "--log-opt", "max-file=50"];
    let script = format!("read go; {FIVE_THOUSAND}");
    let run = ["run", "-d", "-i", "--name", "counter"];
    onggi.ok(run.iter().chain(&options).chain(&["busybox", "sh", "-c", &script]));
    let follower = onggi.spawn(["logs", "-f", "counter"]);
    onggi.command(["attach", "--sig-proxy=false", "counter"]).input("go\n").output();
    assert_eq!(onggi.ok(["wait", "counter"]), "0");
    let followed = follower.wait().code(0).stdout;
    let expected = five_thousand_lines();
    assert_eq!(followed.len(), expected.len(), "a follower sees each line once");
    assert_eq!(followed, expected);
}

#[test]
fn rotation_keeps_the_newest() {
    let onggi = busybox();
    let options = ["--log-opt", "max-size=50k", "--log-opt", "max-file=3"];
    let run = ["run", "-d", "--name", "counter"];
    let id = onggi.ok(run.iter().chain(&options).chain(&["busybox", "sh", "-c", FIVE_THOUSAND]));
    assert_eq!(onggi.ok(["wait", "counter"]), "0");
    let expected = five_thousand_lines();
    let kept = onggi.run(["logs", "counter"]).code(0).stdout;
    assert!(
        kept.len() < expected.len() && expected.ends_with(&kept) && !kept.is_empty(),
        "the newest lines are kept"
    );
    let directory = onggi.data().join("containers").join(&id).join("log");
    let sizes: Vec<u64> = std::fs::read_dir(&directory)
        .expect("logs")
        .map(|entry| entry.expect("a log").metadata().expect("a size").len())
        .collect();
    assert!(sizes.len() <= 3 && sizes.iter().all(|&size| size <= 52_000), "{sizes:?}");
}

#[test]
fn a_container_without_a_log_says_so() {
    let onggi = busybox();
    onggi.run(["run", "--name", "silent", "--log-driver", "none", "busybox", "echo", "hi"]).code(0);
    let output = onggi.fails(["logs", "silent"]);
    assert!(output.stderr.contains("does not support reading"), "{output}");
    onggi.run(["run", "--rm", "--log-driver", "syslog", "busybox", "true"]).code(125).says("syslog");
}

#[test]
fn logs_rotate_without_being_asked() {
    let onggi = busybox();
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    let config = onggi.inspect("jar", "{{json .HostConfig.LogConfig}}");
    assert!(config.contains("json-file") && config.contains("max-size"), "{config}");
}
