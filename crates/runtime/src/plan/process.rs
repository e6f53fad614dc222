//! The steps that make a process what the specification's `process` says, shared by a container's first process and by exec.

use onggi_oci as oci;

use super::error::{invalid, unsupported};
use super::mounts::clean;
use super::{Capabilities, Error, Extra, ResourceLimit, Step, User, scheduling};

/// `personality(2)`.
const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;

/// What a new process gets, from the limits of its kind down to the program. `filter` is the flags of the
/// seccomp program, if there is one.
pub(crate) fn steps(
    id: &str,
    process: &oci::Process,
    linux: &oci::Linux,
    extra: &Extra,
    privileged: bool,
    filter: Option<u32>,
) -> Result<Vec<Step>, Error> {
    refuse(process)?;
    check_ids(&process.user)?;
    let label = process.selinux_label.as_deref().filter(|label| !label.is_empty());
    let mut steps = Vec::new();
    if let Some(value) = process.oom_score_adj {
        if !(-1000..=1000).contains(&value) {
            return Err(invalid("process.oomScoreAdj", format!("{value} is not in −1000 to 1000")));
        }
        steps.push(Step::OomScoreAdjustment { value });
    }
    if !process.rlimits.is_empty() {
        steps.push(Step::RaiseLimits { limits: limits(&process.rlimits)? });
    }
    if let Some(personality) = &linux.personality {
        steps.push(Step::Personality { persona: persona(personality)? });
    }
    if let Some(priority) = &process.io_priority {
        steps.push(scheduling::io_priority(priority)?);
    }
    if !extra.bundle.keep_keyring {
        steps.push(Step::SessionKeyring { name: format!("_ses.{id}"), label: label.map(str::to_owned) });
    }
    steps.push(Step::ResolveUser(user(process, extra)));
    if extra.init {
        steps.push(Step::Init);
    }
    steps.push(Step::Session);
    steps.push(Step::WorkingDirectory { path: clean(&process.cwd) });
    // After the last fork, which a deadline forbids, and before the capabilities go.
    if let Some(policy) = &linux.memory_policy {
        steps.push(scheduling::memory_policy(policy)?);
    }
    if let Some(scheduler) = &process.scheduler {
        steps.push(scheduling::scheduler(scheduler)?);
    }
    if let Some(label) = label {
        steps.push(Step::SelinuxLabel { label: label.to_owned() });
    }
    // Where there is no AppArmor nobody is confined by it.
    let profile = process.apparmor_profile.as_deref();
    if let Some(profile) = profile.filter(|profile| !profile.is_empty()) {
        steps.push(Step::AppArmor { profile: profile.to_owned() });
    }
    if process.no_new_privileges && !privileged {
        steps.push(Step::NoNewPrivileges);
    }
    let capabilities = match &process.capabilities {
        _ if privileged => Capabilities::all(),
        Some(capabilities) => Capabilities::parse(capabilities)?,
        None => Capabilities::default(),
    };
    let what_there_is = extra.bundle.what_there_is || capabilities.bounding == Capabilities::all().bounding;
    let umask = process.user.umask.unwrap_or(0o022) & 0o777;
    steps.push(Step::Credentials { capabilities, what_there_is, umask });
    if process.args.is_empty() {
        return Err(invalid("process.args", "there is no program to execute"));
    }
    let env = environment(&process.env)?;
    steps.push(Step::FindProgram { args: process.args.clone(), env, home: extra.home });
    steps.push(Step::CloseDescriptors);
    if !process.rlimits.is_empty() {
        // Last, because they are the program's: the steps before need files and memory of their own.
        steps.push(Step::Rlimits { limits: limits(&process.rlimits)? });
    }
    if let Some(flags) = filter {
        steps.push(Step::Seccomp { flags });
    }
    steps.push(Step::Execute);
    Ok(steps)
}

fn refuse(process: &oci::Process) -> Result<(), Error> {
    if !process.cwd.starts_with('/') {
        return Err(invalid("process.cwd", format!("{:?} is not absolute", process.cwd)));
    }
    let labels = process.apparmor_profile.iter().chain(&process.selinux_label);
    let texts = process.args.iter().chain(&process.env).chain([&process.cwd]).chain(labels);
    if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
        return Err(invalid("process", format!("{text:?} holds a zero byte")));
    }
    Ok(())
}

/// 4294967295 is "unchanged" to setresuid(2), which then leaves the process root (CVE-2024-40635); who reads numbers as signed has others
/// for negative. The same range as where users are texts.
fn check_ids(user: &oci::User) -> Result<(), Error> {
    let groups = user.additional_gids.iter().map(|&id| ("additionalGids", id));
    for (name, id) in [("uid", user.uid), ("gid", user.gid)].into_iter().chain(groups) {
        if id > i32::MAX as u32 {
            let problem = format!("{id} is not in 0 to {}", i32::MAX);
            return Err(invalid(format!("process.user.{name}"), problem));
        }
    }
    Ok(())
}

fn user(process: &oci::Process, extra: &Extra) -> User {
    match (&extra.user, extra.group_add.is_empty()) {
        (None, true) => User::Ids {
            uid: process.user.uid,
            gid: process.user.gid,
            groups: process.user.additional_gids.clone(),
        },
        (user, _) => {
            User::Named { user: user.clone().unwrap_or_default(), group_add: extra.group_add.clone() }
        }
    }
}

pub(super) fn limits(given: &[oci::Rlimit]) -> Result<Vec<ResourceLimit>, Error> {
    let mut limits: Vec<ResourceLimit> = Vec::new();
    for limit in given {
        let field = format!("process.rlimits {}", limit.kind);
        let resource = onggi_sys::process::limit_number(&limit.kind)
            .ok_or_else(|| invalid(&field, "there is no such limit"))?;
        if limit.soft > limit.hard {
            return Err(invalid(field, "the soft limit is above the hard one"));
        }
        if limits.iter().any(|other| other.resource == resource) {
            return Err(invalid(field, "it is given twice"));
        }
        limits.push(ResourceLimit { name: limit.kind.clone(), resource, soft: limit.soft, hard: limit.hard });
    }
    Ok(limits)
}

fn persona(personality: &oci::Personality) -> Result<u32, Error> {
    if let Some(flag) = personality.flags.first() {
        return Err(unsupported(format!("linux.personality flag {flag}")));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(PER_LINUX),
        "LINUX32" => Ok(PER_LINUX32),
        other => Err(invalid("linux.personality", format!("invalid personality domain {other}"))),
    }
}

/// The last of two with the same name counts: programs disagree on which they read, so only one is passed on.
fn environment(given: &[String]) -> Result<Vec<String>, Error> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut last = std::collections::BTreeMap::new();
    for (at, variable) in given.iter().enumerate() {
        if !variable.contains('=') || variable.starts_with('=') {
            return Err(invalid("process.env", format!("{variable:?} is not NAME=value")));
        }
        last.insert(name(variable), at);
    }
    let is_last = |(at, variable): &(usize, &String)| last.get(&name(variable)) == Some(at);
    Ok(given.iter().enumerate().filter(is_last).map(|(_, variable)| variable.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_variable_of_a_name_counts() {
        let given = ["A=1", "B=2", "A=3"].map(String::from);
        assert_eq!(environment(&given).unwrap(), ["B=2", "A=3"]);
        assert!(environment(&["NOVALUE".into()]).is_err());
        assert!(environment(&["=x".into()]).is_err());
    }

    #[test]
    fn limits_are_checked() {
        let limit = |kind: &str, soft, hard| oci::Rlimit { kind: kind.into(), soft, hard };
        assert_eq!(limits(&[limit("RLIMIT_NOFILE", 1, 2)]).unwrap()[0].resource, 7);
        assert!(limits(&[limit("RLIMIT_NOFILES", 1, 2)]).is_err());
        assert!(limits(&[limit("RLIMIT_NOFILE", 3, 2)]).is_err());
        assert!(limits(&[limit("RLIMIT_CPU", 1, 2), limit("RLIMIT_CPU", 1, 2)]).is_err());
    }

    #[test]
    fn ids_are_in_the_range_of_users_that_are_texts() {
        let given = |uid, gid, groups: &[u32]| {
            check_ids(&oci::User { uid, gid, additional_gids: groups.to_vec(), ..oci::User::default() })
        };
        let last = i32::MAX as u32;
        assert!(given(last, last, &[last]).is_ok());
        for bad in [last + 1, u32::MAX - 1, u32::MAX] {
            assert!(
                given(bad, 0, &[]).is_err() && given(0, bad, &[]).is_err() && given(0, 0, &[1, bad]).is_err()
            );
        }
    }

    #[test]
    fn a_zero_byte_is_refused() {
        let process = oci::Process { args: vec!["a\0b".into()], cwd: "/".into(), ..Default::default() };
        assert!(refuse(&process).is_err());
    }
}
