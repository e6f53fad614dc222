//! Our programs beside libseccomp's, where its headers and a C compiler are installed (Debian: libseccomp-dev). Only what both mean alike is
//! compared: one entry for each call, calls that the profile is not too old for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use onggi_oci::{Seccomp, Syscall, SyscallArg};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::arch::Arch;
use crate::compile::compile;
use crate::interpret::{Call, run};
use crate::profile::Profile;
use crate::program::Program;

/// In the order of libseccomp's `enum scmp_compare`, which begins at 1.
const OPS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const ACTIONS: [&str; 5] = ["ALLOW", "TRAP", "LOG", "KILL_PROCESS", "ERRNO"];
/// Small, and with upper halves.
const VALUES: [u64; 7] = [0, 1, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, u64::MAX];

#[test]
fn libseccomp_answers_the_same() {
    let directory = std::env::temp_dir().join(format!("onggi-oracle-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let helper = directory.join("oracle");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oracle.c");
    let built = Command::new("cc")
        .args(["-o".as_ref(), helper.as_os_str(), source.as_ref(), "-lseccomp".as_ref()])
        .output();
    if built.as_ref().is_ok_and(|output| output.status.success()) {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 60,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        runner.run(&any_case(), |(profile, arguments)| compare(&helper, &profile, &arguments)).unwrap();
    } else {
        println!("skipped: no libseccomp to compare with (apt-get install libseccomp-dev)");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

fn compare(helper: &std::path::Path, profile: &Seccomp, arguments: &[[u64; 6]]) -> Result<(), TestCaseError> {
    let ours = compile(profile, Arch::X86_64).unwrap();
    let theirs = theirs(helper, profile);
    let last =
        profile.syscalls.iter().filter_map(|rule| Arch::X86_64.number(&rule.names[0])).max().unwrap_or(0);
    for number in 0..=last {
        for &arguments in arguments {
            let call = Call { number, audit: Arch::X86_64.audit(), arguments };
            prop_assert_eq!(run(&ours, &call).0, run(&theirs, &call).0, "{:?}", call);
        }
    }
    Ok(())
}

fn theirs(helper: &std::path::Path, profile: &Seccomp) -> Program {
    let parsed = Profile::parse(profile, Arch::X86_64).unwrap();
    let mut lines = Vec::new();
    for raw in &profile.syscalls {
        let number = Arch::X86_64.number(&raw.names[0]).unwrap();
        let action = parsed.rules.iter().find(|(names, _)| *names == raw.names).unwrap().1.action;
        // As runc's matchCall: an entry that tests one argument twice is a rule for each test.
        let indices: std::collections::BTreeSet<u32> = raw.args.iter().map(|arg| arg.index).collect();
        let size = if indices.len() < raw.args.len() { 1 } else { raw.args.len().max(1) };
        let rules = if raw.args.is_empty() { vec![&raw.args[..]] } else { raw.args.chunks(size).collect() };
        for rule in rules.into_iter().filter(|_| action != parsed.default) {
            let mut line = format!("{} {number} {}", action.0, rule.len());
            for arg in rule {
                let op = OPS.iter().position(|op| arg.op.ends_with(&format!("CMP_{op}"))).unwrap() + 1;
                write!(line, " {} {op} {} {}", arg.index, arg.value, arg.value_two).unwrap();
            }
            // libseccomp refuses the same rule a second time.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    let text = format!("{} {}\n{}\n", parsed.default.0, lines.len(), lines.join("\n"));
    let mut child = Command::new(helper)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Program::from_bytes(&output.stdout, 0).unwrap()
}

/// Operation, two values, and the argument.
type Comparison = (&'static str, u64, u64, u32);

fn any_case() -> impl Strategy<Value = (Seccomp, Vec<[u64; 6]>)> {
    let value = || prop::sample::select(&VALUES[..]);
    let arg = (prop::sample::select(&OPS[..]), value(), value(), prop::sample::select(&[0, 2, 5][..]));
    let names: Vec<&'static str> =
        Arch::X86_64.calls().iter().filter(|(_, number)| *number < 320).map(|(name, _)| *name).collect();
    let rule = (prop::sample::select(&ACTIONS[..]), prop::collection::vec(arg, 0..4));
    let rules = (prop::sample::subsequence(names, 1..20), prop::collection::vec(rule, 20));
    let arguments = prop::collection::vec(prop::array::uniform6(value()), 6);
    (prop::sample::select(&ACTIONS[..]), rules, arguments).prop_map(|(default, (names, rules), arguments)| {
        let rule = |(name, (action, args)): (&str, (&str, Vec<Comparison>))| {
            let indices: std::collections::BTreeSet<u32> = args.iter().map(|(.., index)| *index).collect();
            let repeats = indices.len() < args.len();
            let arg = |(op, value, value_two, index): Comparison| {
                // Of two rules that overlap, libseccomp 2.5 loses one now and then: (x < 2^32 or x < 0) is never for it.
                masked(index, if repeats { "EQ" } else { op }, value, value_two)
            };
            Syscall {
                names: vec![name.into()],
                action: format!("SCMP_ACT_{action}"),
                errno_ret: None,
                args: args.into_iter().map(arg).collect(),
            }
        };
        let syscalls = names.into_iter().zip(rules).map(rule).collect();
        (Seccomp { default_action: format!("SCMP_ACT_{default}"), syscalls, ..Seccomp::default() }, arguments)
    })
}

/// libseccomp takes a value with bits outside its mask as one within it; we take it at its word, so it is not asked.
fn masked(index: u32, op: &str, value: u64, value_two: u64) -> SyscallArg {
    let value_two = if op == "MASKED_EQ" { value_two & value } else { value_two };
    SyscallArg { index, value, value_two, op: format!("SCMP_CMP_{op}") }
}
