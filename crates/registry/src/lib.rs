//! The distribution protocol, client side: manifests and blobs to and from registries, and who may have them.
//!
//! This room knows names, digests and HTTP; it does not know where images are kept, what a layer is, or Linux. Whoever pulls drives
//! it: it gets documents as verified bytes and blobs as streams that go on after a broken connection. Every answer is bounded, in bytes
//! and in time, and credentials go to the registry that they are for, to the token server that it names, and to nobody else.

mod answer;
mod auth;
mod blob;
mod client;
mod config;
mod error;
mod foreign;
mod http;
mod image;
mod net;
mod parallel;
mod repository;
mod send;
mod upload;
mod watch;

#[cfg(fuzzing)]
pub use auth::challenge::words as challenges;
pub use auth::{AuthFiles, Credential, Stored};
pub use blob::Blob;
pub use client::{Access, Client, Source};
pub use config::Config;
pub use error::{Error, Shown, TlsProblem};
pub use http::url::{Origin, Scheme, Url};
pub use http::{Dial, Dialled, Stream, ThroughProxy};
pub use image::RemoteImage;
pub use net::Proxies;
pub use repository::{Fetched, Repository};
pub use watch::{Unwatched, Watch};
