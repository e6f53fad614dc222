//! Containers whose files are damaged or lost: the monitor is asked where there is one, what cannot be read is set aside and not
//! deleted, and what is left can be removed.

use std::path::PathBuf;
use std::time::Duration;

use onggi_error::{Diagnose as _, Kind};
use onggi_monitor::client;
use onggi_monitor::clock::Moment;
use onggi_monitor::protocol::{Condition, Reply, Request};
use onggi_monitor::state::{self, Phase, State, boot_id};

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;

const SIGKILL: i32 = 9;
/// How long a monitor may take to write its state again. It has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Has a container's monitor, if it has one, write its state again where the file is lost or damaged.
    pub(crate) fn ask_for_state(&self, id: &ContainerId) -> bool {
        self.is_watched(id) && client::ask_within(&self.paths.sandbox(id), &Request::Status, PATIENCE).is_ok()
    }

    /// Whether a monitor says that its container has not ended.
    pub(crate) fn is_at_work(&self, id: &ContainerId) -> bool {
        let status = client::ask_within(&self.paths.sandbox(id), &Request::Status, PATIENCE);
        matches!(status, Ok(Reply::Status(status)) if status.status != Phase::Exited.name())
    }

    /// Sets a state aside that cannot be read. Nobody watches the container, so it is over, and how is not known. Answers where the
    /// damaged file is now; `None` if it can be read after all.
    ///
    /// # Errors
    /// It cannot be set aside, or no new one written.
    pub(crate) fn mend_state(&self, id: &ContainerId) -> Result<Option<PathBuf>, Error> {
        let record = self.record(id)?;
        let _lock = self.lock(id)?;
        match self.written_state(id) {
            Err(error) if error.kind() == Kind::Corrupt && !self.is_watched(id) => {}
            other => return other.map(|_| None),
        }
        let aside = self.store.set_aside(&self.paths.container(id).join(state::FILE))?;
        onggi_sys::fault::point("engine.check.state-set-aside");
        self.clear_kernel(&record)?;
        let state = State {
            status: Phase::Exited,
            finished_at: Moment::now().to_string(),
            exit_code: crate::reconcile::EXIT_LOST,
            error: "what became of it was damaged".to_owned(),
            boot_id: boot_id(),
            ..State::default()
        };
        self.write_state(&record, &state)?;
        Ok(Some(aside))
    }

    /// Ends a container whose record cannot be read, and takes it away: `keep` sets its files aside, and answers where they are now.
    ///
    /// # Errors
    /// Something of it cannot be ended or removed. [`Error::NoSuchContainer`]: it is gone already.
    pub(crate) fn remove_damaged(&self, id: &ContainerId, keep: bool) -> Result<Option<PathBuf>, Error> {
        self.end_unknown(id)?;
        let lock = self.lock(id)?;
        // Somebody may have put the record right.
        match self.record(id) {
            Err(error) if error.kind() == Kind::Corrupt => {}
            other => return other.map(|_| None),
        }
        self.clear_unknown(id)?;
        let directory = self.paths.container(id);
        let aside = if keep {
            Some(self.store.set_aside(&directory)?)
        } else {
            let leftover = self.passing(id);
            crate::disk::remove_tree(&leftover)?;
            std::fs::rename(&directory, &leftover).map_err(Error::io("rename", directory))?;
            drop(lock);
            crate::disk::remove_tree(&leftover)?;
            None
        };
        self.store.remove_container(id.as_str())?;
        Ok(aside)
    }

    /// Ends what runs in a sandbox without a record, and removes the sandbox.
    ///
    /// # Errors
    /// The monitor does not end.
    pub(crate) fn remove_stray_sandbox(&self, id: &ContainerId) -> Result<(), Error> {
        self.end_unknown(id)?;
        self.clear_unknown(id)
    }

    fn end_unknown(&self, id: &ContainerId) -> Result<(), Error> {
        if !self.is_watched(id) {
            return Ok(());
        }
        match self.connect(id) {
            Ok(mut connection) => {
                let wait = Request::Wait { condition: Condition::Exited, finish: true };
                let kill = Request::Signal { signal: SIGKILL, exec: None, all: false };
                // It may end by itself meanwhile, and hangs up then.
                if let Ok(wait) = connection.order(&wait, &[])
                    && connection.send(&kill, &[]).is_ok()
                {
                    let _ = connection.reply_to(wait);
                }
            }
            Err(Error::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        self.await_departure(id)
    }

    /// As [`Engine::clear_kernel`], where no record says which control group it is: the one that it has unless another was asked for.
    fn clear_unknown(&self, id: &ContainerId) -> Result<(), Error> {
        let path = crate::resolve::cgroup(&self.settings.cgroup_parent, id)?;
        self.clear_kernel_of(id, &path)
    }
}
