//! `onggi save`: images as one archive.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use onggi_engine::TransferWatch;
use onggi_registry::Watch;
use onggi_store::Format;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, parsed, switch, text, texts, value};
use crate::output::archive;
use crate::output::plain::plain;
use crate::transfer::Person;

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
        .arg(value("format", None, "FORMAT", "docker-archive (which is OCI's layout too) or oci-archive"))
        .arg(switch(
            "uncompressed",
            None,
            "Plain layers, though the image came with others; asks no registry",
        ))
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
    let engine = context.engine()?;
    let uncompressed = is(matches, "uncompressed");
    let save = |out: &mut dyn Write| Ok(engine.save(&images, format, uncompressed, Arc::new(Notes), out)?);
    archive::write(text(matches, "output"), save)?;
    Ok(0)
}

/// Says beside the archive what a person should know. Ctrl-C simply ends the program: an archive has no name before it is whole.
#[derive(Debug)]
struct Notes;

impl Watch for Notes {
    fn retrying(&self, what: &str, pause: Duration, why: &onggi_registry::Error) {
        self.note(&crate::transfer::retry(what, pause, why));
    }

    fn said(&self, program: &str, line: &str) {
        Person.said(program, line);
    }

    fn may_ask(&self) -> bool {
        Person.may_ask()
    }
}

impl TransferWatch for Notes {
    fn note(&self, text: &str) {
        // Nobody may be listening.
        let _ = io::stderr().lock().write_all(format!("{}\n", plain(text)).as_bytes());
    }
}
