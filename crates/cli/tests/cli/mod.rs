//! Runs the program in an empty place of its own, without a terminal and without the caller's settings.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::path::Path;
use std::process::{Command, Stdio};

/// A directory that is gone afterwards.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Standard output, standard error, exit code.
    pub(crate) fn run(&self, words: &[&str]) -> (String, String, i32) {
        let output = self.command(words).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (text(output.stdout), text(output.stderr), output.status.code().expect("no signal"))
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onggi"));
        command.args(words).env_clear().current_dir(self.directory()).stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.directory());
        command.env("ONGGI_CONFIG", self.directory().join("etc"));
        command.env("ONGGI_ROOT", self.directory().join("data"));
        command.env("ONGGI_RUN_ROOT", self.directory().join("run"));
        // Nobody is asked for an image that is not here: nothing listens on this port.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        command
    }
}

/// Text without what differs from run to run.
pub(crate) fn shown(place: &Place, text: &str) -> String {
    text.replace(&place.directory().display().to_string(), "[PLACE]")
}
