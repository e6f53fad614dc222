//! Has the program begin with `onggi_sys::entry`, before the C library's beginning.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|architecture| architecture == "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=onggi_entry");
    }
}
