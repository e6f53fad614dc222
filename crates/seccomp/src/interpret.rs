//! Runs a program as the kernel would, and evaluates a profile as its text says: two ways to one answer, for the tests.
#![allow(clippy::unwrap_used, reason = "only tests and the fuzzer come here")]

use onggi_oci::Seccomp;

use crate::arch::{ARM_PRIVATE, Arch, X32_BIT};
use crate::assemble::{
    AND, JUMP, JUMP_IF_EQUAL, JUMP_IF_GREATER, JUMP_IF_GREATER_OR_EQUAL, LOAD_WORD, RETURN,
};
use crate::profile::{Action, Condition, Profile, Test};
use crate::program::Program;

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) audit: u32,
    pub(crate) arguments: [u64; 6],
}

/// The program's answer and how many instructions it took.
pub(crate) fn run(program: &Program, call: &Call) -> (Action, usize) {
    let mut data = [0u8; 64];
    data[0..4].copy_from_slice(&call.number.to_le_bytes());
    data[4..8].copy_from_slice(&call.audit.to_le_bytes());
    for (index, argument) in call.arguments.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
    }
    let (mut at, mut accumulator, mut steps) = (0usize, 0u32, 0);
    loop {
        let instruction = program.instructions[at];
        steps += 1;
        at += 1;
        let jump = |holds: bool| usize::from(if holds { instruction.jt } else { instruction.jf });
        match instruction.code {
            LOAD_WORD => {
                let offset = instruction.k as usize;
                assert!(offset.is_multiple_of(4) && offset < 64, "the kernel's checker refuses this");
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            AND => accumulator &= instruction.k,
            JUMP => at += instruction.k as usize,
            JUMP_IF_EQUAL => at += jump(accumulator == instruction.k),
            JUMP_IF_GREATER => at += jump(accumulator > instruction.k),
            JUMP_IF_GREATER_OR_EQUAL => at += jump(accumulator >= instruction.k),
            RETURN => return (Action(instruction.k), steps),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

/// Panics if the program's answer to a call is not what the profile says: what the fuzzer asks for.
#[cfg(fuzzing)]
pub fn says(profile: &Seccomp, program: &Program, number: u32, audit: u32, arguments: [u64; 6]) {
    let call = Call { number, audit, arguments };
    assert_eq!(run(program, &call).0, evaluate(profile, Arch::NATIVE, &call), "{call:?}");
}

/// The answer by the words of the profile: no tree, no ranges, no halves.
pub(crate) fn evaluate(profile: &Seccomp, native: Arch, call: &Call) -> Action {
    let profile = Profile::parse(profile, native).unwrap();
    let candidates: Vec<Arch> =
        profile.architectures.iter().copied().filter(|arch| arch.audit() == call.audit).collect();
    if candidates.is_empty() {
        return Action::KILL_PROCESS;
    }
    let is_x32 = call.audit == Arch::X32.audit() && call.number & !(X32_BIT - 1) != 0;
    let Some(&arch) = candidates.iter().find(|&&arch| (arch == Arch::X32) == is_x32) else {
        return Action::NO_SUCH_CALL;
    };
    let numbers = |names: &[String]| names.iter().filter_map(|name| arch.number(name)).collect::<Vec<_>>();
    let mut newest = None;
    let mut verdict = None;
    for (names, rule) in &profile.rules {
        for number in numbers(names) {
            if arch != Arch::Arm || number < ARM_PRIVATE {
                newest = newest.max(Some(number));
            }
            if number == call.number && rule.conditions.iter().all(|condition| holds(*condition, arch, call))
            {
                verdict = verdict.or(Some(rule.action));
            }
        }
    }
    let is_named = profile.rules.iter().any(|(names, _)| numbers(names).contains(&call.number));
    match verdict {
        Some(action) => action,
        None if !is_named && newest.is_some_and(|newest| call.number > newest) => profile.unknown(),
        None => profile.default,
    }
}

fn holds(condition: Condition, arch: Arch, call: &Call) -> bool {
    let cut = |value: u64| if arch.is_narrow() { u64::from(value as u32) } else { value };
    let (argument, value) = (cut(call.arguments[condition.argument as usize]), cut(condition.value));
    match condition.test {
        Test::Equal => argument == value,
        Test::NotEqual => argument != value,
        Test::Less => argument < value,
        Test::LessOrEqual => argument <= value,
        Test::Greater => argument > value,
        Test::GreaterOrEqual => argument >= value,
        Test::Masked(mask) => argument & cut(mask) == value,
    }
}
