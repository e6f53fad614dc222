//! Removing what nobody uses: containers that do not run, images, volumes. Each kind is gone through once; what is taken into use meanwhile stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onggi_error::{Diagnose, Kind};
use onggi_store::{Owner, Removed};
use onggi_sys::usage::disk_bytes;

use crate::Engine;
use crate::error::Error;
use crate::events::label_matches;
use crate::human::nanoseconds;
use crate::request::{Filters, ListOptions, RemoveOptions};
use crate::state::Status;

/// What of the unused is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Images: also those with a name. Volumes: also those with a name.
    pub all: bool,
    /// Made before this moment: nanoseconds since 1970. What has no moment is not.
    pub until: Option<i64>,
    /// `key` or `key=value`, which it must have: all of them.
    pub labels: Vec<String>,
    /// Which it must not have: none of them.
    pub without_labels: Vec<String>,
    /// Images: for whom; none is for whoever the store gives names for, a person as a rule. What somebody else has a part in stays.
    pub owner: Option<Owner>,
}

impl PruneOptions {
    pub(crate) fn wants(&self, created: &str, labels: &BTreeMap<String, String>) -> bool {
        let early = |until| nanoseconds(created).is_some_and(|created| created < until);
        self.until.is_none_or(early)
            && self.labels.iter().all(|wanted| label_matches(labels, wanted))
            && !self.without_labels.iter().any(|unwanted| label_matches(labels, unwanted))
    }
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned<T> {
    pub removed: Vec<T>,
    /// Bytes on disk that are free now.
    pub bytes: u64,
}

impl<T> Pruned<T> {
    fn nothing() -> Pruned<T> {
        Pruned { removed: Vec::new(), bytes: 0 }
    }
}

impl Engine {
    /// Removes the containers that do not run. Answers their ids; their named volumes stay.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn container_prune(&self, options: &PruneOptions) -> Result<Pruned<String>, Error> {
        let mut pruned = Pruned::nothing();
        for container in self.list(&ListOptions { all: true, ..ListOptions::default() })? {
            let over = matches!(container.state, Status::Created | Status::Exited | Status::Dead);
            if !over || !options.wants(&container.created, &container.labels) {
                continue;
            }
            let bytes = disk_bytes(&self.paths.container(&container.id));
            match self.remove(&container.id, &RemoveOptions::default()) {
                Ok(()) => {
                    pruned.removed.push(container.id.to_string());
                    pruned.bytes += bytes;
                }
                // It was started meanwhile, or somebody was faster.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_prune("container", pruned.bytes);
        Ok(pruned)
    }

    /// Removes the images that no container uses and that nobody else has a part in: those without a name, or `all`.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn image_prune(&self, options: &PruneOptions) -> Result<Pruned<Removed>, Error> {
        let before = self.store.disk_usage()?;
        let containers = self.list(&ListOptions { all: true, ..ListOptions::default() })?;
        let used: BTreeSet<String> = containers.into_iter().map(|container| container.image_id).collect();
        let mut pruned = Pruned::nothing();
        for image in self.store.images()? {
            let labels = image.labels.iter().cloned().collect();
            // One that is used keeps all its names.
            if !image.belongs_to(options.owner.as_ref().unwrap_or_else(|| self.store.owner()))
                || used.contains(&image.id.to_string())
                || !(options.all || image.names.is_empty())
                || !options.wants(&image.created, &labels)
            {
                continue;
            }
            // By its names first, since an id with several names is removed by force alone.
            let names = image.names.iter().map(ToString::to_string);
            let targets: Vec<String> =
                if image.names.is_empty() { vec![image.id.to_string()] } else { names.collect() };
            for target in targets {
                match self.image_remove_unless(&target, false, &|_| true) {
                    Ok(removed) => pruned.removed.extend(removed),
                    // A container has come to have it, or somebody was faster.
                    Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let freed = pruned.removed.iter().filter_map(|removed| match removed {
            Removed::Deleted(digest) => {
                before.layer_bytes.get(digest).or_else(|| before.document_bytes.get(digest))
            }
            _ => None,
        });
        pruned.bytes = freed.sum();
        self.tell_prune("image", pruned.bytes);
        Ok(pruned)
    }

    /// Removes the volumes that no container uses: the anonymous ones, or `all`. Answers their names.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn volume_prune(&self, options: &PruneOptions) -> Result<Pruned<String>, Error> {
        let used = self.volume_users()?;
        let mut pruned = Pruned::nothing();
        for volume in self.volumes(&Filters::new())? {
            if (options.all || volume.anonymous)
                && !used.contains_key(&volume.name)
                && options.wants(&volume.created, &volume.labels)
            {
                pruned.bytes += disk_bytes(Path::new(&volume.mountpoint));
                self.delete_volume(&volume.name)?;
                pruned.removed.push(volume.name);
            }
        }
        self.tell_prune("volume", pruned.bytes);
        Ok(pruned)
    }

    fn tell_prune(&self, kind: &str, bytes: u64) {
        self.tell(kind, "prune", "", BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let labels = BTreeMap::from([("keep".to_owned(), "no".to_owned()), ("a".to_owned(), String::new())]);
        let made = "2026-01-01T00:00:00Z";
        let at = nanoseconds(made).unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        for (until, with, without, wanted) in [
            (None, &[][..], &[][..], true),
            (Some(at + 1), &[], &[], true),
            (Some(at), &[], &[], false),
            (None, &["a"], &[], true),
            (None, &["a", "keep=no"], &[], true),
            (None, &["a", "keep=yes"], &[], false),
            (None, &[], &["keep"], false),
            (None, &["a"], &["keep=yes"], true),
        ] {
            let options = PruneOptions {
                until,
                labels: texts(with),
                without_labels: texts(without),
                ..PruneOptions::default()
            };
            assert_eq!(options.wants(made, &labels), wanted, "{options:?}");
        }
        let early = PruneOptions { until: Some(i64::MAX), ..PruneOptions::default() };
        assert!(!early.wants("", &labels), "what has no moment is not early");
    }
}
