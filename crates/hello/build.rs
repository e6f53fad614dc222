//! Links the workspace's own build of the program as the copy that `onggi` carries is linked.

mod arguments;

fn main() {
    for argument in arguments::ARGUMENTS.iter().filter_map(|argument| argument.strip_prefix("-Clink-arg=")) {
        println!("cargo::rustc-link-arg-bin=onggi-hello={argument}");
    }
    println!("cargo::rerun-if-changed=arguments.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
