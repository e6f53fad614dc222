//! Finding the program in the container, and becoming it.
//!
//! The search and its texts are those of Go's `exec.LookPath`, as runc's users and the clients behind them know them: from the texts
//! they tell exit code 127 (not found) from 126 (found, and cannot be executed).

use std::ffi::CString;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Outcome, Problem, words};
use super::root::{Root, is};

/// All that `execve(2)` takes, made before the filter is loaded.
#[derive(Debug)]
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// `NAME=value`.
    pub(super) fn environment(&self) -> Vec<String> {
        self.env.iter().map(|variable| variable.to_string_lossy().into_owned()).collect()
    }
}

/// Looks the program up as the present user.
pub(super) fn find(child: &Child<'_>, args: &[String], env: &[String], home: bool) -> Outcome<Program> {
    let name = args.first().ok_or_else(|| Problem::new("there is no program to execute"))?;
    let mut env = env.to_vec();
    // An empty one is none, as with runc.
    if home && !env.iter().any(|variable| variable.len() > "HOME=".len() && variable.starts_with("HOME=")) {
        env.retain(|variable| variable != "HOME=");
        let home = child.user()?.home.as_deref().filter(|home| !home.is_empty()).unwrap_or("/");
        env.push(format!("HOME={home}"));
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    let path = look_up(name, path)?;
    Ok(Program { path: c_string(&path)?, args: c_strings(args)?, env: c_strings(&env)? })
}

/// Returns only if it failed.
pub(super) fn execute(program: &Program) -> Problem {
    let error = onggi_sys::process::execve(&program.path, &program.args, &program.env);
    Problem::of(format_args!("exec {}", program.path.to_string_lossy()), error)
}

/// Goes to the working directory. `Ok(false)`: only the user may go there (a network disk that squashes root); try again as the user.
pub(super) fn change_directory(root: &Root, path: &str) -> Outcome<bool> {
    let directory = match root.open(path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if is(&error, Errno::ACCESS) || is(&error, Errno::PERM) => return Ok(false),
        other => other
            .map_err(|error| Problem::of(format_args!("chdir to the working directory {path:?}"), error))?,
    };
    match rustix::process::fchdir(&directory) {
        Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
        other => other
            .map_err(|error| Problem::of(format_args!("chdir to the working directory {path:?}"), error))?,
    }
    // CVE-2024-21626: the kernel says "(unreachable)/…" of a directory outside the root.
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(true),
        _ => Err(Problem::new(
            "current working directory is outside of container mount namespace root -- possible container breakout attempt detected",
        )),
    }
}

fn look_up(name: &str, path: &str) -> Outcome<String> {
    let problem = |errno: i32, text: String| Problem { errno, message: format!("exec: {name:?}: {text}") };
    if name.contains('/') {
        return match check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err((call, errno)) => {
                let words = words(&errno.into());
                let text = if call.is_empty() { words } else { format!("{call} {name}: {words}") };
                Err(problem(errno.raw_os_error(), text))
            }
        };
    }
    for directory in path.split(':') {
        // An empty element is the working directory: as in Go, found there is found and refused.
        let candidate =
            if directory.is_empty() { format!("./{name}") } else { format!("{directory}/{name}") };
        if name.is_empty() || check(&candidate).is_err() {
            continue;
        }
        if !directory.starts_with('/') {
            return Err(problem(0, "cannot run executable found relative to current directory".to_owned()));
        }
        return Ok(candidate);
    }
    Err(problem(Errno::NOENT.raw_os_error(), "executable file not found in $PATH".to_owned()))
}

/// The call that failed (empty for the judgement itself) and its error.
fn check(path: &str) -> Result<(), (&'static str, Errno)> {
    let stat = rustix::fs::stat(path).map_err(|error| ("stat", error))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind.is_dir() {
        return Err(("", Errno::ISDIR));
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // Without the call, as Go: any execute bit will do, and exec itself has the last word.
        Err(Errno::NOSYS | Errno::PERM) if Mode::from_raw_mode(stat.st_mode).intersects(executable()) => {
            Ok(())
        }
        Err(_) => Err(("", Errno::ACCESS)),
    }
}

fn executable() -> Mode {
    Mode::XUSR | Mode::XGRP | Mode::XOTH
}

fn c_strings(texts: &[String]) -> Outcome<Vec<CString>> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn c_string(text: &str) -> Outcome<CString> {
    CString::new(text).map_err(|_| Problem::new(format!("{text:?} holds a zero byte")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_texts_are_gos() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("plain"), "").unwrap();
        std::fs::write(at("program"), "").unwrap();
        std::fs::set_permissions(at("program"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        let path = format!("/nonexistent:{}", directory.path().display());
        let message = |name: &str| look_up(name, &path).unwrap_err().message;

        assert_eq!(look_up("program", &path).unwrap(), at("program"));
        assert_eq!(look_up(&at("program"), "").unwrap(), at("program"));
        assert_eq!(message("none"), "exec: \"none\": executable file not found in $PATH");
        assert_eq!(message("plain"), "exec: \"plain\": executable file not found in $PATH");
        assert_eq!(message("directory"), "exec: \"directory\": executable file not found in $PATH");
        assert_eq!(message(""), "exec: \"\": executable file not found in $PATH");
        let none = at("none");
        assert_eq!(message(&none), format!("exec: {none:?}: stat {none}: no such file or directory"));
        let plain = at("plain");
        assert_eq!(message(&plain), format!("exec: {plain:?}: permission denied"));
        let folder = at("directory");
        assert_eq!(message(&folder), format!("exec: {folder:?}: is a directory"));
    }
}
