//! `onggi run`: create, start and, unless detached, stay with it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ArgMatches;
use onggi_engine::Session;
use onggi_engine::request::{RunRequest, StartOptions};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{container, is, text};
use crate::output::plain::plain;
use crate::terminal::raw;
use crate::terminal::session::{Wishes, follow};

pub(crate) const COMMAND: Command = Command {
    names: &["run", "container run"],
    group: Group::Run,
    about: "Make a container of an image and run a program in it",
    build: container::run_flags,
    run,
    failure: 125,
    examples: &[
        ("run --rm -it debian bash", "A shell in Debian, gone when you leave it"),
        ("run -d --name web -v data:/data nginx", "In the background, with a volume"),
        ("run --rm -m 64m --cpus 0.5 busybox sh -c 'echo hello'", "With limits"),
        ("run --explain busybox true", "What would be done, step by step, in plain words"),
    ],
};

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let began = Instant::now();
    let detached = is(matches, "detach");
    let request = container::request(matches, !detached)?;
    if detached && !crate::flags::texts(matches, "attach").is_empty() {
        return Err(CliError::invalid("conflicting options: cannot specify both --attach and --detach"));
    }
    if is(matches, "explain") {
        return explain(context, &request);
    }
    let wishes = Wishes {
        stdin: request.attach.stdin,
        proxy_signals: matches.get_one::<bool>("sig-proxy").copied().unwrap_or(true),
        redraw: false,
        exec: false,
    };
    let timings = is(matches, "timing").then_some(began);
    execute(context, &request, wishes, text(matches, "cidfile"), timings)
}

/// Runs a request. `timings`: report the steps' times, and when the command began.
pub(crate) fn execute(
    context: &Context,
    request: &RunRequest,
    wishes: Wishes,
    cidfile: Option<&str>,
    timings: Option<Instant>,
) -> Result<u8, CliError> {
    raw::check(request.tty, request.attach.stdin)?;
    let cidfile = cidfile.map(CidFile::reserve).transpose()?;
    let engine = context.engine()?;
    let parsed = Instant::now();
    let created = engine.create_to_start(request)?;
    for warning in &created.warnings {
        context.warn(warning);
    }
    if let Some(file) = cidfile {
        file.write(created.id.as_str())?;
    }
    let created_at = Instant::now();
    let options = StartOptions {
        attach: request.attach,
        detach_keys: request.detach_keys.clone(),
        size: if request.tty { raw::size() } else { None },
        timings: timings.is_some(),
    };
    let session = engine.start(&created.id, &options).map_err(|error| {
        let code = error.exit_code();
        CliError::of_start(error, &created.name).code(code)
    })?;
    if let Some(began) = timings {
        report_timings(context, &session, began, parsed, created_at);
    }
    if !request.attach.any() {
        context.line(created.id.as_str())?;
        return Ok(0);
    }
    follow(context, session, wishes)
}

fn explain(context: &Context, request: &RunRequest) -> Result<u8, CliError> {
    let steps = context.engine()?.explain(request)?;
    let width = steps.len().to_string().len();
    let mut out = String::new();
    for (number, step) in steps.iter().enumerate() {
        out.push_str(&format!("{:>width$}. {}\n", number + 1, plain(&step.to_string())));
    }
    context.print(&out)?;
    Ok(0)
}

fn report_timings(context: &Context, session: &Session, began: Instant, parsed: Instant, created: Instant) {
    let own = [
        ("read the flags and open the store", parsed - began),
        ("create the container", created - parsed),
        ("start it, in all", created.elapsed()),
    ];
    let mut out = String::new();
    for (name, time) in own {
        out.push_str(&format!("{:>10.3} ms  {name}\n", time.as_secs_f64() * 1e3));
    }
    for (name, nanoseconds) in &session.timings {
        out.push_str(&format!("{:>10.3} ms    {name}\n", *nanoseconds as f64 / 1e6));
    }
    out.push_str(&format!("{:>10.3} ms  altogether\n", began.elapsed().as_secs_f64() * 1e3));
    context.complain(&out);
}

/// `--cidfile`: reserved before anything is created, and taken away again if nothing was.
pub(crate) struct CidFile {
    path: PathBuf,
    file: File,
    written: bool,
}

impl CidFile {
    pub(crate) fn reserve(path: &str) -> Result<CidFile, CliError> {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(CidFile { path: PathBuf::from(path), file, written: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let hint = "make sure that no other container uses it, then delete it";
                Err(CliError::invalid(format!("container ID file found: {path}")).hint(hint))
            }
            Err(error) => Err(CliError::io(format!("create the container ID file {path}"), &error)),
        }
    }

    pub(crate) fn write(mut self, id: &str) -> Result<(), CliError> {
        self.written = true;
        let act = |path: &Path| format!("write the container ID file {}", path.display());
        self.file.write_all(id.as_bytes()).map_err(|error| CliError::io(act(&self.path), &error))
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.written {
            // It was made by us a moment ago; if it is gone, so much the better.
            let _ = fs::remove_file(&self.path);
        }
    }
}
