//! The profile as it is meant: words parsed once, what cannot be meant refused.

use onggi_oci::{Seccomp, Syscall, SyscallArg};

use crate::arch::Arch;
use crate::error::Error;

/// What happens to a call: a return value for the kernel (`SECCOMP_RET_…` of linux/seccomp.h, with its data).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Action(pub(crate) u32);

impl Action {
    pub(crate) const KILL_PROCESS: Action = Action(0x8000_0000);
    pub(crate) const KILL_THREAD: Action = Action(0);
    pub(crate) const TRAP: Action = Action(0x0003_0000);
    pub(crate) const NOTIFY: Action = Action(0x7fc0_0000);
    pub(crate) const LOG: Action = Action(0x7ffc_0000);
    pub(crate) const ALLOW: Action = Action(0x7fff_0000);
    pub(crate) const NO_SUCH_CALL: Action = Action::errno(38);

    pub(crate) const fn errno(errno: u32) -> Action {
        Action(0x0005_0000 | errno)
    }

    const fn trace(data: u32) -> Action {
        Action(0x7ff0_0000 | data)
    }

    /// Whether a call that the profile has never heard of goes through, or to somebody who can judge it.
    fn lets_through(self) -> bool {
        self == Action::ALLOW || self == Action::LOG || self.0 & 0xffff_0000 == 0x7ff0_0000
    }
}

/// A comparison with one argument, all 64 bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    pub(crate) argument: u32,
    pub(crate) test: Test,
    pub(crate) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal in the bits of this mask.
    Masked(u64),
}

/// All conditions hold: this action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
}

/// A profile, parsed.
#[derive(Debug)]
pub(crate) struct Profile<'a> {
    pub(crate) default: Action,
    /// The native one first.
    pub(crate) architectures: Vec<Arch>,
    pub(crate) flags: u32,
    /// In order; the first of a call's rules whose conditions hold decides.
    pub(crate) rules: Vec<(&'a [String], Rule)>,
}

const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_NEW_LISTENER: u32 = 1 << 3;
const FLAG_WAIT_KILLABLE: u32 = 1 << 5;

impl<'a> Profile<'a> {
    pub(crate) fn parse(profile: &'a Seccomp, native: Arch) -> Result<Profile<'a>, Error> {
        let default = parse_action(&profile.default_action, profile.default_errno_ret)?;
        if default == Action::NOTIFY {
            return Err(Error::NotifyNotAllowed("as default action"));
        }
        let mut architectures = vec![native];
        for name in &profile.architectures {
            let arch = Arch::parse(name).map_err(|()| Error::UnknownArchitecture(name.clone()))?;
            if let Some(arch) =
                arch.filter(|arch| native.family().contains(arch) && !architectures.contains(arch))
            {
                architectures.push(arch);
            }
        }
        let rules = profile.syscalls.iter().map(parse_rules).collect::<Result<Vec<_>, _>>()?.concat();
        let mut flags = parse_flags(profile.flags.as_deref())?;
        if rules.iter().any(|(_, rule)| rule.action == Action::NOTIFY) {
            flags |= FLAG_NEW_LISTENER;
        }
        Ok(Profile { default, architectures, flags, rules })
    }

    /// What a call gets whose number is above all that the profile names: it is newer than the profile, and a C library that gets
    /// ENOSYS tries an older call where EPERM would make it give up (runc's rule since 1.0.0-rc93, opencontainers/runc#2750).
    pub(crate) fn unknown(&self) -> Action {
        if self.default.lets_through() { self.default } else { Action::NO_SUCH_CALL }
    }
}

/// One rule whose conditions must all hold, or, if two of them are about one argument, a rule for each condition: of these any one is
/// enough. The specification says nothing about it; profiles rely on runc, which does so for all the conditions of such an entry
/// (`matchCall` in its libcontainer/seccomp), as libseccomp once could not test one argument twice.
fn parse_rules(rule: &Syscall) -> Result<Vec<(&[String], Rule)>, Error> {
    let action = parse_action(&rule.action, rule.errno_ret)?;
    if rule.names.iter().any(String::is_empty) {
        return Err(Error::EmptyName);
    }
    if action == Action::NOTIFY && rule.names.iter().any(|name| name == "write") {
        return Err(Error::NotifyNotAllowed("for the write syscall"));
    }
    let call = || rule.names.first().cloned().unwrap_or_default();
    let conditions =
        rule.args.iter().map(|arg| parse_condition(arg, call)).collect::<Result<Vec<Condition>, _>>()?;
    let is_repeated = |(at, condition): (usize, &Condition)| {
        conditions[..at].iter().any(|earlier| earlier.argument == condition.argument)
    };
    let names: &[String] = &rule.names;
    if conditions.iter().enumerate().any(is_repeated) {
        let alone = |condition| (names, Rule { conditions: vec![condition], action });
        return Ok(conditions.into_iter().map(alone).collect());
    }
    Ok(vec![(names, Rule { conditions, action })])
}

fn parse_action(name: &str, errno: Option<u32>) -> Result<Action, Error> {
    let fixed = |action: Action| match errno {
        // The specification: "when the action doesn't support an errno, the runtime MUST print an error and fail".
        Some(_) => Err(Error::ErrnoNotTaken(name.into())),
        None => Ok(action),
    };
    let with_errno = |action: fn(u32) -> Action, most: u32| match errno {
        Some(errno) if errno > most => Err(Error::BadErrno { action: name.into(), errno, most }),
        // EPERM, as the specification says.
        _ => Ok(action(errno.unwrap_or(1))),
    };
    match name {
        "SCMP_ACT_ALLOW" => fixed(Action::ALLOW),
        // The kernel cuts what is larger (MAX_ERRNO).
        "SCMP_ACT_ERRNO" => with_errno(Action::errno, 4095),
        // A message to the tracer (SECCOMP_RET_DATA).
        "SCMP_ACT_TRACE" => with_errno(Action::trace, 0xffff),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => fixed(Action::KILL_THREAD),
        "SCMP_ACT_KILL_PROCESS" => fixed(Action::KILL_PROCESS),
        "SCMP_ACT_TRAP" => fixed(Action::TRAP),
        "SCMP_ACT_LOG" => fixed(Action::LOG),
        "SCMP_ACT_NOTIFY" => fixed(Action::NOTIFY),
        other => Err(Error::UnknownAction(other.into())),
    }
}

fn parse_condition(arg: &SyscallArg, call: impl Fn() -> String) -> Result<Condition, Error> {
    if arg.index > 5 {
        return Err(Error::BadArgument { call: call(), index: arg.index });
    }
    let (test, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (Test::Equal, arg.value),
        "SCMP_CMP_NE" => (Test::NotEqual, arg.value),
        "SCMP_CMP_LT" => (Test::Less, arg.value),
        "SCMP_CMP_LE" => (Test::LessOrEqual, arg.value),
        "SCMP_CMP_GT" => (Test::Greater, arg.value),
        "SCMP_CMP_GE" => (Test::GreaterOrEqual, arg.value),
        "SCMP_CMP_MASKED_EQ" => (Test::Masked(arg.value), arg.value_two),
        other => return Err(Error::UnknownComparison(other.into())),
    };
    Ok(Condition { argument: arg.index, test, value })
}

fn parse_flags(names: Option<&[String]>) -> Result<u32, Error> {
    // As runc: who says nothing about flags gets no slower speculation for being filtered (the kernel's default since 5.16).
    let Some(names) = names else { return Ok(FLAG_SPEC_ALLOW) };
    let mut flags = 0;
    for name in names {
        flags |= match name.as_str() {
            // The loading process has one thread, so there is nothing to synchronise.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => FLAG_WAIT_KILLABLE,
            other => return Err(Error::UnknownFlag(other.into())),
        };
    }
    Ok(flags)
}
