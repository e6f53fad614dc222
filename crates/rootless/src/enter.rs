//! Entering a user's namespace, and having it made if there is none.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use onggi_sys::{namespace, ofd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::hold::Files;
use crate::ranges::{self, Ranges};
use crate::{Error, make};

/// From `linux/sched.h`.
const CLONE_NEWUSER: i32 = 0x1000_0000;
const CLONE_NEWNS: i32 = 0x0002_0000;

/// Keeps the namespace from ending. To be kept for as long as its owner means to be inside without a sandbox.
#[derive(Debug)]
pub struct Entered {
    _users: File,
}

/// Makes the calling process root of its user's namespace, with a mount namespace of its own whose mounts nobody else sees. `run`
/// and `data` are the user's roots, `program` is the one that holds (`onggi-monitor`). To be called with one thread.
///
/// # Errors
/// Each step's; [`Error::NoRanges`] and [`Error::Program`] tell what the machine's owner has to grant.
pub fn enter(run: &Path, data: &Path, program: &Path) -> Result<Entered, Error> {
    let user = rustix::process::geteuid().as_raw();
    let files = Files::of(run);
    make_directory(run, user)?;
    make_directory(files.directory(), user)?;
    let users = open(&files.users())?;
    ofd::lock_shared(users.as_fd()).map_err(file("lock", files.users()))?;
    if !join_holder(&files)? {
        let making = open(&files.making())?;
        ofd::lock(making.as_fd()).map_err(file("lock", files.making()))?;
        // Another command may have made it meanwhile.
        if !join_holder(&files)? {
            begin(&files, run, data, program, user)?;
        }
    }
    namespace::unshare(CLONE_NEWNS)
        .map_err(|source| Error::Kernel { what: "make a mount namespace", source })?;
    Ok(Entered { _users: users })
}

/// Nobody holds a namespace. A living container's is used again, since the container can be reached from no other.
fn begin(files: &Files, run: &Path, data: &Path, program: &Path, user: u32) -> Result<(), Error> {
    for pid in candidates(files, data) {
        if join(pid).is_ok() {
            return make::holder(program, run, None);
        }
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = ranges::name_of(&passwd, user);
    let ranges = Ranges::of_user(&ranges::etc(), user, name.as_deref())?;
    let group = rustix::process::getegid().as_raw();
    // One that is killed as soon as it holds is no reason to fail, once.
    for _ in 0..2 {
        make::holder(program, run, Some((&ranges, user, group)))?;
        if join_holder(files)? {
            return Ok(());
        }
    }
    Err(Error::Holder { path: program.to_owned() })
}

/// `false` if there is no holder, or it ends this very moment.
fn join_holder(files: &Files) -> Result<bool, Error> {
    let alive = open(&files.alive())?;
    if !ofd::is_held(alive.as_fd()).map_err(file("ask for the lock on", files.alive()))? {
        return Ok(false);
    }
    let Some(pid) = read_pid(&files.alive()) else { return Ok(false) };
    match join(pid) {
        Err(Error::Enter { source, .. }) if source.raw_os_error() == Some(ESRCH) => Ok(false),
        other => other.map(|()| true),
    }
}

const ESRCH: i32 = 3;

pub(crate) fn read_pid(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Enters the user namespace of a process. If the number is somebody else's by now, the kernel refuses, since only the owner of a
/// namespace may enter it.
fn join(pid: i32) -> Result<(), Error> {
    let fail = |source| Error::Enter { pid, source };
    let pidfd: OwnedFd = Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|errno| fail(errno.into()))?;
    namespace::setns(pidfd.as_fd(), CLONE_NEWUSER).map_err(fail)
}

/// The processes that are in the namespace if anything of the user's still lives: the monitors, and where they were killed the
/// containers' first processes. Their numbers may be others' by now.
fn candidates(files: &Files, data: &Path) -> Vec<i32> {
    let in_each = |directory: PathBuf, name: &'static str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(move |entry| pid_in(&fs::read_to_string(entry.path().join(name)).ok()?))
    };
    in_each(files.sandboxes(), "monitor.json").chain(in_each(data.join("containers"), "state.json")).collect()
}

/// The field `pid` of a record, sealed or not. Whether it is still true, the kernel says.
pub(crate) fn pid_in(record: &str) -> Option<i32> {
    let body: serde_json::Value = serde_json::from_str(&record[record.find('{')?..]).ok()?;
    body.get("pid")?.as_i64()?.try_into().ok().filter(|pid| *pid > 0)
}

/// Makes a directory that only the user may look into, and sees to it that one which is there is that.
fn make_directory(path: &Path, user: u32) -> Result<(), Error> {
    check_parent(path, user)?;
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(Error::File { act: "make the directory", path: path.to_owned(), source }),
    }
    // In a directory that everybody writes to, somebody may have been here first.
    let found = fs::symlink_metadata(path).map_err(file("look at", path.to_owned()))?;
    if found.uid() != user || !found.is_dir() {
        return Err(Error::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o077 != 0 { close(path, user) } else { Ok(()) }
}

/// Whoever may rename what lies in a directory decides what is found there. A parent that is missing is made for the user alone.
fn check_parent(path: &Path, user: u32) -> Result<(), Error> {
    let Some(Ok(parent)) = path.parent().map(fs::metadata) else { return Ok(()) };
    let refuse = |reason| Err(Error::Unsafe { path: path.to_owned(), reason });
    let (owner, mode) = (parent.uid(), parent.mode());
    if owner != user && owner != 0 {
        return refuse(format!("its owner is {owner}, who may put another in its place"));
    }
    // Where everybody writes, as in /tmp, the sticky bit has each one's own left alone. A user's own group has nobody else in it.
    let own_group = parent.gid() == rustix::process::getegid().as_raw();
    let others = if own_group { 0o002 } else { 0o022 };
    if mode & 0o1000 == 0 && mode & others != 0 {
        return refuse(format!("others may write there (its mode is {:o})", mode & 0o7777));
    }
    Ok(())
}

/// Keeps others out of a directory of the user's own, unless they have been in it.
fn close(path: &Path, user: u32) -> Result<(), Error> {
    let entries = fs::read_dir(path).map_err(file("read", path.to_owned()))?;
    let others = entries.flatten().find_map(|entry| {
        let owner = entry.metadata().ok()?.uid();
        (owner != user).then(|| (entry.path(), owner))
    });
    if let Some((path, owner)) = others {
        return Err(Error::Foreign { path, owner });
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .and_then(|directory| rustix::fs::fchmod(directory, Mode::RWXU))
        .map_err(|errno| Error::File {
            act: "keep others out of",
            path: path.to_owned(),
            source: errno.into(),
        })
}

fn open(path: &Path) -> Result<File, Error> {
    Files::open(path).map_err(file("open", path.to_owned()))
}

fn file(act: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    /// It is killed between the look at its lock and the way in, by then the number is nobody's.
    #[test]
    fn a_holder_that_has_just_ended_is_none() {
        let run = tempfile::tempdir().unwrap();
        let files = Files::of(run.path());
        make_directory(files.directory(), rustix::process::geteuid().as_raw()).unwrap();
        assert!(!join_holder(&files).unwrap(), "there is none");
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        fs::write(files.alive(), format!("{}\n", ended.id())).unwrap();
        let alive = open(&files.alive()).unwrap();
        assert!(ofd::try_lock(alive.as_fd()).unwrap());
        assert!(!join_holder(&files).unwrap());
    }

    #[test]
    fn a_run_root_is_the_user_s_alone() {
        let user = rustix::process::geteuid().as_raw();
        let roots = tempfile::tempdir().unwrap();
        let run = roots.path().join("parent/run");
        let parent = run.parent().unwrap();
        let make = || make_directory(&run, user);
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let set =
            |path: &std::path::Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        make().unwrap();
        assert_eq!((mode(parent), mode(&run)), (0o700, 0o700));
        set(&run, 0o777);
        make().unwrap();
        assert_eq!(mode(&run), 0o700, "others are kept out");
        for (of_parent, fits) in
            [(0o755, true), (0o1777, true), (0o775, true), (0o777, false), (0o702, false)]
        {
            set(parent, of_parent);
            let made = make();
            assert!(made.is_ok() == fits, "{of_parent:o}: {made:?}");
            assert!(fits || matches!(made, Err(Error::Unsafe { .. })));
        }
        set(parent, 0o700);
        if user != 0 {
            return; // The rest needs files of others.
        }
        let other = 54_321;
        fs::write(run.join("planted"), "").unwrap();
        chown(run.join("planted"), Some(other), None).unwrap();
        make().unwrap();
        set(&run, 0o777);
        assert!(
            matches!(make(), Err(Error::Foreign { path, owner }) if path.ends_with("planted") && owner == other)
        );
        fs::remove_file(run.join("planted")).unwrap();
        chown(parent, None, Some(other)).unwrap();
        set(parent, 0o775);
        assert!(matches!(make(), Err(Error::Unsafe { .. })), "a group with others in it");
        set(parent, 0o755);
        chown(parent, Some(other), None).unwrap();
        let refused = make().unwrap_err().to_string();
        assert!(refused.contains("its owner is 54321"), "{refused}");
    }

    #[test]
    fn the_number_of_a_process_is_read_from_a_record() {
        assert_eq!(pid_in("{\"version\":1,\"pid\":42}"), Some(42));
        assert_eq!(pid_in("onggi-record v1 sha256:00\n{\"pid\":7}"), Some(7));
        for none in ["", "{}", "{\"pid\":0}", "{\"pid\":-1}", "{\"pid\":\"x\"}", "onggi-record v1"] {
            assert_eq!(pid_in(none), None, "{none}");
        }
    }
}
