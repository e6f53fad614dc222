//! The system calls that rustix lacks, and the fault switch.
//!
//! This is the only library where `unsafe` is allowed. Each function here is safe to call, names the call it makes, and
//! returns the kernel's error as it is; what an error means is the caller's business.
#![allow(unsafe_code)]

pub mod apart;
pub mod bpf;
pub mod clone;
pub mod descriptor;
#[cfg(target_arch = "x86_64")]
pub mod entry;
pub mod fault;
pub mod interface;
pub mod kernel_file;
pub mod keyring;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod ofd;
pub mod pidfd;
pub mod process;
pub mod program;
pub mod schedule;
pub mod seccomp;
pub mod signal_queue;
pub mod socket_filter;
pub mod spawn;
pub mod spawn_into;
pub mod transparent;
pub mod tree;
pub mod usage;
pub mod walk;
pub mod writeback;
