//! `onggi run`: create, start and, unless detached, stay with it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ArgMatches;
use onggi_engine::Session;
use onggi_engine::request::{RunRequest, StartOptions};

use super::pull::with_image;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{container, is, request, text};
use crate::output::plain::plain;
use crate::terminal::held::Held;
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
    let request = request::container(matches, !detached, &context.settings()?.network_default)?;
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
    let quiet = is(matches, "quiet");
    execute(context, &request, wishes, quiet, text(matches, "cidfile"), timings)
}

/// Runs a request. `quiet`: should its image have to be pulled, then without a word; `timings`: report the steps' times, and when the command began.
pub(crate) fn execute(
    context: &Context,
    request: &RunRequest,
    wishes: Wishes,
    quiet: bool,
    cidfile: Option<&str>,
    timings: Option<Instant>,
) -> Result<u8, CliError> {
    raw::check(request.tty, request.attach.stdin, true)?;
    let cidfile = cidfile.map(CidFile::reserve).transpose()?;
    let engine = context.engine()?;
    let parsed = Instant::now();
    let (created, held) = with_image(context, request, quiet, |engine| {
        // While an image is pulled a signal ends that; from here on there is something that has to be undone.
        let held = Held::hold(request.tty, wishes.proxy_signals && request.attach.any())
            .map_err(|source| onggi_engine::Error::Kernel { act: "watch for signals", source })?;
        match engine.create_to_start(request) {
            Ok(created) => Ok((created, held)),
            Err(error) => {
                held.release();
                Err(error)
            }
        }
    })?;
    for warning in &created.warnings {
        context.warn(warning);
    }
    let written = cidfile.map(|file| file.write(created.id.as_str())).transpose()?;
    let created_at = Instant::now();
    let options = StartOptions {
        attach: request.attach,
        detach_keys: request.detach_keys.clone(),
        size: if request.tty { raw::size() } else { None },
        timings: timings.is_some(),
        interruption: Some(held.interruption()),
    };
    let session = engine.start(&created.id, &options).map_err(|error| {
        let code = error.exit_code();
        if let onggi_engine::Error::Interrupted { .. } = error {
            // Of a container that has never been.
            let _ = written.map(fs::remove_file);
            return CliError::interrupted().code(code);
        }
        CliError::of_start(error, &created.name).code(code)
    })?;
    for warning in &session.warnings {
        context.warn(warning);
    }
    if let Some(began) = timings {
        report_timings(context, &session, began, parsed, created_at);
    }
    if !request.attach.any() {
        context.line(created.id.as_str())?;
        held.release();
        return Ok(0);
    }
    follow(context, session, wishes, held)
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

/// The first three lines are the whole time, the last one; those below the third say what is in it.
fn report_timings(context: &Context, session: &Session, began: Instant, parsed: Instant, created: Instant) {
    let whole = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut out = String::new();
    let mut line = |nanoseconds: u64, indent: &str, name: &str| {
        let microseconds = nanoseconds / 1000;
        out.push_str(&format!("{:>6}.{:03} ms  {indent}{name}\n", microseconds / 1000, microseconds % 1000));
        microseconds * 1000
    };
    let sum = |times: &[(String, u64)]| times.iter().map(|(_, time)| time).sum::<u64>();
    let started = whole(created.elapsed());
    let mut altogether = line(whole(parsed - began), "", "read the flags and open the store");
    altogether += line(whole(created - parsed), "", "create the container");
    altogether += line(started, "", "start it");
    let (monitor, process) = (sum(&session.timings.monitor), sum(&session.timings.process));
    line(started.saturating_sub(monitor), "  ", "plan, spawn the monitor, wait for it");
    line(monitor, "  ", "the monitor's own part");
    for (name, time) in &session.timings.monitor {
        line(*time, "    ", name);
    }
    line(process, "  ", "meanwhile, the steps of the new process");
    for (name, time) in &session.timings.process {
        line(*time, "    ", name);
    }
    line(altogether, "", "altogether");
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

    /// Answers where it is.
    pub(crate) fn write(mut self, id: &str) -> Result<PathBuf, CliError> {
        self.written = true;
        let act = |path: &Path| format!("write the container ID file {}", path.display());
        self.file.write_all(id.as_bytes()).map_err(|error| CliError::io(act(&self.path), &error))?;
        Ok(self.path.clone())
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
