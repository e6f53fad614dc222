//! An ordinary user's own user namespace, which all of the user's commands, monitors and containers share: inside it the user is
//! root over the ids that `/etc/subuid` and `/etc/subgid` grant. With it goes a [`network`] namespace, in which the user's bridges are.
//!
//! A command [`enter`]s the first one first of all. It lives as long as anything is in it: a container's monitor, or the *holder*, a
//! process of a hundred kilobytes that sleeps until nobody has needed it for a while ([`hold`]). There is no daemon. This crate
//! knows nothing of containers; docs/rootless.md tells the whole.

mod enter;
mod error;
mod granted;
mod hold;
mod make;
mod network;
mod ranges;
mod uplink;
mod way;

pub use enter::{Entered, enter};
pub use error::Error;
pub use granted::granted;
pub use hold::{HOLD, hold};
pub use network::{is_held, network};
pub use ranges::Range;
pub use way::{LINK, PROGRAM, can_go_out, close_way_out, ensure_way_out};
