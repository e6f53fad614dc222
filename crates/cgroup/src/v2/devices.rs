//! Devices on v2: an eBPF program of type `cgroup/dev`, asked by the kernel at every open and mknod.
//!
//! [`compile`] is pure: rules in, instructions out, last rule first. For each access that is asked for (create, read, write) the last
//! rule that names it decides, so the program keeps the bits that no rule has allowed yet and ends at the first denial.

use std::os::fd::{AsFd, OwnedFd};

use crate::Error;
use crate::devices::{DeviceKind, Rule};

/// One eBPF instruction (`struct bpf_insn`), little-endian as the machines we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Registers: the context and what is taken from it (`struct bpf_cgroup_dev_ctx`: type and access, major, minor).
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const LEFT: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Codes of linux/bpf.h and linux/bpf_common.h.
const LOAD_WORD: u8 = 0x61;
const AND_32: u8 = 0x54;
const RIGHT_SHIFT_32: u8 = 0x74;
const MOVE_32: u8 = 0xb4;
const MOVE_REGISTER_32: u8 = 0xbc;
const JUMP_IF_EQUAL_32: u8 = 0x16;
const JUMP_IF_NOT_EQUAL_32: u8 = 0x56;
const EXIT: u8 = 0x95;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // The low half is the type, the high half the access.
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER_32, LEFT, KIND, 0, 0),
        instruction(AND_32, KIND, 0, 0, 0xffff),
        instruction(RIGHT_SHIFT_32, LEFT, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let tests = [
            (KIND, (rule.kind != DeviceKind::Any).then_some(rule.kind as u32)),
            (MAJOR, rule.major),
            (MINOR, rule.minor),
        ];
        let tests: Vec<(u8, u32)> =
            tests.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
        let mut decision = Vec::new();
        if rule.allow {
            decision.push(instruction(AND_32, LEFT, 0, 0, !i32::from(rule.access)));
            decision.push(instruction(JUMP_IF_NOT_EQUAL_32, LEFT, 0, 2, 0));
            decision.push(instruction(MOVE_32, RESULT, 0, 0, 1));
            decision.push(instruction(EXIT, 0, 0, 0, 0));
        } else {
            decision.push(instruction(MOVE_REGISTER_32, SCRATCH, LEFT, 0, 0));
            decision.push(instruction(AND_32, SCRATCH, 0, 0, i32::from(rule.access)));
            decision.push(instruction(JUMP_IF_EQUAL_32, SCRATCH, 0, 2, 0));
            decision.push(instruction(MOVE_32, RESULT, 0, 0, 0));
            decision.push(instruction(EXIT, 0, 0, 0, 0));
        }
        for (index, &(register, value)) in tests.iter().enumerate() {
            // Over the other tests and the decision; at most 7.
            let skip = (tests.len() - index - 1 + decision.len()) as i16;
            program.push(instruction(JUMP_IF_NOT_EQUAL_32, register, 0, skip, value.cast_signed()));
        }
        program.extend(decision);
    }
    program.push(instruction(MOVE_32, RESULT, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// Loads the program and ties it to the cgroup; it ends with the cgroup.
pub(crate) fn attach(cgroup: &OwnedFd, path: &str, rules: &[Rule]) -> Result<(), Error> {
    let bytes: Vec<[u8; 8]> = compile(rules).into_iter().map(Instruction::to_bytes).collect();
    let program =
        onggi_sys::bpf::load_cgroup_device(&bytes).map_err(|source| Error::LoadDeviceProgram { source })?;
    onggi_sys::bpf::attach_cgroup_device(cgroup.as_fd(), program.as_fd())
        .map_err(|source| Error::AttachDeviceProgram { path: path.into(), source })
}

impl Instruction {
    fn to_bytes(self) -> [u8; 8] {
        let [o0, o1] = self.offset.to_ne_bytes();
        let [i0, i1, i2, i3] = self.immediate.to_ne_bytes();
        [self.code, self.registers, o0, o1, i0, i1, i2, i3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::tests::rule;
    use crate::devices::{allows, parse};

    /// Just the instructions above, on the words of a context.
    fn run(program: &[Instruction], context: [u32; 3]) -> u32 {
        let mut registers = [0u32; 11];
        let mut at = 0usize;
        for _ in 0..10_000 {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let value = immediate.cast_unsigned();
            at += 1;
            let mut jump = false;
            match code {
                LOAD_WORD => registers[to] = context[offset as usize / 4],
                AND_32 => registers[to] &= value,
                RIGHT_SHIFT_32 => registers[to] >>= value,
                MOVE_32 => registers[to] = value,
                MOVE_REGISTER_32 => registers[to] = registers[from],
                JUMP_IF_EQUAL_32 => jump = registers[to] == value,
                JUMP_IF_NOT_EQUAL_32 => jump = registers[to] != value,
                EXIT => return registers[0],
                other => panic!("unknown instruction {other:#x}"),
            }
            if jump {
                at = at.checked_add_signed(offset.into()).unwrap();
            }
        }
        panic!("it does not end")
    }

    #[test]
    fn the_program_decides_as_the_rules_read() {
        let lists = [
            vec![],
            vec![
                rule(false, "a", -1, -1, "rwm"),
                rule(true, "c", 10, 200, "rw"),
                rule(false, "c", 10, 200, "w"),
            ],
            vec![rule(true, "a", -1, -1, "rwm"), rule(false, "b", 8, -1, "w"), rule(true, "b", 8, 1, "w")],
            vec![rule(true, "c", 10, -1, "rw"), rule(false, "c", 10, 229, "rwm")],
            vec![rule(true, "a", -1, -1, "rwm")],
            vec![rule(true, "b", 0xffff_ffff, -1, "r")],
        ];
        for list in lists {
            let rules = parse(&list).unwrap();
            let program = compile(&rules);
            for kind in [DeviceKind::Block, DeviceKind::Character] {
                for (major, minor) in [(1, 3), (8, 0), (8, 1), (10, 200), (10, 229), (136, 4), (u32::MAX, 1)]
                {
                    for access in 1..8u8 {
                        let context = [u32::from(access) << 16 | kind as u32, major, minor];
                        let expected = u32::from(allows(&rules, kind, major, minor, access));
                        assert_eq!(
                            run(&program, context),
                            expected,
                            "{list:?} {kind:?} {major}:{minor} {access}"
                        );
                    }
                }
            }
        }
    }
}
