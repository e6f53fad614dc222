//! The SQLite index: unique names, leases, and a row for each container. Derived from the files, and made from them again whenever it is
//! missing, damaged, of another version, of another store, or from before the last boot.
//!
//! "From before the last boot" is why nothing here waits for the disk: with `synchronous = OFF` a power cut may lose or tear anything, so an
//! index that another boot has written is never believed. A killed process loses nothing, since what it committed is in the page cache. Therefore it
//! lies in the run root: where that is memory, a full disk takes nothing from it.
//! docs/decisions/0003-state.md has the figures.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Error;
use crate::process::Process;
use crate::types::{ContainerRow, NameKind};

mod file;

use file::Open;

const INSERT_CONTAINER: &str = "INSERT OR REPLACE INTO containers VALUES (?, ?, ?, ?)";

/// What the files say, to fill the index with.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) containers: Vec<(ContainerRow, Option<String>)>,
}

/// The index of one store; opened when it is first needed, and again when somebody has deleted it meanwhile.
pub(crate) struct Index {
    path: PathBuf,
    /// The data root that it is over: a run root that is used with another one must not mix their names.
    data: PathBuf,
    /// Reads the files when the index must be made anew.
    contents: Box<dyn Fn() -> Contents + Send + Sync>,
    connection: Mutex<Option<Open>>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Index {
    pub(crate) fn new(
        path: PathBuf,
        data: PathBuf,
        contents: Box<dyn Fn() -> Contents + Send + Sync>,
    ) -> Index {
        Index { path, data, contents, connection: Mutex::new(None) }
    }

    /// Takes a name, and with it a lease on an image if one is given. The holder's id is given back if the name is another's; then there is
    /// no lease either.
    pub(crate) fn reserve_name(
        &self,
        kind: NameKind,
        name: &str,
        id: &str,
        image: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let process = Process::own().to_string();
        self.write("reserve a name", |transaction| {
            let mut insert = transaction.prepare("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)")?;
            if insert.execute(params![kind.name(), name, id, process])? != 1 {
                let holder = find_name(transaction, kind, name)?.filter(|holder| holder != id);
                if holder.is_some() {
                    return Ok(holder);
                }
            }
            if let Some(image) = image {
                lease(transaction, id, image)?;
            }
            Ok(None)
        })
    }

    /// Gives a name to another id if it still belongs to `from`.
    pub(crate) fn take_name(&self, kind: NameKind, name: &str, from: &str, id: &str) -> Result<bool, Error> {
        let process = Process::own().to_string();
        self.write("take over a name", |transaction| {
            let sql = "UPDATE names SET id = ?, reserved_by = ? WHERE kind = ? AND name = ? AND id = ?";
            Ok(transaction.execute(sql, params![id, process, kind.name(), name, from])? == 1)
        })
    }

    /// The process that reserved a name, while the thing that it is for may not exist yet.
    pub(crate) fn reserved_by(&self, kind: NameKind, name: &str) -> Result<Option<Process>, Error> {
        self.read("find who reserved a name", |connection| {
            let sql = "SELECT reserved_by FROM names WHERE kind = ? AND name = ?";
            let text: Option<String> =
                connection.query_row(sql, params![kind.name(), name], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| Process::parse(&text)))
        })
    }

    pub(crate) fn release_name(&self, kind: NameKind, name: &str, id: &str) -> Result<(), Error> {
        self.write("release a name", |transaction| {
            transaction.execute(
                "DELETE FROM names WHERE kind = ? AND name = ? AND id = ?",
                params![kind.name(), name, id],
            )?;
            Ok(())
        })
    }

    /// Gives the id a new name for all its old ones. The holder's id is given back if the new one is another's.
    pub(crate) fn rename(&self, kind: NameKind, new: &str, id: &str) -> Result<Option<String>, Error> {
        let process = Process::own().to_string();
        self.write("rename", |transaction| {
            if let Some(holder) = find_name(transaction, kind, new)?
                && holder != id
            {
                return Ok(Some(holder));
            }
            transaction.execute("DELETE FROM names WHERE kind = ? AND id = ?", params![kind.name(), id])?;
            transaction
                .execute("INSERT INTO names VALUES (?, ?, ?, ?)", params![kind.name(), new, id, process])?;
            if kind == NameKind::Container {
                transaction.execute("UPDATE containers SET name = ? WHERE id = ?", params![new, id])?;
            }
            Ok(None)
        })
    }

    pub(crate) fn find_name(&self, kind: NameKind, name: &str) -> Result<Option<String>, Error> {
        self.read("find a name", |connection| find_name(connection, kind, name))
    }

    pub(crate) fn lease(&self, owner: &str, image: &str) -> Result<(), Error> {
        self.write("lease", |transaction| lease(transaction, owner, image))
    }

    /// Ends a lease and says on what it was.
    pub(crate) fn release(&self, owner: &str) -> Result<Option<String>, Error> {
        self.write("release a lease", |transaction| {
            let image = transaction
                .query_row("DELETE FROM leases WHERE owner = ? RETURNING image", [owner], |row| row.get(0))
                .optional()?;
            Ok(image)
        })
    }

    /// All leases, `(owner, image)`.
    pub(crate) fn leases(&self) -> Result<Vec<(String, String)>, Error> {
        self.read("list leases", list_leases)
    }

    /// Runs `act` with all leases, `(owner, image)`, while nobody can make a new one.
    pub(crate) fn with_leases<T>(
        &self,
        act: impl FnOnce(&[(String, String)]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut act = Some(act);
        let result = self.write("list leases", |transaction| {
            let leases = list_leases(transaction)?;
            // A second run happens only when the first one failed before this line.
            Ok(act.take().map(|act| act(&leases)))
        })?;
        result.unwrap_or_else(|| Err(Error::LostRace { what: "the index".to_owned() }))
    }

    pub(crate) fn containers(&self) -> Result<Vec<ContainerRow>, Error> {
        self.read("list containers", |connection| {
            let mut statement = connection
                .prepare("SELECT id, name, created, summary FROM containers ORDER BY created DESC, id")?;
            let rows = statement.query_map([], |row| {
                let summary: String = row.get(3)?;
                let summary = serde_json::from_str(&summary).unwrap_or_default();
                Ok(ContainerRow { id: row.get(0)?, name: row.get(1)?, created: row.get(2)?, summary })
            })?;
            rows.collect()
        })
    }

    pub(crate) fn containers_by_prefix(&self, prefix: &str) -> Result<Vec<String>, Error> {
        // The ids are hexadecimal, so everything that begins with the prefix is below the prefix with a 'g'.
        self.read("find a container", |connection| {
            let mut statement = connection
                .prepare("SELECT id FROM containers WHERE id >= ? AND id < ? ORDER BY id LIMIT 2")?;
            statement.query_map([prefix, &format!("{prefix}g")], |row| row.get(0))?.collect()
        })
    }

    pub(crate) fn insert_container(&self, row: &ContainerRow) -> Result<(), Error> {
        self.write("insert a container", |transaction| {
            transaction
                .execute(INSERT_CONTAINER, params![row.id, row.name, row.created, row.summary.to_string()])?;
            Ok(())
        })
    }

    /// Removes a container's row, name and lease, and says which image it had leased.
    pub(crate) fn remove_container(&self, id: &str) -> Result<Option<String>, Error> {
        self.write("remove a container", |transaction| {
            transaction.prepare("DELETE FROM containers WHERE id = ?")?.execute([id])?;
            transaction.prepare("DELETE FROM names WHERE kind = 'container' AND id = ?")?.execute([id])?;
            let mut statement = transaction.prepare("DELETE FROM leases WHERE owner = ? RETURNING image")?;
            statement.query_row([id], |row| row.get(0)).optional()
        })
    }
}

fn lease(connection: &Connection, owner: &str, image: &str) -> rusqlite::Result<()> {
    connection.prepare("INSERT OR REPLACE INTO leases VALUES (?, ?)")?.execute([owner, image]).map(drop)
}

fn list_leases(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare("SELECT owner, image FROM leases")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn find_name(connection: &Connection, kind: NameKind, name: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare("SELECT id FROM names WHERE kind = ? AND name = ?")?;
    statement.query_row([kind.name(), name], |row| row.get(0)).optional()
}
