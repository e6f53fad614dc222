//! The program `onggi`: reads flags, asks the engine, prints what comes back.
//!
//! It decides nothing that another door to the engine would have to decide as well. Only the command
//! that was typed has its flags built, because the time until a user's program runs includes it.

mod command;
mod commands;
mod context;
mod error;
mod flags;
mod help;
mod output;
mod template;
mod terminal;
mod transfer;

use std::process::ExitCode;

fn main() -> ExitCode {
    onggi_sys::process::ignore_file_size_signal();
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(command::dispatch(&arguments))
}
