//! The system calls that rustix lacks, and the fault switch.
//!
//! This is the only library where `unsafe` is allowed. Each function here is safe to call, names the call it makes, and
//! returns the kernel's error as it is; what an error means is the caller's business.
#![allow(unsafe_code)]

pub mod fault;
pub mod ofd;
pub mod spawn;
