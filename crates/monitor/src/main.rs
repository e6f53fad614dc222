//! The program `onggi-monitor`: the parent of a container's processes. See `docs/monitor-protocol.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(onggi_monitor::program::run(&mut onggi_monitor::program::Namespaces::default()))
}
