//! What comes from outside and is parsed or planned from: one module for each target of libFuzzer, each a function that is given any
//! bytes and panics if what must hold does not.
//!
//! A new target is a module here, three lines in `fuzz_targets/`, a `[[bin]]` in `Cargo.toml` and, if it helps the fuzzer to begin,
//! files in `seeds/NAME/` and words in `words/NAME`. Nothing here may start a process or touch the disk.

pub mod cgroups;
pub mod challenges;
pub mod config;
pub mod documents;
pub mod erofs;
pub mod host;
pub mod layer;
pub mod messages;
pub mod mounts;
pub mod names;
pub mod process;
pub mod references;
pub mod seccomp;
