//! Text without an allocator: a page to write on, and the few parsers for what the kernel prints about a process.
//!
//! Pure: bytes in, bytes out. The tests in tests/text.rs include this file.

use core::fmt;

/// A page of at most 4 KiB; what does not fit is cut off.
pub(crate) struct Text {
    bytes: [u8; 4096],
    length: usize,
}

impl Text {
    pub(crate) fn new() -> Self {
        Text { bytes: [0; 4096], length: 0 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Appends bytes of the kernel's as they are.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().take(self.bytes.len() - self.length) {
            self.bytes[self.length] = byte;
            self.length += 1;
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// The file system type of the mount at `/`: the last such line of mountinfo is the one on top (proc_pid_mountinfo(5)).
pub(crate) fn root_type(mountinfo: &[u8]) -> Option<&[u8]> {
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter(|line| words(line).nth(4) == Some(b"/"))
        .filter_map(|line| words(line).skip_while(|word| *word != b"-").nth(1))
        .next_back()
}

/// The cgroup that limits memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemoryCgroup<'a> {
    /// The one hierarchy of version 2, with the path within it.
    Unified(&'a [u8]),
    /// Version 1's memory hierarchy. Wins where both are mounted: a controller is in one of them only.
    Legacy(&'a [u8]),
}

/// Finds it in /proc/self/cgroup, whose lines are `number:controllers:path` (cgroups(7)).
pub(crate) fn memory_cgroup(cgroup: &[u8]) -> Option<MemoryCgroup<'_>> {
    let mut unified = None;
    for line in cgroup.split(|&byte| byte == b'\n') {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            unified = Some(MemoryCgroup::Unified(path));
        } else if controllers.split(|&byte| byte == b',').any(|name| name == b"memory") {
            return Some(MemoryCgroup::Legacy(path));
        }
    }
    unified
}

/// A limit file's content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    Bytes(u64),
}

/// Reads `max` (version 2), or a number that is next to the largest there is (version 1), as no limit.
pub(crate) fn memory_limit(content: &[u8]) -> Option<Limit> {
    let content = content.trim_ascii();
    if content == b"max" {
        return Some(Limit::None);
    }
    let bytes = number(content)?;
    // Version 1 says i64::MAX rounded down to a page, whatever its size.
    Some(if bytes > i64::MAX as u64 - (1 << 20) { Limit::None } else { Limit::Bytes(bytes) })
}

/// The inode number in `net:[4026531840]`.
pub(crate) fn namespace_inode(link: &[u8]) -> Option<u64> {
    let after = link.splitn(2, |&byte| byte == b'[').nth(1)?;
    number(after.strip_suffix(b"]")?)
}

/// A decimal number, digits only.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}
