//! The index as a file: opened, believed or made anew, and the turn of who writes to it.
//!
//! A new one gets its name when it is whole, and everybody who has the old one open finds that it has lost its own.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use onggi_sys::fault;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::{Contents, INSERT_CONTAINER, Index};
use crate::error::Error;
use crate::layout::make_directory;

/// The version of the tables; another one is made anew.
const VERSION: i64 = 2;
/// How long a command waits for others to finish their writes, each of which takes well under a millisecond.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Pages in the write-ahead log before it is copied back. Small, because who opens the index while nobody else has it open reads the whole log
/// and computes its sums: most commands do, and a start writes four pages or so.
const CHECKPOINT_PAGES: i64 = 16;
/// Bytes of pages that a new index has to spare.
const ROOM: u32 = 256 << 10;

const TABLES: &str = "
    CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE names (kind TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, reserved_by TEXT NOT NULL,
                        PRIMARY KEY (kind, name)) WITHOUT ROWID;
    CREATE INDEX names_by_id ON names (id);
    CREATE TABLE leases (owner TEXT PRIMARY KEY, image TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX leases_by_image ON leases (image);
    CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL, created TEXT NOT NULL, summary TEXT NOT NULL) WITHOUT ROWID;
";

pub(super) struct Open {
    connection: Connection,
    /// Device and inode of the file that is open: a deleted one must not be written any more.
    file: (u64, u64),
}

impl Index {
    /// Makes the index anew from the files, keeping nothing of the old one.
    pub(crate) fn rebuild(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        *slot = None;
        let _lock = self.lock()?;
        self.make_anew()
    }

    /// What SQLite finds wrong with the index's own structure. Whether a row is true the engine knows, which can ask whoever is
    /// at work on its container.
    pub(crate) fn damage(&self) -> Result<Option<String>, Error> {
        if is_no_file(&self.path) {
            return Ok(Some("the index is no file".to_owned()));
        }
        if !self.path.exists() {
            // It is made when it is first needed.
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let look = || -> rusqlite::Result<String> {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        };
        match look() {
            Ok(state) if state == "ok" => Ok(None),
            Ok(state) => Ok(Some(format!("the index is damaged: {state}"))),
            Err(error) if is_damage(&error) => Ok(Some(format!("the index is damaged: {error}"))),
            Err(error) => Err(self.error("check")(error)),
        }
    }

    pub(super) fn read<T>(
        &self,
        operation: &'static str,
        mut act: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with(operation, |connection| act(connection))
    }

    pub(super) fn write<T>(
        &self,
        operation: &'static str,
        mut act: impl FnMut(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with(operation, |connection| {
            // In the kernel's queue a writer waits as long as those before it take; in SQLite's, which sleeps and tries again, up to
            // 100 ms longer. Should the lock fail, SQLite's own still holds.
            let _turn = self.lock().ok();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = act(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// Runs `act` on the open index, and once more on a new one if the first is found to be damaged.
    fn with<T>(
        &self,
        operation: &'static str,
        mut act: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let mut slot = self.slot();
        let open = self.opened(&mut slot, None)?;
        let damaged = open.file;
        match act(&mut open.connection) {
            Err(error) if is_damage(&error) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                // What is in the log is copied back, so that the next write begins again at the log's head, in blocks that it has already:
                // removing a row must not need a free one.
                return open
                    .connection
                    .query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
                    .and_then(|()| act(&mut open.connection))
                    .map_err(self.error(operation));
            }
            other => return other.map_err(self.error(operation)),
        }
        *slot = None;
        let open = self.opened(&mut slot, Some(damaged))?;
        act(&mut open.connection).map_err(self.error(operation))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Open>> {
        // A panic elsewhere cannot have left a transaction open: it was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open index: the one that is open already, if its file still has its name, or the one on disk, or a new one. The file `damaged`
    /// is not opened again.
    fn opened<'a>(
        &self,
        slot: &'a mut Option<Open>,
        damaged: Option<(u64, u64)>,
    ) -> Result<&'a mut Open, Error> {
        if slot.as_ref().is_some_and(|open| file_of(&self.path) != Some(open.file)) {
            *slot = None;
        }
        let open = match slot.take() {
            Some(open) => open,
            None => {
                let _lock = self.lock()?;
                let known_bad = damaged.is_some() && file_of(&self.path) == damaged;
                let existing = if known_bad { None } else { self.open_existing(Made::Before)? };
                match existing {
                    Some(open) => open,
                    None => {
                        self.make_anew()?;
                        self.open_existing(Made::Now)?
                            .ok_or_else(|| Error::LostRace { what: "the index".to_owned() })?
                    }
                }
            }
        };
        Ok(slot.insert(open))
    }

    /// Held while the file or its log get or lose their names: a log must never be found beside another file than its own.
    fn lock(&self) -> Result<File, Error> {
        let path = with_suffix(&self.path, ".lock");
        let lock = match onggi_sys::ofd::open(&path) {
            // The first command of this boot.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_directory(self.path.parent().unwrap_or(&self.path))?;
                onggi_sys::ofd::open(&path)
            }
            other => other,
        };
        let lock = lock.map_err(Error::io("open", &path))?;
        onggi_sys::ofd::lock(lock.as_fd()).map_err(Error::io("lock", &path))?;
        Ok(lock)
    }

    /// Opens the index if it is there, whole, of this version and of this boot. The caller holds the lock.
    fn open_existing(&self, made: Made) -> Result<Option<Open>, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let Some(file) = file_of(&self.path) else { return Ok(None) };
        if is_no_file(&self.path) {
            return Ok(None);
        }
        for suffix in ["", "-wal", "-shm"] {
            narrow(&with_suffix(&self.path, suffix));
        }
        let look = || -> rusqlite::Result<Option<Open>> {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            configure(&connection)?;
            let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if version != VERSION {
                return Ok(None);
            }
            let about = |key: &str| {
                connection
                    .query_row("SELECT value FROM about WHERE key = ?", [key], |row| row.get(0))
                    .optional()
            };
            let boot: Option<String> = about("boot")?;
            let store: Option<String> = about("store")?;
            // Without a free descriptor nobody knows the boot.
            let believed = made == Made::Now || boot == boot_id() && store == store_id(&self.data);
            Ok(believed.then_some(Open { connection, file }))
        };
        match look() {
            // What was made a moment ago says by the error what else is wrong: no descriptor is left, say.
            Err(error)
                if made == Made::Before
                    && (is_damage(&error) || error.sqlite_error_code() == Some(ErrorCode::CannotOpen)) =>
            {
                Ok(None)
            }
            other => other.map_err(self.error("open")),
        }
    }

    /// Fills a new index from the files and puts it in the old one's place. The caller holds the lock.
    fn make_anew(&self) -> Result<(), Error> {
        // It gets its name when it is whole: a killed process leaves no half-filled one.
        let temporary = with_suffix(&self.path, ".new");
        remove_if_there(&temporary)?;
        // SQLite gives its log the mode of the file. Who may read them can lock them, and hold everybody up.
        let made = File::options().write(true).create_new(true).mode(0o600).open(&temporary);
        made.map_err(Error::io("create", &temporary))?;
        let contents = (self.contents)();
        fill(&temporary, &contents, store_id(&self.data)).map_err(self.error("make anew"))?;
        fault::point("store.index.filled");
        for suffix in ["-wal", "-shm"] {
            remove_if_there(&with_suffix(&self.path, suffix))?;
        }
        if is_no_file(&self.path) {
            // No file takes a directory's name.
            crate::act::remove_tree(&self.path)?;
        }
        fs::rename(&temporary, &self.path).map_err(Error::io("rename", &temporary))
    }

    fn error(&self, operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Index { path, operation, source }
    }
}

/// Whether something else has its name: a pipe would be waited for.
fn is_no_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|data| !data.is_file())
}

/// When an index was made that is being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Before,
    Now,
}

fn fill(path: &Path, contents: &Contents, store: Option<String>) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    {
        let mut insert = transaction.prepare(INSERT_CONTAINER)?;
        let mut name = transaction.prepare("INSERT OR IGNORE INTO names VALUES ('container', ?, ?, '')")?;
        let mut lease = transaction.prepare("INSERT OR REPLACE INTO leases VALUES (?, ?)")?;
        for (row, image) in &contents.containers {
            insert.execute(params![row.id, row.name, row.created, row.summary.to_string()])?;
            name.execute([&row.name, &row.id])?;
            if let Some(image) = image {
                lease.execute([&row.id, image])?;
            }
        }
    }
    // Free pages: on a full disk rows must still be able to move between pages, and the log to be copied back.
    transaction.execute_batch(&format!(
        "CREATE TABLE room (bytes); INSERT INTO room VALUES (zeroblob({ROOM})); DROP TABLE room;"
    ))?;
    for (key, value) in [("boot", boot_id()), ("store", store)] {
        transaction.execute("INSERT INTO about SELECT ?1, ?2 WHERE ?2 IS NOT NULL", params![key, value])?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The last one to close would copy the log back, and sync, in the middle of somebody's command.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    // A missing table is damage too: somebody else's database, or ours with a page of zeroes.
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
    )
}

/// Takes from others what an earlier version has left them.
fn narrow(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        // Another's file stays as it is.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    }
}

fn file_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The kernel's name for this boot; without it (no /proc) every index is believed.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

/// The data root as the kernel knows it, by whatever path it is reached.
fn store_id(data: &Path) -> Option<String> {
    file_of(data).map(|(device, inode)| format!("{device}:{inode}"))
}
