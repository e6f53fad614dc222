//! One container on disk: its record, its state, its two locks, and how a name leads to it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use onggi_monitor::client::{self, ALIVE, Connection};
use onggi_monitor::protocol::Durability as StateDurability;
use onggi_monitor::state::{self, Phase, State};
use onggi_record::Durability;
use onggi_store::NameKind;
use rustix::fs::OFlags;

use crate::Engine;
use crate::disk::is_missing;
use crate::error::Error;
use crate::id::ContainerId;
use crate::paths::{LOCK, make_directory};
use crate::record::{self, Record};
use crate::restart::is_cut_short;
use crate::state::Status;

/// Held while a container's state is changed and no monitor lives; ends with the value.
#[derive(Debug)]
pub(crate) struct StateLock {
    file: File,
}

impl AsFd for StateLock {
    /// The lock is the open file's: whoever is given this descriptor holds it too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A container that is decided on and has its name, and whose files are still to be made. Nobody else has had its lock.
#[derive(Debug)]
pub(crate) struct Unwritten {
    pub record: Record,
    pub lock: StateLock,
    /// Says that it is being made, until it is.
    pub mark: PathBuf,
    /// Of an image that has none.
    pub no_layers: bool,
}

impl Engine {
    /// The container that a name, an id or the unique beginning of an id means.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn resolve(&self, name: &str) -> Result<ContainerId, Error> {
        let id = self.look_up(name)?;
        // What a command or monitor that was killed should have removed is no container any more.
        match self.clear_ended(&id) {
            Ok(true) => Err(Error::NoSuchContainer { name: name.to_owned() }),
            _ => Ok(id),
        }
    }

    fn look_up(&self, name: &str) -> Result<ContainerId, Error> {
        let missing = || Error::NoSuchContainer { name: name.to_owned() };
        // A whole id needs no index.
        if let Ok(id) = name.parse::<ContainerId>() {
            return if self.has_record(&id) { Ok(id) } else { Err(missing()) };
        }
        let bare = name.strip_prefix('/').unwrap_or(name);
        if let Some(id) = self.store.find_name(NameKind::Container, bare)? {
            let id: ContainerId = id.parse().map_err(|_| missing())?;
            if self.has_record(&id) {
                return Ok(id);
            }
            // A removal that the index could not follow.
            let _ = self.clear_unborn(id.as_str());
            return Err(missing());
        }
        if bare.is_empty() || !bare.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(missing());
        }
        let mut found = self.store.containers_by_prefix(bare)?;
        if found.is_empty() {
            // A creation that was cut short has left a record without a row.
            self.rows()?;
            found = self.store.containers_by_prefix(bare)?;
        }
        if found.is_empty() {
            // Its record is damaged, so that it has no row.
            found = crate::check::names(&self.paths.containers())?;
            found.retain(|id| id.starts_with(bare));
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(id), None) => id.parse().map_err(|_| missing()),
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix { prefix: name.to_owned() }),
            (None, _) => Err(missing()),
        }
    }

    pub(crate) fn record(&self, id: &ContainerId) -> Result<Record, Error> {
        match onggi_record::read_up_to::<Record>(&self.paths.record(id), record::VERSION) {
            Ok(record) => Ok(record),
            Err(onggi_record::Error::Newer { found, known, .. }) => {
                Err(Error::TooNew { what: "a container's record", found, known })
            }
            Err(error) if is_missing(&error) => Err(Error::NoSuchContainer { name: id.to_string() }),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn has_record(&self, id: &ContainerId) -> bool {
        onggi_record::is_there(&self.paths.record(id))
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<(), Error> {
        let durability = if record.request.remove { Durability::Volatile } else { Durability::Synced };
        Ok(onggi_record::write(&self.paths.record(&record.id), record, durability)?)
    }

    /// The state as it is written, whether it is still true or not. What the disk had no room for is in the sandbox.
    pub(crate) fn written_state(&self, id: &ContainerId) -> Result<State, Error> {
        let kept = self.kept_state(id)?;
        Ok(self.waiting_state(id).unwrap_or(kept))
    }

    /// The state that a monitor could not write where it is kept.
    pub(crate) fn waiting_state(&self, id: &ContainerId) -> Option<State> {
        let path = self.paths.sandbox(id).join(state::FILE);
        let state = onggi_record::read_up_to::<State>(&path, state::VERSION).ok()?;
        (state.boot_id == state::boot_id()).then_some(state)
    }

    fn kept_state(&self, id: &ContainerId) -> Result<State, Error> {
        match self.read_state(id) {
            // While its monitor lives nothing is lost, whatever the files say.
            Ok(None) | Err(Error::Store { .. }) if self.ask_for_state(id) => {}
            Ok(Some(state)) => return Ok(state),
            Ok(None) => return Ok(State::default()),
            Err(_) if lost_its_power(&self.paths.container(id).join(state::FILE)) => {
                return Ok(State { status: Phase::Running, ..State::default() });
            }
            Err(error) => return Err(error),
        }
        Ok(self.read_state(id)?.unwrap_or_default())
    }

    /// `None`: there is a container, and no state.
    fn read_state(&self, id: &ContainerId) -> Result<Option<State>, Error> {
        let path = self.paths.container(id).join(state::FILE);
        match onggi_record::read_up_to::<State>(&path, state::VERSION) {
            Ok(state) => Ok(Some(state)),
            Err(onggi_record::Error::Newer { found, known, .. }) => {
                Err(Error::TooNew { what: "a container's state", found, known })
            }
            Err(error) if is_missing(&error) && self.has_record(id) => Ok(None),
            Err(error) if is_missing(&error) => Err(Error::NoSuchContainer { name: id.to_string() }),
            Err(error) => Err(error.into()),
        }
    }

    /// The state as it is, after the reconciler has looked at it if no monitor stands behind what is written.
    pub(crate) fn state(&self, id: &ContainerId) -> Result<State, Error> {
        let kept = self.kept_state(id)?;
        let waiting = self.waiting_state(id);
        let settled = waiting.is_none() && !status(&kept).is_live();
        if settled && is_cut_short(&kept) {
            return self.finish_restart(id);
        }
        if settled || self.is_watched(id) {
            return Ok(waiting.map_or(kept, not_kept));
        }
        self.reconcile(id)
    }

    pub(crate) fn write_state(&self, record: &Record, state: &State) -> Result<(), Error> {
        let directory = self.paths.container(&record.id);
        let handle = File::open(&directory).map_err(Error::io("open", &directory))?;
        let durability =
            if record.request.remove { StateDurability::Volatile } else { StateDurability::Synced };
        state.write(handle.as_fd(), durability).map_err(|error| match error {
            // This process wrote it, and no monitor.
            onggi_monitor::Error::Record { source } => source.into(),
            other => self.monitor_error(&record.id, &other),
        })
    }

    /// Waits for the container's lock.
    pub(crate) fn lock(&self, id: &ContainerId) -> Result<StateLock, Error> {
        let path = self.paths.container(id).join(LOCK);
        let file = self.open_lock(id)?;
        onggi_sys::ofd::lock(file.as_fd()).map_err(Error::io("lock", path))?;
        // Whoever had it may have taken the container away.
        if !self.paths.container(id).join(LOCK).exists() {
            return Err(Error::NoSuchContainer { name: id.to_string() });
        }
        Ok(StateLock { file })
    }

    /// The container's lock if nobody has it.
    pub(crate) fn try_lock(&self, id: &ContainerId) -> Result<Option<StateLock>, Error> {
        let path = self.paths.container(id).join(LOCK);
        let file = self.open_lock(id)?;
        let taken = onggi_sys::ofd::try_lock(file.as_fd()).map_err(Error::io("lock", path))?;
        Ok(taken.then_some(StateLock { file }))
    }

    /// Makes the directory of a container that is about to be made, and takes its lock. The directory comes to its place with the lock
    /// held, so that nobody takes it for what is left of a dead creation.
    pub(crate) fn new_directory(&self, id: &ContainerId) -> Result<StateLock, Error> {
        let born = self.passing(id);
        make_directory(&born).map_err(Error::io("make the directory", &born))?;
        let path = born.join(LOCK);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        onggi_sys::ofd::lock(file.as_fd()).map_err(Error::io("lock", path))?;
        let directory = self.paths.container(id);
        std::fs::rename(&born, &directory).map_err(Error::io("make the directory", directory))?;
        Ok(StateLock { file })
    }

    /// Where a container's directory is before it comes to its place, and after it has left that. By this form of a name the store knows whose it is,
    /// and that nobody has to clear it away while this process lives.
    pub(crate) fn passing(&self, id: &ContainerId) -> PathBuf {
        self.paths.temporary().join(format!("container-{id}.{}", std::process::id()))
    }

    fn open_lock(&self, id: &ContainerId) -> Result<File, Error> {
        let path = self.paths.container(id).join(LOCK);
        let mut options = File::options();
        options.write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        options.open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NoSuchContainer { name: id.to_string() },
            _ => Error::io("open", path)(error),
        })
    }

    /// Whether a monitor holds the `alive` lock of the container's sandbox.
    pub(crate) fn is_watched(&self, id: &ContainerId) -> bool {
        let path = self.paths.sandbox(id).join(ALIVE);
        // For reading only: asking takes nothing, so it needs no right to write.
        File::open(path).is_ok_and(|file| onggi_sys::ofd::is_held(file.as_fd()).unwrap_or(false))
    }

    /// A connection to the container's monitor.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when there is none.
    pub(crate) fn connect(&self, id: &ContainerId) -> Result<Connection, Error> {
        client::connect(&self.paths.sandbox(id)).map_err(|error| match &error {
            onggi_monitor::Error::Connect { source, .. }
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                Error::NotRunning { id: id.to_string() }
            }
            _ => self.monitor_error(id, &error),
        })
    }

    pub(crate) fn monitor_error(&self, id: &ContainerId, error: &onggi_monitor::Error) -> Error {
        Error::Monitor { id: id.to_string(), message: error.to_string() }
    }
}

/// Says beside a state that the disk has not taken it.
fn not_kept(state: State) -> State {
    const WORDS: &str = "this state is not on the disk yet, which is full or fails";
    let error = if state.error.is_empty() { WORDS.to_owned() } else { format!("{}; {WORDS}", state.error) };
    State { error, ..state }
}

/// A state is not synced while its container runs, since it does not outlive the machine. After a power cut such a one may have its name and none of its
/// bytes (XFS; ext4 without `auto_da_alloc`): so the container ran.
fn lost_its_power(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// The state's word.
pub(crate) fn status(state: &State) -> Status {
    match state.status {
        Phase::Created => Status::Created,
        Phase::Running => Status::Running,
        Phase::Paused => Status::Paused,
        Phase::Restarting => Status::Restarting,
        Phase::Exited => Status::Exited,
        Phase::Removing => Status::Removing,
        Phase::Dead => Status::Dead,
    }
}
