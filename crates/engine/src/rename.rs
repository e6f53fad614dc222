//! Another name for a container.

use onggi_monitor::protocol::Request;

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;
use crate::names;

impl Engine {
    /// Gives a container another name. The record is written first: the index follows from it.
    ///
    /// # Errors
    /// The name is taken or invalid.
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<(), Error> {
        if !names::is_valid(name) {
            return Err(Error::InvalidName { name: name.to_owned() });
        }
        let _lock = self.lock(id)?;
        let mut record = self.record(id)?;
        let old = std::mem::replace(&mut record.name, name.to_owned());
        if old == name {
            return Err(Error::Invalid {
                what: "Renaming a container with the same name as its current name".to_owned(),
            });
        }
        // Both names are held until the record says the new one, so that no moment is without a name.
        self.take_given_name(name, id)?;
        onggi_sys::fault::point("engine.rename.name-reserved");
        self.write_record(&record)?;
        onggi_sys::fault::point("engine.rename.record-written");
        self.store.rename(onggi_store::NameKind::Container, name, id.as_str())?;
        onggi_sys::fault::point("engine.rename.indexed");
        self.rename_on_networks(&record)?;
        self.call_it(id, name)?;
        let mut attributes = record.event_attributes();
        attributes.insert("oldName".to_owned(), format!("/{old}"));
        self.tell("container", "rename", id.as_str(), attributes);
        Ok(())
    }

    /// Tells the monitor, whose events name the container. One of the release before cannot be told, and goes on with the old name.
    fn call_it(&self, id: &ContainerId, name: &str) -> Result<(), Error> {
        if !self.is_watched(id) {
            return Ok(());
        }
        let request = Request::Update { name: Some(name.to_owned()), restart: None };
        self.inform(id, &request, &[], true)
    }
}
