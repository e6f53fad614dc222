//! Image references, digests, manifests and configs: types and parsers without I/O.
