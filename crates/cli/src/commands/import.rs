//! `onggi import`: an image of one layer from the tar of a root file system.

use std::fs::File;
use std::io;

use clap::{Arg, ArgMatches};
use onggi_image::{Platform, Reference};
use onggi_store::ImportOptions;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::progress::Form;
use crate::flags::{self, argument, is, parsed, switch, text, texts, value, values};
use crate::progress::{Bars, Interruptible};

pub(crate) const COMMAND: Command = Command {
    names: &["import", "image import"],
    group: Group::Images,
    about: "Make an image of a root file system's tar",
    build,
    run,
    failure: 1,
    examples: &[
        ("import rootfs.tar.gz mine:1", "From a file"),
        ("import -c 'CMD [\"/bin/sh\"]' - mine:1 < rootfs.tar", "From a pipe, with a command"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi import [OPTIONS] FILE|- [REPOSITORY[:TAG]]")
        .arg(values(
            "change",
            Some('c'),
            "INSTRUCTION",
            "A Dockerfile instruction: 'CMD [\"sh\"]', 'ENV A=1'",
        ))
        .arg(value("message", Some('m'), "TEXT", "A comment for the image's history"))
        .arg(value("platform", None, "OS/ARCH", "What machine it is for, in place of the host's"))
        .arg(switch("quiet", Some('q'), "No progress"))
        .arg(argument("file", "FILE|-", "The tar; gzip and zstd too"))
        .arg(Arg::new("name").value_name("REPOSITORY[:TAG]").help("What to call the image"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let options = ImportOptions {
        name: parsed(matches, "name", Reference::parse)?,
        changes: texts(matches, "change"),
        message: text(matches, "message").unwrap_or_default().to_owned(),
        platform: parsed(matches, "platform", str::parse::<Platform>)?,
        created: None,
    };
    let source = text(matches, "file").unwrap_or_default();
    if source.starts_with("http://") || source.starts_with("https://") {
        let hint = "fetch it first, or pipe it: curl … | onggi import - NAME";
        return Err(CliError::unsupported("importing from an address is not built yet").hint(hint));
    }
    // First of all, so that an early Ctrl-C cuts nothing short.
    let bars = Bars::new(if is(matches, "quiet") { Form::Quiet } else { Form::Auto })?;
    let engine = context.engine()?;
    let id = if source == "-" {
        engine.import(&mut Interruptible::new(io::stdin().lock(), &bars), &options, &bars)
    } else {
        let file = File::open(source).map_err(|error| CliError::io(format!("open {source}"), &error))?;
        engine.import(&mut Interruptible::new(file, &bars), &options, &bars)
    };
    let id = bars.end(id)?;
    context.line(&id.to_string())?;
    for note in engine.keep_budget(&[id])?.notes() {
        context.warn(&note);
    }
    Ok(0)
}
