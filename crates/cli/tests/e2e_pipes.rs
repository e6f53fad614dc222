//! Standard input and output as pipes of any size: nothing lost, nothing added, ends where it ends.

mod common;

use std::io::{Read, Write};

use common::busybox;
use onggi_testkit::sha256_hex;

/// Bytes that no compression, block size or line discipline leaves alone by luck.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A gigabyte of noise through an unoptimised monitor that logs it takes longer than most things.
const LONG: std::time::Duration = std::time::Duration::from_secs(170);

fn size() -> usize {
    if onggi_testkit::full() { 1 << 30 } else { 64 << 20 }
}

#[test]
fn a_large_input_arrives_whole() {
    let onggi = busybox();
    let bytes = noise(size());
    let hash = sha256_hex(&bytes);
    let run = onggi.command(["run", "--rm", "-i", "busybox", "sha256sum"]).input(bytes);
    assert_eq!(run.success(), format!("{hash}  -"));
}

#[test]
fn a_large_input_comes_back_the_same() {
    let onggi = busybox();
    let bytes = noise(size());
    let hash = sha256_hex(&bytes);
    let output =
        onggi.command(["run", "--rm", "-i", "busybox", "cat"]).input(bytes).patience(LONG).output().code(0);
    assert_eq!((output.bytes.len(), sha256_hex(&output.bytes)), (size(), hash));
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_the_output() {
    let onggi = busybox();
    let run = onggi
        .command(["run", "--rm", "-i", "busybox", "sh", "-c", "cat; sleep 0.2; echo after"])
        .input("before\n");
    assert_eq!(run.success(), "before\nafter");
}

#[test]
fn without_i_the_input_is_empty() {
    let onggi = busybox();
    let run = onggi.command(["run", "--rm", "busybox", "wc", "-c"]).input("not to be read");
    assert_eq!(run.success(), "0");
}

#[test]
fn the_exit_is_reported_after_all_of_the_output() {
    let onggi = busybox();
    let mut command =
        onggi.command(["run", "--rm", "busybox", "head", "-c", "30000000", "/dev/zero"]).into_command();
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("onggi starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    // A slow reader: one byte, then nothing until the program has certainly written all that the buffers take.
    let mut total = stdout.read(&mut [0]).expect("output");
    let mut buffer = vec![0; 1000];
    loop {
        match stdout.read(&mut buffer).expect("output") {
            0 => break,
            count => total += count,
        }
    }
    assert_eq!(total, 30_000_000);
    assert!(child.wait().expect("an end").success());
}

#[test]
fn a_program_that_stops_reading_does_not_hang_the_command() {
    let onggi = busybox();
    let run = onggi.command(["run", "--rm", "-i", "busybox", "head", "-c", "3"]).input(noise(8 << 20));
    assert_eq!(run.output().code(0).bytes, noise(3));
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let onggi = busybox();
    let mut command = onggi.command(["run", "--rm", "busybox", "yes"]).into_command();
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("onggi starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 64]).expect("output");
    drop(stdout);
    let process = onggi_testkit::Process::open(child.id().cast_signed()).expect("it runs");
    let ended = process.ends_within(std::time::Duration::from_secs(20));
    let _ = child.kill();
    child.wait().expect("an end");
    assert!(ended, "`onggi run … yes | head` must end");
}

#[test]
fn two_writers_share_one_input() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "-i", "--name", "cat", "busybox", "cat"]);
    let mut attached = onggi.command(["attach", "cat"]).piped().spawn();
    let mut stdin = attached.stdin();
    stdin.write_all(b"one\n").expect("a pipe");
    attached.expect("one\n");
    drop(stdin);
    // `-d -i` keeps the input open when the first one leaves (Docker's StdinOnce is false then).
    let mut second = onggi.command(["attach", "cat"]).piped().spawn();
    let mut stdin = second.stdin();
    stdin.write_all(b"two\n").expect("a pipe");
    second.expect("two\n");
    onggi.ok(["kill", "cat"]);
    drop(stdin);
    second.wait().code(137);
}
