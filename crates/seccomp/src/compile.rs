//! From a profile to a program: for each architecture a binary search over the numbers of the calls, whose leaves are returns or the
//! tests of arguments.
//!
//! Only leaves that test arguments load them, so that the kernel sees by itself which calls are always allowed and skips the program for
//! those (Linux 5.11, `seccomp_is_const_allow`).

use std::collections::{BTreeMap, HashMap};

use onggi_oci::Seccomp;

use crate::arch::{ARM_PRIVATE, Arch, X32_BIT};
use crate::assemble::{Assembler, JUMP_IF_EQUAL, JUMP_IF_GREATER, JUMP_IF_GREATER_OR_EQUAL, Label};
use crate::error::Error;
use crate::profile::{Action, Condition, Profile, Rule, Test};
use crate::program::Program;

/// Compiles a profile for machines of this architecture and those that it can run as well (the profile says which).
///
/// - The first rule of a call whose conditions all hold decides. If two of an entry's conditions are about one argument, any one of the
///   entry's is enough, as with runc.
/// - Calls that no architecture of the profile has are ignored, as libseccomp's users do: a profile outlives kernels.
/// - Calls newer than any that the profile names get ENOSYS, unless the default action lets calls through.
/// - A process of an architecture that the profile does not name is killed at its first call.
///
/// # Errors
/// What the profile says wrong, or [`Error::TooLong`].
pub fn compile(profile: &Seccomp, arch: Arch) -> Result<Program, Error> {
    let profile = Profile::parse(profile, arch)?;
    let mut assembler = Assembler::default();
    let mut start = assembler.give(Action::KILL_PROCESS);
    // Last first, so that the native architecture is tested first.
    for section in sections(&profile).into_iter().rev() {
        let tree = section.assemble(&mut assembler);
        let body = assembler.load(OFFSET_OF_NUMBER, tree);
        start = assembler.branch(JUMP_IF_EQUAL, section.audit, body, start);
    }
    let start = assembler.load(OFFSET_OF_ARCH, start);
    Ok(Program { instructions: assembler.finish(start)?, flags: profile.flags })
}

// `struct seccomp_data` of linux/seccomp.h, on little-endian machines.
const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCH: u32 = 4;
const OFFSET_OF_ARGUMENTS: u32 = 16;

/// What becomes of a call: the first rule that holds, the last of which has no conditions. Borrowed rules, because hundreds of calls
/// share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Verdict<'a> {
    Always(Action),
    Depends { rules: Vec<&'a Rule>, otherwise: Action, narrow: bool },
}

/// All calls that arrive under one `AUDIT_ARCH`.
struct Section<'a> {
    audit: u32,
    /// Where each range of equal verdicts begins; the first at 0.
    ranges: Vec<Range<'a>>,
}

struct Range<'a> {
    start: u32,
    verdict: Verdict<'a>,
    weight: u32,
}

fn sections<'a>(profile: &'a Profile<'_>) -> Vec<Section<'a>> {
    let mut sections: Vec<Section<'a>> = Vec::new();
    for &arch in &profile.architectures {
        if !sections.iter().any(|section| section.audit == arch.audit()) {
            sections.push(Section::new(profile, arch.audit()));
        }
    }
    sections
}

impl<'a> Section<'a> {
    fn new(profile: &'a Profile<'_>, audit: u32) -> Section<'a> {
        let mut section = Section { audit, ranges: Vec::new() };
        for arch in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::X32] {
            if arch.audit() != audit {
                continue;
            }
            let named = profile.architectures.contains(&arch);
            // x32 begins where x86-64's numbers cannot reach; unnamed, its calls do not exist.
            let floor = if arch == Arch::X32 { X32_BIT } else { 0 };
            if !named {
                section.push(floor, Verdict::Always(Action::NO_SUCH_CALL), 0);
                continue;
            }
            section.add(profile, arch, floor);
        }
        section
    }

    /// The calls of one architecture, upwards from `floor`.
    fn add(&mut self, profile: &'a Profile<'_>, arch: Arch, floor: u32) {
        let mut calls: BTreeMap<u32, Verdict<'a>> = BTreeMap::new();
        for (names, rule) in &profile.rules {
            for number in names.iter().filter_map(|name| arch.number(name)) {
                let open = || Verdict::Depends {
                    rules: vec![],
                    otherwise: profile.default,
                    narrow: arch.is_narrow(),
                };
                calls.entry(number).or_insert_with(open).append(rule);
            }
        }
        // arm's private calls do not tell how new the profile is.
        let newest = calls.keys().copied().rfind(|&number| arch != Arch::Arm || number < ARM_PRIVATE);
        let hot: Vec<u32> = HOT.iter().filter_map(|name| arch.number(name)).collect();
        let mut next = floor;
        for (number, verdict) in calls {
            if number > next {
                let gap = if newest.is_some_and(|newest| next > newest) {
                    profile.unknown()
                } else {
                    profile.default
                };
                self.push(next, Verdict::Always(gap), 0);
            }
            let weight = if hot.contains(&number) { HOT_WEIGHT } else { 1 };
            self.push(number, verdict.simplify(), weight);
            next = number + 1;
        }
        // A profile that names no call of this architecture says nothing about what is new.
        let rest = if newest.is_some() { profile.unknown() } else { profile.default };
        self.push(next, Verdict::Always(rest), 0);
    }

    fn push(&mut self, start: u32, verdict: Verdict<'a>, weight: u32) {
        match self.ranges.last_mut() {
            Some(last) if last.verdict == verdict => last.weight += weight,
            _ => self.ranges.push(Range { start, verdict, weight }),
        }
    }

    fn assemble(&self, assembler: &mut Assembler) -> Label {
        let mut known = HashMap::new();
        tree(assembler, &self.ranges, &mut known)
    }
}

impl<'a> Verdict<'a> {
    fn append(&mut self, rule: &'a Rule) {
        if let Verdict::Depends { rules, otherwise, .. } = self
            && rules.last().is_none_or(|last| !last.conditions.is_empty())
        {
            rules.push(rule);
            if rule.conditions.is_empty() {
                *otherwise = rule.action;
            }
        }
    }

    fn simplify(mut self) -> Verdict<'a> {
        let Verdict::Depends { rules, otherwise, .. } = &mut self else { return self };
        // From the end, rules that say what would be said anyway.
        while rules.last().is_some_and(|last| last.action == *otherwise) {
            rules.pop();
        }
        if rules.is_empty() { Verdict::Always(*otherwise) } else { self }
    }
}

/// What programs call most, by strace and perf of shells, Python, nginx and Redis: they end up near the root of the search. (Kernels
/// before 5.11, and calls with conditions, run the program every time.)
const HOT: [&str; 28] = [
    "read",
    "write",
    "close",
    "openat",
    "fstat",
    "newfstatat",
    "statx",
    "lseek",
    "mmap",
    "munmap",
    "mprotect",
    "brk",
    "futex",
    "rt_sigaction",
    "rt_sigprocmask",
    "ioctl",
    "pread64",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "clock_gettime",
    "getpid",
];
const HOT_WEIGHT: u32 = 12;

/// A binary search over the ranges, split where both sides are called about as often.
fn tree<'a>(
    assembler: &mut Assembler,
    ranges: &'a [Range<'a>],
    known: &mut HashMap<&'a Verdict<'a>, Label>,
) -> Label {
    let [first, rest @ ..] = ranges else { return assembler.give(Action::KILL_PROCESS) };
    if rest.is_empty() {
        return leaf(assembler, &first.verdict, known);
    }
    // Every range costs a little by itself, or those that are never called would make one deep arm.
    let weight = |range: &Range<'_>| range.weight + 2;
    let total: u32 = ranges.iter().map(weight).sum();
    let mut sum = 0;
    let mut split = 0;
    while split < ranges.len() - 1 && (split == 0 || 2 * sum + weight(&ranges[split]) <= total) {
        sum += weight(&ranges[split]);
        split += 1;
    }
    let above = tree(assembler, &ranges[split..], known);
    let below = tree(assembler, &ranges[..split], known);
    assembler.branch(JUMP_IF_GREATER_OR_EQUAL, ranges[split].start, above, below)
}

fn leaf<'a>(
    assembler: &mut Assembler,
    verdict: &'a Verdict<'a>,
    known: &mut HashMap<&'a Verdict<'a>, Label>,
) -> Label {
    let (rules, otherwise, narrow) = match verdict {
        Verdict::Always(action) => return assembler.give(*action),
        Verdict::Depends { rules, otherwise, narrow } => (rules, *otherwise, *narrow),
    };
    if let Some(&label) = known.get(verdict)
        && assembler.reaches(label)
    {
        return label;
    }
    let mut next = assembler.give(otherwise);
    for rule in rules.iter().rev() {
        let mut holds = assembler.give(rule.action);
        for condition in rule.conditions.iter().rev() {
            holds = test(assembler, *condition, narrow, holds, next);
        }
        next = holds;
    }
    known.insert(verdict, next);
    next
}

/// One comparison. The program has words of 32 bits, so the upper half of an argument is looked at first; on machines whose registers
/// have 32 bits there is none (as libseccomp).
fn test(assembler: &mut Assembler, condition: Condition, narrow: bool, holds: Label, fails: Label) -> Label {
    use Test::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Masked, NotEqual};
    // Half of these are the others turned round.
    let (opposite, test) = match condition.test {
        NotEqual => (true, Equal),
        Less => (true, GreaterOrEqual),
        LessOrEqual => (true, Greater),
        test => (false, test),
    };
    let (holds, fails) = if opposite { (fails, holds) } else { (holds, fails) };
    let low_offset = OFFSET_OF_ARGUMENTS + 8 * condition.argument;
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let compare = match test {
        Greater => JUMP_IF_GREATER,
        GreaterOrEqual => JUMP_IF_GREATER_OR_EQUAL,
        _ => JUMP_IF_EQUAL,
    };
    let lower = assembler.branch(compare, low, holds, fails);
    let lower = match test {
        Masked(mask) => assembler.mask(mask as u32, lower),
        _ => lower,
    };
    let lower = assembler.load(low_offset, lower);
    if narrow {
        return lower;
    }
    let upper = assembler.branch(JUMP_IF_EQUAL, high, lower, fails);
    let upper = match test {
        Greater | GreaterOrEqual => assembler.branch(JUMP_IF_GREATER, high, holds, upper),
        Masked(mask) => assembler.mask((mask >> 32) as u32, upper),
        _ => upper,
    };
    assembler.load(low_offset + 4, upper)
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
