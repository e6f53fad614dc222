//! The program `onggi-monitor`: the parent of a container's processes. See `docs/monitor-protocol.md`.
//!
//! As `onggi-monitor hold DIRECTORY DESCRIPTOR` it is the process that keeps an ordinary user's namespace (`docs/rootless.md`).

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    onggi_sys::process::ignore_file_size_signal();
    let arguments: Vec<_> = std::env::args_os().take(4).collect();
    if let [_, word, run, ready] = arguments.as_slice()
        && word == onggi_rootless::HOLD
    {
        return hold(Path::new(run), ready);
    }
    ExitCode::from(onggi_monitor::program::run(&mut onggi_monitor::program::Namespaces::default()))
}

/// Whoever started it has its other end of the pipe, and says what went wrong when that closes too early.
fn hold(run: &Path, ready: &OsStr) -> ExitCode {
    let ready = ready.to_str().and_then(|number| number.parse().ok()).unwrap_or(-1);
    let held =
        onggi_sys::descriptor::take_inherited(ready).and_then(|ready| onggi_rootless::hold(run, ready));
    if held.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
