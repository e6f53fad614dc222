//! The first process: its words, its variables, and where it starts.
//!
//! What the image says counts where the user says nothing; of the environment both count, name by name.

use std::collections::{HashMap, HashSet};

use onggi_image::config::RunConfig;
use onggi_runtime::plan::clean;

use super::invalid;
use crate::error::Error;
use crate::request::RunRequest;

/// Bytes of all variables together. execve(2) takes a quarter of the stack's limit for arguments and environment: 2 MiB as a rule.
const LARGEST_ENVIRONMENT: usize = 1 << 20;

/// An entrypoint of the user's takes the image's CMD away with it; an empty one leaves only the user's command.
pub(super) fn command(
    request: &RunRequest,
    image: &RunConfig,
) -> Result<(Option<Vec<String>>, Vec<String>), Error> {
    let (entrypoint, command) = match &request.entrypoint {
        Some(entrypoint) => {
            let entrypoint = entrypoint.clone();
            let none = entrypoint.is_empty() || entrypoint == [""];
            ((!none).then_some(entrypoint), request.command.clone())
        }
        None if request.command.is_empty() => {
            (image.entrypoint.clone(), image.cmd.clone().unwrap_or_default())
        }
        None => (image.entrypoint.clone(), request.command.clone()),
    };
    let entrypoint = entrypoint.filter(|words| !words.is_empty());
    if entrypoint.is_none() && command.is_empty() {
        return Err(Error::NoCommand);
    }
    Ok((entrypoint, command))
}

/// The user's first, then the image's that the user did not set; a name alone takes one away.
pub(super) fn environment(user: &[String], image: &[String]) -> Result<Vec<String>, Error> {
    if let Some(bad) =
        user.iter().find(|entry| entry.is_empty() || entry.starts_with('=') || entry.contains('\0'))
    {
        return Err(invalid(format!("invalid environment variable: {bad:?}")));
    }
    // A name's last word counts, and its place is where that word stands.
    let last: HashMap<&str, usize> =
        user.iter().enumerate().map(|(at, entry)| (variable(entry), at)).collect();
    let users = user.iter().enumerate().filter(|(at, entry)| last.get(variable(entry)) == Some(at));
    let mut merged: Vec<String> =
        users.map(|(_, entry)| entry).filter(|entry| entry.contains('=')).cloned().collect();
    let mut known = HashSet::new();
    for entry in image.iter().filter(|entry| entry.contains('=') && !entry.contains('\0')) {
        if !last.contains_key(variable(entry)) && known.insert(variable(entry)) {
            merged.push(entry.clone());
        }
    }
    let size: usize = merged.iter().map(|entry| entry.len() + 1).sum();
    if size > LARGEST_ENVIRONMENT {
        return Err(invalid(format!(
            "the environment has {} variables of {size} bytes together; more than {LARGEST_ENVIRONMENT} bytes are no use to any program",
            merged.len()
        )));
    }
    Ok(merged)
}

/// The name in `NAME=value`.
pub(crate) fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

pub(super) fn working_directory(user: Option<&str>, image: &str) -> Result<String, Error> {
    if let Some(path) = user.filter(|path| !path.is_empty() && !path.starts_with('/')) {
        return Err(invalid(format!(
            "the working directory '{path}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(clean(user.filter(|path| !path.is_empty()).unwrap_or(image)))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{image, record, texts};
    use super::*;

    #[test]
    fn entrypoint_and_command() {
        let (e, c): (&[&str], &[&str]) = (&["/e", "x"], &["c"]);
        for (asked_entrypoint, asked_command, entrypoint, cmd, args) in [
            (None, &[][..], Some(e), Some(c), Some("/e x c")),
            (None, &["d", "f"][..], Some(e), Some(c), Some("/e x d f")),
            (None, &[][..], None, Some(c), Some("c")),
            (None, &[][..], Some(e), None, Some("/e x")),
            // A given entrypoint takes the image's CMD away.
            (Some(&["/n"][..]), &[][..], Some(e), Some(c), Some("/n")),
            (Some(&["/n"][..]), &["d"][..], Some(e), Some(c), Some("/n d")),
            // --entrypoint ""
            (Some(&[""][..]), &["d"][..], Some(e), Some(c), Some("d")),
            (Some(&[][..]), &[][..], Some(e), Some(c), None),
            (None, &[][..], None, None, None),
        ] {
            let request = RunRequest {
                entrypoint: asked_entrypoint.map(texts),
                command: texts(asked_command),
                ..RunRequest::default()
            };
            let result = record(&request, &image(entrypoint, cmd));
            match args {
                Some(args) => assert_eq!(result.unwrap().args().join(" "), args),
                None => assert!(matches!(result, Err(Error::NoCommand))),
            }
        }
    }

    #[test]
    fn environments_merge_with_the_users_first() {
        let merged =
            environment(&texts(&["A=1", "B", "C=", "A=2"]), &texts(&["A=0", "B=0", "D=x=y"])).unwrap();
        assert_eq!(merged, ["C=", "A=2", "D=x=y"]);
        assert!(environment(&texts(&["=x"]), &[]).is_err());
        assert!(environment(&texts(&["A=\0"]), &[]).is_err());
    }

    #[test]
    fn an_environment_is_merged_in_one_pass_and_has_a_limit() {
        let image: Vec<String> = (0..60_000).map(|number| format!("NAME{number}=x")).collect();
        assert_eq!(environment(&texts(&["NAME7=y"]), &image).unwrap().len(), 60_000);
        let error = environment(&[format!("A={}", "x".repeat(1 << 20))], &image).unwrap_err().to_string();
        assert!(error.starts_with("the environment has 60001 variables of "), "{error}");
    }

    #[test]
    fn directories_are_absolute_and_clean() {
        for (user, image, expected) in [
            (None, "", "/"),
            (None, "app", "/app"),
            (None, "/a//b/../c/", "/a/c"),
            (Some("/w"), "/a", "/w"),
            (Some(""), "/a", "/a"),
        ] {
            assert_eq!(working_directory(user, image).unwrap(), expected);
        }
        assert!(working_directory(Some("w"), "/").is_err());
    }
}
