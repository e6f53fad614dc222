//! The parent's part of a start in a user namespace: what the child has no right to any more, or not yet.
//!
//! The child says one byte when it is there, and gets one when the ids are mapped, the limits raised and the cgroup joined. After that it
//! asks for sources of mounts by the number of their step, never by a path: a process of the parent's that has entered the child's mount
//! namespace opens them, each once. More than that the child cannot say, and what it gets wrong ends the conversation.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Uid};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{DumpableBehavior, Pid, WaitOptions};

use onggi_cgroup::Cgroup;
use onggi_oci::NamespaceKind;
use onggi_sys::clone::{Clone, Forked, clone3, exit_now};
use onggi_sys::process::{limit_of, set_limit_of};

use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;
use super::{Part, child, ids, sources};
use crate::plan::{Launch, UserNamespace};

/// The process that is attended to.
pub(super) struct Attended<'a> {
    pub(super) pid: i32,
    pub(super) pidfd: BorrowedFd<'a>,
    /// The parent's end.
    pub(super) socket: &'a OwnedFd,
    /// FIFOs among them become the container's root's.
    pub(super) files: &'a [BorrowedFd<'a>],
    pub(super) born_in_v2: bool,
}

/// Everything between the birth of the child and its mounts. That the child has ended is no error: its report tells why.
pub(super) fn attend(launch: &Launch, plan: Part<'_>, cgroup: &Cgroup, attended: &Attended<'_>) -> Outcome {
    if let Some(user) = &launch.user {
        if !hear(attended.socket) {
            return Ok(());
        }
        onggi_sys::fault::point("runtime.ids.asked");
        settle(user, cgroup, attended)?;
        tell(attended.socket);
    }
    if launch.sources {
        serve(plan, attended)?;
    }
    Ok(())
}

/// What a process that joins a container needs before it goes on; it waits for another word.
pub(super) fn raise(user: &UserNamespace, pid: i32) -> Outcome {
    raise_in(&Procfs::open().doing(|| "open /proc")?, user, pid)
}

/// In who makes the process, while its own files in /proc are an ordinary user's: afterwards they are root's. What is denied here is told
/// by [`raise`].
pub(super) fn raise_own(user: &UserNamespace) {
    if let (Some(value), Ok(procfs)) = (user.oom_score_adjustment, Procfs::open()) {
        let _ = procfs.write("self/oom_score_adj", &value.to_string());
    }
}

fn settle(user: &UserNamespace, cgroup: &Cgroup, attended: &Attended<'_>) -> Outcome {
    let pid = attended.pid;
    let procfs = Procfs::open().doing(|| "open /proc")?;
    if user.joined {
        check(&procfs, pid, user)?;
    } else {
        ids::map(&procfs, pid, &user.users, &user.groups)?;
    }
    if !user.time_offsets.is_empty() {
        let text = super::namespaces::offsets_text(&user.time_offsets);
        procfs.write(&format!("{pid}/timens_offsets"), &text).doing(|| "write timens_offsets")?;
    }
    cgroup
        .join_child(pid, attended.born_in_v2)
        .map_err(|error| Problem { errno: child::errno_of(&error), message: error.to_string() })?;
    raise_in(&procfs, user, pid)?;
    give(&procfs, attended)
}

/// containerd and CRI-O name the namespace and its maps, which runc takes if they agree.
fn check(procfs: &Procfs, pid: i32, user: &UserNamespace) -> Outcome {
    for (file, given) in [("uid_map", &user.users), ("gid_map", &user.groups)] {
        if given.is_empty() {
            continue;
        }
        let found = procfs.read(&format!("{pid}/{file}")).doing(|| format!("read {file}"))?;
        if !ids::is_same(&found, given) {
            return Err(Problem::new(
                "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one",
            ));
        }
    }
    Ok(())
}

fn raise_in(procfs: &Procfs, user: &UserNamespace, pid: i32) -> Outcome {
    if let Some(value) = user.oom_score_adjustment {
        let file = format!("{pid}/oom_score_adj");
        match procfs.write(&file, &value.to_string()) {
            // An ordinary user's process has it already (`raise_own`).
            Err(_) if procfs.read(&file).is_ok_and(|found| found.trim().parse() == Ok(value)) => {}
            other => other.doing(|| format!("set oom_score_adj to {value}"))?,
        }
    }
    for limit in &user.limits {
        let (soft, hard) = limit_of(pid, limit.resource).doing(|| format!("ask for {}", limit.name))?;
        if hard < limit.hard {
            set_limit_of(pid, limit.resource, soft, limit.hard)
                .doing(|| format!("set {} to {}:{}", limit.name, limit.soft, limit.hard))?;
        }
    }
    Ok(())
}

/// The child may not give away what is not its own: pipes become its root's.
fn give(procfs: &Procfs, attended: &Attended<'_>) -> Outcome {
    let read = |file: &str| procfs.read(&format!("{}/{file}", attended.pid)).doing(|| format!("read {file}"));
    let (Some(uid), Some(gid)) = (ids::root_in(&read("uid_map")?), ids::root_in(&read("gid_map")?)) else {
        return Err(Problem::new("the user namespace maps no root"));
    };
    for file in attended.files {
        let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH).doing(|| "fstat a standard stream")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo || stat.st_uid == uid {
            continue;
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match rustix::fs::chownat(file, "", uid, gid, AtFlags::EMPTY_PATH) {
            // As with any other container: what cannot be given is left as it is.
            Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL) => {}
            Err(error) => return Err(Problem::of("give a pipe to the container's root", error)),
        }
    }
    Ok(())
}

/// Lasts until the child needs no more sources, or has ended.
fn serve(plan: Part<'_>, attended: &Attended<'_>) -> Outcome {
    match clone3(&Clone::default()).doing(|| "clone3")? {
        Forked::Child => {
            let needed = [attended.pidfd, attended.socket.as_fd()].into_iter().chain(plan.descriptor());
            // If it fails, the child hears nothing more, and says so.
            let served = child::let_go(0, needed)
                .and_then(|()| child::guard(0))
                .and_then(|()| sources::serve(plan, attended));
            exit_now(i32::from(served.is_err()))
        }
        Forked::Parent { pid, .. } => {
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
            });
            Ok(())
        }
    }
}

/// Whether the other side has said its byte; otherwise it is gone.
pub(super) fn hear(socket: &OwnedFd) -> bool {
    let mut byte = [0; 1];
    let received = rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut byte, RecvFlags::empty()));
    received.is_ok_and(|(_, length)| length == 1)
}

/// Only who has ended does not hear it.
pub(super) fn tell(socket: &OwnedFd) {
    let _ = rustix::net::send(socket, &[1], SendFlags::NOSIGNAL);
}

/// In the child: waits for the ids, with a time namespace whose offsets are still to be written if `time`, and becomes root.
pub(super) fn await_ids(socket: &OwnedFd, procfs: &Procfs, time: bool, mapped_by_a_user: bool) -> Outcome {
    if time {
        onggi_sys::namespace::unshare(super::namespaces::flag(NamespaceKind::Time))
            .doing(|| "unshare the time namespace")?;
    }
    if mapped_by_a_user {
        // The files in /proc of who is not dumpable are root's, and the maps are written by an ordinary user, or by newuidmap(1), which asks
        // whose they are. As runc: until the ids are there, and before the image is touched. Nobody but the user has rights over a new
        // user namespace; one that is joined may have hostile processes, for whom this one has the host's files.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .doing(|| "prctl PR_SET_DUMPABLE")?;
    }
    tell(socket);
    if !hear(socket) {
        return Err(Problem::new("the parent has given this process up"));
    }
    become_root()?;
    if time { super::namespaces::enter_time(procfs) } else { Ok(()) }
}

/// Root of the user namespace that this process is in: it still has the ids of the one that it came from.
pub(super) fn become_root() -> Outcome {
    match rustix::thread::set_thread_groups(&[]) {
        // The namespace of somebody without privilege: there are no groups to be left.
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(Problem::of("setgroups", error)),
    }
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .doing(|| "failed to become root in user namespace: setgid")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .doing(|| "failed to become root in user namespace: setuid")?;
    // The kernel makes who changes its ids dumpable, if the machine says so (`fs.suid_dumpable`).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "prctl PR_SET_DUMPABLE")
}
