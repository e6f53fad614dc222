//! `onggi cp`: files into a container and out of it.

use std::io::{self, IsTerminal as _};

use clap::ArgMatches;
use onggi_engine::{CopyOptions, CopySource, CopyTarget};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, is, switch, text};
use crate::output::human;

pub(crate) const COMMAND: Command = Command {
    names: &["cp", "container cp"],
    group: Group::Look,
    about: "Copy files into a container or out of it",
    build,
    run,
    failure: 1,
    examples: &[
        ("cp site/. web:/usr/share/nginx/html", "What is in the directory, to a container"),
        ("cp web:/var/log/nginx logs", "A directory, from one"),
        ("cp web:/etc - | tar t", "As a tar; `cp - web:/` takes one"),
    ],
};

fn build() -> clap::Command {
    flags::command(
        "onggi cp [OPTIONS] CONTAINER:PATH PATH|-\n       onggi cp [OPTIONS] PATH|- CONTAINER:PATH",
    )
    .arg(switch("archive", Some('a'), "Keep owners and groups on the host too"))
    .arg(switch("follow-link", Some('L'), "Copy what a link at the end of the source leads to"))
    .arg(switch("quiet", Some('q'), "Do not say how much was copied"))
    .arg(argument("source", "SOURCE", "CONTAINER:PATH, a path of the host, or - for a tar on standard input"))
    .arg(argument(
        "target",
        "TARGET",
        "CONTAINER:PATH, a path of the host, or - for a tar on standard output",
    ))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let (source, target) =
        (text(matches, "source").unwrap_or_default(), text(matches, "target").unwrap_or_default());
    let (from, to) = (Place::parse(source)?, Place::parse(target)?);
    match (&from, &to) {
        (Place::Container { .. }, Place::Container { .. }) => {
            return Err(CliError::invalid("copying between containers is not supported"));
        }
        (Place::Container { .. }, _) | (_, Place::Container { .. }) => {}
        _ => return Err(CliError::invalid("must specify at least one container source")),
    }
    let engine = context.engine()?;
    let id = |place: &Place| match place {
        Place::Container { name, .. } => engine.resolve(name).map(Some),
        _ => Ok(None),
    };
    let id = id(&from)?.or(id(&to)?);
    let Some(id) = &id else { return Err(CliError::invalid("must specify at least one container source")) };
    let (mut input, mut output) = (io::stdin(), io::stdout());
    let is_stream = matches!(to, Place::Stream);
    if is_stream && output.is_terminal() {
        return Err(CliError::invalid("cowardly refusing to write an archive to a terminal; redirect it"));
    }
    let from = match &from {
        Place::Host(path) => CopySource::Host(path),
        Place::Container { name, path } => CopySource::Container { id, name, path },
        Place::Stream => CopySource::Archive(&mut input),
    };
    let to = match &to {
        Place::Host(path) => CopyTarget::Host(path),
        Place::Container { name, path } => CopyTarget::Container { id, name, path },
        Place::Stream => CopyTarget::Archive(&mut output),
    };
    let options = CopyOptions { follow: is(matches, "follow-link"), archive: is(matches, "archive") };
    let bytes = engine.copy(from, to, options)?;
    if !is_stream && !is(matches, "quiet") {
        context.complain(&format!("Successfully copied {} to {target}\n", human::size(bytes, 3)));
    }
    Ok(0)
}

/// One side of the copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Absolute.
    Host(String),
    /// The path is from the container's root.
    Container {
        name: String,
        path: String,
    },
    Stream,
}

impl Place {
    /// Docker's rule: what begins with `/` or `.` is the host's, colon or not.
    fn parse(text: &str) -> Result<Place, CliError> {
        if text == "-" {
            return Ok(Place::Stream);
        }
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with('/') && !name.starts_with('.') && !name.is_empty() => {
                if path.is_empty() {
                    return Err(CliError::invalid(format!(
                        "{text}: name a path in the container, {text}/ is its root"
                    )));
                }
                let slash = if path.starts_with('/') { "" } else { "/" };
                Ok(Place::Container { name: name.to_owned(), path: format!("{slash}{path}") })
            }
            _ if text.is_empty() => Err(CliError::invalid("an empty path names nothing")),
            _ if text.starts_with('/') => Ok(Place::Host(text.to_owned())),
            _ => {
                let here =
                    std::env::current_dir().map_err(|error| CliError::io("find this directory", &error))?;
                // Joined as text: `dir/.` means something else than `dir`.
                Ok(Place::Host(format!("{}/{text}", here.display())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn sides() {
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        let host = |path: &str| Some(Place::Host(path.to_owned()));
        let container =
            |name: &str, path: &str| Some(Place::Container { name: name.to_owned(), path: path.to_owned() });
        for (text, wanted) in [
            ("-", Some(Place::Stream)),
            ("/a:b", host("/a:b")),
            ("./a:b", host(&format!("{here}/./a:b"))),
            ("dir/.", host(&format!("{here}/dir/."))),
            ("web:/etc/", container("web", "/etc/")),
            ("web:etc", container("web", "/etc")),
            ("web:", None),
            ("", None),
        ] {
            assert_eq!(Place::parse(text).ok(), wanted, "{text}");
        }
    }
}
