//! The parent of a sandbox's containers: terminals, logs, exit statuses; and its protocol.
//!
//! What both sides share (the protocol's words, the client that speaks them, the event log, the state record), and in [`program`] the
//! other side: the program `onggi-monitor` itself. It knows neither images nor the command line, of namespaces only
//! what the runtime tells it, and of networks only what `onggi-net` does for it.

pub mod client;
pub mod clock;
pub mod error;
pub mod events;
pub mod policy;
pub mod program;
pub mod protocol;
pub mod state;

pub use error::Error;
