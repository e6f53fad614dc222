//! An OCI seccomp profile compiled to classic BPF, the program that the kernel runs at every system call: a pure function.
//!
//! [`compile`] turns a profile into a [`Program`]; [`default_profile`] is the profile that every container has unless told otherwise,
//! [`default_program`] the same compiled ahead. Nothing here makes a system call: loading is `onggi_sys::seccomp`.

mod arch;
mod assemble;
mod compile;
mod default;
mod error;
#[cfg(test)]
mod header;
#[cfg(any(test, fuzzing))]
mod interpret;
#[cfg(test)]
mod oracle_tests;
mod profile;
mod program;
mod tables;

pub use arch::{Arch, architecture_names};
pub use compile::compile;
pub use default::{DEFAULT_FLAGS, default_profile, default_program};
pub use error::Error;
#[cfg(fuzzing)]
pub use interpret::says;
pub use program::{Instruction, MOST_INSTRUCTIONS, Program};
