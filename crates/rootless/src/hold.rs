//! The holder: keeps a user namespace alive between two commands, and ends by itself.
//!
//! It sleeps. Commands hold a shared lock on one file while they are inside; when the last of them has let go and no sandbox is
//! left, the holder waits [`LINGER`], takes the lock for itself so that nobody is between the door and the room, and ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onggi_sys::ofd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

/// The first argument of the program that holds: `onggi-monitor hold DIRECTORY DESCRIPTOR`.
pub const HOLD: &str = "hold";
/// How long nobody must have needed the namespace. Making it again costs some milliseconds, so there is no need for long.
const LINGER: Duration = Duration::from_secs(10);

/// The files of a user's namespace, under `<run root>/user-namespace`.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(crate) fn of(run: &Path) -> Files {
        Files { directory: run.join("user-namespace") }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whoever is inside holds a shared lock; the holder takes the exclusive one to end.
    pub(crate) fn users(&self) -> PathBuf {
        self.directory.join("users")
    }

    /// Locked by the holder for its life; holds its process id.
    pub(crate) fn alive(&self) -> PathBuf {
        self.directory.join("alive")
    }

    /// Locked by who makes a namespace.
    pub(crate) fn making(&self) -> PathBuf {
        self.directory.join("making")
    }

    /// A sandbox that is there needs the namespace.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.directory.with_file_name("sandboxes")
    }

    pub(crate) fn open(path: &Path) -> io::Result<File> {
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NOFOLLOW.bits().cast_signed(),
        );
        options.create(true).truncate(false).read(true).write(true).open(path)
    }
}

/// The life of the holder. `run` is the run root; `ready` is closed once the namespace can be entered.
///
/// # Errors
/// What the kernel refuses on the way. It ends then, and the next command makes a new one.
pub fn hold(run: &Path, ready: OwnedFd) -> io::Result<()> {
    // What ends the caller's session is not meant for it.
    onggi_sys::process::block_signals();
    rustix::process::chdir("/")?;
    let files = Files::of(run);
    let mut alive = Files::open(&files.alive())?;
    if !ofd::try_lock(alive.as_fd())? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    alive.set_len(0)?;
    writeln!(alive, "{}", rustix::process::getpid().as_raw_nonzero())?;
    fs::create_dir_all(files.sandboxes())?;
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&changes, files.users(), inotify::WatchFlags::CLOSE)?;
    let gone = inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&changes, files.sandboxes(), gone)?;
    let users = Files::open(&files.users())?;
    drop(ready);
    loop {
        wait_for_quiet(&changes)?;
        // Removed with the run root, so nobody finds this holder any more; by now another may hold a namespace of its own there.
        if !is_still(&alive, &files.alive()) {
            return Ok(());
        }
        if ofd::try_lock(users.as_fd())? {
            if fs::read_dir(files.sandboxes())?.next().is_none() {
                return Ok(());
            }
            ofd::unlock(users.as_fd())?;
        }
        // Somebody is inside, and will be heard when he leaves.
        wait(&changes, None)?;
    }
}

/// Whether the path still leads to this file.
fn is_still(file: &File, path: &Path) -> bool {
    let identity = |data: fs::Metadata| (data.dev(), data.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(found)) => identity(held) == identity(found),
        _ => false,
    }
}

/// Until nothing has happened for a while.
fn wait_for_quiet(changes: &OwnedFd) -> io::Result<()> {
    let linger = Timespec { tv_sec: LINGER.as_secs().cast_signed(), tv_nsec: 0 };
    while wait(changes, Some(&linger))? {}
    Ok(())
}

/// Waits for a change, and takes what there is to read; `false` if the time was up first.
fn wait(changes: &OwnedFd, time: Option<&Timespec>) -> io::Result<bool> {
    let mut ready = [PollFd::new(changes, PollFlags::IN)];
    if rustix::io::retry_on_intr(|| poll(&mut ready, time))? == 0 {
        return Ok(false);
    }
    let mut buffer = [0_u8; 1024];
    loop {
        match rustix::io::read(changes, &mut buffer[..]) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}
