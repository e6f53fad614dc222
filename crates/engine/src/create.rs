//! Making a container: its name, a lease on its image, its record. Nothing of it runs yet.
//!
//! The order is: directory and lock, mark, name and lease, files, record, row; then the mark goes. Until the record is there the container does not exist, and
//! whoever meets what is left of a creation that was cut short (a name whose holder has no record, and whose lock nobody holds)
//! takes it away. For a container that is started at once, all from the files on is done by the start, beside its own preparations.

use std::path::{Path, PathBuf};

use onggi_monitor::clock::Moment;
use onggi_monitor::state::State;
use onggi_record::Durability;
use onggi_store::{ContainerRow, Image, NameKind};

use crate::Engine;
use crate::container::{StateLock, Unwritten};
use crate::error::Error;
use crate::fitness;
use crate::id::ContainerId;
use crate::names;
use crate::paths::make_directory;
use crate::record::{self, MountKind, MountPoint, Record};
use crate::request::{IpcMode, Limits, Network, PidMode, RunRequest, VolumesFrom};
use crate::resolve::{self, Facts};
use crate::summary::{Created, Row};

/// After so many made-up names in use, something else is wrong.
const MOST_NAMES_TRIED: u32 = 12;

impl Engine {
    /// Reserves the name, resolves the image, writes the record.
    ///
    /// # Errors
    /// The name is taken, the image is not here, the request means nothing on this host.
    pub fn create(&self, request: &RunRequest) -> Result<Created, Error> {
        let (created, unwritten) = self.conceive(request, false)?;
        match self.write_down(&unwritten) {
            Ok(()) => Ok(created),
            Err(error) => {
                self.abandon(&created.id, unwritten.lock, &unwritten.mark);
                Err(error)
            }
        }
    }

    /// As [`Engine::create`], for a caller that starts the container next, and whose container is written down by that: should it die before, the
    /// container has never been. Should it die in the start, and the container be one with `--rm`, the next command that meets the container takes
    /// it away. Until the start, others wait for this engine.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_to_start(&self, request: &RunRequest) -> Result<Created, Error> {
        let (created, unwritten) = self.conceive(request, request.remove)?;
        self.keep_unwritten(unwritten);
        Ok(created)
    }

    /// Decides what the container is and takes what nobody else may have: its directory and lock, its name, the lease on its image.
    fn conceive(&self, request: &RunRequest, run: bool) -> Result<(Created, Unwritten), Error> {
        // Before anything is made: each later step would fail in its own words.
        if self.is_rootless() {
            crate::ordinary::check(request, self.cgroups()?)?;
        }
        if let Some(name) = request.name.as_ref().filter(|name| !names::is_valid(name)) {
            return Err(Error::InvalidName { name: name.clone() });
        }
        self.clear_cut_short();
        let image = self.image(request)?;
        let warnings = fitness::check(request, &image)?;
        let id = ContainerId::random().map_err(|source| Error::Kernel { act: "getrandom", source })?;
        let mut record = self.draft(request, &image, id.clone())?;
        record.run = run;
        self.check_publishing(&record)?;
        prepare_binds(&record)?;

        let lock = self.new_directory(&id)?;
        let mark = self.mark_unborn(&id);
        onggi_sys::fault::point("engine.create.directory-made");
        if let Err(error) = self.take_name(&mut record) {
            self.abandon(&id, lock, &mark);
            return Err(error);
        }
        onggi_sys::fault::point("engine.create.name-reserved");
        let no_layers = image.layers.is_empty();
        self.remember(image);
        let created = Created { id, name: record.name.clone(), warnings };
        Ok((created, Unwritten { record, lock, mark, no_layers }))
    }

    /// The record as it will be written, but for a made-up name.
    pub(crate) fn draft(
        &self,
        request: &RunRequest,
        image: &Image,
        id: ContainerId,
    ) -> Result<Record, Error> {
        let mut no_volume = None;
        let mut new_volume = || match crate::volumes::random_name() {
            Ok(name) => name,
            Err(error) => {
                no_volume = Some(error);
                String::new()
            }
        };
        let mut request = request.clone();
        self.pin_neighbours(&mut request)?;
        let borrowed = self.borrowed(&request)?;
        let shared_hostname = match &request.network {
            Network::Container(id) => Some(self.neighbour_record(id)?.resolved.hostname),
            _ => None,
        };
        let resolved = resolve::resolve(
            &request,
            &mut Facts {
                id: &id,
                layers: &image.layers,
                config: &image.config.config,
                settings: &self.settings,
                host_name: &host_name(),
                shared_hostname: shared_hostname.as_deref(),
                processor_list: &online(request.resources.cpuset_cpus.is_some(), "cpu"),
                memory_nodes: &online(request.resources.cpuset_mems.is_some(), "node"),
                processors: processors(&request.resources),
                borrowed: &borrowed,
                new_volume: &mut new_volume,
            },
        )?;
        if let Some(error) = no_volume {
            return Err(error);
        }
        Ok(Record {
            version: record::VERSION,
            id,
            name: request.name.clone().unwrap_or_default(),
            created: Moment::now().to_string(),
            image: image.id.clone(),
            run: false,
            request,
            resolved,
        })
    }

    /// The image of a request, which has to be here: who asks decides about pulling, since it takes time and a person wants to see it.
    pub(crate) fn image(&self, request: &RunRequest) -> Result<Image, Error> {
        self.store.resolve(&request.image).map_err(|error| match error {
            onggi_store::Error::NoSuchImage { .. } => Error::NoSuchImage { image: familiar(&request.image) },
            other => other.into(),
        })
    }

    /// A name of another container may change hands; its id does not.
    fn pin_neighbours(&self, request: &mut RunRequest) -> Result<(), Error> {
        if let PidMode::Container(name) = &mut request.pid {
            *name = self.resolve(name)?.into();
        }
        if let Network::Container(name) = &mut request.network {
            *name = self.resolve(name)?.into();
        }
        for wanted in &request.networks {
            // Better now than when it starts.
            self.find_network(&wanted.name)?;
        }
        if let IpcMode::Container(name) = &mut request.ipc {
            *name = self.resolve(name)?.into();
        }
        for lender in &mut request.volumes_from {
            lender.container = self.resolve(&lender.container)?.into();
        }
        Ok(())
    }

    /// What the containers of `--volumes-from` have mounted that others can have too: all but file systems in memory.
    fn borrowed(&self, request: &RunRequest) -> Result<Vec<MountPoint>, Error> {
        let mut points = Vec::new();
        for VolumesFrom { container, read_only } in &request.volumes_from {
            let lender = self.record(&self.resolve(container)?)?;
            for mut point in lender.resolved.mounts {
                point.read_only |= read_only;
                match &mut point.kind {
                    MountKind::Tmpfs { .. } => continue,
                    // It was filled for the one that it was made for.
                    MountKind::Volume { no_copy, .. } => *no_copy = true,
                    MountKind::Bind { .. } => {}
                }
                points.push(point);
            }
        }
        Ok(points)
    }

    /// Makes the container's files. When this returns it exists, or whoever has its lock undoes the creation.
    pub(crate) fn write_down(&self, unwritten: &Unwritten) -> Result<(), Error> {
        let record = &unwritten.record;
        self.write_files(record, unwritten.no_layers)?;
        // Whoever finds it later sees that there is nothing to do.
        let _ = std::fs::remove_file(&unwritten.mark);
        self.tell("container", "create", record.id.as_str(), record.event_attributes());
        Ok(())
    }

    fn write_files(&self, record: &Record, no_layers: bool) -> Result<(), Error> {
        let directory = self.paths.container(&record.id);
        let no_layers = no_layers.then_some(crate::spec::NO_LAYERS);
        for name in ["upper", "work", "log"].into_iter().chain(no_layers) {
            let path = directory.join(name);
            make_directory(&path).map_err(Error::io("make the directory", path))?;
        }
        // overlayfs shows the upper directory's owner and mode as those of `/`: open to every user, as Docker's is.
        let upper = directory.join("upper");
        std::fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(Error::io("set the mode of", upper))?;
        self.write_state(record, &State::default())?;
        onggi_sys::fault::point("engine.create.state-written");
        self.write_record(record)?;
        onggi_sys::fault::point("engine.create.record-written");
        self.prepare_volumes(record)?;
        self.store.insert_container(&row(record))?;
        onggi_sys::fault::point("engine.create.row-inserted");
        Ok(())
    }

    /// Makes the volumes that are not there.
    pub(crate) fn prepare_volumes(&self, record: &Record) -> Result<(), Error> {
        for mount in &record.resolved.mounts {
            if let MountKind::Volume { name, anonymous, labels, .. } = &mount.kind {
                // An anonymous one goes with its container, so it need not survive what that does not.
                let durability = match *anonymous && record.request.remove {
                    true => Durability::Volatile,
                    false => Durability::Synced,
                };
                let volume = self.ensure_volume(name, labels, *anonymous, durability)?;
                if volume.anonymous && (!anonymous || !record.request.volumes_from.is_empty()) {
                    self.mark_shared(name)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the name, or one that is made up, and the lease on the image.
    fn take_name(&self, record: &mut Record) -> Result<(), Error> {
        let reserve = |name: &str| self.store.reserve_container(name, record.id.as_str(), &record.image);
        if record.request.name.is_some() {
            self.refuse_ids(&record.name, &record.id)?;
            return self.take_from_the_dead(&record.name, reserve);
        }
        for attempt in 0..MOST_NAMES_TRIED {
            let name = names::generate(random(&record.id, attempt), attempt);
            match reserve(&name) {
                Ok(()) => {
                    record.name = name;
                    return Ok(());
                }
                Err(onggi_store::Error::NameTaken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The id is unique.
        let name = record.id.short().to_owned();
        reserve(&name)?;
        record.name = name;
        Ok(())
    }

    /// Takes a name that the user chose for a container that is there.
    pub(crate) fn take_given_name(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        self.refuse_ids(name, id)?;
        self.take_from_the_dead(name, |name| self.store.reserve_name(NameKind::Container, name, id.as_str()))
    }

    /// A name that is another's id, as people write ids, would have one of both be taken for the other.
    fn refuse_ids(&self, name: &str, own: &ContainerId) -> Result<(), Error> {
        if name.len() < own.short().len()
            || !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Ok(());
        }
        let others = self.store.containers_by_prefix(name)?;
        match others.iter().find(|other| *other != own.as_str()) {
            Some(other) => Err(Error::Invalid {
                what: format!("invalid container name ({name}): it is the id of container {other}"),
            }),
            None => Ok(()),
        }
    }

    /// Reserves a name that the user chose, from one who died while creating or removing, if need be.
    fn take_from_the_dead(
        &self,
        name: &str,
        reserve: impl Fn(&str) -> Result<(), onggi_store::Error>,
    ) -> Result<(), Error> {
        for last in [false, true] {
            match reserve(name) {
                Ok(()) => return Ok(()),
                Err(onggi_store::Error::NameTaken { holder, .. }) => {
                    if last || !self.clear_holder(&holder)? {
                        return Err(Error::NameInUse { name: name.to_owned(), holder });
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes away a name's holder if it should not be there any more. Answers whether it did.
    fn clear_holder(&self, id: &str) -> Result<bool, Error> {
        if self.clear_unborn(id)? {
            return Ok(true);
        }
        let Ok(id) = id.parse::<ContainerId>() else { return Ok(false) };
        // Its monitor may have died, and with `--rm` the container goes when somebody looks.
        let _ = self.state(&id);
        Ok(self.clear_ended(&id).unwrap_or(false) || !self.has_record(&id))
    }

    /// Says that a container is being made: should its maker die, the next creation finds it without looking at all there are.
    /// Without the mark the next list finds it, so a failure here is none of the creation.
    fn mark_unborn(&self, id: &ContainerId) -> PathBuf {
        let mark = self.paths.unborn().join(id.as_str());
        if std::fs::write(&mark, "").is_err() && make_directory(&self.paths.unborn()).is_ok() {
            let _ = std::fs::write(&mark, "");
        }
        mark
    }

    /// Removes what creations left that were cut short, and gives those that had a record their row. What cannot be mended now does
    /// not stand in the way of a new container.
    fn clear_cut_short(&self) {
        for name in crate::check::names(&self.paths.unborn()).unwrap_or_default() {
            let Ok(id) = name.parse::<ContainerId>() else { continue };
            let mended = match self.try_lock(&id) {
                // Somebody is making it right now.
                Ok(None) => false,
                Ok(Some(lock)) => match self.record(&id) {
                    Ok(record) => self.put_back(&record).is_ok(),
                    Err(Error::NoSuchContainer { .. }) => self.undo_creation(&id, lock).is_ok(),
                    Err(_) => true,
                },
                // An undoing that was itself cut short may have got no further than the lock.
                Err(Error::NoSuchContainer { .. }) => {
                    self.has_record(&id) || crate::disk::remove_tree(&self.paths.container(&id)).is_ok()
                }
                Err(_) => false,
            };
            if mended {
                let _ = self.clear_ended(&id);
                let _ = std::fs::remove_file(self.paths.unborn().join(&name));
            }
        }
    }

    /// Removes what is left of a container that has no record and that nobody is at work on. Answers whether it did.
    pub(crate) fn clear_unborn(&self, id: &str) -> Result<bool, Error> {
        let Ok(id) = id.parse::<ContainerId>() else {
            self.store.remove_container(id)?;
            return Ok(true);
        };
        if self.has_record(&id) {
            return Ok(false);
        }
        match self.try_lock(&id) {
            Ok(Some(lock)) if !self.has_record(&id) => {
                self.undo_creation(&id, lock)?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(Error::NoSuchContainer { .. }) => {
                crate::disk::remove_tree(&self.paths.container(&id))?;
                self.store.remove_container(id.as_str())?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Undoes a creation that has failed. What cannot be undone now, for want of descriptors or of room, whoever makes the next container finds by the mark.
    pub(crate) fn abandon(&self, id: &ContainerId, lock: StateLock, mark: &Path) {
        if self.undo_creation(id, lock).is_ok() {
            let _ = std::fs::remove_file(mark);
        }
    }

    /// Takes away all that there may be of a container that nobody was told of. A start may have begun to prepare beside the creation.
    fn undo_creation(&self, id: &ContainerId, _lock: StateLock) -> Result<(), Error> {
        if self.paths.sandbox(id).exists() {
            self.clear_preparations(id)?;
        }
        if let Ok(record) = self.record(id) {
            for (name, _) in record.volumes().filter(|(_, anonymous)| *anonymous) {
                self.release_volume(name, id)?;
            }
            // From now on nobody takes it for a container.
            let path = self.paths.record(id);
            std::fs::remove_file(&path).map_err(Error::io("remove", path))?;
        }
        self.store.remove_container(id.as_str())?;
        crate::disk::remove_tree(&self.paths.container(id))
    }
}

/// Looks for what is to be bound, and makes the directories that `-v` makes on the host.
pub(crate) fn prepare_binds(record: &Record) -> Result<(), Error> {
    for mount in &record.resolved.mounts {
        let MountKind::Bind { source, create_source, .. } = &mount.kind else { continue };
        match std::fs::symlink_metadata(source) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && *create_source => {
                std::fs::create_dir_all(source).map_err(Error::io("make the directory", source))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Invalid {
                    what: format!(
                        "invalid mount config for type \"bind\": bind source path does not exist: {source}"
                    ),
                });
            }
            Err(error) => return Err(Error::io("look at", source)(error)),
        }
    }
    Ok(())
}

/// The row in the index that belongs to a record.
pub(crate) fn row(record: &Record) -> ContainerRow {
    ContainerRow {
        id: record.id.to_string(),
        name: record.name.clone(),
        created: record.created.clone(),
        // A structure of strings always encodes.
        summary: serde_json::to_value(Row::of(record)).unwrap_or_default(),
    }
}

/// As Docker says it: with the tag that is meant.
fn familiar(image: &str) -> String {
    onggi_image::Reference::parse(image).map_or_else(|_| image.to_owned(), |reference| reference.familiar())
}

/// How many processors there are, for a limit that is measured in them; 1 where there is none, as counting reads several files.
pub(crate) fn processors(limits: &Limits) -> u64 {
    match limits.nano_cpus {
        Some(_) => std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        None => 1,
    }
}

/// Which processors (`cpu`) or memory nodes (`node`) are there, if it matters. Where the kernel does not say, it judges by itself.
pub(crate) fn online(matters: bool, kind: &str) -> String {
    let path = format!("/sys/devices/system/{kind}/online");
    let text = if matters { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    text.trim().to_owned()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The id is random already; another part of it for each attempt.
fn random(id: &ContainerId, attempt: u32) -> u64 {
    let at = (attempt as usize * 5) % 48;
    u64::from_str_radix(&id.as_str()[at..at + 16], 16).unwrap_or(u64::from(attempt))
}
