//! Pages of the first thread's stack go back to the kernel, and its live frames stay. Without the test harness, whose tests run in
//! threads of their own.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test without the harness

use std::hint::black_box;

fn main() {
    // What a test runner asks a program without the harness: `--list --format terse`, once more with `--ignored`.
    let asked: Vec<String> = std::env::args().collect();
    if asked.iter().any(|word| word == "--list") {
        if !asked.iter().any(|word| word == "--ignored") {
            println!("first_thread: test");
        }
        return;
    }
    let alive = black_box([7_u8; 300]);
    let before = stack();
    deep(20);
    let grown = stack();
    assert!(grown >= before + 60, "{before} KiB became {grown} KiB");
    onggi_sys::memory::release_stack();
    let after = stack();
    assert!(after + 60 <= grown, "{grown} KiB became {after} KiB");
    assert!(black_box(alive).iter().all(|byte| *byte == 7));
    deep(20);
}

/// Takes about 4 KiB of stack a level.
#[inline(never)]
fn deep(levels: u32) {
    let page = black_box([levels as u8; 4096]);
    if levels > 0 {
        deep(levels - 1);
    }
    assert!(black_box(page).iter().all(|byte| *byte == levels as u8));
}

/// Resident memory of the first thread's stack, in KiB.
fn stack() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let stack = maps.split_once("[stack]").unwrap().1;
    let line = stack.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
