//! `onggi save`: images as one archive.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use onggi_store::Format;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, parsed, text, texts, value};

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
    match text(matches, "output").filter(|path| *path != "-") {
        Some(path) => {
            let mut output = Output::create(path)?;
            engine.save(&images, format, &mut output.file)?;
            output.keep()?;
        }
        None if io::stdout().is_terminal() => {
            return Err(CliError::invalid(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            engine.save(&images, format, &mut out)?;
            out.flush().map_err(|error| CliError::io("write standard output", &error))?;
        }
    }
    Ok(0)
}

/// A file that takes its name only when it is whole.
pub(super) struct Output {
    pub(super) file: BufWriter<File>,
    path: PathBuf,
    /// `None` for a pipe or a device, which is written in place.
    unfinished: Option<PathBuf>,
}

impl Output {
    pub(super) fn create(path: &str) -> Result<Output, CliError> {
        let path = PathBuf::from(path);
        let fail = |error: io::Error| CliError::io(format!("create {}", path.display()), &error);
        let special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let unfinished = (!special).then(|| beside(&path));
        let options = File::options().write(true).create(true).truncate(true).clone();
        let file = options.open(unfinished.as_ref().unwrap_or(&path)).map_err(fail)?;
        Ok(Output { file: BufWriter::with_capacity(1 << 20, file), path, unfinished })
    }

    pub(super) fn keep(mut self) -> Result<(), CliError> {
        let fail = |error: io::Error| CliError::io(format!("write {}", self.path.display()), &error);
        self.file.flush().map_err(fail)?;
        if let Some(unfinished) = &self.unfinished {
            self.file.get_ref().sync_all().map_err(fail)?;
            fs::rename(unfinished, &self.path).map_err(fail)?;
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // The save has failed, and its error is what the user hears.
            let _ = fs::remove_file(unfinished);
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}
