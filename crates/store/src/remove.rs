//! Removing images by Docker's rules, and collecting what no image needs any more.
//!
//! A name goes first; with its last name, or when asked for by id, the image. Its layers and blobs go unless another image, an act in
//! progress, or a container needs them. They are renamed into the act's directory under the store's mutex, so that whoever looks for
//! one finds it whole or not at all, and deleted after it.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use onggi_image::{Digest, Reference};
use onggi_sys::fault;

use crate::Store;
use crate::act::{Act, Kept, StoreLock, kept_by_acts};
use crate::containers;
use crate::error::Error;
use crate::images::{self, Found};
use crate::layout::{Layout, open_directory};
use crate::records::{self, ImageRecord, Record, Records};
use crate::sealed::{Durability, Prepared, sync_directory};
use crate::types::Removed;
use crate::{blobs, layers};
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

    let act = Act::begin(&store.layout, "remove")?;
    let guard = StoreLock::take(&store.layout)?;
    // While leases are listed nobody can take one: a container either has its lease before this, or finds the image gone.
    let removed = store
        .index
        .with_leases(|leases| remove_locked(store, &act, &guard, leases, text, force, &is_running));
    drop(guard);
    let (removed, layers) = removed?;
    withdraw(store, &layers);
    drop(act);
    Ok(removed)
}

/// Removes an image that was removed by force while it was used, now that a container less uses it.
pub(crate) fn remove_if_unused(store: &Store, id: &Digest) -> Result<(), Error> {
    if !records::read_image(&store.layout, id)?.is_some_and(|record| record.removed) {
        return Ok(());
    }
    let act = Act::begin(&store.layout, "remove")?;
    let guard = StoreLock::take(&store.layout)?;
    let layers = store.index.with_leases(|leases| {
        let used = leases.iter().any(|(_, image)| *image == id.to_string());
        let still = records::read_image(&store.layout, id)?.is_some_and(|record| record.removed);
        if used || !still {
            return Ok(Vec::new());
        }
        unlink(&store.layout, &Record::image_file(id))?;
        fault::point("store.remove.image-unlinked");
        collect(&store.layout, &act, &guard)
    })?;
    drop(guard);
    withdraw(store, &layers);
    Ok(())
}

fn remove_locked(
    store: &Store,
    act: &Act,
    guard: &StoreLock,
    leases: &[(String, String)],
    text: &str,
    force: bool,
    is_running: IsRunning<'_>,
) -> Result<(Vec<Removed>, Vec<Digest>), Error> {
    let layout = &store.layout;
    let Found { record: image, name, by_digest } = images::find(layout, text)?;
    let records = Records::read(layout)?;
    let names = records.names_of(&image.id);
    let users: Vec<&str> = leases
        .iter()
        .filter(|(_, leased)| *leased == image.id.to_string())
        .map(|(owner, _)| owner.as_str())
        .collect();
    let running = users.iter().copied().find(|user| is_running(user));

    let mut removed = Vec::new();
    let going: Vec<Reference> = match &name {
        // By a name that is not the last: only the name.
        Some(name) if !by_digest && names.len() > 1 => {
            untag(layout, &name.name, &mut removed)?;
            return Ok((removed, Vec::new()));
        }
        Some(name) if names.len() == 1 => {
            if let (Some(user), false) = (users.first(), force) {
                let (name, container) = (name.name.familiar(), short(user).to_owned());
                return Err(Error::NameInUse { name, container, id: image.id.short().to_owned() });
            }
            names
        }
        // By a digest: the names of that repository; what else it is called keeps it.
        Some(name) => {
            let (of_repository, others): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|other| other.same_repository(&name.name));
            if !others.is_empty() {
                for name in &of_repository {
                    untag(layout, name, &mut removed)?;
                }
                return Ok((removed, Vec::new()));
            }
            of_repository
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
        return Err(in_use(user, "running", false));
    }
    if let (Some(user), false) = (users.first(), force) {
        return Err(in_use(user, "stopped", true));
    }
    for name in &going {
        untag(layout, name, &mut removed)?;
    }
    removed.push(Removed::Deleted(image.id.clone()));
    if !users.is_empty() {
        // Their layers stay under them.
        hide(layout, image)?;
        return Ok((removed, Vec::new()));
    }
    unlink(layout, &Record::image_file(&image.id))?;
    fault::point("store.remove.image-unlinked");
    let layers = collect(layout, act, guard)?;
    removed.extend(layers.iter().cloned().map(Removed::Deleted));
    Ok((removed, layers))
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
    sync_directory(directory.as_fd(), "images")
}

/// Removes a record, so that it stays removed after a power cut: its layers are about to go.
fn unlink(layout: &Layout, file: &str) -> Result<(), Error> {
    let path = layout.images().join(file);
    fs::remove_file(&path).map_err(Error::io("remove", path))?;
    crate::layout::sync_directory(&layout.images())
}

/// What the store holds that nothing refers to: layers and blobs.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    pub(crate) layers: Vec<Digest>,
    pub(crate) blobs: Vec<Digest>,
}

/// Finds what nothing refers to. Refuses if a record cannot be read, since it may refer to anything.
pub(crate) fn garbage(layout: &Layout, guard: &StoreLock) -> Result<Garbage, Error> {
    let records = Records::read(layout)?.complete()?;
    let mut needed: HashSet<(Kept, Digest)> = kept_by_acts(layout, guard)?.into_iter().collect();
    needed.extend(containers::layers_in_use(layout)?.into_iter().map(|layer| (Kept::Layer, layer)));
    for image in records.images {
        needed.extend(image.layers.into_iter().map(|layer| (Kept::Layer, layer.diff_id)));
        needed.extend(
            [Some(image.id), Some(image.manifest), image.index]
                .into_iter()
                .flatten()
                .map(|blob| (Kept::Blob, blob)),
        );
    }
    for name in records.names {
        needed.extend([Some(name.manifest), name.index].into_iter().flatten().map(|blob| (Kept::Blob, blob)));
    }
    let unneeded = |kind: Kept, all: Vec<Digest>| -> Vec<Digest> {
        all.into_iter().filter(|digest| !needed.contains(&(kind, digest.clone()))).collect()
    };
    let (all_layers, all_blobs) = (layers::list(layout)?.0, blobs::list(layout)?.0);
    Ok(Garbage { layers: unneeded(Kept::Layer, all_layers), blobs: unneeded(Kept::Blob, all_blobs) })
}

/// Moves what nothing refers to into the act's directory, where it goes with the act. Returns the layers among it.
pub(crate) fn collect(layout: &Layout, act: &Act, guard: &StoreLock) -> Result<Vec<Digest>, Error> {
    let garbage = garbage(layout, guard)?;
    let layers = garbage.layers.iter().map(|digest| layout.layer(digest));
    let blobs = garbage.blobs.iter().map(|digest| layout.blob(digest));
    for path in layers.chain(blobs) {
        move_away(&path, act.path("garbage"))?;
        fault::point("store.remove.moved-away");
    }
    Ok(garbage.layers)
}

fn move_away(path: &std::path::Path, to: PathBuf) -> Result<(), Error> {
    fs::rename(path, to).map_err(Error::io("move away", path))
}

/// Unmounts layers that are gone. What cannot be unmounted holds disk space until the next boot, and no more.
fn withdraw(store: &Store, layers: &[Digest]) {
    for layer in layers {
        let _ = store.withdraw(layer);
    }
}
