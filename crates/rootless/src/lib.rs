//! An ordinary user's own user namespace, which all of the user's commands, monitors and containers share: inside it the user is
//! root over the ids that `/etc/subuid` and `/etc/subgid` grant.
//!
//! A command [`enter`]s it first of all. The namespace lives as long as anything is in it: a container's monitor, or the *holder*, a
//! process of a hundred kilobytes that sleeps until nobody has needed it for a while ([`hold`]). There is no daemon. This crate
//! knows nothing of containers; docs/rootless.md tells the whole.

mod enter;
mod error;
mod granted;
mod hold;
mod make;
mod ranges;

pub use enter::{Entered, enter};
pub use error::Error;
pub use granted::granted;
pub use hold::{HOLD, hold};
pub use ranges::Range;
