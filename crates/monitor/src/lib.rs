//! The parent of a sandbox's containers: terminals, logs, exit statuses; and its protocol.
//!
//! The library is what both sides share: the protocol's words, the client that speaks them, the event log and the state
//! record. The program `onggi-monitor` is the other side of the protocol. It knows neither images nor networks nor the command
//! line, and of namespaces only what the runtime tells it.

pub mod client;
pub mod clock;
pub mod error;
pub mod events;
pub mod protocol;

pub use error::Error;
