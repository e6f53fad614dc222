//! What containers share with one another: the memory file system of a shareable container, and namespaces that others join.

use std::path::PathBuf;

use onggi_monitor::state::State;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::IpcMode;

impl Engine {
    /// The directory of the host that becomes `/dev/shm`, if it is shared.
    pub(crate) fn shared_memory(&self, record: &Record) -> Result<Option<PathBuf>, Error> {
        match &record.request.ipc {
            IpcMode::Shareable => Ok(Some(self.memory_directory(&record.id))),
            IpcMode::Container(name) => {
                let donor = self.neighbour(name)?;
                match self.record(&donor)?.request.ipc {
                    IpcMode::Shareable => Ok(Some(self.memory_directory(&donor))),
                    IpcMode::Host => Ok(Some(PathBuf::from("/dev/shm"))),
                    _ => Err(Error::NotShareable { name: name.clone() }),
                }
            }
            _ => Ok(None),
        }
    }

    /// Mounts the memory of a shareable container where others can reach it.
    pub(crate) fn mount_shared_memory(&self, record: &Record) -> Result<(), Error> {
        if record.request.ipc != IpcMode::Shareable {
            return Ok(());
        }
        self.unmount_shared_memory(&record.id)?;
        let directory = self.memory_directory(&record.id);
        std::fs::create_dir_all(&directory).map_err(Error::io("make the directory", &directory))?;
        let options = format!("mode=1777,size={}", record.resolved.shm_size);
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let options = std::ffi::CString::new(options).unwrap_or_default();
        rustix::mount::mount("shm", &directory, "tmpfs", flags, Some(options.as_c_str()))
            .map_err(|errno| Error::io("mount a tmpfs on", directory)(errno.into()))
    }

    /// Unmounts it again; what is in use stays for its users until they end.
    pub(crate) fn unmount_shared_memory(&self, id: &ContainerId) -> Result<(), Error> {
        let directory = self.memory_directory(id);
        if !directory.exists() {
            return Ok(());
        }
        match rustix::mount::unmount(&directory, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Not mounted.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(Error::io("unmount", directory)(errno.into())),
        }
        std::fs::remove_dir(&directory).map_err(Error::io("remove", directory))
    }

    /// The path of a namespace of another container that runs.
    pub(crate) fn namespace_of(&self, id: &str, kind: &str) -> Result<PathBuf, Error> {
        let id = self.neighbour(id)?;
        let state: State = self.state(&id)?;
        if !status(&state).is_live() {
            return Err(Error::Invalid {
                what: format!("cannot join the {kind} namespace of a non running container: {id}"),
            });
        }
        Ok(PathBuf::from(format!("/proc/{}/ns/{kind}", state.pid)))
    }

    /// The record of a container that another one joins.
    pub(crate) fn neighbour_record(&self, id: &str) -> Result<crate::record::Record, Error> {
        self.record(&self.neighbour(id)?)
    }

    fn neighbour(&self, id: &str) -> Result<ContainerId, Error> {
        id.parse().map_err(|_| Error::NoSuchContainer { name: id.to_owned() })
    }

    fn memory_directory(&self, id: &ContainerId) -> PathBuf {
        let parent = self.paths.run.join("shm");
        parent.join(id.as_str())
    }
}
