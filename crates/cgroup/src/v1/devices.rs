//! `devices`: a default and a list of exceptions, which is less than a list of rules can say.
//!
//! The kernel keeps exceptions for `type major:minor` exactly as they were written, and taking one away removes just that entry. So the
//! rules are first played through here; a rule that would punch a hole into a wider one cannot be said on v1 and is refused.

use crate::devices::{DeviceKind, Rule};
use crate::plan::Step;
use crate::{Error, Layout};

pub(crate) fn step(layout: &Layout, rules: &[Rule]) -> Result<Step, Error> {
    let (limit, controller) = ("the device list", "devices");
    let hierarchy = layout.index_of(controller).ok_or_else(|| Error::no_controller(limit, controller))?;
    let (allow_by_default, exceptions) = exceptions(rules)?;
    Ok(Step::DeviceList {
        hierarchy,
        allow_by_default,
        exceptions: exceptions.iter().map(Rule::line).collect(),
    })
}

/// The default and what differs from it.
pub(crate) fn exceptions(rules: &[Rule]) -> Result<(bool, Vec<Rule>), Error> {
    let mut allow_by_default = false;
    let mut exceptions: Vec<Rule> = Vec::new();
    for rule in rules {
        // The kernel knows no exception for both types at once: `a` there means everything.
        let kinds: &[DeviceKind] = match rule.kind {
            DeviceKind::Any if rule.major.is_none() && rule.minor.is_none() && rule.access == 7 => {
                allow_by_default = rule.allow;
                exceptions.clear();
                continue;
            }
            DeviceKind::Any => &[DeviceKind::Block, DeviceKind::Character],
            DeviceKind::Block => &[DeviceKind::Block],
            DeviceKind::Character => &[DeviceKind::Character],
        };
        for &kind in kinds {
            let rule = Rule { kind, ..*rule };
            if rule.allow == allow_by_default {
                remove(&mut exceptions, rule)?;
            } else {
                add(&mut exceptions, rule);
            }
        }
    }
    Ok((allow_by_default, exceptions))
}

fn add(exceptions: &mut Vec<Rule>, rule: Rule) {
    match exceptions.iter_mut().find(|known| same_devices(known, &rule)) {
        Some(known) => known.access |= rule.access,
        None => exceptions.push(rule),
    }
}

/// Goes back to the default for these devices.
fn remove(exceptions: &mut Vec<Rule>, rule: Rule) -> Result<(), Error> {
    for known in exceptions.iter_mut() {
        if contains(&rule, known) {
            known.access &= !rule.access;
        } else if overlap(&rule, known) && known.access & rule.access != 0 {
            return Err(Error::Unsupported {
                limit: format!("device rule `{}` inside `{}`", rule.line(), known.line()),
                reason: "cgroup v1 cannot make an exception to an exception",
            });
        }
    }
    exceptions.retain(|known| known.access != 0);
    Ok(())
}

fn same_devices(a: &Rule, b: &Rule) -> bool {
    (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor)
}

fn contains(wide: &Rule, narrow: &Rule) -> bool {
    wide.kind == narrow.kind
        && (wide.major.is_none() || wide.major == narrow.major)
        && (wide.minor.is_none() || wide.minor == narrow.minor)
}

fn overlap(a: &Rule, b: &Rule) -> bool {
    let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.kind == b.kind && meet(a.major, b.major) && meet(a.minor, b.minor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::tests::rule;
    use crate::devices::{allows, parse};

    #[test]
    fn exceptions_mean_what_the_rules_mean() {
        let lists = [
            vec![],
            vec![
                rule(false, "a", -1, -1, "rwm"),
                rule(true, "c", 10, 200, "rw"),
                rule(false, "c", 10, 200, "w"),
            ],
            vec![rule(true, "a", -1, -1, "rwm"), rule(false, "b", 8, -1, "w"), rule(true, "b", 8, -1, "rw")],
            vec![rule(true, "a", -1, -1, "rwm"), rule(false, "a", 10, 229, "rwm")],
            vec![rule(true, "b", 8, 1, "r"), rule(true, "b", 8, 2, "r"), rule(false, "b", 8, -1, "r")],
        ];
        for list in lists {
            let rules = parse(&list).unwrap();
            let (default, exceptions) = exceptions(&rules).unwrap();
            for kind in [DeviceKind::Block, DeviceKind::Character] {
                for (major, minor) in [(1, 3), (8, 0), (8, 1), (8, 2), (10, 200), (10, 229), (136, 4), (5, 2)]
                {
                    for access in 1..8 {
                        let excepted = |bit: u8| {
                            exceptions
                                .iter()
                                .any(|rule| rule.access & bit != 0 && rule.covers(kind, major, minor))
                        };
                        let got = [1, 2, 4]
                            .into_iter()
                            .filter(|bit| access & bit != 0)
                            .all(|bit| excepted(bit) != default);
                        let expected = allows(&rules, kind, major, minor, access);
                        assert_eq!(got, expected, "{list:?} {kind:?} {major}:{minor} {access}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        let rules = parse(&[rule(true, "c", 10, -1, "rw"), rule(false, "c", 10, 229, "rw")]).unwrap();
        assert!(matches!(exceptions(&rules), Err(Error::Unsupported { .. })));
    }
}
