//! Volumes: directories that outlive containers. The sealed `volume.json` beside `_data` is the truth; who uses one is in the
//! containers' records.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

use onggi_record::Durability;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::error::Error;
use crate::events::label_matches;
use crate::id::ContainerId;
use crate::names;
use crate::paths::make_directory;
use crate::request::Filters;
use crate::summary::Volume;

const RECORD: &str = "volume.json";
const DATA: &str = "_data";
/// An empty file beside the record of an anonymous volume that more than one container has used.
const SHARED: &str = "shared";
const VERSION: u32 = 1;

/// `volume.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    name: String,
    created: String,
    labels: BTreeMap<String, String>,
    anonymous: bool,
}

impl Engine {
    /// Makes a volume; one of the name that exists already is answered as it is, as Docker does.
    ///
    /// # Errors
    /// An invalid name.
    pub fn volume_create(
        &self,
        name: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        match name {
            Some(name) => self.ensure_volume(name, labels, false, Durability::Synced),
            None => self.ensure_volume(&random_name()?, labels, true, Durability::Synced),
        }
    }

    /// Every volume by name. Filters: `name`, `label`, `dangling`, `driver`.
    ///
    /// # Errors
    /// A filter that means nothing.
    pub fn volumes(&self, filters: &Filters) -> Result<Vec<Volume>, Error> {
        const KNOWN: [&str; 4] = ["name", "label", "dangling", "driver"];
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::Invalid { what: format!("invalid filter '{name}'") });
        }
        let used = if filters.contains_key("dangling") { self.volume_users()? } else { BTreeMap::new() };
        let mut volumes = Vec::new();
        let directory = self.paths.volumes();
        let entries = std::fs::read_dir(&directory).map_err(Error::io("read", &directory))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // One whose record was never written is no volume yet.
            let Some(volume) = self.read_volume(&name)? else { continue };
            let wanted = filters.iter().all(|(key, values)| match key.as_str() {
                "label" => values.iter().all(|value| label_matches(&volume.labels, value)),
                "name" => values.iter().any(|value| name.contains(value.as_str())),
                "driver" => values.contains(&volume.driver),
                _ => values.iter().any(|value| {
                    let dangling = matches!(value.as_str(), "1" | "true");
                    dangling != used.contains_key(&name)
                }),
            });
            if wanted {
                volumes.push(volume);
            }
        }
        volumes.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(volumes)
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none of the name.
    pub fn volume(&self, name: &str) -> Result<Volume, Error> {
        let found = if names::is_valid(name) { self.read_volume(name)? } else { None };
        found.ok_or_else(|| Error::NoSuchVolume { name: name.to_owned() })
    }

    /// Removes a volume that no container uses. With `force` a missing one is no error.
    ///
    /// # Errors
    /// It is in use.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        if !names::is_valid(name) || self.read_volume(name)?.is_none() {
            return if force { Ok(()) } else { Err(Error::NoSuchVolume { name: name.to_owned() }) };
        }
        if let Some(users) = self.volume_users()?.remove(name) {
            return Err(Error::VolumeInUse { name: name.to_owned(), users });
        }
        self.delete_volume(name)
    }

    /// The volume of this name, made if it is not there. An anonymous one that has lost its record gets another, above the data that it has.
    pub(crate) fn ensure_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        anonymous: bool,
        durability: Durability,
    ) -> Result<Volume, Error> {
        if !names::is_valid(name) {
            return Err(Error::Invalid {
                what: format!(
                    "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
                ),
            });
        }
        if let Some(volume) = self.read_volume(name)? {
            return Ok(volume);
        }
        let record = Record {
            version: VERSION,
            name: name.to_owned(),
            created: onggi_monitor::clock::Moment::now().to_string(),
            labels: labels.clone(),
            anonymous,
        };
        if !self.make_volume(&record, durability)? {
            // Somebody was faster; or a power cut has left the volume, and of its record nothing.
            if anonymous && self.read_volume(name)?.is_none() && self.paths.volume(name).is_dir() {
                onggi_record::write(&self.paths.volume(name).join(RECORD), &record, durability)?;
            }
            return self.volume(name);
        }
        self.tell("volume", "create", name, BTreeMap::from([("driver".to_owned(), "local".to_owned())]));
        Ok(self.describe(record))
    }

    /// Made apart and renamed into its place, so that half of one is never seen. `false`: there is one already.
    fn make_volume(&self, record: &Record, durability: Durability) -> Result<bool, Error> {
        let unfinished =
            self.paths.temporary().join(format!("volume-{}.{}", record.name, std::process::id()));
        crate::disk::remove_tree(&unfinished)?;
        make_directory(&unfinished).map_err(Error::io("make the directory", &unfinished))?;
        onggi_sys::fault::point("engine.volume.directory-made");
        let data = unfinished.join(DATA);
        make_directory(&data).map_err(Error::io("make the directory", &data))?;
        // For every user of a container, as Docker's; whatever the caller's umask.
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755))
            .map_err(Error::io("set the mode of", data))?;
        onggi_record::write(&unfinished.join(RECORD), record, durability)?;
        onggi_sys::fault::point("engine.volume.record-written");
        let place = self.paths.volume(&record.name);
        match std::fs::rename(&unfinished, &place) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                crate::disk::remove_tree(&unfinished)?;
                return Ok(false);
            }
            Err(error) => return Err(Error::io("rename", unfinished)(error)),
        }
        onggi_sys::fault::point("engine.volume.renamed");
        if durability == Durability::Synced {
            let volumes = self.paths.volumes();
            let synced = std::fs::File::open(&volumes).and_then(|directory| directory.sync_all());
            synced.map_err(Error::io("fsync", volumes))?;
        }
        Ok(true)
    }

    /// Removes an anonymous volume at the end of its container, unless another one has come to use it.
    pub(crate) fn release_volume(&self, name: &str, holder: &ContainerId) -> Result<(), Error> {
        match self.read_volume(name)? {
            Some(volume) if volume.anonymous && !self.is_used_by_others(name, holder)? => {
                self.delete_volume(name)
            }
            _ => Ok(()),
        }
    }

    /// Notes that more than one container uses an anonymous volume: then its end is the end of the last of them.
    pub(crate) fn mark_shared(&self, name: &str) -> Result<(), Error> {
        let mark = self.paths.volume(name).join(SHARED);
        std::fs::write(&mark, "").map_err(Error::io("write", mark))
    }

    /// Looking at every container takes time, so only a volume with the mark is looked for.
    fn is_used_by_others(&self, name: &str, holder: &ContainerId) -> Result<bool, Error> {
        if !self.paths.volume(name).join(SHARED).exists() {
            return Ok(false);
        }
        let users = self.volume_users()?;
        Ok(users.get(name).is_some_and(|users| users.iter().any(|user| user != holder.as_str())))
    }

    /// Whether it may be filled from an image: there is nothing in it, or a fill was cut short that the runtime has yet to end.
    pub(crate) fn volume_wants_filling(&self, name: &str) -> bool {
        let volume = self.paths.volume(name);
        let empty = match std::fs::read_dir(volume.join(DATA)) {
            Ok(mut entries) => entries.next().is_none(),
            // Of a run that is only explained: it would be made.
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        empty || volume.join(onggi_runtime::FILLED).exists()
    }

    /// Which containers mount which volume, by the containers' records: a creation that was cut short has left one without a row,
    /// and what it uses must not go.
    pub(crate) fn volume_users(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let mut users = BTreeMap::<String, Vec<String>>::new();
        for name in crate::check::names(&self.paths.containers())? {
            let Ok(id) = name.parse() else { continue };
            let record = match self.record(&id) {
                Ok(record) => record,
                Err(Error::NoSuchContainer { .. }) => continue,
                // What a damaged record uses nobody knows, so nothing may go.
                Err(error) => return Err(error),
            };
            for (volume, _) in record.volumes() {
                users.entry(volume.to_owned()).or_default().push(name.clone());
            }
        }
        Ok(users)
    }

    pub(crate) fn delete_volume(&self, name: &str) -> Result<(), Error> {
        let leftover = self.paths.temporary().join(format!("volume-{name}.{}", std::process::id()));
        crate::disk::remove_tree(&leftover)?;
        let directory = self.paths.volume(name);
        match std::fs::rename(&directory, &leftover) {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("rename", directory)(error)),
            Ok(()) => {}
        }
        onggi_sys::fault::point("engine.volume.renamed-away");
        crate::disk::remove_tree(&leftover)?;
        self.tell("volume", "destroy", name, BTreeMap::from([("driver".to_owned(), "local".to_owned())]));
        Ok(())
    }

    /// Puts a new record in the place of one that is damaged or gone, which is set aside. The data stays as it is.
    pub(crate) fn mend_volume(&self, name: &str) -> Result<String, Error> {
        let path = self.paths.volume(name).join(RECORD);
        let aside = path.symlink_metadata().is_ok().then(|| self.store.set_aside(&path)).transpose()?;
        let record = Record {
            version: VERSION,
            name: name.to_owned(),
            created: onggi_monitor::clock::Moment::now().to_string(),
            labels: BTreeMap::new(),
            // So that it goes with no container.
            anonymous: false,
        };
        let data = self.paths.volume(name).join(DATA);
        make_directory(&data).map_err(Error::io("make the directory", &data))?;
        onggi_record::write(&path, &record, Durability::Synced)?;
        let was = aside.map(|aside| format!("; the old one is now {}", aside.display())).unwrap_or_default();
        Ok(format!("it has a new record, without labels, and its data as it was{was}"))
    }

    /// Whether it would be missed: something is in it, or a container has it. A container whose record cannot be read may.
    pub(crate) fn is_volume_wanted(&self, name: &str) -> bool {
        let data = std::fs::read_dir(self.paths.volume(name).join(DATA));
        data.is_ok_and(|mut entries| entries.next().is_some())
            || !self.volume_users().is_ok_and(|users| !users.contains_key(name))
    }

    fn read_volume(&self, name: &str) -> Result<Option<Volume>, Error> {
        let path = self.paths.volume(name).join(RECORD);
        match onggi_record::read::<Record>(&path) {
            Ok(record) if record.version > VERSION => {
                Err(Error::TooNew { what: "a volume's record", found: record.version, known: VERSION })
            }
            Ok(record) => Ok(Some(self.describe(record))),
            Err(error) if crate::disk::is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn describe(&self, record: Record) -> Volume {
        let mountpoint = self.paths.volume(&record.name).join(DATA).to_string_lossy().into_owned();
        Volume {
            name: record.name,
            driver: "local".to_owned(),
            mountpoint,
            created: record.created,
            labels: record.labels,
            anonymous: record.anonymous,
        }
    }
}

/// As Docker's: 64 hexadecimal digits.
pub(crate) fn random_name() -> Result<String, Error> {
    let id = crate::id::ContainerId::random().map_err(|source| Error::Kernel { act: "getrandom", source })?;
    Ok(id.into())
}
