//! Image references, digests, manifests and configs: types and parsers without I/O.
//!
//! Everything that comes from outside is parsed once, here, into a type that cannot hold anything else; after that no function
//! takes a bare string for it. Documents are read from their bytes and never written back: a digest names bytes, so whoever
//! keeps a document keeps the bytes. This room knows no file, no network and no Linux.

mod change;
pub mod config;
mod digest;
mod docker_archive;
mod error;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use change::apply_change;
pub use config::{Config, Empty, Healthcheck, History, RootFs, RunConfig};
pub use digest::{Algorithm, Digest, Hasher};
pub use docker_archive::{ArchivedImage, legacy_repositories, parse_archive_manifest};
pub use error::{Error, excerpt};
pub use manifest::{Descriptor, Document, Index, Manifest};
pub use platform::Platform;
pub use reference::Reference;

/// The largest manifest, index or config that is read, in bytes. Registries refuse larger ones (the distribution
/// specification asks for at least this much), and an unbounded read is how CVE-2020-1702 worked.
pub const DOCUMENT_LIMIT: u64 = 4 * 1024 * 1024;

/// The most layers that an image may have: as many as overlayfs stacks (`OVL_MAX_STACK`). One of more could be kept, and never run.
pub const LAYER_LIMIT: usize = 500;
