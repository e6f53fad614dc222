//! From arguments to a command, and from its outcome to an exit code and texts that engines match on.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

mod arguments;
mod birth;
mod bundle;
mod cgroups;
mod commands;
mod criu;
mod devices;
mod error;
mod fifo;
mod figures;
mod foreground;
mod help;
mod launch;
mod listener;
mod log;
mod notify;
mod prepare;
mod record;
mod resctrl;
mod resources;
mod sockets;
mod status;
mod store;
mod systemd;
mod time;

use arguments::{Flag, Parsed};
use error::Error;
use log::{Format, Log};
use store::Store;

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) log: Log,
    /// No cgroups at all (crun's `--cgroup-manager disabled`, which Podman sends).
    pub(crate) without_cgroups: bool,
    /// The program that `--criu` names.
    pub(crate) criu: Option<String>,
    /// Cgroups are units of systemd's.
    pub(crate) systemd: bool,
    /// The caller cannot be expected to have cgroups: `--rootless`, or who is not root of the machine.
    pub(crate) rootless: bool,
}

const GLOBAL: &[Flag] = &[
    Flag::with(
        "root",
        "DIR",
        "where the state of containers is kept (/run/onggi-runtime, or in $XDG_RUNTIME_DIR)",
    ),
    Flag::with("log", "FILE", "write the log there as well as errors to standard error"),
    Flag::with("log-format", "FORMAT", "text or json (text)"),
    Flag::switch("debug", "log more"),
    Flag::switch("systemd-cgroup", "have systemd make cgroups; cgroupsPath is then slice:prefix:name"),
    Flag::with("cgroup-manager", "NAME", "cgroupfs, systemd or disabled (cgroupfs)"),
    Flag::with("rootless", "WORD", "true, false or auto (auto)"),
    Flag::with("criu", "PATH", "the program criu (that in $PATH)"),
    Flag::switch("help", "show this").short("h"),
    Flag::switch("version", "show the version").short("v"),
];

/// The whole program.
pub(crate) fn main() -> u8 {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let global = match arguments::parse(GLOBAL, &arguments, true) {
        Ok(global) => global,
        Err(error) => return usage(&error, &help::program(GLOBAL)),
    };
    let mut log = Log::new(global.has("debug"));
    match run(&global, &mut log) {
        Ok(code) => code,
        Err(Failed { error, code, help }) => {
            if let Some(help) = help {
                let _ = print(&help);
            }
            log.error(&error);
            code
        }
    }
}

struct Failed {
    error: Error,
    code: u8,
    help: Option<String>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { error, code: 1, help: None }
    }
}

fn run(global: &Parsed, log: &mut Log) -> Result<u8, Failed> {
    if global.has("version") {
        print(&help::version())?;
        return Ok(0);
    }
    let Some((name, rest)) = global.positional.split_first() else {
        print(&help::program(GLOBAL))?;
        return Ok(0);
    };
    if global.has("help") || matches!(name.as_str(), "help" | "h") {
        let about = rest.first().and_then(|name| commands::find(name));
        print(&about.map_or_else(|| help::program(GLOBAL), help::command))?;
        return Ok(0);
    }
    log.write_to(global.value("log"), format(global)?)?;
    let Some(command) = commands::find(name) else {
        let help = Some(help::program(GLOBAL));
        return Err(Failed { error: Error::usage(format!("No help topic for '{name}'")), code: 3, help });
    };
    // Of `exec` as well: nothing was executed whose code this could be taken for.
    let with_help = |error| Failed { error, code: 1, help: Some(help::command(command)) };
    let parsed = arguments::parse(command.flags, rest, command.stops_at_first);
    let parsed = parsed.map_err(|error| with_help(Error::usage(format!("Incorrect Usage: {error}"))))?;
    if parsed.has("help") {
        print(&help::command(command))?;
        return Ok(0);
    }
    command.check(parsed.positional.len()).map_err(with_help)?;
    refuse(global)?;
    let context = Context {
        store: Store::new(root(global)?, global.value("root").is_some()),
        log: log.clone(),
        without_cgroups: global.value("cgroup-manager") == Some("disabled"),
        criu: global.value("criu").map(str::to_owned),
        systemd: global.has("systemd-cgroup") || global.value("cgroup-manager") == Some("systemd"),
        rootless: match global.value("rootless") {
            Some("true") => true,
            Some("false") => false,
            _ => !rustix::process::geteuid().is_root() || onggi_sys::namespace::in_user_namespace(),
        },
    };
    (command.run)(&context, &parsed).map_err(|error| Failed { error, code: command.failure_code, help: None })
}

/// Global flags that are known and not built.
fn refuse(global: &Parsed) -> Result<(), Error> {
    match global.value("cgroup-manager") {
        None | Some("cgroupfs" | "systemd" | "disabled") => {}
        Some(other) => return Err(Error::usage(format!("invalid cgroup manager {other:?}"))),
    }
    match global.value("rootless") {
        None | Some("true" | "false" | "auto") => Ok(()),
        Some(other) => Err(Error::usage(format!("invalid value {other:?} for --rootless"))),
    }
}

fn format(global: &Parsed) -> Result<Format, Error> {
    match global.value("log-format") {
        None | Some("" | "text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(Error::usage(format!("invalid log-format: {other}"))),
    }
}

/// runc's rule with a name of our own: both can be asked about the same machine without taking the other's containers for theirs.
fn root(global: &Parsed) -> Result<PathBuf, Error> {
    if let Some(root) = global.value("root") {
        let root = std::path::absolute(root).map_err(|error| Error::io("find --root", error))?;
        if root == Path::new("/") {
            return Err(Error::usage("Option --root argument should not be set to /"));
        }
        return Ok(root);
    }
    let is_root = rustix::process::geteuid().is_root();
    let is_machines = !is_root || !onggi_sys::namespace::in_user_namespace();
    Ok(usual_root(is_root, is_machines, std::env::var_os("USER"), std::env::var_os("XDG_RUNTIME_DIR")))
}

/// Pure: root of the machine and who says to be root have one place, everybody else their own.
fn usual_root(
    is_root: bool,
    is_machines: bool,
    user: Option<OsString>,
    directory: Option<OsString>,
) -> PathBuf {
    // Podman's own calls for an ordinary user (`start`, `delete`) come without USER, conmon's (`create`) with it: both mean that user.
    let is_root = is_root && (is_machines || user.is_some_and(|user| user == "root"));
    match directory {
        Some(directory) if !is_root && !directory.is_empty() => {
            PathBuf::from(directory).join("onggi-runtime")
        }
        _ => PathBuf::from("/run/onggi-runtime"),
    }
}

fn usage(error: &str, help: &str) -> u8 {
    let _ = print(&format!(
        "Incorrect Usage: {error}

{help}"
    ));
    let _ = writeln!(std::io::stderr(), "{error}");
    1
}

/// Prints all of it.
///
/// # Errors
/// Also where nobody listens any more, so that a stream of events ends with its reader.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut output = std::io::stdout();
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    printed.map_err(|error| Error::io("write the standard output", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_but_root_has_a_root_of_their_own() {
        let own = "/run/user/7/onggi-runtime";
        let machines = "/run/onggi-runtime";
        for (is_root, is_machines, user, directory, expected) in [
            (true, true, None, Some("/run/user/7"), machines),
            (true, true, Some("kim"), Some("/run/user/7"), machines),
            (false, true, Some("kim"), Some("/run/user/7"), own),
            // Root of a user namespace: what Podman's own calls and conmon's look like.
            (true, false, None, Some("/run/user/7"), own),
            (true, false, Some("kim"), Some("/run/user/7"), own),
            (true, false, Some("root"), Some("/run/user/7"), machines),
            (true, false, None, Some(""), machines),
            (true, false, None, None, machines),
        ] {
            let found = usual_root(is_root, is_machines, user.map(Into::into), directory.map(Into::into));
            assert_eq!(found, Path::new(expected), "{is_root} {is_machines} {user:?} {directory:?}");
        }
    }
}
