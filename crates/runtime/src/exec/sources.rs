//! Sources of mounts that a child in a user namespace cannot open: its root has no way to them, or the mount is to show other owners.
//!
//! They are opened with the parent's rights in the child's own mount namespace, where the mounts that it has made so far are.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use onggi_oci::NamespaceKind;
use onggi_sys::mount::{MountAttributes, mount_setattr};
use onggi_sys::namespace::setns;

use super::ids;
use super::namespaces::flag;
use super::outside::Attended;
use super::part::Part;
use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;
use super::tree::copy_of;
use crate::plan::{Mount, MountIds, Source, Step};

/// `MOUNT_ATTR_IDMAP`.
const ID_MAPPED: u64 = 0x10_0000;
/// A sentence; the child adds what it was about.
const LONGEST_ANSWER: usize = 512;

/// In a process of its own: answers until the child hangs up.
pub(super) fn serve(plan: Part<'_>, attended: &Attended<'_>) -> Outcome {
    let procfs = Procfs::open().doing(|| "open /proc")?;
    let steps = plan.steps().doing(|| "read the plan")?;
    let mut is_inside = false;
    let mut served = vec![false; steps.len()];
    let mut namespaces = Namespaces { procfs: &procfs, container: attended.pid, made: Vec::new() };
    loop {
        let mut number = [0; 4];
        let received =
            rustix::io::retry_on_intr(|| rustix::net::recv(attended.socket, &mut number, RecvFlags::empty()));
        let index = match received {
            Ok((_, 4)) => u32::from_ne_bytes(number) as usize,
            _ => return Ok(()),
        };
        // What is no source in the plan, or was asked for before, is not asked for by our child's own code.
        let (
            Some(Step::Mount(Mount { source: Source::Bind { path, recursive, outside: true, ids }, .. })),
            false,
        ) = (steps.get(index), std::mem::replace(served.get_mut(index).unwrap_or(&mut true), true))
        else {
            return Err(Problem::new("the child asks for what is not its own"));
        };
        if !std::mem::replace(&mut is_inside, true) {
            // Not before it asks: it may have to join that namespace first.
            setns(attended.pidfd, flag(NamespaceKind::Mount))
                .doing(|| "enter the container's mount namespace")?;
        }
        match open(path, *recursive, ids.as_ref(), &mut namespaces) {
            Ok(source) => answer(attended.socket, Some(source.as_fd()), 0, "")?,
            Err(problem) => answer(attended.socket, None, problem.errno, &problem.message)?,
        }
    }
}

/// In the child: the source of a step. A detached tree if the mount has ids of its own, otherwise only a place to be cloned.
pub(super) fn ask(socket: &OwnedFd, index: u32) -> Outcome<OwnedFd> {
    rustix::net::send(socket, &index.to_ne_bytes(), SendFlags::NOSIGNAL)
        .doing(|| "ask for a mount's source")?;
    let mut bytes = [0_u8; 4 + LONGEST_ANSWER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let slices = &mut [std::io::IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    });
    let length = received.doing(|| "wait for a mount's source")?.bytes;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match (descriptor, bytes.split_first_chunk::<4>()) {
        (Some(descriptor), _) => Ok(descriptor),
        (None, Some((errno, text))) if length >= 4 => Err(Problem {
            errno: i32::from_ne_bytes(*errno),
            message: String::from_utf8_lossy(&text[..length - 4]).into_owned(),
        }),
        _ => Err(Problem::new("the parent has given this process up")),
    }
}

fn open(
    path: &Path,
    recursive: bool,
    ids: Option<&MountIds>,
    known: &mut Namespaces<'_>,
) -> Outcome<OwnedFd> {
    let Some(ids) = ids else {
        return rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .doing(|| format!("open {}", path.display()));
    };
    mapped(path, recursive, known.of(ids)?, ids.recursive)
}

/// A detached copy of what is mounted at a path, which shows owners as a user namespace maps them.
pub(super) fn mapped(
    path: &Path,
    recursive: bool,
    namespace: BorrowedFd<'_>,
    maps_below: bool,
) -> Outcome<OwnedFd> {
    let what = || format!("open_tree {}", path.display());
    let tree = copy_of(path, recursive).doing(what)?.into_detached()?;
    let attributes = MountAttributes {
        set: ID_MAPPED,
        user_namespace: std::os::fd::AsRawFd::as_raw_fd(&namespace) as u64,
        ..MountAttributes::default()
    };
    match mount_setattr(tree.as_fd(), maps_below, attributes) {
        Ok(()) => Ok(tree),
        Err(error) => {
            let is_invalid = super::root::is(&error, Errno::INVAL);
            let mut problem =
                Problem::of(format_args!("failed to set MOUNT_ATTR_IDMAP on {}", path.display()), error);
            if is_invalid {
                problem.message +=
                    " (maybe the filesystem used doesn't support idmap mounts on this kernel?)";
            }
            Err(problem)
        }
    }
}

fn answer(socket: &OwnedFd, source: Option<BorrowedFd<'_>>, errno: i32, text: &str) -> Outcome {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = source.into_iter().collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let errno = errno.to_ne_bytes();
    let text = &text.as_bytes()[..text.len().min(LONGEST_ANSWER)];
    let parts = [IoSlice::new(&errno), IoSlice::new(text)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL).doing(|| "answer the child")?;
    Ok(())
}

/// The user namespaces whose ids mounts are to show: each is made once.
struct Namespaces<'a> {
    procfs: &'a Procfs,
    container: i32,
    made: Vec<(MountIds, OwnedFd)>,
}

impl Namespaces<'_> {
    fn of(&mut self, wanted: &MountIds) -> Outcome<BorrowedFd<'_>> {
        let key = MountIds { recursive: false, ..wanted.clone() };
        let at = match self.made.iter().position(|(ids, _)| *ids == key) {
            Some(at) => at,
            None => {
                let namespace = if key.users.is_empty() {
                    let own = self.procfs.user_namespace(self.container);
                    own.doing(|| "open the container's user namespace")?
                } else {
                    ids::namespace(self.procfs, &key.users, &key.groups)?
                };
                self.made.push((key, namespace));
                self.made.len() - 1
            }
        };
        Ok(self.made[at].1.as_fd())
    }
}
