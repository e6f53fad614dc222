//! The calls by which a process without namespaces could change a foreign one.
//!
//! Landlock keeps signals and ptrace inside, but not these: the kernel asks only for the same user or a capability. A few instructions
//! before the filter (or alone, if there is none) let a process name only itself in them, as 0.

use onggi_seccomp::{Arch, Instruction, Program};

use super::Error;

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

// `struct seccomp_data` of linux/seccomp.h, on little-endian machines.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Set in every number of an x32 call.
const X32_BIT: u32 = 1 << 30;

/// The process (or thread) is the first argument. That of another thread of its own is refused as well: a filter cannot tell them apart.
const FIRST: [&str; 5] =
    ["prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"];
/// The first argument says what the second names; this value is all processes of a user.
const BY_KIND: [(&str, u32); 2] = [("ioprio_set", 3), ("setpriority", 2)];

/// The filter with these rules before its own. Calls of another architecture than the machine's own do not exist.
pub(super) fn spare(filter: &[u8]) -> Result<Vec<u8>, Error> {
    let mut instructions = vec![
        load(ARCH),
        jump(JUMP_IF_EQUAL, Arch::NATIVE.audit(), 1, 0),
        fail(ENOSYS),
        load(NUMBER),
        jump(JUMP_IF_GREATER_OR_EQUAL, X32_BIT, 0, 1),
        fail(ENOSYS),
    ];
    // Numbers are compared while the number is loaded; each block loads it again where it goes on.
    for number in FIRST.iter().filter_map(|name| Arch::NATIVE.number(name)) {
        instructions.extend([
            jump(JUMP_IF_EQUAL, number, 0, 4),
            load(ARGUMENTS),
            jump(JUMP_IF_EQUAL, 0, 1, 0),
            fail(EPERM),
            load(NUMBER),
        ]);
    }
    for (name, user) in BY_KIND {
        let Some(number) = Arch::NATIVE.number(name) else { continue };
        instructions.extend([
            jump(JUMP_IF_EQUAL, number, 0, 6),
            load(ARGUMENTS),
            jump(JUMP_IF_EQUAL, user, 2, 0),
            load(ARGUMENTS + 8),
            jump(JUMP_IF_EQUAL, 0, 1, 0),
            fail(EPERM),
            load(NUMBER),
        ]);
    }
    if filter.is_empty() {
        instructions.push(Instruction { code: RETURN, jt: 0, jf: 0, k: ALLOW });
    }
    let mut bytes = Program { instructions, flags: 0 }.to_bytes();
    // Jumps are relative: what follows runs as it would alone.
    bytes.extend_from_slice(filter);
    Program::from_bytes(&bytes, 0).map_err(Error::Seccomp)?;
    Ok(bytes)
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn jump(code: u16, value: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k: value }
}

fn fail(errno: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: FAIL | errno }
}
