//! What can be wrong with settings; each error names the file and line, the variable or the flag.

use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};

/// Settings that cannot be read or that mean nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{}:{line}: unknown key `{key}`", path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: Option<&'static str> },
    #[error("{}:{line}: {key} = {value}: {reason}", path.display())]
    Value { path: PathBuf, line: usize, key: String, value: String, reason: String },
    #[error("{variable}={value}: {reason}")]
    Variable { variable: &'static str, value: String, reason: String },
    #[error("{variable} is not valid UTF-8")]
    NotText { variable: &'static str },
    #[error("{flag} {value}: {reason}")]
    Flag { flag: &'static str, value: String, reason: String },
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Read { source, .. } => Kind::of_io(source),
            _ => Kind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Error::UnknownKey { .. } => Some("`onggi config show` lists every key".to_owned()),
            _ => None,
        }
    }
}
