//! The OCI runtime as a library: a pure planner, and an executor with one small file for each kind of step.
//!
//! [`plan::container`] turns a specification into typed steps; [`encode`] puts them into a sealed memory file for another process; and
//! [`exec::start`], called from a single-threaded process that becomes the parent, starts a child that carries them out. It
//! knows nothing of images, names, logs or networks.

pub mod exec;
pub mod plan;
mod wire;

pub use plan::{Launch, Plan, Step};
pub use wire::{decode_filter, decode_launch, decode_steps, encode};

/// What is to be moved into a volume whose filling from an image was cut short; it lies beside the volume's directory.
pub const FILLED: &str = "_filled";
/// Version of the encoded plan: a program refuses one that is newer than itself.
pub const VERSION: u32 = 1;
