//! Where a container's things are: every path follows from the two roots and its id.

use std::path::{Path, PathBuf};

use crate::id::ContainerId;

pub(crate) const RECORD: &str = "container.json";
/// Locked (OFD) by whoever changes a container's state while no monitor lives.
pub(crate) const LOCK: &str = "lock";

/// The two roots.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub data: PathBuf,
    pub run: PathBuf,
}

impl Paths {
    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(crate) fn record(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(RECORD)
    }

    /// Docker names the file in `inspect`'s `LogPath`.
    pub(crate) fn log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("log/json.log")
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.run.join("sandboxes")
    }

    /// A lone container is a sandbox of one, under the same id.
    pub(crate) fn sandbox(&self, id: &ContainerId) -> PathBuf {
        self.sandboxes().join(id.as_str())
    }

    /// A file for each container that is being made, under its id.
    pub(crate) fn unborn(&self) -> PathBuf {
        self.run.join("unborn")
    }

    /// Marks of the cgroups that were made for `--cgroup-parent`.
    pub(crate) fn cgroup_parents(&self) -> PathBuf {
        self.run.join("cgroup-parents")
    }

    /// A directory for each network, under its name.
    pub(crate) fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.data.join("events")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.data.join("tmp")
    }
}

/// Makes a directory, and those above it, for its owner alone; one that is there already is fine.
pub(crate) fn make_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
