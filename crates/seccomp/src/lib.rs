//! An OCI seccomp profile compiled to BPF: a pure function.
