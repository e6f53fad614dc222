use onggi_oci::{Seccomp, Syscall, SyscallArg};
use proptest::prelude::*;

use super::*;
use crate::interpret::{Call, evaluate, run};
use crate::program::MOST_INSTRUCTIONS;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

fn profile(default: &str, syscalls: Vec<Syscall>) -> Seccomp {
    Seccomp { default_action: default.into(), syscalls, ..Seccomp::default() }
}

fn rule(names: &[&str], action: &str, args: Vec<SyscallArg>) -> Syscall {
    Syscall {
        names: names.iter().map(|&name| name.into()).collect(),
        action: action.into(),
        errno_ret: None,
        args,
    }
}

fn arg(index: u32, op: &str, value: u64, value_two: u64) -> SyscallArg {
    SyscallArg { index, value, value_two, op: op.into() }
}

/// The answer for x86-64; `arguments` are the first ones.
fn answer(profile: &Seccomp, audit: u32, number: u32, arguments: &[u64]) -> Action {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let call = Call { number, audit, arguments: all };
    let (action, _) = run(&compile(profile, Arch::X86_64).unwrap(), &call);
    assert_eq!(action, evaluate(profile, Arch::X86_64, &call), "{call:?}");
    action
}

fn number(name: &str) -> u32 {
    Arch::X86_64.number(name).unwrap()
}

#[test]
fn every_action_becomes_the_kernels_value() {
    let table = [
        ("SCMP_ACT_ALLOW", None, 0x7fff_0000),
        ("SCMP_ACT_ERRNO", None, 0x0005_0001),
        ("SCMP_ACT_ERRNO", Some(38), 0x0005_0026),
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_TRACE", Some(7), 0x7ff0_0007),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
    ];
    for (action, errno_ret, value) in table {
        let rule = Syscall { errno_ret, ..rule(&["getpid"], action, vec![]) };
        assert_eq!(
            answer(&profile("SCMP_ACT_ALLOW", vec![rule]), X86_64, number("getpid"), &[]),
            Action(value),
            "{action}"
        );
    }
}

#[test]
fn comparisons_take_all_64_bits() {
    const BIG: u64 = 0x0000_0005_8000_0000;
    /// Comparison, value, second value, arguments for which it holds, others.
    type Line = (&'static str, u64, u64, &'static [u64], &'static [u64]);
    let table: [Line; 9] = [
        ("SCMP_CMP_EQ", BIG, 0, &[BIG], &[BIG + 1, BIG as u32 as u64, BIG + (1 << 32)]),
        ("SCMP_CMP_NE", BIG, 0, &[0, BIG as u32 as u64, u64::MAX], &[BIG]),
        (
            "SCMP_CMP_LT",
            BIG,
            0,
            &[0, BIG - 1, 0xffff_ffff, 0x4_ffff_ffff],
            &[BIG, BIG + 1, u64::MAX, 0x6_0000_0000],
        ),
        ("SCMP_CMP_LE", BIG, 0, &[0, BIG, 0x4_ffff_ffff], &[BIG + 1, 0x6_0000_0000]),
        ("SCMP_CMP_GT", BIG, 0, &[BIG + 1, 0x6_0000_0000], &[BIG, 0, 0x4_ffff_ffff]),
        ("SCMP_CMP_GE", BIG, 0, &[BIG, 0x6_0000_0000], &[BIG - 1, 0x4_ffff_ffff]),
        ("SCMP_CMP_MASKED_EQ", 0x7e02_0000, 0, &[0, 0xff, 1 << 40], &[0x0002_0000, 0x4000_0000]),
        (
            "SCMP_CMP_MASKED_EQ",
            0xff_0000_00ff,
            0x7_0000_0001,
            &[0x7_0000_0001, 0x7_ffff_ff01],
            &[1, 0x7_0000_0002],
        ),
        ("SCMP_CMP_MASKED_EQ", 0xff, 0x100, &[], &[0, 0x100, u64::MAX]),
    ];
    for (op, value, value_two, hold, fail) in table {
        let profile = profile(
            "SCMP_ACT_ERRNO",
            vec![rule(&["dup"], "SCMP_ACT_ALLOW", vec![arg(1, op, value, value_two)])],
        );
        for &argument in hold {
            assert_eq!(
                answer(&profile, X86_64, number("dup"), &[9, argument]),
                Action::ALLOW,
                "{op} {argument:#x}"
            );
        }
        for &argument in fail {
            assert_eq!(
                answer(&profile, X86_64, number("dup"), &[9, argument]),
                Action::errno(1),
                "{op} {argument:#x}"
            );
        }
    }
}

#[test]
fn rules_of_one_call_are_tried_in_order_and_conditions_must_all_hold() {
    let both = vec![arg(0, "SCMP_CMP_GE", 10, 0), arg(1, "SCMP_CMP_EQ", 1, 0)];
    let profile = profile(
        "SCMP_ACT_ERRNO",
        vec![
            rule(&["socket"], "SCMP_ACT_LOG", both),
            rule(&["socket"], "SCMP_ACT_TRAP", vec![arg(0, "SCMP_CMP_EQ", 15, 0)]),
            rule(&["socket"], "SCMP_ACT_ALLOW", vec![]),
            rule(&["socket"], "SCMP_ACT_KILL_PROCESS", vec![]),
        ],
    );
    let of = |arguments: &[u64]| answer(&profile, X86_64, number("socket"), arguments);
    assert_eq!(
        [of(&[15, 1]), of(&[15, 2]), of(&[21, 2]), of(&[9, 1])],
        [Action::LOG, Action::TRAP, Action::ALLOW, Action::ALLOW]
    );
}

#[test]
fn of_an_entry_with_two_conditions_on_one_argument_any_condition_is_enough() {
    // runc's matchCall: "If two or more arguments have the same condition, revert to old behavior, adding each condition as a separate
    // rule". All of them then, also those on other arguments.
    let (ten, twenty) = (arg(0, "SCMP_CMP_EQ", 10, 0), arg(0, "SCMP_CMP_EQ", 20, 0));
    let other = arg(1, "SCMP_CMP_EQ", 1, 0);
    let allowed = |args: Vec<SyscallArg>, arguments: &[u64]| {
        let profile = profile("SCMP_ACT_ERRNO", vec![rule(&["socket"], "SCMP_ACT_ALLOW", args)]);
        answer(&profile, X86_64, number("socket"), arguments) == Action::ALLOW
    };
    for (arguments, pair, three, apart) in [
        ([10, 0], true, true, false),
        ([20, 0], true, true, false),
        ([15, 0], false, false, false),
        ([15, 1], false, true, false),
        ([10, 1], true, true, true),
    ] {
        assert_eq!(allowed(vec![ten.clone(), twenty.clone()], &arguments), pair, "{arguments:?}");
        let all = vec![ten.clone(), other.clone(), twenty.clone()];
        assert_eq!(allowed(all, &arguments), three, "{arguments:?}");
        assert_eq!(allowed(vec![ten.clone(), other.clone()], &arguments), apart, "{arguments:?}");
    }
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let rules = || vec![rule(&["openat2", "no_such_call_yet"], "SCMP_ACT_ALLOW", vec![])];
    let strict = profile("SCMP_ACT_ERRNO", rules());
    let newest = number("openat2");
    assert_eq!(answer(&strict, X86_64, newest - 1, &[]), Action::errno(1));
    assert_eq!(answer(&strict, X86_64, newest + 1, &[]), Action::NO_SUCH_CALL);
    assert_eq!(answer(&strict, X86_64, u32::MAX, &[]), Action::NO_SUCH_CALL);
    assert_eq!(answer(&profile("SCMP_ACT_LOG", rules()), X86_64, newest + 1, &[]), Action::LOG);
    // Without any rule there is nothing to be newer than.
    assert_eq!(answer(&profile("SCMP_ACT_ERRNO", vec![]), X86_64, 900, &[]), Action::errno(1));
}

#[test]
fn other_architectures_are_allowed_only_by_name() {
    let mut of = profile("SCMP_ACT_ERRNO", vec![rule(&["read", "clone3"], "SCMP_ACT_ALLOW", vec![])]);
    let x32_read = X32_BIT | number("read");
    assert_eq!(answer(&of, X86, 3, &[]), Action::KILL_PROCESS);
    assert_eq!(answer(&of, X86_64, x32_read, &[]), Action::NO_SUCH_CALL);
    assert_eq!(answer(&of, 0xc000_00b7, 63, &[]), Action::KILL_PROCESS);
    of.architectures = ["X86", "X32", "X86_64", "MIPS"].map(|name| format!("SCMP_ARCH_{name}")).into();
    assert_eq!(answer(&of, X86, 3, &[]), Action::ALLOW);
    assert_eq!(answer(&of, X86, number("read"), &[]), Action::errno(1), "0 is restart_syscall there");
    assert_eq!(answer(&of, X86_64, x32_read, &[]), Action::ALLOW);
    assert_eq!(answer(&of, X86_64, number("read"), &[]), Action::ALLOW);
    assert_eq!(answer(&of, X86_64, X32_BIT | 436, &[]), Action::NO_SUCH_CALL);
}

#[test]
fn narrow_machines_have_no_upper_half() {
    let mut of = profile(
        "SCMP_ACT_ERRNO",
        vec![rule(&["socket"], "SCMP_ACT_ALLOW", vec![arg(0, "SCMP_CMP_EQ", 2, 0)])],
    );
    of.architectures = vec!["SCMP_ARCH_X86".into()];
    assert_eq!(answer(&of, X86, 359, &[0xffff_0000_0000_0002]), Action::ALLOW);
    assert_eq!(answer(&of, X86_64, number("socket"), &[0xffff_0000_0000_0002]), Action::errno(1));
}

#[test]
fn the_newest_call_of_arm_is_not_a_private_one() {
    let of = profile("SCMP_ACT_ERRNO", vec![rule(&["read", "cacheflush"], "SCMP_ACT_ALLOW", vec![])]);
    let program = compile(&of, Arch::Arm).unwrap();
    let of = |number| run(&program, &Call { number, audit: Arch::Arm.audit(), arguments: [0; 6] }).0;
    assert_eq!(of(3), Action::ALLOW);
    assert_eq!(of(2), Action::errno(1));
    assert_eq!(of(4), Action::NO_SUCH_CALL);
    assert_eq!(of(0x000f_0002), Action::ALLOW);
}

#[test]
fn flags_are_the_kernels() {
    let of = |flags: Option<&[&str]>, action: &str| {
        let flags =
            flags.map(|names| names.iter().map(|name| format!("SECCOMP_FILTER_FLAG_{name}")).collect());
        let profile = Seccomp { flags, ..profile("SCMP_ACT_ALLOW", vec![rule(&["dup"], action, vec![])]) };
        compile(&profile, Arch::X86_64).map(|program| program.flags)
    };
    assert_eq!(of(None, "SCMP_ACT_LOG"), Ok(4));
    assert_eq!(of(Some(&[]), "SCMP_ACT_LOG"), Ok(0));
    assert_eq!(of(Some(&["LOG", "SPEC_ALLOW", "TSYNC"]), "SCMP_ACT_LOG"), Ok(6));
    assert_eq!(of(Some(&["WAIT_KILLABLE_RECV"]), "SCMP_ACT_NOTIFY"), Ok(40));
    assert!(matches!(of(Some(&["NEW"]), "SCMP_ACT_LOG"), Err(Error::UnknownFlag(_))));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let of = |profile: &Seccomp| compile(profile, Arch::X86_64).unwrap_err();
    let one = |rule| of(&profile("SCMP_ACT_ALLOW", vec![rule]));
    assert!(matches!(of(&profile("SCMP_ACT_PERHAPS", vec![])), Error::UnknownAction(_)));
    assert!(matches!(of(&profile("SCMP_ACT_NOTIFY", vec![])), Error::NotifyNotAllowed(_)));
    assert!(matches!(one(rule(&["write"], "SCMP_ACT_NOTIFY", vec![])), Error::NotifyNotAllowed(_)));
    assert!(matches!(one(rule(&[""], "SCMP_ACT_ALLOW", vec![])), Error::EmptyName));
    assert!(matches!(
        one(rule(&["dup"], "SCMP_ACT_TRAP", vec![arg(6, "SCMP_CMP_EQ", 0, 0)])),
        Error::BadArgument { index: 6, .. }
    ));
    assert!(matches!(
        one(rule(&["dup"], "SCMP_ACT_TRAP", vec![arg(0, "==", 0, 0)])),
        Error::UnknownComparison(_)
    ));
    let errno = |action: &str, errno| Syscall { errno_ret: Some(errno), ..rule(&["dup"], action, vec![]) };
    assert!(matches!(one(errno("SCMP_ACT_ERRNO", 4096)), Error::BadErrno { .. }));
    assert!(matches!(one(errno("SCMP_ACT_KILL", 1)), Error::ErrnoNotTaken(_)));
    let foreign = Seccomp { architectures: vec!["x86_64".into()], ..profile("SCMP_ACT_ALLOW", vec![]) };
    assert!(matches!(of(&foreign), Error::UnknownArchitecture(_)));
}

/// Every call with rules of its own, many of them: far jumps, and in the end the kernel's limit.
#[test]
fn long_programs_jump_far_and_too_long_ones_are_refused() {
    let with = |rules_each: u64| {
        let mut rules = Vec::new();
        for (index, (name, _)) in Arch::X86_64.calls().iter().enumerate() {
            for each in 0..rules_each {
                rules.push(rule(
                    &[name],
                    "SCMP_ACT_ALLOW",
                    vec![arg(0, "SCMP_CMP_EQ", index as u64 * 100 + each, 0)],
                ));
            }
        }
        profile("SCMP_ACT_ERRNO", rules)
    };
    let long = with(2);
    let program = compile(&long, Arch::X86_64).unwrap();
    assert!(
        (2000..=MOST_INSTRUCTIONS).contains(&program.instructions.len()),
        "{}",
        program.instructions.len()
    );
    for (index, (_, number)) in Arch::X86_64.calls().iter().enumerate() {
        for (argument, expected) in [(1, Action::ALLOW), (2, Action::errno(1))] {
            let call = Call {
                number: *number,
                audit: X86_64,
                arguments: [index as u64 * 100 + argument, 0, 0, 0, 0, 0],
            };
            assert_eq!(run(&program, &call).0, expected, "{call:?}");
        }
    }
    assert!(matches!(compile(&with(4), Arch::X86_64), Err(Error::TooLong(_))));
}

const NAMES: [&str; 14] = [
    "read",
    "write",
    "open",
    "socket",
    "clone",
    "clone3",
    "openat2",
    "personality",
    "io_uring_setup",
    "mmap2",
    "socketcall",
    "cacheflush",
    "arch_prctl",
    "unheard_of",
];
const ACTIONS: [&str; 7] = ["ALLOW", "ERRNO", "KILL_PROCESS", "KILL_THREAD", "TRAP", "TRACE", "LOG"];
const OPS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
/// Values around which comparisons of halves go wrong.
const VALUES: [u64; 10] =
    [0, 1, 2, 38, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0xffff_ffff_ffff_ffff];

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![prop::sample::select(&VALUES[..]), any::<u64>()]
}

fn any_arg() -> impl Strategy<Value = SyscallArg> {
    (0u32..6, prop::sample::select(&OPS[..]), any_value(), any_value())
        .prop_map(|(index, op, value, value_two)| arg(index, &format!("SCMP_CMP_{op}"), value, value_two))
}

fn any_rule() -> impl Strategy<Value = Syscall> {
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4);
    (names, prop::sample::select(&ACTIONS[..]), prop::collection::vec(any_arg(), 0..4))
        .prop_map(|(names, action, args)| rule(&names, &format!("SCMP_ACT_{action}"), args))
}

fn any_profile() -> impl Strategy<Value = Seccomp> {
    let architectures =
        prop::sample::subsequence(vec!["X86_64", "X86", "X32", "ARM", "AARCH64", "S390"], 0..6);
    (prop::sample::select(&ACTIONS[..]), architectures, prop::collection::vec(any_rule(), 0..12)).prop_map(
        |(default, architectures, syscalls)| Seccomp {
            architectures: architectures.iter().map(|name| format!("SCMP_ARCH_{name}")).collect(),
            ..profile(&format!("SCMP_ACT_{default}"), syscalls)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_program_answers_as_the_profile_reads(
        profile in any_profile(),
        native in prop::sample::select(vec![Arch::X86_64, Arch::Aarch64]),
        arguments in prop::collection::vec(prop::array::uniform6(any_value()), 4),
        numbers in prop::collection::vec(any::<u32>(), 4),
    ) {
        let program = compile(&profile, native).unwrap();
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            let known = NAMES.iter().filter_map(|name| arch.number(name));
            for number in known.flat_map(|number| [number, number + 1]).chain(numbers.iter().copied()) {
                for &arguments in &arguments {
                    let call = Call { number, audit: arch.audit(), arguments };
                    prop_assert_eq!(run(&program, &call).0, evaluate(&profile, native, &call), "{:?}", call);
                }
            }
        }
    }
}
