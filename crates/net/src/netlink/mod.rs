//! Netlink: messages as bytes ([`message`]), and a socket that sends them ([`socket`]).
//!
//! The encoder is ours because there is so little of it: a header, attributes, attributes in attributes. What the numbers mean is in
//! [`crate::link`] and [`crate::nftables`].

pub(crate) mod message;
pub(crate) mod socket;

pub(crate) use message::Message;
pub use socket::Socket;
