//! `onggi save`: images as one archive.

use std::io::Write;
use std::sync::Arc;

use clap::ArgMatches;
use onggi_engine::TransferWatch;
use onggi_store::Format;
use serde_json::json;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::progress::{self, Form};
use crate::flags::{self, arguments, is, parsed, switch, text, texts, value};
use crate::output::archive;
use crate::output::messages;
use crate::transfer::{Stdout, Transfer, Way};

pub(crate) const COMMAND: Command = Command {
    names: &["save", "image save"],
    group: Group::Images,
    about: "Write images to an archive that `load` reads, Docker's too",
    build,
    run,
    failure: 1,
    examples: &[
        ("save -o debian.tar debian", "One image"),
        ("save debian busybox | zstd > both.tar.zst", "Two, through a pipe"),
        (
            "save --uncompressed debian | xz > debian.tar.xz",
            "With plain layers, which xz makes smaller than their gzip",
        ),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi save [OPTIONS] IMAGE...")
        .arg(value("output", Some('o'), "FILE", "Write this file in place of standard output"))
        .arg(
            value("format", None, "FORMAT", "docker-archive (which is OCI's layout too) or oci-archive")
                .value_parser(["docker-archive", "oci-archive"])
                .hide_possible_values(true),
        )
        .arg(switch(
            "uncompressed",
            None,
            "Plain layers, though the image came with others; asks no registry",
        ))
        .args(progress::flags("No progress"))
        .arg(value("platform", None, "OS/ARCH", "Not built: other platforms").hide(true))
        .arg(arguments("images", "IMAGE", "Names or ids"))
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "docker-archive" => Ok(Format::DockerArchive),
        "oci-archive" => Ok(Format::OciArchive),
        _ => Err(format!("\"{text}\" is not docker-archive or oci-archive")),
    }
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if text(matches, "platform").is_some() {
        return Err(CliError::unsupported("--platform: images of other platforms are not built yet"));
    }
    let format = parsed(matches, "format", format)?.unwrap_or(Format::DockerArchive);
    let images = texts(matches, "images");
    let (output, form) = (text(matches, "output").filter(|path| *path != "-"), progress::form(matches)?);
    if form == Form::Json && output.is_none() {
        let problem = "--progress json needs -o: standard output is the archive";
        return Err(CliError::invalid(problem).hint("name the file with -o FILE"));
    }
    // First of all, so that an early Ctrl-C cuts nothing short.
    let transfer = Transfer::begin(Way::Save, form, Stdout::Others)?;
    let engine = context.engine()?;
    let uncompressed = is(matches, "uncompressed");
    let watch = Arc::clone(&transfer) as Arc<dyn TransferWatch>;
    let save = |out: &mut dyn Write| Ok(engine.save(&images, format, uncompressed, watch, out)?);
    transfer.end_of(archive::write(output, save))?;
    transfer.object(|| messages::result(&json!({ "File": output, "Images": images })));
    Ok(0)
}
