//! Names and numbers of system calls, one file for each architecture, made by `examples/syscall_tables.rs` from the headers of
//! Linux 7.2.

pub(crate) mod aarch64;
pub(crate) mod arm;
pub(crate) mod x32;
pub(crate) mod x86;
pub(crate) mod x86_64;
