//! What can be decided about networks without the kernel: subnets and addresses ([`pool`]), and the steps that put a container on a
//! network ([`wiring`]). Pure.

pub mod pool;
pub mod wiring;
