//! `--env`, `--env-file`, `--label-file`: lines of names and values.
//!
//! The rules of the files are Docker's (`opts/file.go`, `pkg/kvfile`): `#` begins a comment only at a
//! line's start, values are taken as they stand, quotes included, and a name alone takes the value that
//! this process has.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;

use crate::error::CliError;

/// Bytes of a file: what the environment of a program may be at all (see `onggi run --env`).
const LARGEST_FILE: u64 = 1 << 20;
/// Bytes of a line, its end included, as Go's `bufio.Scanner` has it.
const LONGEST_LINE: usize = 64 << 10;

/// `NAME=value` as given; `NAME` alone with this process's value, or as it stands if it has none, which
/// takes the image's away.
pub(crate) fn variable(text: &str) -> Result<String, String> {
    let name = text.split('=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(format!("\"{text}\" has no name"));
    }
    if text.contains('\0') {
        return Err("a variable cannot hold a zero byte".to_owned());
    }
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    match std::env::var(text) {
        Ok(value) => Ok(format!("{text}={value}")),
        Err(_) => Ok(text.to_owned()),
    }
}

/// The lines of a file of variables. A name alone that this process has not is left out.
pub(crate) fn env_file(path: &str) -> Result<Vec<String>, CliError> {
    let text = read(path)?;
    let lookup = |name: &str| std::env::var(name).ok().map(|value| format!("{name}={value}"));
    lines(path, &text, lookup)
}

/// The lines of a file of labels.
pub(crate) fn label_file(path: &str) -> Result<Vec<String>, CliError> {
    let text = read(path)?;
    lines(path, &text, |name| Some(name.to_owned()))
}

fn read(path: &str) -> Result<String, CliError> {
    let fail = |error: &io::Error| CliError::io(format!("open {path}"), error);
    // Opening a device can do something, and opening a pipe that nobody writes to waits.
    let kind = fs::metadata(path).map_err(|error| fail(&error))?.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        return Err(CliError::invalid(format!("{path} is neither a file nor a pipe")));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| fail(&error))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(CliError::invalid(format!("{path} is larger than {LARGEST_FILE} bytes")));
    }
    if bytes.split(|&byte| byte == b'\n').any(|line| line.len() >= LONGEST_LINE) {
        return Err(CliError::invalid(format!("{path}: a line is longer than {LONGEST_LINE} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| CliError::invalid(format!("{path} is not UTF-8 text")))
}

fn lines(path: &str, text: &str, alone: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, CliError> {
    let mut found = Vec::new();
    for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, _)) => (name, Some(line.to_owned())),
            None => (line.trim_end(), alone(line.trim_end())),
        };
        let place = || format!("{path}:{}", number + 1);
        if name.is_empty() {
            return Err(CliError::invalid(format!("{}: no variable name on line '{line}'", place())));
        }
        if name.contains(char::is_whitespace) {
            return Err(CliError::invalid(format!("{}: variable '{name}' contains whitespaces", place())));
        }
        found.extend(value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_docker_reads_them() {
        let alone = |name: &str| (name == "KNOWN").then(|| "KNOWN=1".to_owned());
        let text = "\u{feff}A=1\n# no\n  B=\"x # y\"\n\nC=\nKNOWN\nUNKNOWN\nD=a=b \n";
        let found = lines("f", text, alone).unwrap();
        assert_eq!(found, ["A=1", "B=\"x # y\"", "C=", "KNOWN=1", "D=a=b "]);
        for bad in ["=x", "A B=1"] {
            assert!(lines("f", bad, alone).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_read_is_a_file_of_bounded_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let path = path.to_str().unwrap();
        let refusal = |text: &str| {
            fs::write(path, text).unwrap();
            read(path).err().map(|error| format!("{error:?}"))
        };
        let line = "x".repeat(LONGEST_LINE - 1) + "\n";
        assert_eq!(refusal(&line), None);
        assert!(refusal(&format!("A=1\nx{line}")).unwrap().contains("a line is longer than 65536 bytes"));
        assert_eq!(refusal(&line.repeat(16)), None);
        assert!(refusal(&(line.repeat(16) + "x")).unwrap().contains("is larger than 1048576 bytes"));
        for other in ["/dev/zero", "/dev"] {
            let error = format!("{:?}", read(other).unwrap_err());
            assert!(error.contains("neither a file nor a pipe"), "{error}");
        }
    }

    #[test]
    fn variables_need_names() {
        assert_eq!(variable("A=").unwrap(), "A=");
        assert_eq!(variable("ONGGI_TEST_NOT_SET").unwrap(), "ONGGI_TEST_NOT_SET");
        assert!(variable("=x").is_err());
        assert!(variable("A=\0").is_err());
    }
}
