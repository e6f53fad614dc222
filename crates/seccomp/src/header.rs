//! Reads the numbers of system calls from a kernel header (`asm/unistd_64.h` and its kin). Used by the generator of the tables and by
//! the test that holds the tables against the machine's headers.

use std::collections::BTreeMap;

/// Name to number, from lines such as `#define __NR_read 0`, `#define __NR_read (__X32_SYSCALL_BIT + 0)` and
/// `#define __ARM_NR_cacheflush (__ARM_NR_BASE+2)`.
pub(crate) fn parse(text: &str) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("#define") {
            continue;
        }
        let name = words
            .next()
            .and_then(|word| word.strip_prefix("__NR_").or_else(|| word.strip_prefix("__ARM_NR_")));
        let value: String = words.collect();
        if let (Some(name), Some(number)) = (name, number(&value))
            && !matches!(
                name,
                "syscalls" | "arch_specific_syscall" | "SYSCALL_BASE" | "OABI_SYSCALL_BASE" | "BASE"
            )
        {
            calls.insert(name.to_owned(), number);
        }
    }
    calls
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim_start_matches('(').trim_end_matches(')');
    match text.split_once('+') {
        None => text.parse().ok(),
        Some((base, offset)) => {
            let base = match base {
                "__X32_SYSCALL_BIT" => 0x4000_0000,
                "__ARM_NR_BASE" => 0x000f_0000,
                // __NR_SYSCALL_BASE of arm's EABI.
                "__NR_SYSCALL_BASE" => 0,
                _ => return None,
            };
            Some(base + offset.parse::<u32>().ok()?)
        }
    }
}
