//! The OCI runtime: a pure plan, and the small steps that carry it out.
