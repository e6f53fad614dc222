//! `onggi save`: images as one archive.

use clap::ArgMatches;
use onggi_store::Format;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, parsed, text, texts, value};
use crate::output::archive;

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
    ],
};

fn build() -> clap::Command {
    flags::command("onggi save [OPTIONS] IMAGE...")
        .arg(value("output", Some('o'), "FILE", "Write this file in place of standard output"))
        .arg(value("format", None, "FORMAT", "docker-archive (which is OCI's layout too) or oci-archive"))
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
    archive::write(text(matches, "output"), |out| Ok(engine.save(&images, format, out)?))?;
    Ok(0)
}
