//! Much data through standard input, a container and standard output: byte for byte, and quickly.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use common::Fixture;
use onggi_monitor::protocol::{LogDriver, Streams};

const BLOCK: usize = 1 << 20;

/// A mebibyte that no other number has: a piece lost, doubled or moved shows.
fn block(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(BLOCK / 8).flatten().collect()
}

/// As programs write it: lines of some eighty letters.
fn text(number: u64) -> Vec<u8> {
    let line = |at: usize| {
        format!(
            "{number:6} {at:6} The jar breathes: what is kept in it lives, and what it keeps out, stays out\n"
        )
    };
    (0..).map(line).flat_map(String::into_bytes).take(BLOCK).collect()
}

fn through_cat(mebibytes: u64, driver: LogDriver, make: fn(u64) -> Vec<u8>) {
    let mut fixture = Fixture::new("exec cat");
    (fixture.start.stdin_open, fixture.start.stdin_once) = (true, true);
    fixture.start.log.driver = driver;
    // Raw, as a terminal's stream: the frames are taken apart in other tests.
    let mut running = fixture.run_attached(Some(Streams { stdin: true, stdout: true, ..Streams::default() }));
    let mut reader = running.stream.take().unwrap();
    let mut writer = reader.try_clone().unwrap();
    // Made before the clock starts.
    let blocks: Vec<Vec<u8>> = (0..8).map(make).collect();
    let before = processor_time(running.monitor.pid());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..mebibytes {
                writer.write_all(&blocks[number as usize % blocks.len()]).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut bytes = vec![0; BLOCK];
        for number in 0..mebibytes {
            reader.read_exact(&mut bytes).unwrap();
            assert!(
                bytes == blocks[number as usize % blocks.len()],
                "mebibyte {number} is not what was sent"
            );
        }
        assert_eq!(reader.read(&mut bytes).unwrap(), 0);
    });
    let seconds = begun.elapsed().as_secs_f64();
    // On a busy machine the processor's time tells more than the clock's.
    let spent = processor_time(running.monitor.pid()).saturating_sub(before);
    println!(
        "{mebibytes} MiB, {driver:?}: {:.0} MiB/s, {} µs of the monitor's for each",
        mebibytes as f64 / seconds,
        spent / 1000 / mebibytes
    );
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

/// Nanoseconds that a process has had on a processor; 0 once it has ended.
fn processor_time(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}

fn mebibytes() -> u64 {
    if onggi_testkit::full() { 1024 } else { 32 }
}

#[test]
fn a_gigabyte_through_cat() {
    through_cat(mebibytes(), LogDriver::None, block);
}

#[test]
fn a_gigabyte_through_cat_and_the_log() {
    through_cat(mebibytes(), LogDriver::JsonFile, block);
}

#[test]
fn a_gigabyte_of_text_through_cat_and_the_log() {
    through_cat(mebibytes(), LogDriver::JsonFile, text);
}
