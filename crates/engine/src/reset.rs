//! `system reset`: emptying the two roots of what Onggi has put there, and of nothing else.
//!
//! Each root is given to Onggi by a person, who may have put or mounted something there as well, another Onggi's roots among it. So
//! what goes is what has a name that Onggi gives; no mount is entered; and what stays is told.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use onggi_sys::tree::{self, Known, Left};

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;

impl Engine {
    /// Removes everything of Onggi's in both roots, and answers what stays there. The containers must be gone.
    ///
    /// # Errors
    /// A layer cannot be unmounted, a root cannot be read.
    pub fn empty_roots(&self) -> Result<Vec<Left>, Error> {
        self.store.unmount_all()?;
        for name in crate::check::names(&self.paths.run.join("shm"))? {
            if let Ok(id) = name.parse() {
                self.unmount_shared_memory(&id)?;
            }
        }
        let (run, data) = (&self.paths.run, &self.paths.data);
        let mut left = tree::empty(run, &in_run_root).map_err(Error::io("empty", run))?;
        onggi_sys::fault::point("engine.reset.run-root");
        // What is cut short is begun again by the next reset: without a version the store is made anew, and without their records
        // nobody looks for layers. The directory stays to the last, as without it they would be lost records.
        for first in ["VERSION", "images"] {
            let only = |name: &str| (name == first).then_some(Known::Whole);
            let _ = tree::empty(data, &only).map_err(Error::io("empty", data))?;
            if first == "images" {
                let path = data.join(first);
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
                made.map_err(Error::io("make the directory", path))?;
            }
            onggi_sys::fault::point("engine.reset.unrecorded");
        }
        left.extend(tree::empty(data, &in_data_root).map_err(Error::io("empty", data))?);
        // One root in the other is no stranger there.
        left.retain(|left| !run.starts_with(&left.path) && !data.starts_with(&left.path));
        Ok(left)
    }
}

fn in_run_root(name: &str) -> Option<Known> {
    match name {
        "cgroup-parents" | "layers.lock" | "networks" | "user-namespace" | "view" => Some(Known::Whole),
        "layers" => Some(Known::Those(begins_with_digest)),
        "sandboxes" | "shm" | "unborn" => Some(Known::Those(is_id)),
        _ if name.starts_with("index.sqlite") => Some(Known::Whole),
        _ => None,
    }
}

fn in_data_root(name: &str) -> Option<Known> {
    match name {
        "VERSION" | "lock" | "layers.lock" | "networks.lock" | "networks" | "events" | "images"
        | "run-root" | "tmp" => Some(Known::Whole),
        "blobs" => Some(Known::Those(|name| matches!(name, "sha256" | "sha512"))),
        "layers" => Some(Known::Those(begins_with_digest)),
        "containers" => Some(Known::Those(is_id)),
        "lost" => Some(Known::Those(|name| name.bytes().all(|byte| byte.is_ascii_digit()))),
        "volumes" => Some(Known::Those(crate::names::is_valid)),
        _ => None,
    }
}

fn is_id(name: &str) -> bool {
    name.parse::<ContainerId>().is_ok()
}

/// A layer's directory, and the locks and variants of its mount.
fn begins_with_digest(name: &str) -> bool {
    name.get(..64).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
