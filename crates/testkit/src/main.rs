//! The leak check around a whole run of the tests: `onggi-leaks save FILE` before it, `onggi-leaks compare FILE` after it.
//!
//! Each test checks what it made itself; this finds what no test knows of, such as a mount outside its directory.

#![allow(clippy::print_stderr, reason = "a program of the tests; what it says is its purpose")]

use std::process::ExitCode;

use onggi_testkit::Snapshot;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["save", file] => std::fs::write(file, Snapshot::take().to_text()).map(|()| Vec::new()),
        ["compare", file] => {
            std::fs::read_to_string(file).map(|before| Snapshot::take().since(&Snapshot::parse(&before)))
        }
        _ => {
            eprintln!("usage: onggi-leaks save FILE | compare FILE");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(left) if left.is_empty() => ExitCode::SUCCESS,
        Ok(left) => {
            left.iter().for_each(|line| eprintln!("left behind: {line}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {}: {error}", arguments[1]);
            ExitCode::from(2)
        }
    }
}
