//! Prints the default profile as a configuration holds it, for those who measure other runtimes with it.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

fn main() -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string(&onggi_seccomp::default_profile(&[]))?);
    Ok(())
}
