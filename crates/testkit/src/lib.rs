//! What the end-to-end tests share: an Onggi of their own to each, real images, a terminal to type in, and a check that nothing
//! is left behind.
//!
//! A test says `let onggi = fresh();` (crates/cli/tests/common), imports an image, runs commands as a user would, and ends; the
//! drop of the [`TestEnv`] removes what the test made and fails the test if anything of it is still there. Nothing here sleeps:
//! what a test waits for is a line of output, a process's end or an event, each with a deadline.

mod archive;
mod command;
mod disk;
mod environment;
pub mod http;
mod images;
mod leaks;
mod ordinary;
mod process;
mod registry;
mod room;
mod terminal;

pub use archive::{Compression, ImageArchive, hard_links, sha256_hex};
pub use command::{Child, Output, Run};
pub use disk::{RecordedDisk, Recording, Survival, write_image};
pub use environment::TestEnv;
pub use images::image;
pub use leaks::Snapshot;
pub use process::{Process, processes_mentioning};
pub use registry::{Registry, RegistryAccess};
pub use room::{Beyond, leave_network};
pub use terminal::Terminal;

use std::time::Duration;

/// How long anything may take before a test gives up on it. Generous: it is only ever waited for in full when something hangs,
/// and CI machines share their cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// True when the long forms of the tests are asked for: gigabytes through pipes, hundreds of containers.
#[must_use]
pub fn full() -> bool {
    std::env::var_os("ONGGI_TEST_FULL").is_some_and(|value| !value.is_empty() && value != "0")
}
