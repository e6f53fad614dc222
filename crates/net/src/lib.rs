//! Networks of containers, by the kernel's own interfaces and with no helper program.
//!
//! [`endpoint`] has the live files that say who is on a network under which addresses and names; [`names`] answers questions from
//! them. Nothing here knows images, stores or containers other than by id and name.

pub mod endpoint;
pub mod names;
