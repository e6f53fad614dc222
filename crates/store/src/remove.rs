//! Removing images by Docker's rules, and collecting what no image needs any more.
//!
//! A name goes first; with its last name, or when asked for by id, the image. Its layers and blobs go unless another image, an act in
//! progress, or a container needs them. They are renamed into `tmp/` under the store's mutex, so that whoever looks for one finds it whole
//! or not at all, and deleted after it. Nothing new is made for that: on a full disk this is what must still work.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onggi_image::{Config, Digest, Reference};
use onggi_sys::fault;

use crate::Store;
use crate::act::{Kept, StoreLock, garbage_path, kept_by_acts, remove_tree, sweep};
use crate::containers;
use crate::error::Error;
use crate::images::{self, Found};
use crate::layout::{Layout, open_directory};
use crate::owner::Owner;
use crate::records::{self, ImageRecord, LayerUse, NameRecord, Record, Records};
use crate::types::Removed;
use crate::{blobs, layers};
use onggi_record::{Durability, Prepared, sync_directory};
use std::os::fd::AsFd;

/// What a container's owner says about it.
pub(crate) type IsRunning<'a> = &'a dyn Fn(&str) -> bool;

pub(crate) fn remove(
    store: &Store,
    text: &str,
    force: bool,
    is_running: IsRunning<'_>,
) -> Result<Vec<Removed>, Error> {
    // Asked before anything is locked: whoever answers may need the store. A container that comes between here and there is as good as running.
    let image = images::find(&store.layout, text)?.record.id.to_string();
    let users = store.index.leases()?.into_iter().filter(|(_, leased)| *leased == image);
    let stopped: HashSet<String> = users.map(|(user, _)| user).filter(|user| !is_running(user)).collect();
    let is_running = |user: &str| !stopped.contains(user);

    sweep(&store.layout)?;
    let guard = StoreLock::take(&store.layout)?;
    // While leases are listed nobody can take one: a container either has its lease before this, or finds the image gone.
    let removed =
        store.index.with_leases(|leases| remove_locked(store, &guard, leases, text, force, &is_running));
    drop(guard);
    let (removed, collected) = removed?;
    collected.delete(store);
    Ok(removed)
}

/// Removes an image that was removed by force while it was used, now that a container less uses it.
pub(crate) fn remove_if_unused(store: &Store, id: &Digest) -> Result<(), Error> {
    if !records::read_image(&store.layout, id)?.is_some_and(|record| record.removed) {
        return Ok(());
    }
    sweep(&store.layout)?;
    let guard = StoreLock::take(&store.layout)?;
    let collected = store.index.with_leases(|leases| {
        let used = leases.iter().any(|(_, image)| *image == id.to_string());
        let still = records::read_image(&store.layout, id)?.is_some_and(|record| record.removed);
        if used || !still {
            return Ok(Collected::default());
        }
        unlink(&store.layout, &Record::image_file(id))?;
        fault::point("store.remove.image-unlinked");
        collect(&store.layout, &guard)
    })?;
    drop(guard);
    collected.delete(store);
    Ok(())
}

/// Collects what nothing refers to any more, after an act that may have left some. An act that has succeeded does not fail for it.
pub(crate) fn tidy(store: &Store) {
    let collected = StoreLock::take(&store.layout).and_then(|guard| collect(&store.layout, &guard));
    if let Ok(collected) = collected {
        collected.delete(store);
    }
}

fn remove_locked(
    store: &Store,
    guard: &StoreLock,
    leases: &[(String, String)],
    text: &str,
    force: bool,
    is_running: IsRunning<'_>,
) -> Result<(Vec<Removed>, Collected), Error> {
    let layout = &store.layout;
    let Found { record: image, name, digest } = images::find(layout, text)?;
    let records = Records::read(layout)?;
    let names = records.names_of(&image.id);
    // What goes by the name that was given, by Docker's rules; those that stay keep the image.
    let named = name.as_ref().map(|name| match &digest {
        Some(digest) => Named::by_digest(&records, name, digest),
        None => Named::by_tag(&records, name),
    });
    let users: Vec<&str> = leases
        .iter()
        .filter(|(_, leased)| *leased == image.id.to_string())
        .map(|(owner, _)| owner.as_str())
        .collect();
    let running = users.iter().copied().find(|user| is_running(user));

    let mut removed = Vec::new();
    if !store.owner.is_person() {
        let owned = records.names.iter().filter(|name| name.id == image.id);
        let (own, others): (Vec<_>, Vec<_>) = owned.partition(|name| name.owner == store.owner);
        let denied = |what: String, owner: &Owner| Error::NotOwner {
            what,
            owner: owner.clone(),
            asked: store.owner.clone(),
        };
        match &named {
            Some(named) => {
                if let Some(other) = named.all().find(|name| name.owner != store.owner) {
                    return Err(denied(other.name.familiar(), &other.owner));
                }
            }
            None if own.is_empty() && others.is_empty() && image.owner != store.owner => {
                return Err(denied(image.id.short().to_owned(), &image.owner));
            }
            // By an id: the names that are its own; somebody else's part keeps the image.
            None if !others.is_empty() || image.owner != store.owner => {
                if let (true, Some(other)) = (own.is_empty(), others.first()) {
                    return Err(denied(other.name.familiar(), &other.owner));
                }
                for name in own {
                    untag(layout, &name.name, &mut removed)?;
                }
                leave(store, guard, image, &others);
                return Ok((removed, collect(layout, guard)?));
            }
            None => {}
        }
    }
    let going: Vec<Reference> = match &named {
        Some(named) if named.going.len() < names.len() => {
            named.untag(layout, &mut removed)?;
            if named.going.iter().any(|name| name.owner == store.owner) {
                let is_going = |name: &NameRecord| named.going.iter().any(|going| going.name == name.name);
                let staying = records.names.iter().filter(|name| name.id == image.id && !is_going(name));
                leave(store, guard, image.clone(), &staying.collect::<Vec<_>>());
            }
            // The name may have had a manifest of its own.
            return Ok((removed, collect(layout, guard)?));
        }
        Some(named) => {
            if let (Some(user), false) = (users.first(), force) {
                let (name, container) = (named.shown.familiar(), short(user).to_owned());
                return Err(Error::NameInUse { name, container, id: image.id.short().to_owned() });
            }
            // Somebody else's from before it had this name: it has none again.
            if !store.owner.is_person() && image.owner != store.owner {
                named.untag(layout, &mut removed)?;
                return Ok((removed, collect(layout, guard)?));
            }
            named.going.iter().map(|name| name.name.clone()).collect()
        }
        None => {
            let several = names.iter().any(|other| !other.same_repository(&names[0]));
            if several && !force {
                return Err(Error::SeveralRepositories { id: image.id.short().to_owned() });
            }
            names
        }
    };
    let in_use = |user: &str, state: &str, forceable| Error::InUse {
        id: image.id.short().to_owned(),
        user: format!("{state} container {}", short(user)),
        forceable,
    };
    if let Some(user) = running {
        if name.is_none() {
            return Err(in_use(user, "running", false));
        }
        // By its name and by force: it loses the name, and stays without one. As Docker does it.
        for name in &going {
            untag(layout, name, &mut removed)?;
        }
        removed.push(Removed::Kept { id: image.id.clone(), user: user.to_owned(), listed: true });
        return Ok((removed, collect(layout, guard)?));
    }
    if let (Some(user), false) = (users.first(), force) {
        return Err(in_use(user, "stopped", true));
    }
    for name in &going {
        untag(layout, name, &mut removed)?;
    }
    removed.push(Removed::Deleted(image.id.clone()));
    if let Some(user) = users.first() {
        // Their layers stay under them.
        removed.push(Removed::Kept { id: image.id.clone(), user: (*user).to_owned(), listed: false });
        hide(layout, image)?;
        return Ok((removed, Collected::default()));
    }
    unlink(layout, &Record::image_file(&image.id))?;
    fault::point("store.remove.image-unlinked");
    let collected = collect(layout, guard)?;
    removed.extend(collected.layers.iter().cloned().map(Removed::Deleted));
    Ok((removed, collected))
}

/// Who takes their last name away from an image that has names of others leaves it to these. What cannot be written, on a full disk, is no reason to keep a
/// name: the image is theirs then once it has no other.
fn leave(store: &Store, guard: &StoreLock, image: ImageRecord, staying: &[&NameRecord]) {
    if let Some(heir) = staying.first()
        && image.owner == store.owner
        && staying.iter().all(|name| name.owner != store.owner)
    {
        let _ = images::give(&store.layout, guard, image, heir.owner.clone());
    }
}

/// What a name that was given for removal means of an image's names.
struct Named<'r> {
    /// As it is told.
    shown: Reference,
    /// Names that go.
    going: Vec<&'r NameRecord>,
    /// Names that stay, and lose the reference by digest that they stand for as well.
    undigested: Vec<&'r NameRecord>,
}

impl<'r> Named<'r> {
    /// A reference by digest is one of its own for Docker, and leaves the tags of its repository.
    fn by_digest(records: &'r Records, found: &NameRecord, digest: &Digest) -> Named<'r> {
        let answering =
            records.names.iter().filter(|name| name.id == found.id && name.answers_to(&found.name, digest));
        let (going, undigested) = answering.partition(|name| name.is_digest());
        Named { shown: found.name.with_digest(digest), going, undigested }
    }

    /// With a repository's last tag the references by digest of that repository go.
    fn by_tag(records: &'r Records, found: &NameRecord) -> Named<'r> {
        let of_repository = records.names.iter();
        let of_repository =
            of_repository.filter(|name| name.id == found.id && name.name.same_repository(&found.name));
        let (digests, tags): (Vec<_>, Vec<_>) = of_repository.partition(|name| name.is_digest());
        let is_last = tags.len() == 1;
        let mut going: Vec<&NameRecord> = tags.into_iter().filter(|name| name.name == found.name).collect();
        going.extend(digests.into_iter().filter(|name| is_last && name.owner == found.owner));
        Named { shown: found.name.clone(), going, undigested: Vec::new() }
    }

    fn all(&self) -> impl Iterator<Item = &NameRecord> {
        self.going.iter().chain(&self.undigested).copied()
    }

    fn untag(&self, layout: &Layout, removed: &mut Vec<Removed>) -> Result<(), Error> {
        for name in &self.going {
            untag(layout, &name.name, removed)?;
        }
        if self.undigested.is_empty() {
            return Ok(());
        }
        let directory = open_directory(&layout.images())?;
        for name in &self.undigested {
            let record = Record::Name(NameRecord { undigested: true, ..(*name).clone() });
            Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?.publish()?;
            fault::point("store.remove.digest-removed");
        }
        if self.going.is_empty() {
            removed.push(Removed::Untagged(self.shown.clone()));
        }
        Ok(sync_directory(directory.as_fd(), "images")?)
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn untag(layout: &Layout, name: &Reference, removed: &mut Vec<Removed>) -> Result<(), Error> {
    unlink(layout, &Record::name_file(name))?;
    fault::point("store.remove.name-unlinked");
    removed.push(Removed::Untagged(name.clone()));
    Ok(())
}

fn hide(layout: &Layout, image: ImageRecord) -> Result<(), Error> {
    let record = Record::Image(ImageRecord { removed: true, ..image });
    let directory = open_directory(&layout.images())?;
    Prepared::new(directory.as_fd(), &record.file(), &record, Durability::Synced)?.publish()?;
    fault::point("store.remove.image-hidden");
    Ok(sync_directory(directory.as_fd(), "images")?)
}

/// Removes a record, so that it stays removed after a power cut: its layers are about to go.
fn unlink(layout: &Layout, file: &str) -> Result<(), Error> {
    let path = layout.images().join(file);
    fs::remove_file(&path).map_err(Error::io("remove", path))?;
    crate::layout::sync_directory(&layout.images())
}

/// What the store holds that nothing refers to: layers, blobs, and forms that other layers had for places where no image has them any more.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    pub(crate) layers: Vec<Digest>,
    pub(crate) blobs: Vec<Digest>,
    pub(crate) variants: Vec<LayerUse>,
}

impl Garbage {
    /// Where all of it lies.
    pub(crate) fn paths(&self, layout: &Layout) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self.layers.iter().map(|layer| layout.layer(layer)).collect();
        paths.extend(self.blobs.iter().map(|blob| layout.blob(blob)));
        let variants = self.variants.iter().flat_map(|variant| {
            let index = layout.layer(&variant.diff_id).join(layers::index_file(variant.variant.as_deref()));
            [index, layers::tree(layout, variant)]
        });
        paths.extend(variants.filter(|path| path.exists()));
        paths
    }
}

/// Finds what nothing refers to, as if the records that are `gone` were not there. Refuses if another cannot be read, since it may refer to
/// anything.
pub(crate) fn garbage(
    layout: &Layout,
    guard: &StoreLock,
    gone: impl Fn(&Path) -> bool,
) -> Result<Garbage, Error> {
    let is_gone = |file: String| gone(&layout.images().join(file));
    let mut records = Records::read(layout)?;
    records.damaged.retain(|(path, _)| !gone(path));
    let records = records.complete()?;
    let mut needed = needed_by_the_living(layout, guard)?;
    // Of these nobody knows yet, or any more, in which form they are used.
    let in_some_form = needed.clone();
    let images = records.images.iter().filter(|image| !is_gone(Record::image_file(&image.id)));
    let images: Vec<&ImageRecord> = images.collect();
    needed.extend(images.iter().flat_map(|image| image.needs()));
    let names = records.names.iter().filter(|name| !is_gone(Record::name_file(&name.name)));
    for name in names {
        needed.extend(name.needs());
        // Whose record is lost, by what it can be made again of.
        if !images.iter().any(|image| image.id == name.id) {
            needed.extend(needs_by_config(layout, &name.id));
        }
    }
    let unneeded = |kind: Kept, all: Vec<Digest>| -> Vec<Digest> {
        all.into_iter().filter(|digest| !needed.contains(&(kind, digest.clone()))).collect()
    };
    let (all_layers, all_blobs) = (layers::list(layout)?.0, blobs::list(layout)?.0);
    let used: HashSet<&LayerUse> = images.iter().flat_map(|image| &image.layers).collect();
    let mut variants = Vec::new();
    for diff_id in &all_layers {
        let key = (Kept::Layer, diff_id.clone());
        if needed.contains(&key) && !in_some_form.contains(&key) {
            let of_layer = layers::variants(layout, diff_id)?.into_iter();
            let of_layer =
                of_layer.map(|variant| LayerUse { diff_id: diff_id.clone(), variant: Some(variant) });
            variants.extend(of_layer.filter(|layer| !used.contains(layer)));
        }
    }
    let (layers, blobs) = (unneeded(Kept::Layer, all_layers), unneeded(Kept::Blob, all_blobs));
    Ok(Garbage { layers, blobs, variants })
}

/// What acts in progress and containers need, whatever records of images there are.
pub(crate) fn needed_by_the_living(
    layout: &Layout,
    guard: &StoreLock,
) -> Result<HashSet<(Kept, Digest)>, Error> {
    let mut needed: HashSet<(Kept, Digest)> = kept_by_acts(layout, guard)?.into_iter().collect();
    needed.extend(containers::layers_in_use(layout)?.into_iter().map(|layer| (Kept::Layer, layer)));
    let images = containers::images_in_use(layout)?.into_iter();
    needed.extend(images.map(|(_, image)| (Kept::Blob, image)));
    Ok(needed)
}

/// The config of an image and the layers that it names.
fn needs_by_config(layout: &Layout, id: &Digest) -> Vec<(Kept, Digest)> {
    let config = blobs::get(layout, id).ok().and_then(|bytes| Config::parse(&bytes).ok());
    let diff_ids = config.map(|config| config.rootfs.diff_ids).unwrap_or_default();
    let layers = diff_ids.into_iter().map(|diff_id| (Kept::Layer, diff_id));
    layers.chain([(Kept::Blob, id.clone())]).collect()
}

/// What was moved out of its place, to be deleted when the store's mutex is free again. If it is not, the next act does it
/// once this process has ended.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Collected {
    pub(crate) layers: Vec<Digest>,
    variants: Vec<LayerUse>,
    moved: Vec<PathBuf>,
}

impl Collected {
    /// Unmounts and deletes it. What cannot be unmounted holds disk space until the next boot, and no more.
    pub(crate) fn delete(self, store: &Store) {
        for layer in &self.layers {
            let _ = store.withdraw(layer);
        }
        for variant in &self.variants {
            let _ = store.withdraw_one(variant);
        }
        fault::point("store.remove.unmounted");
        for path in &self.moved {
            let _ = remove_tree(path);
        }
    }
}

/// Moves what nothing refers to out of its place.
pub(crate) fn collect(layout: &Layout, guard: &StoreLock) -> Result<Collected, Error> {
    let garbage = garbage(layout, guard, |_| false)?;
    let mut moved = Vec::new();
    for path in garbage.paths(layout) {
        moved.extend(move_away(layout, &path, guard)?);
        fault::point("store.remove.moved-away");
    }
    let Garbage { layers, variants, .. } = garbage;
    Ok(Collected { layers, variants, moved })
}

/// Moves one thing into `tmp/`, to be deleted by this process, or by whoever comes by when that has ended. Returns its new path, or nothing if it had to be
/// deleted on the spot.
fn move_away(layout: &Layout, path: &Path, _guard: &StoreLock) -> Result<Option<PathBuf>, Error> {
    let to = garbage_path(layout)?;
    match fs::rename(path, &to) {
        Ok(()) => Ok(Some(to)),
        // Even a name in a directory can need a new block. Under the mutex nobody looks at it meanwhile.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            remove_tree(path).map(|()| None)
        }
        Err(error) => Err(Error::io("move away", path)(error)),
    }
}
