//! An archive that a command makes: into a file, which is whole or not there, or into standard output, which is no terminal.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::error::CliError;

/// Has an archive written to the file of this name; to standard output without one, or for `-`.
///
/// # Errors
/// A terminal, what cannot be written, and those of `write`, which leave no file behind.
pub(crate) fn write(
    path: Option<&str>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match path.filter(|path| *path != "-") {
        Some(path) => {
            let mut output = Output::create(path)?;
            write(&mut output.file)?;
            output.keep()
        }
        None if io::stdout().is_terminal() => {
            Err(CliError::invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect"))
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            write(&mut out)?;
            out.flush().map_err(|error| CliError::io("write standard output", &error))
        }
    }
}

/// A file that takes its name only when it is whole. Until then it has none at all, so that Ctrl-C and `kill -9` leave nothing, where the
/// file system can do that (NFS and FAT cannot).
struct Output {
    file: BufWriter<File>,
    path: PathBuf,
    /// What it is called for a moment, or all the while where it must have a name; `None` for a pipe or a device, which is written in place.
    unfinished: Option<PathBuf>,
    nameless: bool,
}

impl Output {
    fn create(path: &str) -> Result<Output, CliError> {
        let path = PathBuf::from(path);
        let fail = |error: io::Error| CliError::io(format!("create {}", path.display()), &error);
        let special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let unfinished = (!special).then(|| beside(&path));
        let mut nameless = None;
        if unfinished.is_some() {
            let directory =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            nameless = rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666)).ok().map(File::from);
        }
        let is_nameless = nameless.is_some();
        let options = File::options().write(true).create(true).truncate(true).clone();
        let named = || options.open(unfinished.as_ref().unwrap_or(&path));
        let file = nameless.map_or_else(named, Ok).map_err(fail)?;
        Ok(Output { file: BufWriter::with_capacity(1 << 20, file), path, unfinished, nameless: is_nameless })
    }

    fn keep(mut self) -> Result<(), CliError> {
        let fail = |error: io::Error| CliError::io(format!("write {}", self.path.display()), &error);
        self.file.flush().map_err(fail)?;
        if let Some(unfinished) = &self.unfinished {
            self.file.get_ref().sync_all().map_err(fail)?;
            if self.nameless {
                // A link replaces nothing, a rename does.
                let file = format!("/proc/self/fd/{}", self.file.get_ref().as_raw_fd());
                rustix::fs::linkat(CWD, file, CWD, unfinished, AtFlags::SYMLINK_FOLLOW)
                    .map_err(|errno| fail(errno.into()))?;
            }
            fs::rename(unfinished, &self.path).map_err(fail)?;
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // What was to write it has failed, and its error is what the user hears.
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
