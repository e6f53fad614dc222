//! systemd's own interface (org.freedesktop.systemd1(5)): units are started, changed and stopped, and the job behind it waited for.

use std::path::Path;
use std::time::Instant;

use crate::Error;
use crate::connection::{Connection, PATIENCE};
use crate::message::Call;
use crate::properties::Property;
use crate::value::Value;

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// There while systemd runs the machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// A connection to the machine's systemd, or to the user's own.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
}

impl Manager {
    /// The machine's.
    ///
    /// # Errors
    /// [`Error::NotRunning`], or what the connection failed at.
    pub fn of_machine() -> Result<Manager, Error> {
        if !Path::new(BOOTED).is_dir() {
            return Err(Error::NotRunning);
        }
        // Its own socket needs no bus to run; it is root's.
        if let Ok(connection) = Connection::direct(PRIVATE) {
            return Ok(Manager { connection });
        }
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|text| !text.is_empty());
        Manager::over_bus(address.as_deref().unwrap_or(SYSTEM_BUS))
    }

    /// The one that manages a user's own services.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NoUserBus`], or what the connection failed at.
    pub fn of_user() -> Result<Manager, Error> {
        if !Path::new(BOOTED).is_dir() {
            return Err(Error::NotRunning);
        }
        let directory = std::env::var("XDG_RUNTIME_DIR").ok().filter(|path| !path.is_empty());
        let own = directory.as_ref().map(|path| format!("{path}/systemd/private"));
        if let Some(connection) = own.and_then(|path| Connection::direct(&path).ok()) {
            return Ok(Manager { connection });
        }
        let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().filter(|text| !text.is_empty());
        let address = address.or_else(|| directory.map(|path| format!("unix:path={path}/bus")));
        Manager::over_bus(&address.ok_or(Error::NoUserBus)?)
    }

    fn over_bus(addresses: &str) -> Result<Manager, Error> {
        let mut connection = Connection::bus(addresses)?;
        connection.add_match(&format!("type='signal',interface='{MANAGER}',member='JobRemoved'"))?;
        let mut manager = Manager { connection };
        manager.call("Subscribe", &[])?;
        Ok(manager)
    }

    fn call(&mut self, member: &'static str, body: &[Value]) -> Result<Vec<Value>, Error> {
        self.connection.call(&Call { destination: DESTINATION, path: PATH, interface: MANAGER, member, body })
    }

    fn text(&mut self, property: &str) -> Result<String, Error> {
        let body = [MANAGER.into(), property.into()];
        let interface = "org.freedesktop.DBus.Properties";
        let call = Call { destination: DESTINATION, path: PATH, interface, member: "Get", body: &body };
        let answer = self.connection.call(&call)?;
        let text = match answer.first() {
            Some(Value::Variant(value)) => value.as_str(),
            _ => None,
        };
        text.map(str::to_owned).ok_or(Error::Protocol { what: "a property that is no text" })
    }

    /// Its version's number: 252 of `252.39-1~deb12u1`.
    ///
    /// # Errors
    /// What the call failed at.
    pub fn version(&mut self) -> Result<u32, Error> {
        let text = self.text("Version")?;
        let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse().map_err(|_| Error::Protocol { what: "a version that is no number" })
    }

    /// The cgroup that all of its units are beneath: `/`, or `/user.slice/user-1000.slice/user@1000.service`.
    ///
    /// # Errors
    /// What the call failed at.
    pub fn control_group(&mut self) -> Result<String, Error> {
        self.text("ControlGroup")
    }

    /// Starts a unit that no file describes, and returns when it is there. One of the name that has failed before is forgotten first.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Job`] or [`Error::TimedOut`].
    pub fn start(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        let none = Value::Array("(sa(sv))".into(), Vec::new());
        let body = [unit.into(), "replace".into(), list(properties), none];
        let mut answer = self.call("StartTransientUnit", &body);
        if matches!(&answer, Err(Error::Refused { name, .. }) if name.ends_with(".UnitExists")) {
            // What it says to that does not count: the second attempt does.
            let _ = self.reset_failed(unit);
            answer = self.call("StartTransientUnit", &body);
        }
        let ended = self.wait(&answer?, "create", unit).and_then(|result| match result.as_str() {
            "done" => Ok(()),
            _ => Err(Error::Job { act: "error creating", unit: unit.to_owned(), result }),
        });
        if ended.is_err() {
            let _ = self.reset_failed(unit);
        }
        ended
    }

    /// Stops a unit, with every process in it, and has systemd forget it. One that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or what the connection failed at.
    pub fn stop(&mut self, unit: &str) -> Result<(), Error> {
        match self.call("StopUnit", &[unit.into(), "replace".into()]) {
            Ok(answer) => match self.wait(&answer, "remove", unit)?.as_str() {
                "done" => {}
                result => {
                    let result = result.to_owned();
                    return Err(Error::Job { act: "error removing", unit: unit.to_owned(), result });
                }
            },
            Err(Error::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.reset_failed(unit) {
            Ok(()) | Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes properties of a unit until the machine goes down.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        self.call("SetUnitProperties", &[unit.into(), true.into(), list(properties)]).map(|_| ())
    }

    fn reset_failed(&mut self, unit: &str) -> Result<(), Error> {
        self.call("ResetFailedUnit", &[unit.into()]).map(|_| ())
    }

    /// How the job ended that a call has answered with: `done`, `failed`, `canceled`, …
    fn wait(&mut self, answer: &[Value], act: &'static str, unit: &str) -> Result<String, Error> {
        let job = answer.first().and_then(Value::as_str).ok_or(Error::Protocol { what: "no job" })?;
        let end = Instant::now() + PATIENCE;
        while let Some(signal) = self.connection.signal(end)? {
            if signal.interface != MANAGER || signal.member != "JobRemoved" {
                continue;
            }
            // Its number, its object, the unit, the result.
            if let [_, object, _, result] = signal.body.as_slice()
                && object.as_str() == Some(job)
            {
                return Ok(result.as_str().unwrap_or_default().to_owned());
            }
        }
        Err(Error::TimedOut { act, unit: unit.to_owned() })
    }
}

/// `a(sv)`.
fn list(properties: &[Property]) -> Value {
    let pair = |(name, value): &Property| {
        Value::Struct(vec![name.as_str().into(), Value::Variant(Box::new(value.clone()))])
    };
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}
