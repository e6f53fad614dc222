//! How the program is compiled, said once: for the copy that `onggi` carries (crates/cli/build.rs calls the compiler with
//! these), for the member of the workspace (build.rs beside this file takes the link arguments) and for the test of its size.

/// What follows `rustc --target TARGET -o OUTPUT src/main.rs`.
pub(crate) const ARGUMENTS: &[&str] = &[
    "--edition=2024",
    "--crate-name=onggi_hello",
    "--crate-type=bin",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Cstrip=symbols",
    // A fixed address and no dynamic section: there is no loader inside the image.
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    // It has its own `_start` and calls nothing of the C library.
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    // The image's digest must not change with the linker's mood.
    "-Clink-arg=-Wl,--build-id=none",
];

/// What the finished program may weigh, in bytes.
#[allow(dead_code, reason = "this file is included where only the arguments matter too")]
pub(crate) const LARGEST: u64 = 64 * 1024;
