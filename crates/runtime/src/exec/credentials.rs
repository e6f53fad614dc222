//! Becoming the user: bounding set first, ids, then the other capability sets.

use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

use onggi_sys::process::set_limit;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use crate::plan::{Capabilities, ResourceLimit, capability_name};

/// Loading a filter without `no_new_privs` takes it; it goes with the filter's loading.
const SYS_ADMIN: u64 = 1 << 21;

/// The sets without what this process does not have: nobody can give more. For "all" that is what is meant; a capability that was asked
/// for by its name and cannot be given is an error.
pub(super) fn available(wanted: Capabilities, what_there_is: bool) -> Outcome<Capabilities> {
    let ours = rustix::thread::capabilities(None).doing(|| "capget")?.permitted.bits();
    let lacking = (wanted.permitted | wanted.inheritable) & !ours;
    if lacking == 0 || what_there_is {
        return Ok(Capabilities {
            bounding: wanted.bounding,
            effective: wanted.effective & ours,
            permitted: wanted.permitted & ours,
            inheritable: wanted.inheritable & ours,
            ambient: wanted.ambient & ours,
        });
    }
    let number = lacking.trailing_zeros();
    Err(Problem {
        errno: Errno::PERM.raw_os_error(),
        message: format!(
            "capability {} cannot be given: Onggi runs without it itself",
            capability_name(number)
        ),
    })
}

/// Leaves the process as the user with the wanted sets, but for CAP_SYS_ADMIN in the permitted one if `for_seccomp`.
pub(super) fn take(
    child: &mut Child<'_>,
    capabilities: Capabilities,
    umask: u32,
    for_seccomp: bool,
) -> Outcome {
    let user = child.user()?;
    let groups: Vec<_> = user.groups.iter().map(|&group| rustix::fs::Gid::from_raw(group)).collect();
    let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));

    drop_from_bounding_set(!capabilities.bounding)?;
    rustix::thread::set_keep_capabilities(true).doing(|| "prctl PR_SET_KEEPCAPS")?;
    match rustix::thread::set_thread_groups(&groups) {
        // In a user namespace of somebody without privilege nobody changes groups (CVE-2014-8989). Those that are asked for come from the
        // image's /etc/group (`podman exec` names them), and as with runc the process does without.
        Err(Errno::PERM) if denies_groups(child) => {}
        other => other.doing(|| format!("setgroups {:?}", child_groups(&groups)))?,
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).doing(|| format!("setgid {}", gid.as_raw()))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing(|| format!("setuid {}", uid.as_raw()))?;
    if user.uid != 0 || user.gid != 0 {
        // The kernel makes who changes its ids dumpable, if the machine says so (`fs.suid_dumpable`), and this one has every capability yet.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .doing(|| "prctl PR_SET_DUMPABLE")?;
    }
    rustix::thread::set_keep_capabilities(false).doing(|| "prctl PR_SET_KEEPCAPS")?;

    let kept = if for_seccomp { SYS_ADMIN } else { 0 };
    set(capabilities, capabilities.effective, capabilities.permitted | kept)?;
    rustix::thread::clear_ambient_capability_set().doing(|| "clear the ambient capabilities")?;
    for number in (0..64).filter(|number| capabilities.ambient >> number & 1 == 1) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(one, true)
            .doing(|| format!("raise ambient capability {number}"))?;
    }
    rustix::process::umask(Mode::from_raw_mode(umask));
    child.capabilities = capabilities;
    Ok(())
}

/// Loads the filter; afterwards the process has what [`take`] was told, and no more.
pub(super) fn load_filter(child: &Child<'_>, flags: u32) -> Outcome {
    may_load(child)?;
    onggi_sys::seccomp::load(&child.filter, flags).doing(|| "load the seccomp program")?;
    settle(child)
}

/// The same with a listener, before which nothing more may be done than to announce it; [`settle`] comes later.
pub(super) fn load_filter_with_listener(child: &Child<'_>, flags: u32) -> Outcome<OwnedFd> {
    may_load(child)?;
    onggi_sys::seccomp::load_with_listener(&child.filter, flags).doing(|| "load the seccomp program")
}

fn may_load(child: &Child<'_>) -> Outcome {
    let wanted = child.capabilities;
    if child.no_new_privileges {
        return Ok(());
    }
    set(wanted, wanted.effective | SYS_ADMIN, wanted.permitted | SYS_ADMIN)
}

/// Gives up what loading took.
pub(super) fn settle(child: &Child<'_>) -> Outcome {
    let wanted = child.capabilities;
    if child.no_new_privileges { Ok(()) } else { set(wanted, wanted.effective, wanted.permitted) }
}

/// Makes every hard limit at least what it is to be: later the process may no longer raise it.
pub(super) fn raise_limits(limits: &[ResourceLimit]) -> Outcome {
    for limit in limits {
        let (soft, hard) =
            onggi_sys::process::limit(limit.resource).doing(|| format!("ask for {}", limit.name))?;
        if hard < limit.hard {
            set_limit(limit.resource, soft, limit.hard)
                .doing(|| format!("set {} to {}:{}", limit.name, limit.soft, limit.hard))?;
        }
    }
    Ok(())
}

pub(super) fn set_limits(limits: &[ResourceLimit]) -> Outcome {
    for limit in limits {
        set_limit(limit.resource, limit.soft, limit.hard)
            .doing(|| format!("set {} to {}:{}", limit.name, limit.soft, limit.hard))?;
    }
    Ok(())
}

/// Takes capabilities away for good; numbers above the kernel's last one do not exist.
pub(super) fn drop_from_bounding_set(dropped: u64) -> Outcome {
    for number in 0..64 {
        if dropped >> number & 1 == 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(Problem::of(format_args!("drop capability {number}"), error)),
        }
    }
    Ok(())
}

pub(super) fn set(wanted: Capabilities, effective: u64, permitted: u64) -> Outcome {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(wanted.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).doing(|| "capset")
}

fn denies_groups(child: &Child<'_>) -> bool {
    child.procfs.read("self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

fn child_groups(groups: &[rustix::fs::Gid]) -> Vec<u32> {
    groups.iter().map(|group| group.as_raw()).collect()
}
