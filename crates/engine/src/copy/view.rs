//! A container's tree of files, with everything that is mounted in it, whether it runs or not.

use std::path::PathBuf;

use onggi_runtime::exec::{Bind, View, view};
use rustix::fs::{CWD, Mode, OFlags};

use super::tree::Tree;
use crate::Engine;
use crate::container::{StateLock, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::paths::make_directory;
use crate::reconcile::first_process;
use crate::record::{MountKind, Record};
use crate::state::Status;

/// The tree, for as long as this is held.
pub(super) struct ContainerTree {
    pub tree: Tree,
    record: Record,
    /// Of one that does not run. It must not be started meanwhile: two mounts of one overlay see different files.
    _assembled: Option<(View, StateLock)>,
}

impl ContainerTree {
    /// Docker's sentences for what may not be written.
    pub(super) fn explain(&self, error: Error, directory: &str) -> Error {
        let read_only = matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem);
        if !read_only {
            return error;
        }
        let is_mounted = |destination: &str| {
            directory.strip_prefix(destination).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let in_volume = self.record.resolved.mounts.iter().any(|mount| is_mounted(&mount.destination));
        let what = if self.record.request.read_only && !in_volume {
            "container rootfs is marked read-only"
        } else {
            "mounted volume is marked read-only"
        };
        Error::Invalid { what: what.to_owned() }
    }
}

impl Engine {
    /// Opens the tree of a container.
    pub(super) fn container_tree(&self, id: &ContainerId) -> Result<ContainerTree, Error> {
        // Who brings the state up to date takes the lock.
        self.state(id)?;
        let record = self.record(id)?;
        let lock = self.lock(id)?;
        let state = self.written_state(id)?;
        match status(&state) {
            Status::Restarting => return Err(crate::exec::restarting(id, &record.name)),
            Status::Removing | Status::Dead => {
                return Err(Error::NoSuchContainer { name: record.name });
            }
            Status::Running | Status::Paused => {
                let gone = || Error::NotRunning { id: id.to_string() };
                let path = format!("/proc/{}/root", state.pid);
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::openat(CWD, &path, flags, Mode::empty())
                    .map_err(|errno| Error::io("open", &path)(errno.into()))?;
                // The number meant this process when its root was opened if it still does now.
                first_process(&state).ok_or_else(gone)?;
                return Ok(ContainerTree { tree: Tree::new(root), record, _assembled: None });
            }
            Status::Created | Status::Exited => {}
        }
        self.prepare_volumes(&record)?;
        let image = self.leased_image(&record.image)?;
        let lower = self.store.mount_layers(&image)?;
        let root = crate::spec::root(&record, &self.paths.container(id), lower, self.is_rootless());
        let at = self.paths.run.join("view");
        make_directory(&at).map_err(Error::io("make the directory", &at))?;
        let binds = self.binds(&record);
        let read_only = record.request.read_only;
        // A thread of its own, since it leaves the mount namespace.
        let thread = std::thread::spawn(move || view(&root, &at, read_only, &binds));
        let assembled = thread
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread has failed")))
            .map_err(|source| Error::Kernel { act: "put the container's files together", source })?;
        let root = assembled.root.try_clone().map_err(|source| Error::Kernel { act: "dup", source })?;
        Ok(ContainerTree { tree: Tree::new(root), record, _assembled: Some((assembled, lock)) })
    }

    /// What would be mounted in it, but for what is only in memory.
    fn binds(&self, record: &Record) -> Vec<Bind> {
        let of = |mount: &crate::record::MountPoint| {
            let source = match &mount.kind {
                MountKind::Bind { source, .. } => PathBuf::from(source),
                MountKind::Volume { name, .. } => self.paths.volume(name).join("_data"),
                MountKind::Tmpfs { .. } => return None,
            };
            Some(Bind { source, destination: mount.destination.clone(), read_only: mount.read_only })
        };
        let mut binds: Vec<Bind> = record.resolved.mounts.iter().filter_map(of).collect();
        // What is mounted below another comes after it.
        binds.sort_by_key(|bind| bind.destination.matches('/').count());
        binds
    }
}
