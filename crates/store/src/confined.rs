//! Unpacking a layer into a directory in a process of its own, which can reach the tar, that directory, and nothing else.
//!
//! The tar is whatever somebody has built. No path of it reaches the kernel ([`onggi_archive::unpack`]), so this is the second line: should that code be
//! wrong, its process has given up all else before it reads the first byte ([`crate::confine`]).

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use onggi_archive::unpack::Unpacker;
use onggi_error::{Diagnose, Kind};
use onggi_sys::{namespace, process};

use crate::confine::{Confined, confine};
use crate::error::Error;
use crate::layers;
use crate::lower::LowerLayers;

/// The words behind the program's name; layers below follow, the topmost first.
const WORDS: [&str; 2] = ["image", "unpack-layer"];

/// Bytes of the tar that wait for it: as many as a pipe may hold for anybody (`/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;
/// Bytes of an error's text that are read from the process.
const MOST_WORDS: u64 = 16 << 10;

/// A process that unpacks a layer. Dropped before it has finished, it is killed.
#[derive(Debug)]
pub(crate) struct Unpacking {
    program: PathBuf,
    what: String,
    child: Child,
    /// The tar's way to it, where it has not been given the tar itself.
    input: Option<ChildStdin>,
}

impl Unpacking {
    /// Has `program` unpack a tar into the empty directory: the one it is given, or what it will be fed. `what` is what an error shall tell.
    pub(crate) fn start(
        program: &Path,
        tar: Option<File>,
        directory: &Path,
        lower: &[PathBuf],
        what: &str,
    ) -> Result<Unpacking, Error> {
        let child = Command::new(program)
            .args(WORDS)
            .args(lower)
            .current_dir(directory)
            .env_clear()
            .stdin(tar.map_or_else(Stdio::piped, Stdio::from))
            // It says nothing there, and /dev/null may not be what it should.
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(Error::io("start", program))?;
        let input = child.stdin.take();
        if let Some(input) = &input {
            // An ordinary user may have had too many large ones; with a small one it only waits more often.
            let _ = rustix::pipe::fcntl_setpipe_size(input, PIPE);
        }
        Ok(Unpacking { program: program.to_owned(), what: what.to_owned(), child, input })
    }

    /// Gives it the next bytes of the tar.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(input) = &mut self.input else { return Ok(()) };
        match input.write_all(bytes) {
            // It has ended, and says why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => self.answer(),
            other => other.map_err(Error::io("write to", &self.program)),
        }
    }

    /// Says that this was all, and waits for its end.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.answer()
    }

    fn answer(&mut self) -> Result<(), Error> {
        drop(self.input.take());
        let mut said = String::new();
        if let Some(stream) = self.child.stderr.take() {
            // What is no text is no message of ours, and the exit code tells that it failed.
            let _ = stream.take(MOST_WORDS).read_to_string(&mut said);
        }
        let status = self.child.wait().map_err(Error::io("wait for", &self.program))?;
        if status.success() {
            return Ok(());
        }
        let mut lines = said.lines();
        let kind = lines.next().and_then(Kind::from_name).unwrap_or(Kind::Internal);
        let message = lines.next().map_or_else(|| format!("the process ended with {status}"), str::to_owned);
        let hint = lines.next().filter(|hint| !hint.is_empty()).map(str::to_owned);
        Err(Error::Unpacking { what: self.what.clone(), kind, message, hint })
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        // Nothing, if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What that program does: confines its process, unpacks the tar on standard input into the directory that it is in, and says on `errors` what went
/// wrong. Returns whether nothing did. The process must have one thread.
pub fn unpack_confined(lower: &[PathBuf], errors: &mut dyn Write) -> bool {
    let Err(error) = confine_and_unpack(lower) else { return true };
    let line = |text: String| text.replace('\n', " ");
    let (kind, hint) = match &error {
        Failure::Store(error) => (error.kind(), error.hint()),
        Failure::Archive(error) => (error.kind(), error.hint()),
    };
    let hint = line(hint.unwrap_or_default());
    // Whoever has started this looks at the exit code if nothing can be said.
    let _ = writeln!(errors, "{}\n{}\n{hint}", kind.name(), line(error.to_string()));
    false
}

/// What the archive is to blame for is told without the words of the store: the parent adds which layer it was.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] Error),
    #[error(transparent)]
    Archive(#[from] onggi_archive::Error),
}

fn confine_and_unpack(lower: &[PathBuf]) -> Result<(), Failure> {
    // What whoever called Onggi has left open, on purpose or not, is no concern of the archive's.
    process::close_range(3, u32::MAX).map_err(failed("close the other files of"))?;
    // Asked while /proc can be read.
    let ordinary = namespace::in_user_namespace();
    let Confined { root, lower } =
        confine(Path::new("."), lower).map_err(|(step, error)| failed(step)(error))?;
    let mut below = LowerLayers::alone(lower);
    let unpacker =
        Unpacker::new(root, &mut below, layers::limits_of_kept())?.as_ordinary_user(ordinary).alone();
    onggi_archive::feed_all(&mut std::io::stdin().lock(), None, Box::new(unpacker))?;
    Ok(())
}

fn failed(step: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    Error::io(step, "the process that unpacks")
}
