//! Networks of containers, by the kernel's own interfaces and with no helper program.
//!
//! What can be decided is in [`plan`]; [`wire`] carries it out by [`link`] (rtnetlink) and [`nftables`]. [`endpoint`] has the live files
//! that say who is on a network under which addresses and names; [`names`] answers questions from them. Nothing here knows images,
//! stores or containers other than by id and name.

pub mod address;
pub mod attachment;
pub mod bridge;
pub mod conntrack;
pub mod device;
pub mod endpoint;
mod error;
pub mod home;
pub mod instance;
pub mod link;
pub mod names;
mod netlink;
pub mod nftables;
pub mod plan;
pub mod port;
pub mod relay;
pub mod turn;
pub mod wire;

pub use error::Error;
pub use netlink::Socket;
