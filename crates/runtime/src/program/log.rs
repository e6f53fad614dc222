//! Errors on standard error, and a log file in the form that containerd and Podman read.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;

use super::error::Error;
use super::time;

/// How a line of the log looks; logrus's two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct Log {
    file: Option<Rc<File>>,
    format: Format,
    debug: bool,
}

impl Log {
    pub(crate) fn new(debug: bool) -> Log {
        Log { file: None, format: Format::Text, debug }
    }

    pub(crate) fn write_to(&mut self, path: Option<&str>, format: Format) -> Result<(), Error> {
        self.format = format;
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(0o644);
            let file = options.open(path).map_err(|error| Error::io(format!("open {path}"), error))?;
            self.file = Some(Rc::new(file));
        }
        Ok(())
    }

    /// The error that ends the program: in the log, and for whoever reads standard error (conmon does).
    pub(crate) fn error(&self, error: &Error) {
        let message = &error.to_string();
        if matches!(error, Error::Program(_)) && self.file.is_none() {
            let _ = writeln!(std::io::stderr(), "{message}");
        } else if self.file.is_some() {
            self.line("error", message);
            // As runc: the file is for the engine, this is for the person.
            let _ = writeln!(std::io::stderr(), "{message}");
        } else {
            self.line("error", message);
        }
    }

    pub(crate) fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.line("debug", message);
        }
    }

    /// Sentences that are made only if somebody wants them.
    pub(crate) fn debug_all(&self, sentences: impl FnOnce() -> Vec<String>) {
        if self.debug {
            sentences().iter().for_each(|sentence| self.line("debug", sentence));
        }
    }

    fn line(&self, level: &str, message: &str) {
        let time = time::now_seconds();
        let line = match self.format {
            Format::Json => {
                let mut object = serde_json::Map::new();
                for (key, value) in [("level", level), ("msg", message), ("time", time.as_str())] {
                    object.insert(key.to_owned(), value.into());
                }
                serde_json::Value::Object(object).to_string()
            }
            Format::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
        };
        // A log that cannot be written to must not change what happens to the container.
        let _ = match &self.file {
            Some(file) => writeln!(&**file, "{line}"),
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }
}
