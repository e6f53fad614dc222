//! Device rules as both versions need them: parsed, with the devices that every container has, and what they mean.
//!
//! Rules are read in order and the last that matches decides, for each kind of access by itself: `allow rw` followed by
//! `deny w` leaves `r`. What no rule names is denied.

use onggi_oci::DeviceRule;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Create the node.
pub(crate) const MKNOD: u8 = 1;
/// Open it for reading.
pub(crate) const READ: u8 = 2;
/// Open it for writing.
pub(crate) const WRITE: u8 = 4;

/// What a rule is about; the numbers are the kernel's `BPF_DEVCG_DEV_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    Any,
    Block,
    Character,
}

/// One parsed line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub allow: bool,
    pub kind: DeviceKind,
    /// `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    /// 1 create, 2 read, 4 write (the kernel's `BPF_DEVCG_ACC_…`).
    pub access: u8,
}

/// What runc and crun add behind every list, so that no configuration can take the terminal or /dev/null away: making any node,
/// and null, full, tty, zero, urandom, random, the terminals and ptmx.
const ALWAYS: [Rule; 10] = [
    Rule { allow: true, kind: DeviceKind::Character, major: None, minor: None, access: MKNOD },
    Rule { allow: true, kind: DeviceKind::Block, major: None, minor: None, access: MKNOD },
    character(1, Some(3)),
    character(1, Some(8)),
    character(1, Some(7)),
    character(5, Some(0)),
    character(1, Some(5)),
    character(1, Some(9)),
    character(136, None),
    character(5, Some(2)),
];

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind: DeviceKind::Character, major: Some(major), minor, access: MKNOD | READ | WRITE }
}

/// The list of a configuration, parsed, with what every container has behind it. What an earlier rule says and a later one makes
/// void is left out.
pub(crate) fn parse(list: &[DeviceRule]) -> Result<Vec<Rule>, Error> {
    let mut rules = list.iter().map(parse_rule).collect::<Result<Vec<_>, _>>()?;
    rules.extend(ALWAYS);
    let everything = |rule: &Rule| {
        rule.kind == DeviceKind::Any
            && rule.major.is_none()
            && rule.minor.is_none()
            && rule.access == MKNOD | READ | WRITE
    };
    if let Some(last) = rules.iter().rposition(everything) {
        rules.drain(..last);
    }
    if rules.first().is_some_and(|first| first.allow && everything(first))
        && rules.iter().all(|rule| rule.allow)
    {
        rules.truncate(1);
    }
    Ok(rules)
}

/// A list as a default and what differs from it, with the devices that every container has: what v1 takes, and systemd if the default is to
/// deny. `None` if it cannot be said so, because of an exception to an exception.
///
/// # Errors
/// [`Error::BadLimit`] for a rule that means nothing.
pub fn device_exceptions(list: &[DeviceRule]) -> Result<Option<(bool, Vec<Rule>)>, Error> {
    match crate::v1::devices::exceptions(&parse(list)?) {
        Err(Error::Unsupported { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn parse_rule(rule: &DeviceRule) -> Result<Rule, Error> {
    let bad = |reason: String| Error::BadLimit { limit: "devices".into(), reason };
    let number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => {
            u32::try_from(value).map(Some).map_err(|_| bad(format!("{name} {value} is out of range")))
        }
    };
    let kind = match rule.kind.as_deref() {
        None | Some("" | "a") => DeviceKind::Any,
        Some("b") => DeviceKind::Block,
        Some("c" | "u") => DeviceKind::Character,
        Some(other) => return Err(bad(format!("unknown type {other:?}, wanted a, b or c"))),
    };
    let mut access = 0;
    for letter in rule.access.as_deref().filter(|text| !text.is_empty()).unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            // v1's word for everything, which some profiles have in what they deny; where it would allow, it is not guessed at.
            'a' if !rule.allow => READ | WRITE | MKNOD,
            other => return Err(bad(format!("unknown access {other:?}, wanted r, w and m"))),
        };
    }
    Ok(Rule {
        allow: rule.allow,
        kind,
        major: number("major", rule.major)?,
        minor: number("minor", rule.minor)?,
        access,
    })
}

impl Rule {
    /// `c 1:3 rwm`, as v1's files and people read it.
    #[must_use]
    pub fn line(&self) -> String {
        let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .into_iter()
            .filter_map(|(bit, letter)| (self.access & bit != 0).then_some(letter))
            .collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }

    /// Whether the rule speaks of this device.
    #[cfg(test)]
    pub(crate) fn covers(&self, kind: DeviceKind, major: u32, minor: u32) -> bool {
        (self.kind == DeviceKind::Any || self.kind == kind)
            && self.major.is_none_or(|number| number == major)
            && self.minor.is_none_or(|number| number == minor)
    }
}

/// What the list means, said as plainly as possible: the tests hold both versions' outputs against it.
#[cfg(test)]
pub(crate) fn allows(rules: &[Rule], kind: DeviceKind, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
        rules
            .iter()
            .rev()
            .find(|rule| rule.access & bit != 0 && rule.covers(kind, major, minor))
            .is_some_and(|rule| rule.allow)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: Some(kind.into()),
            major: Some(major),
            minor: Some(minor),
            access: Some(access.into()),
        }
    }

    #[test]
    fn the_last_rule_decides_for_each_access_by_itself() {
        let rules = parse(&[
            rule(true, "b", 9, 9, "rwm"),
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "c", 10, 200, "rw"),
            rule(false, "c", 10, 200, "w"),
        ])
        .unwrap();
        assert_eq!(rules[0].line(), "a *:* rwm", "what comes before a rule for everything is void");
        let of = |major, minor, access| allows(&rules, DeviceKind::Character, major, minor, access);
        assert!(of(10, 200, READ) && !of(10, 200, WRITE) && !of(10, 200, READ | WRITE));
        assert!(of(1, 3, READ | WRITE | MKNOD) && of(136, 7, READ) && of(7, 7, MKNOD) && !of(7, 7, READ));
        assert!(!allows(&rules, DeviceKind::Block, 9, 9, READ));
    }

    #[test]
    fn allowing_everything_is_one_rule() {
        let rules = parse(&[DeviceRule { allow: true, ..DeviceRule::default() }]).unwrap();
        assert_eq!(rules.iter().map(Rule::line).collect::<Vec<_>>(), ["a *:* rwm"]);
    }

    #[test]
    fn what_cannot_mean_anything_is_refused() {
        for bad in [rule(true, "x", 1, 1, "r"), rule(true, "c", 1, 1, "rx"), rule(true, "c", -2, 1, "r")] {
            assert!(matches!(parse(std::slice::from_ref(&bad)), Err(Error::BadLimit { .. })), "{bad:?}");
        }
    }
}
