//! The program `onggi-runtime`: runc's command line on this library, for Docker, Podman, containerd and whoever else starts a runtime.
//!
//! Single-threaded, and gone as soon as a container runs: what it knows lies in one small file for each container.

mod program;

fn main() {
    onggi_sys::process::ignore_file_size_signal();
    let code = program::main();
    // Whoever waits for the container waits for this program: nothing is taken apart that the kernel takes apart itself. What was printed is
    // out (`program::print`).
    onggi_sys::clone::exit_now(code.into())
}
