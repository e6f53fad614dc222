//! The program `onggi-runtime`: runc's command line on this library, for Docker, Podman, containerd and whoever else starts a runtime.
//!
//! Single-threaded, and gone as soon as a container runs: what it knows lies in one small file for each container.

use std::process::ExitCode;

mod program;

fn main() -> ExitCode {
    onggi_sys::process::ignore_file_size_signal();
    program::main()
}
