//! The holder: keeps a user's two namespaces alive between two commands, and ends by itself.
//!
//! It sleeps, and starts the way out again that has died or could not be had. Commands hold a shared lock on one file while they are inside; when the last of them has let go and no sandbox is
//! left, the holder waits [`LINGER`], takes the lock for itself so that nobody is between the door and the room, and ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onggi_sys::{fault, ofd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::{network, way};

/// The first argument of the program that holds: `onggi-monitor hold DIRECTORY DESCRIPTOR`.
pub const HOLD: &str = "hold";
/// How long nobody must have needed the namespace. Making it again costs some milliseconds, so there is no need for long.
const LINGER: Duration = Duration::from_secs(10);
/// How long a holder that was killed may take to be gone.
const DYING: Duration = Duration::from_secs(2);

/// The files of a user's namespaces, under `<run root>/user-namespace`.
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

    /// What the network namespace is called by the kernel.
    pub(crate) fn network(&self) -> PathBuf {
        self.directory.join("network")
    }

    /// The name by which the way out has the network namespace; it ends when this is removed.
    pub(crate) fn way(&self) -> PathBuf {
        self.directory.join("netns")
    }

    /// The process id of the way out.
    pub(crate) fn way_pid(&self) -> PathBuf {
        self.directory.join("pasta.pid")
    }

    /// Locked by who starts the way out.
    pub(crate) fn way_lock(&self) -> PathBuf {
        self.directory.join("pasta.lock")
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

/// The life of the holder. `run` is the run root; `ready` is closed once the namespaces can be entered.
///
/// # Errors
/// What the kernel refuses on the way. It ends then, and the next command makes a new one.
pub fn hold(run: &Path, ready: OwnedFd) -> io::Result<()> {
    // What ends the caller's session is not meant for it.
    onggi_sys::process::block_signals();
    rustix::process::chdir("/")?;
    let files = Files::of(run);
    let mut alive = Files::open(&files.alive())?;
    take(&alive)?;
    fault::point("rootless.hold.locked");
    // Of a holder that was killed there may be a network left, with containers on it. A user who may have none has containers without.
    let network = network::take_or_make(&files)?;
    fault::point("rootless.hold.network-named");
    alive.set_len(0)?;
    writeln!(alive, "{}", rustix::process::getpid().as_raw_nonzero())?;
    fs::create_dir_all(files.sandboxes())?;
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&changes, files.users(), inotify::WatchFlags::CLOSE)?;
    let gone = inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&changes, files.sandboxes(), gone)?;
    // Somebody has started a way out, and written its process id.
    inotify::add_watch(&changes, files.directory(), inotify::WatchFlags::CLOSE_WRITE)?;
    let users = Files::open(&files.users())?;
    fault::point("rootless.hold.ready");
    drop(ready);
    let mut holder = Holder { files, alive, changes, network, way: None, again: false };
    loop {
        holder.wait_for_quiet()?;
        if !holder.is_found() {
            // What came after has one of its own.
            way::end(holder.way);
            return Ok(());
        }
        if ofd::try_lock(users.as_fd())? {
            if fs::read_dir(holder.files.sandboxes())?.next().is_none() {
                fault::point("rootless.hold.ending");
                way::close(&holder.files);
                return Ok(());
            }
            ofd::unlock(users.as_fd())?;
        }
        // Somebody is inside, and will be heard when he leaves.
        holder.wait(None)?;
    }
}

/// Takes the lock of the one holder. Who was killed may have it still: the kernel closes a dead process's files one after the other, and the pipe at
/// which its starter waits may come first.
fn take(alive: &File) -> io::Result<()> {
    let end = Instant::now() + DYING;
    while !ofd::try_lock(alive.as_fd())? {
        if Instant::now() >= end {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What a holder waits with.
struct Holder {
    files: Files,
    alive: File,
    changes: OwnedFd,
    network: Option<File>,
    /// The way out, to hear of its end.
    way: Option<OwnedFd>,
    /// There is to be one and is none: the machine may have no network just now.
    again: bool,
}

impl Holder {
    /// Once its files were removed with the run root nobody finds it any more; by now another may hold namespaces of its own there.
    fn is_found(&self) -> bool {
        is_still(&self.alive, &self.files.alive())
    }

    /// Until nothing has happened for a while, or there is nothing to be found by.
    fn wait_for_quiet(&mut self) -> io::Result<()> {
        while self.is_found() && self.wait(Some(LINGER))? {}
        Ok(())
    }

    /// Waits for a change, and takes what there is to read; `false` if the time was up first.
    fn wait(&mut self, time: Option<Duration>) -> io::Result<bool> {
        loop {
            self.look_at_way();
            let limit = time.or(self.again.then_some(LINGER));
            let limit = limit.map(|time| Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: 0 });
            let mut ready: Vec<PollFd<'_>> = vec![PollFd::new(&self.changes, PollFlags::IN)];
            ready.extend(self.way.as_ref().map(|way| PollFd::new(way, PollFlags::IN)));
            let none = rustix::io::retry_on_intr(|| poll(&mut ready, limit.as_ref()))? == 0;
            let (changed, ended) =
                (!ready[0].revents().is_empty(), ready.len() > 1 && !ready[1].revents().is_empty());
            if ended || (none && self.again) {
                self.way = None;
                self.start_way_again();
            }
            if changed {
                return drain(&self.changes).map(|()| true);
            }
            if none && time.is_some() {
                return Ok(false);
            }
        }
    }

    fn look_at_way(&mut self) {
        let is_found = self.is_found();
        if self.way.is_none() && is_found {
            self.way = way::process(&self.files);
        }
        // Somebody wants one: whoever had no network to go out by, or was killed while it began.
        let is_wanted = is_found && self.network.is_some() && self.files.way().exists();
        self.again = is_wanted && self.way.is_none();
    }

    /// Nobody is there to be told why it cannot be; the next command that needs it is.
    fn start_way_again(&mut self) {
        let is_wanted = self.is_found() && self.files.way().exists();
        if let Some(network) = self.network.as_ref().filter(|_| is_wanted) {
            let _ = way::ensure(&self.files, network);
        }
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

/// Reads everything that there is.
fn drain(changes: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0_u8; 1024];
    loop {
        match rustix::io::read(changes, &mut buffer[..]) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
