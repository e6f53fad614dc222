//! `onggi import`: an image of one layer from the tar of a root file system.

use std::fs::{self, File};
use std::io;

use clap::{Arg, ArgMatches};
use onggi_image::{Platform, Reference};
use onggi_store::ImportOptions;
use serde_json::json;

use super::pruning::keep_budget;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::progress::{self, Form};
use crate::flags::{self, argument, parsed, text, texts, value, values};
use crate::output::messages;
use crate::transfer::{Interruptible, Stdout, Transfer, Way};

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
        .args(progress::flags("No progress"))
        .arg(argument("file", "FILE|-", "The tar; gzip, zstd and xz too"))
        .arg(Arg::new("name").value_name("REPOSITORY[:TAG]").help("What to call the image"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let source = text(matches, "file").unwrap_or_default();
    let is_stream = source == "-";
    let mut options = ImportOptions {
        name: text(matches, "name").map(Reference::parse).transpose()?,
        changes: texts(matches, "change"),
        message: text(matches, "message").unwrap_or_default().to_owned(),
        platform: parsed(matches, "platform", str::parse::<Platform>)?,
        created: None,
        total: None,
    };
    if source.starts_with("http://") || source.starts_with("https://") {
        let hint = "fetch it first, or pipe it: curl … | onggi import - NAME";
        return Err(CliError::unsupported("importing from an address is not built yet").hint(hint));
    }
    // First of all, so that an early Ctrl-C cuts nothing short.
    let form = progress::form(matches)?;
    let title = if is_stream { Some("stdin") } else { source.rsplit('/').next() };
    let transfer = Transfer::begin_called(title.map(str::to_owned), Way::Import, form, Stdout::Ours)?;
    let engine = context.engine()?;
    let id = if is_stream {
        engine.import(&mut Interruptible::new(io::stdin().lock(), &transfer), &options, &*transfer)
    } else {
        let file = File::open(source).map_err(|error| CliError::io(format!("open {source}"), &error))?;
        options.total = file.metadata().ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        engine.import(&mut Interruptible::new(file, &transfer), &options, &*transfer)
    };
    let id = transfer.end(id)?;
    match form {
        Form::Json => transfer.object(|| messages::result(&json!({ "ID": id.to_string() }))),
        _ => context.line(&id.to_string())?,
    }
    keep_budget(context, engine, &[id])?;
    Ok(0)
}
