//! Names on a network: the server that containers know as 127.0.0.11.
//!
//! [`name`] and [`message`] are the bytes, [`resolve`] the rules; all three are pure. [`directory`] finds endpoints by their files,
//! [`upstream`] knows whom to ask for everything else, [`listen`] makes the sockets in the container's network namespace, and [`server`]
//! moves bytes between sockets within fixed bounds: it is one descriptor in its owner's epoll set.

mod client;
pub mod directory;
mod exchange;
pub mod listen;
pub mod message;
pub mod name;
pub mod random;
pub mod resolve;
pub mod server;
mod stream;
#[cfg(test)]
mod testing;
pub mod upstream;
