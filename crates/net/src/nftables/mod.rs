//! nf_tables without its library: batches of changes that the kernel makes all or none of ([`batch`]), expressions of rules
//! ([`expression`]), Onggi's one table ([`table`]), the elements of its sets ([`element`]), and hearing of what others delete ([`watch`]).

pub(crate) mod batch;
pub mod docker;
pub(crate) mod element;
pub(crate) mod expression;
mod foreign;
mod table;
mod watch;

pub use element::{Change, Published};
pub use foreign::{Obstacle, obstacles};
pub use table::Table;
pub(crate) use table::{is_sealed, seal};
pub use watch::Watch;
