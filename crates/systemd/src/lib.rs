//! Control groups that systemd makes: a scope (or a slice) for each container, asked for over D-Bus.
//!
//! Names and properties are planned by pure functions ([`Unit`], [`limits`]); [`Manager`] speaks to systemd, one call at a time and
//! without a thread. Nothing here knows bundles, or processes other than by number. The D-Bus beneath (`value`, `message`, `connection`) is
//! what these few calls need of the specification, no more.

mod connection;
mod error;
mod manager;
mod message;
mod properties;
mod text;
mod unit;
mod value;

pub use error::Error;
pub use manager::Manager;
pub use properties::{Planned, Property, annotated, limits, start};
pub use unit::Unit;
pub use value::Value;
