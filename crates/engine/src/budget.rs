//! The disk budget, `store.budget`: what images may take before the least recently used are removed for those that come.
//!
//! It is looked at when an image has come, by a pull, a load or an import, and never else: nothing goes while nobody adds anything. What
//! goes is what comes back by a pull: an image that no container uses and each of whose names is the one that a registry knows it by; and
//! before those, one without any name. What was loaded, imported or given a name here stays, and so do what somebody else has a part in and the one that has
//! just come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use onggi_error::{Diagnose, Kind};
use onggi_image::{Digest, Reference};
use onggi_store::DiskUsage;

use crate::Engine;
use crate::error::Error;
use crate::request::ListOptions;

/// What was removed to keep the budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// What each image was called, the least recently used first; its short id, if it had no name.
    pub removed: Vec<String>,
    /// Bytes that images take now, if that is more than they may: what is left is in use, or only here.
    pub over: Option<u64>,
}

/// An image, as far as it matters here.
struct Candidate {
    id: Digest,
    names: Vec<Reference>,
    layers: Vec<Digest>,
    last_used: SystemTime,
    /// May be removed.
    free: bool,
}

impl Engine {
    /// Removes what `store.budget` has no room for, now that these images have come.
    ///
    /// # Errors
    /// The store or the index cannot be read, or an image not be removed.
    pub fn keep_budget(&self, came: &[Digest]) -> Result<Trimmed, Error> {
        let budget = self.settings.store_budget;
        if budget == 0 {
            return Ok(Trimmed::default());
        }
        let usage = self.store.disk_usage()?;
        if taken(&usage) <= budget {
            return Ok(Trimmed::default());
        }
        let containers = self.list(&ListOptions { all: true, ..ListOptions::default() })?;
        let used: BTreeSet<String> = containers.into_iter().map(|container| container.image_id).collect();
        let candidates = self.store.images()?.into_iter().map(|image| Candidate {
            free: image.comes_back
                && image.belongs_to(self.store.owner())
                && !used.contains(&image.id.to_string())
                && !came.contains(&image.id),
            last_used: image.last_used,
            id: image.id,
            names: image.names,
            layers: image.layers,
        });
        let mut trimmed = Trimmed::default();
        for image in choose(candidates.collect(), &usage, budget) {
            if self.remove_unused(&image)? {
                let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
                let called = if names.is_empty() { image.id.short().to_owned() } else { names.join(" ") };
                trimmed.removed.push(called);
            }
        }
        trimmed.over = Some(taken(&self.store.disk_usage()?)).filter(|taken| *taken > budget);
        Ok(trimmed)
    }

    /// Whether all of it went: somebody may have taken it into use meanwhile.
    fn remove_unused(&self, image: &Candidate) -> Result<bool, Error> {
        let names = image.names.iter().map(ToString::to_string);
        let targets: Vec<String> =
            if image.names.is_empty() { vec![image.id.to_string()] } else { names.collect() };
        for target in targets {
            match self.image_remove_unless(&target, false, &|_| true) {
                Ok(_) => {}
                // Gone with another of its names.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) if error.kind() == Kind::Conflict => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn taken(usage: &DiskUsage) -> u64 {
    usage.layer_bytes.values().sum::<u64>() + usage.document_bytes.values().sum::<u64>()
}

/// Which images go, in this order: those without a name, then by their last use; no more than it takes.
fn choose(mut images: Vec<Candidate>, usage: &DiskUsage, budget: u64) -> Vec<Candidate> {
    images.sort_by_key(|image| (!image.names.is_empty(), image.last_used));
    let mut holders: BTreeMap<Digest, usize> = BTreeMap::new();
    for layer in images.iter().flat_map(|image| image.layers.iter().collect::<BTreeSet<_>>()) {
        *holders.entry(layer.clone()).or_default() += 1;
    }
    let mut left = taken(usage);
    let mut chosen = Vec::new();
    for image in images.into_iter().filter(|image| image.free) {
        if left <= budget {
            break;
        }
        left -= usage.document_bytes.get(&image.id).copied().unwrap_or(0);
        for layer in image.layers.iter().collect::<BTreeSet<_>>() {
            if let Some(count) = holders.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    left -= usage.layer_bytes.get(layer).copied().unwrap_or(0);
                }
            }
        }
        chosen.push(image);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn image(name: &str, used: u64, free: bool, layers: &[&str]) -> Candidate {
        Candidate {
            id: digest(name),
            names: Reference::parse(name).into_iter().filter(|_| !name.starts_with("none")).collect(),
            layers: layers.iter().map(|layer| digest(layer)).collect(),
            last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
            free,
        }
    }

    /// Layers of 100 bytes each; `base` is shared by all.
    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let images = || {
            vec![
                image("young", 9, true, &["base", "young"]),
                image("old", 1, true, &["base", "old"]),
                image("kept", 0, false, &["base", "kept"]),
                image("middle", 5, true, &["base", "middle", "middle"]),
                image("none", 8, true, &["base", "none"]),
            ]
        };
        let layers = ["base", "young", "old", "kept", "middle", "none"];
        let usage = DiskUsage {
            layer_bytes: layers.iter().map(|layer| (digest(layer), 100)).collect(),
            document_bytes: [(digest("old"), 10)].into(),
            ..DiskUsage::default()
        };
        for (budget, expected) in [
            (610, &[][..]),
            (609, &["none"]),
            (510, &["none"]),
            (509, &["none", "old"]),
            (400, &["none", "old"]),
            (399, &["none", "old", "middle"]),
            (300, &["none", "old", "middle"]),
            (0, &["none", "old", "middle", "young"]),
        ] {
            let chosen = choose(images(), &usage, budget);
            let ids: Vec<Digest> = chosen.into_iter().map(|image| image.id).collect();
            assert_eq!(ids, expected.iter().map(|name| digest(name)).collect::<Vec<_>>(), "{budget}");
        }
    }
}
