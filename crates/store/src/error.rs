//! What can fail in the store: one variant a step, with what it was done to.

use std::io;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};
use onggi_image::{Digest, Platform};

use crate::owner::Owner;

/// A failed act of the store. The texts that clients match on are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// One that is damaged, or that a newer version of Onggi has written.
    #[error(transparent)]
    Record(onggi_record::Error),

    #[error("No such image: {name}")]
    NoSuchImage { name: String },
    #[error("{name:?} is the beginning of several image ids: {}", candidates.iter().map(Digest::short).collect::<Vec<_>>().join(", "))]
    Ambiguous { name: String, candidates: Vec<Digest> },
    #[error(
        "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
    )]
    SeveralRepositories { id: String },
    #[error("conflict: {what} is {owner}'s, and is not removed for {asked}")]
    NotOwner { what: String, owner: Owner, asked: Owner },
    #[error("conflict: unable to delete {id} ({}) - image is being used by {user}", if *forceable { "must be forced" } else { "cannot be forced" })]
    InUse { id: String, user: String, forceable: bool },
    #[error(
        "conflict: unable to remove repository reference {name:?} (must force) - container {container} is using its referenced image {id}"
    )]
    NameInUse { name: String, container: String, id: String },
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,

    #[error("{what}: {source}")]
    Image { what: String, source: onggi_image::Error },
    #[error("{what}: {source}")]
    Archive { what: String, source: onggi_archive::Error },
    #[error("reading {what}: {source}")]
    Input { what: String, source: io::Error },
    #[error("writing {what}: {source}")]
    Output { what: String, source: io::Error },
    #[error("{what} has the digest {found}, not {wanted}")]
    WrongDigest { what: String, wanted: Digest, found: Digest },
    #[error("{what} is {found} bytes, not {wanted}")]
    WrongSize { what: String, wanted: u64, found: u64 },
    #[error(
        "the archive holds no image: there is neither manifest.json nor index.json nor repositories in it"
    )]
    NoImageInArchive,
    #[error("the directory is in Podman's form docker-dir, which is not supported")]
    DockerDirectory,
    #[error("{name} cannot be the name of {images} images, which is what the archive holds")]
    OneName { name: String, images: usize },
    #[error("{member:?} is named in the archive but is not in it")]
    MissingMember { member: String },
    #[error("the archive is not sound: {reason}")]
    BadArchive { reason: String },
    #[error("no image for {host} in it; it has {}", Platform::list(others))]
    NoPlatform { host: Box<Platform>, others: Vec<Platform> },
    #[error("{what} is not supported")]
    Unsupported { what: String },
    /// No layer may take the last of a disk.
    #[error("write {}: No space left on device: {left} bytes are free, and {kept} are left to others", path.display())]
    NoRoom { path: PathBuf, left: u64, kept: u64 },
    #[error("{what} was removed while it was being used here")]
    LostRace { what: String },

    #[error("the layer {diff_id} is not in the store")]
    MissingLayer { diff_id: Digest },
    #[error("mounting the layer {diff_id}: {step}: {source}")]
    Mount { diff_id: Digest, step: &'static str, source: io::Error },
    /// What the process that unpacks layers has said.
    #[error("{what}: {message}")]
    Unpacking { what: String, kind: Kind, message: String, hint: Option<String> },
    #[error("unmounting {}: {source}", path.display())]
    Unmount { path: PathBuf, source: io::Error },

    #[error("the {kind} name {name:?} is already in use by {holder}")]
    NameTaken { kind: &'static str, name: String, holder: String },
    #[error("the index {}: {operation}: {source}", path.display())]
    Index { path: PathBuf, operation: &'static str, source: rusqlite::Error },
}

impl Error {
    /// Wraps an I/O error with what was done to which path.
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source: source.into() }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, reason: impl Into<String>) -> Error {
        Error::Record(onggi_record::Error::Damaged { path: path.into(), reason: reason.into() })
    }

    pub(crate) fn newer(path: impl Into<PathBuf>, found: u32, known: u32) -> Error {
        Error::Record(onggi_record::Error::Newer { path: path.into(), found, known })
    }

    pub(crate) fn archive(what: impl Into<String>) -> impl FnOnce(onggi_archive::Error) -> Error {
        let what = what.into();
        move |source| Error::Archive { what, source }
    }

    pub(crate) fn image(what: impl Into<String>) -> impl FnOnce(onggi_image::Error) -> Error {
        let what = what.into();
        move |source| Error::Image { what, source }
    }
}

impl From<onggi_record::Error> for Error {
    fn from(error: onggi_record::Error) -> Error {
        match error {
            onggi_record::Error::Io { operation, path, source } => Error::Io { operation, path, source },
            other => Error::Record(other),
        }
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } | Error::Mount { source, .. } | Error::Unmount { source, .. } => {
                Kind::of_io(source)
            }
            Error::Input { source, .. } => {
                of_archive(source).map_or_else(|| Kind::of_io(source), Diagnose::kind)
            }
            Error::Output { source, .. } => Kind::of_io(source),
            Error::NoRoom { .. } => Kind::Exhausted,
            Error::Unsupported { .. } | Error::DockerDirectory | Error::NoPlatform { .. } => {
                Kind::Unsupported
            }
            Error::NoSuchImage { .. } => Kind::NotFound,
            Error::Ambiguous { .. }
            | Error::TagWithDigest
            | Error::OneName { .. }
            | Error::NoImageInArchive => Kind::InvalidInput,
            Error::SeveralRepositories { .. }
            | Error::NotOwner { .. }
            | Error::InUse { .. }
            | Error::NameInUse { .. }
            | Error::LostRace { .. } => Kind::Conflict,
            Error::Record(source) => source.kind(),
            Error::Image { source, .. } => source.kind(),
            Error::Archive { source, .. } => source.kind(),
            Error::WrongDigest { .. }
            | Error::WrongSize { .. }
            | Error::MissingMember { .. }
            | Error::BadArchive { .. }
            | Error::MissingLayer { .. } => Kind::Corrupt,
            Error::Unpacking { kind, .. } => *kind,
            Error::NameTaken { .. } => Kind::AlreadyExists,
            Error::Index { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => Kind::Exhausted,
                Some(rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly) => {
                    Kind::PermissionDenied
                }
                Some(rusqlite::ErrorCode::DatabaseBusy) => Kind::Unavailable,
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Kind::Corrupt
                }
                _ => Kind::Internal,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Error::MissingLayer { .. } => "run 'onggi system check --repair'",
            Error::NotOwner { .. } => "`onggi rmi` removes it for a person, who may remove anything",
            Error::SeveralRepositories { .. } => "remove its names one by one, or use --force",
            Error::InUse { forceable: true, .. } | Error::NameInUse { .. } => {
                "remove the container first, or use --force"
            }
            Error::InUse { .. } => "stop and remove the container first",
            Error::Ambiguous { .. } => "give more of the id",
            Error::NoImageInArchive => "for the tar of a root file system, use 'onggi import'",
            Error::DockerDirectory => {
                "write it with 'podman save --format oci-dir', or as 'oci-archive' or 'docker-archive'"
            }
            Error::Mount { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "a layer's files are not all there: run 'onggi system check --repair'"
            }
            Error::Io { source, .. } | Error::Mount { source, .. } => {
                return onggi_error::limit_hint(source);
            }
            Error::Index { source, .. }
                if matches!(
                    source.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::SystemIoFailure)
                ) =>
            {
                "can its directory be written to, and are there limits on open files (`ulimit -n`) or their size (`ulimit -f`)?"
            }
            Error::Input { source, .. } => return of_archive(source).and_then(Diagnose::hint),
            Error::NoRoom { .. } => "`onggi image prune` removes images that nobody uses",
            Error::LostRace { .. } => "run the command again",
            Error::Record(source) => return source.hint(),
            Error::Image { source, .. } => return source.hint(),
            Error::Archive { source, .. } => return source.hint(),
            Error::Unpacking { hint, .. } => return hint.clone(),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// What the decompression has found, which passes its errors through `Read`.
fn of_archive(source: &io::Error) -> Option<&onggi_archive::Error> {
    source.get_ref().and_then(|inner| inner.downcast_ref())
}
