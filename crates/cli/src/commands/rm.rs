//! `onggi rm`: containers that are no longer wanted.

use clap::ArgMatches;
use onggi_engine::request::RemoveOptions;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, switch, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["rm", "container rm", "container remove"],
    group: Group::Run,
    about: "Remove containers",
    build,
    run,
    failure: 1,
    examples: &[
        ("rm web", "Remove one that has ended"),
        ("rm -f -v web", "Kill it first, and remove its anonymous volumes too"),
        ("rm $(onggi ps -aq -f status=exited)", "All that have ended"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi rm [OPTIONS] CONTAINER...")
        .arg(switch("force", Some('f'), "Kill it first if it runs; a missing one is no error"))
        .arg(switch("volumes", Some('v'), "Remove its anonymous volumes too"))
        .arg(switch("link", Some('l'), "Not built: links").hide(true))
        .arg(arguments("containers", "CONTAINER", "Names or ids"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if is(matches, "link") {
        return Err(CliError::unsupported("--link: links between containers are not built"));
    }
    let options = RemoveOptions { force: is(matches, "force"), volumes: is(matches, "volumes") };
    let engine = context.engine()?;
    context.each(&texts(matches, "containers"), |name| {
        let removed = engine
            .resolve(name)
            .map_err(CliError::from)
            .and_then(|id| engine.remove(&id, &options).map_err(CliError::from));
        match removed {
            // Docker says so, and goes on with success.
            Err(error) if options.force && error.is_not_found() => {
                error.report(context, 0);
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => context.line(name),
        }
    })
}
