//! `onggi create`: a container that is ready to start.

use clap::ArgMatches;

use super::pull::with_image;
use super::run::CidFile;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{container, is, request, text};

pub(crate) const COMMAND: Command = Command {
    names: &["create", "container create"],
    group: Group::Run,
    about: "Make a container without starting it",
    build: container::create_flags,
    run,
    failure: 125,
    examples: &[("create --name web nginx", "Make it now"), ("start web", "… and start it later")],
};

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let mut request = request::container(matches, true, &context.settings()?.network_default)?;
    // Docker's `create -i` is meant for `start -i`: its first client's end is the input's end.
    request.stdin_once = request.interactive;
    let cidfile = text(matches, "cidfile").map(CidFile::reserve).transpose()?;
    let created = with_image(context, &request, is(matches, "quiet"), |engine| engine.create(&request))?;
    for warning in &created.warnings {
        context.warn(warning);
    }
    if let Some(file) = cidfile {
        file.write(created.id.as_str())?;
    }
    context.line(created.id.as_str())?;
    Ok(0)
}
