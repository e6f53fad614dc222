//! The person's end of a container: the terminal, the three standard streams, and signals.

pub(crate) mod held;
pub(crate) mod raw;
pub(crate) mod session;
pub(crate) mod streams;
