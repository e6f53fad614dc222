//! `onggi load`: images from archives and OCI layouts.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::pruning::keep_budget;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::progress::{self, Form};
use crate::flags::{self, parsed, text, value};
use crate::output::messages;
use crate::transfer::{Interruptible, Stdout, Transfer, Way};
use clap::ArgMatches;
use onggi_engine::Archive;
use onggi_image::{Platform, Reference};
use onggi_store::LoadOptions;

pub(crate) const COMMAND: Command = Command {
    names: &["load", "image load"],
    group: Group::Images,
    about: "Load images from an archive or an OCI layout",
    build,
    run,
    failure: 1,
    examples: &[
        ("load -i debian.tar", "What `docker save` wrote; gzip, zstd and xz too"),
        ("load -i ./layout", "A directory in OCI's layout"),
        ("load < images.tar.zst", "From a pipe"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi load [OPTIONS]")
        .arg(value("input", Some('i'), "FILE", "Read this file or directory in place of standard input"))
        .arg(value("tag", Some('t'), "NAME[:TAG]", "Call the image so, in place of the names in the archive"))
        .args(progress::flags("No progress"))
        .arg(value("platform", None, "OS/ARCH", "Of images for several machines the one for this"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let input = text(matches, "input").filter(|path| *path != "-");
    if input.is_none() && io::stdin().is_terminal() {
        return Err(CliError::invalid("requested load from stdin, but stdin is a terminal")
            .hint("name the archive with -i"));
    }
    let options = LoadOptions {
        name: parsed(matches, "tag", Reference::parse)?,
        platform: parsed(matches, "platform", str::parse::<Platform>)?,
    };
    // First of all, so that an early Ctrl-C cuts nothing short.
    let form = progress::form(matches)?;
    let transfer = Transfer::begin(Way::Load, form, Stdout::Ours)?;
    let engine = context.engine()?;
    let loaded = match input {
        Some(path) if Path::new(path).is_dir() => {
            engine.load(Archive::Directory(Path::new(path)), &options, &*transfer)
        }
        Some(path) => {
            let file = File::open(path).map_err(|error| CliError::io(format!("open {path}"), &error))?;
            let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if regular {
                engine.load(Archive::File(file), &options, &*transfer)
            } else {
                engine.load(Archive::Stream(&mut Interruptible::new(file, &transfer)), &options, &*transfer)
            }
        }
        None => {
            let mut input = Interruptible::new(io::stdin().lock(), &transfer);
            engine.load(Archive::Stream(&mut input), &options, &*transfer)
        }
    };
    let loaded = transfer.end(loaded)?;
    let host = Platform::host();
    let say = |text: String| match form {
        Form::Json => context.line(&messages::stream(&text).to_string()),
        _ => context.line(&text),
    };
    for image in &loaded {
        if !image.other_platforms.is_empty() {
            let others = Platform::list(&image.other_platforms);
            context.warn(&format!("left out, being for other platforms: {others}"));
        }
        for tag in &image.bare_tags {
            let id = image.id.short();
            context.warn(&match tag.contains('@') {
                true => format!(
                    "the archive calls it {tag:?}, a digest that only its registry gives: name it with `onggi tag {id} NAME:TAG`, or load it with --tag"
                ),
                false => format!(
                    "the archive calls it {tag:?}, a tag without a name: name it with `onggi tag {id} NAME:{tag}`, or load it with --tag"
                ),
            });
        }
        if image.names.is_empty() {
            say(format!("Loaded image ID: {}", image.id))?;
        }
        if options.platform.is_none() && !image.platform.agrees_with(&host) {
            let name = image.names.first().map_or_else(|| image.id.short().to_owned(), Reference::familiar);
            context.warn(&format!("image {name} is for {}, this host is {host}", image.platform));
        }
        for name in &image.names {
            say(format!("Loaded image: {}", name.familiar()))?;
        }
    }
    let came: Vec<_> = loaded.into_iter().map(|image| image.id).collect();
    keep_budget(context, engine, &came)?;
    Ok(0)
}
