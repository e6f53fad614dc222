//! `onggi hello`: the image inside this program, to see that everything works.
//!
//! It is imported the first time, under a name that no registry can have (`.internal` is reserved for
//! private use), with its content in the tag: another version of this program brings its own.

use clap::ArgMatches;
use onggi_engine::request::{Pull, RunRequest, Streams};
use onggi_image::{Digest, Reference};
use onggi_store::{ImportOptions, Silent};

use super::run::execute;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags;
use crate::output::tar;
use crate::terminal::session::Wishes;

pub(crate) const COMMAND: Command = Command {
    names: &["hello"],
    group: Group::Run,
    about: "Run the built-in image: does everything work here?",
    build: || flags::command("onggi hello"),
    run,
    failure: 125,
    examples: &[("hello", "Says where it runs, and what to try next")],
};

/// A static program without a C library; crates/hello has its source.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

fn run(context: &Context, _: &ArgMatches) -> Result<u8, CliError> {
    let started = monotonic_nanoseconds();
    let name = format!("hello.onggi.internal/hello:{}", &Digest::of(PROGRAM).hex()[..12]);
    let store = context.store()?;
    if store.resolve(&name).is_err() {
        let options = ImportOptions {
            name: Some(Reference::parse(&name)?),
            changes: vec!["ENTRYPOINT [\"/hello\"]".to_owned()],
            message: "built into onggi".to_owned(),
            platform: None,
            // The same program is the same image, whenever it is imported.
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            total: None,
        };
        store.import(&mut tar::one_program("hello", PROGRAM).as_slice(), &options, &Silent)?;
    }
    let attach = Streams { stdin: false, stdout: true, stderr: true };
    let request = RunRequest {
        image: name,
        remove: true,
        pull: Pull::Never,
        attach,
        // From here the program counts how long its start took.
        env: [Some(format!("ONGGI_STARTED_NS={started}")), sudo()].into_iter().flatten().collect(),
        ..RunRequest::default()
    };
    execute(
        context,
        &request,
        Wishes { stdin: false, proxy_signals: true, redraw: false, exec: false },
        true,
        None,
        None,
    )
}

/// What the page says to type next begins with `sudo` for those who had to type it now.
fn sudo() -> Option<String> {
    std::env::var_os("SUDO_UID").is_some_and(|uid| uid != "0").then(|| "ONGGI_SUDO=1".to_owned())
}

fn monotonic_nanoseconds() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}
