//! What can be wrong with a name or a document of an image. Every variant carries what was given, shortened where it may be long.

use onggi_error::{Diagnose, Kind};

/// A name, a digest or a document that cannot mean what it is used for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid reference format: {text:?}: {reason}")]
    Reference { text: String, reason: &'static str },
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    ReferenceUppercase { name: String },
    #[error("invalid digest {text:?}: {reason}")]
    Digest { text: String, reason: &'static str },
    #[error("{what} is {size} bytes, more than the {limit} allowed")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{what} is not valid: {message}")]
    Document { what: &'static str, message: String },
    #[error("the document says that it is {found:?} but was announced as {announced:?}")]
    MediaTypeMismatch { announced: String, found: String },
    #[error("the document is both a manifest and an index")]
    Ambiguous,
    #[error("{media_type:?} is not a kind of manifest that is read here")]
    UnknownManifest { media_type: String },
    #[error("image manifest version 1 is not supported")]
    SchemaOne,
    #[error("invalid change {text:?}: {reason}")]
    Change { text: String, reason: String },
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Reference { .. }
            | Error::ReferenceUppercase { .. }
            | Error::Digest { .. }
            | Error::Change { .. } => Kind::InvalidInput,
            Error::TooLarge { .. }
            | Error::Document { .. }
            | Error::MediaTypeMismatch { .. }
            | Error::Ambiguous => Kind::Corrupt,
            Error::UnknownManifest { .. } | Error::SchemaOne => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Reference { .. } => Some(
                "a name looks like debian, debian:12, ghcr.io/owner/name:tag or name@sha256:…".to_owned(),
            ),
            Error::SchemaOne => {
                Some("copy the image with a current tool, which rewrites it as version 2 or OCI".to_owned())
            }
            Error::Change { .. } => {
                Some("a change is one Dockerfile instruction, such as 'CMD [\"sh\"]' or 'ENV A=b'".to_owned())
            }
            _ => None,
        }
    }
}

/// The beginning of what a stranger gave, short enough for a message: at most 200 characters, and an ellipsis for the rest.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const LENGTH: usize = 200;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
