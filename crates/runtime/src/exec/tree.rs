//! A tree of mounts on its way to its place: detached, as the kernel makes it since 5.2 and changes it since 5.12; or, where those calls
//! are refused, a description that `mount(2)` carries out at the place itself.
//!
//! One plan for both: what is asked of a tree that cannot be changed yet is remembered and done once it is attached.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FsWord, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use onggi_sys::mount::{MountAttributes, mount_setattr};

use super::classic;
use super::problem::{Doing, Outcome, Problem, words};
use super::root;
use crate::plan::{Attributes, Propagation};

/// In `MOUNT_ATTR_…`.
pub(super) const READ_ONLY: u64 = 1;

#[derive(Debug)]
pub(super) struct Tree {
    form: Form,
    later: Later,
}

#[derive(Debug)]
enum Form {
    Detached(OwnedFd),
    /// To be bound from what is held.
    Bind {
        source: OwnedFd,
        recursive: bool,
    },
    New(classic::New),
}

/// What the kernel does only to mounts that are attached.
#[derive(Debug, Default)]
struct Later {
    attributes: Attributes,
    /// Of those that are cleared: if they cannot be, they stay.
    implied: u64,
    recursive: Attributes,
    propagation: Option<Propagation>,
}

impl Tree {
    /// A copy of what is mounted at a path.
    pub(super) fn copy(
        directory: impl AsFd,
        path: impl rustix::path::Arg,
        recursive: bool,
    ) -> Result<Tree, Errno> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        path.into_with_c_str(|path| match open_tree(&directory, path, flags) {
            Ok(tree) => Ok(Tree::detached(tree)),
            Err(Errno::NOSYS) => {
                let source = if path.is_empty() {
                    rustix::io::fcntl_dupfd_cloexec(&directory, 3)?
                } else {
                    rustix::fs::openat(&directory, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?
                };
                Ok(Tree { form: Form::Bind { source, recursive }, later: Later::default() })
            }
            Err(error) => Err(error),
        })
    }

    /// A new file system.
    pub(super) fn new(
        kind: &str,
        source: Option<&str>,
        options: &[String],
        attributes: Attributes,
    ) -> Outcome<Tree> {
        let source = source.unwrap_or(kind);
        // The kinds that only show the kernel's state have one state for all: read-only is then the mount's affair alone.
        let on_disk =
            !matches!(kind, "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "ramfs" | "devtmpfs");
        let context = match fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
            Err(Errno::NOSYS) => {
                let at_once = if on_disk {
                    attributes
                } else {
                    Attributes { set: attributes.set & !READ_ONLY, ..attributes }
                };
                let new = classic::New {
                    kind: kind.to_owned(),
                    source: source.to_owned(),
                    data: options.join(","),
                    attributes: at_once,
                    held: Vec::new(),
                };
                let read_only = Attributes { set: attributes.set & READ_ONLY, clear: 0 };
                return Ok(Tree {
                    form: Form::New(new),
                    later: Later { attributes: read_only, ..Later::default() },
                });
            }
            other => other.doing(|| format!("fsopen {kind}"))?,
        };
        configure(&context, "source", Some(source))?;
        if on_disk && attributes.set & READ_ONLY != 0 {
            configure(&context, "ro", None)?;
        }
        for option in options {
            match option.split_once('=') {
                Some((key, value)) => configure(&context, key, Some(value))?,
                None => configure(&context, option, None)?,
            }
        }
        fsconfig_create(&context).map_err(|error| complaint(&context, "fsconfig create", error))?;
        let flags = MountAttrFlags::from_bits_retain(attributes.set as u32);
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).doing(|| "fsmount").map(Tree::detached)
    }

    pub(super) fn detached(tree: OwnedFd) -> Tree {
        Tree { form: Form::Detached(tree), later: Later::default() }
    }

    /// For `mount(2)` alone.
    pub(super) fn classic(new: classic::New) -> Tree {
        Tree { form: Form::New(new), later: Later::default() }
    }

    /// Without a place there is only the new way.
    pub(super) fn into_detached(self) -> Outcome<OwnedFd> {
        match self.form {
            Form::Detached(tree) => Ok(tree),
            Form::Bind { .. } | Form::New(_) => {
                let message = "this needs open_tree(2), which the kernel or a filter refuses".to_owned();
                Err(Problem { errno: Errno::NOSYS.raw_os_error(), message })
            }
        }
    }

    /// Its root, if it is there already.
    fn held(&self) -> Option<BorrowedFd<'_>> {
        match &self.form {
            Form::Detached(held) | Form::Bind { source: held, .. } => Some(held.as_fd()),
            Form::New(_) => None,
        }
    }

    /// New file systems are.
    pub(super) fn is_directory(&self) -> io::Result<bool> {
        self.held().map_or(Ok(true), root::is_directory)
    }

    pub(super) fn is_of(&self, magic: FsWord) -> Outcome<bool> {
        self.held().map_or(Ok(false), |held| Ok(self::magic(held)? == magic))
    }

    /// Changes the flags of its topmost mount. Of what is cleared, the flags in `implied` stay if they are locked: those of a mount that somebody
    /// with more privilege has made (EPERM, mount_namespaces(7)).
    pub(super) fn set_leniently(&mut self, attributes: Attributes, implied: u64) -> io::Result<()> {
        match self.set(attributes, false) {
            Err(error) if root::is(&error, Errno::PERM) && implied != 0 => {
                self.set(Attributes { clear: attributes.clear & !implied, ..attributes }, false)
            }
            done => {
                self.later.implied |= implied;
                done
            }
        }
    }

    /// Changes the flags of its topmost mount, or of all.
    pub(super) fn set(&mut self, attributes: Attributes, recursive: bool) -> io::Result<()> {
        if attributes == Attributes::default() {
            return Ok(());
        }
        if let Form::Detached(tree) = &self.form {
            match change(tree.as_fd(), attributes, recursive) {
                Err(error) if root::is(&error, Errno::NOSYS) => {}
                other => return other,
            }
        }
        let later = if recursive { &mut self.later.recursive } else { &mut self.later.attributes };
        *later = Attributes {
            set: later.set & !attributes.clear | attributes.set,
            clear: later.clear & !attributes.set | attributes.clear,
        };
        Ok(())
    }

    pub(super) fn propagate(&mut self, propagation: Propagation) -> io::Result<()> {
        if let Form::Detached(tree) = &self.form {
            match change_propagation(tree.as_fd(), propagation) {
                Err(error) if root::is(&error, Errno::NOSYS) => {}
                other => return other,
            }
        }
        self.later.propagation = Some(propagation);
        Ok(())
    }

    /// Mounts it on what the target holds, and gives its root; `doing` is what is said if that fails.
    pub(super) fn attach(self, target: BorrowedFd<'_>, doing: impl FnOnce() -> String) -> Outcome<OwnedFd> {
        let Tree { form, later } = self;
        place(form, target).and_then(|mount| later.apply(mount)).map_err(|problem| problem.below(&doing()))
    }
}

fn place(form: Form, target: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    match form {
        Form::Detached(tree) => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&tree, "", target, "", flags).map_err(plain)?;
            Ok(tree)
        }
        Form::Bind { source, recursive } => classic::bind(source.as_fd(), recursive, target),
        Form::New(new) => classic::new(&new, target),
    }
}

impl Later {
    fn apply(self, mount: OwnedFd) -> Outcome<OwnedFd> {
        let set = |attributes, recursive| {
            if attributes == Attributes::default() {
                return Ok(());
            }
            classic::set_attributes(mount.as_fd(), attributes, recursive)
        };
        match set(self.attributes, false) {
            Err(error) if root::is(&error, Errno::PERM) && self.implied != 0 => {
                let clear = self.attributes.clear & !self.implied;
                set(Attributes { clear, ..self.attributes }, false).map_err(plain)?;
            }
            other => other.map_err(plain)?,
        }
        set(self.recursive, true).map_err(plain)?;
        if let Some(propagation) = self.propagation {
            classic::propagate(mount.as_fd(), propagation).map_err(plain)?;
        }
        Ok(mount)
    }
}

/// Changes the flags of a mount in this mount namespace, and of everything below it if `recursive`.
pub(super) fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> io::Result<()> {
    if attributes == Attributes::default() {
        return Ok(());
    }
    match change(mount, attributes, recursive) {
        Err(error) if root::is(&error, Errno::NOSYS) => classic::set_attributes(mount, attributes, recursive),
        other => other,
    }
}

/// Makes a mount in this mount namespace shared, slave, private or unbindable.
pub(super) fn propagate(mount: BorrowedFd<'_>, propagation: Propagation) -> io::Result<()> {
    match change_propagation(mount, propagation) {
        Err(error) if root::is(&error, Errno::NOSYS) => classic::propagate(mount, propagation),
        other => other,
    }
}

pub(super) fn magic(descriptor: BorrowedFd<'_>) -> Outcome<FsWord> {
    Ok(rustix::fs::fstatfs(descriptor).doing(|| "fstatfs")?.f_type)
}

fn change(mount: BorrowedFd<'_>, Attributes { set, clear }: Attributes, recursive: bool) -> io::Result<()> {
    mount_setattr(mount, recursive, MountAttributes { set, clear, ..MountAttributes::default() })
}

fn change_propagation(mount: BorrowedFd<'_>, propagation: Propagation) -> io::Result<()> {
    let propagation_flag = classic::propagation_flag(propagation.kind).bits().into();
    let attributes = MountAttributes { propagation: propagation_flag, ..MountAttributes::default() };
    mount_setattr(mount, propagation.recursive, attributes)
}

pub(super) fn configure(context: &OwnedFd, key: &str, value: Option<&str>) -> Outcome {
    let result = match value {
        Some(value) => fsconfig_set_string(context, key, value),
        None => fsconfig_set_flag(context, key),
    };
    result.map_err(|error| {
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        complaint(context, &format!("option {key}{value}"), error)
    })
}

/// The file system's own words, which it leaves in its context: "e overlay: …".
pub(super) fn complaint(context: &OwnedFd, what: &str, error: Errno) -> Problem {
    let mut text = [0_u8; 512];
    let mut problem = Problem::of(what, error);
    while let Ok(length @ 1..) = rustix::io::read(context, &mut text) {
        let line = String::from_utf8_lossy(&text[..length]);
        let line = line.trim();
        problem.message.push_str(&format!(" ({})", line.strip_prefix("e ").unwrap_or(line)));
    }
    problem
}

/// The kernel's words alone: who attaches says what was attempted.
fn plain(error: impl Into<io::Error>) -> Problem {
    let error = error.into();
    Problem { errno: error.raw_os_error().unwrap_or(0), message: words(&error) }
}

/// The host's directory or file at a path.
pub(super) fn copy_of(path: &std::path::Path, recursive: bool) -> Result<Tree, Errno> {
    Tree::copy(CWD, path, recursive)
}
