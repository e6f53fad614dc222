//! Compiles the program of the built-in image, which `onggi` carries inside itself, into OUT_DIR/hello.
//!
//! One call of the compiler does it: a build script cannot depend on another package's binary, and the program needs nothing
//! but the core library. crates/hello has the arguments and the largest size.

use std::path::Path;
use std::process::Command;

#[path = "../hello/arguments.rs"]
mod hello;

fn main() {
    compile_hello();
}

fn compile_hello() {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let source = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../hello");
    let output = Path::new(&variable("OUT_DIR")).join("hello");
    println!("cargo::rerun-if-changed={}", source.display());
    let status = Command::new(variable("RUSTC"))
        .args(hello::ARGUMENTS)
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(&output)
        .arg(source.join("src/main.rs"))
        .status()
        .unwrap_or_else(|error| panic!("cannot start the compiler for hello: {error}"));
    assert!(status.success(), "hello does not compile: {status}");
    let size = output.metadata().unwrap_or_else(|error| panic!("{}: {error}", output.display())).len();
    assert!(size <= hello::LARGEST, "hello is {size} bytes, more than {}", hello::LARGEST);
}
