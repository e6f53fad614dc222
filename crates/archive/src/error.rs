//! Everything that can be wrong with an archive or fail while one is handled, each with the entry's name.

use std::io;

use onggi_error::{Diagnose, Kind};

/// Why an archive was refused or a form of it could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream ended before the first header did.
    #[error(
        "this is not a tar: it ends after {length} bytes, which is less than the header of a first entry"
    )]
    NotATar { length: u64 },
    /// The stream ended inside a header, an entry's data or its padding.
    #[error("the tar ends in the middle of an entry, at byte {at}")]
    Truncated { at: u64 },
    /// The header's sum does not match its bytes.
    #[error("header at byte {at}: wrong checksum; this is not a tar, or it is damaged")]
    Checksum { at: u64 },
    /// One block of zeros, where two end an archive, followed by something else.
    #[error("a lone block of zeros at byte {at}: some readers end here and others go on")]
    LoneZeroBlock { at: u64 },
    /// A numeric field is neither octal nor base-256, or out of range.
    #[error("header at byte {at}: field {field} is not a number in range")]
    Number { at: u64, field: &'static str },
    /// A kind of entry that a layer cannot have.
    #[error("{}: entries of type {typeflag:?} are not supported", show(path))]
    UnsupportedType { path: Vec<u8>, typeflag: char },
    /// A link, directory or device that claims to have data: readers disagree on where the next header is.
    #[error("{}: a {kind} with {size} bytes of data", show(path))]
    DataWithoutFile { path: Vec<u8>, kind: &'static str, size: u64 },
    /// A regular file whose name ends in a slash is a directory to some readers.
    #[error("{}: a regular file whose name ends in a slash", show(path))]
    FileWithSlash { path: Vec<u8> },
    /// A malformed PAX record.
    #[error("extended header at byte {at}: {what}")]
    Pax { at: u64, what: &'static str },
    /// Two headers give different answers, and readers disagree on which counts.
    #[error("header at byte {at}: {what}")]
    Conflict { at: u64, what: &'static str },
    /// A sparse file whose map makes no sense.
    #[error("{}: sparse map: {what}", show(path))]
    Sparse { path: Vec<u8>, what: &'static str },
    /// A sparse file that EROFS cannot describe block by block.
    #[error("{}: sparse file whose holes the index cannot describe in blocks of 512 bytes", show(path))]
    SparseUnaligned { path: Vec<u8> },
    /// A limit of [`crate::Limits`] was passed.
    #[error("{}: {what} over the limit of {limit}", show(path))]
    Limit { path: Vec<u8>, what: &'static str, limit: u64 },
    /// More than padding follows the end mark.
    #[error("more than {limit} bytes follow the end of the tar")]
    Padding { limit: u64 },
    /// A path that is empty, climbs with `..`, holds a NUL or has a component over 255 bytes.
    #[error("{}: {what}", show(path))]
    Path { path: Vec<u8>, what: &'static str },
    /// The root of the layer is something else than a directory (CVE-2021-29136).
    #[error("the root entry is a {kind}, not a directory")]
    Root { kind: &'static str },
    /// `.wh.` with nothing, `.` or `..` behind it, or with entries below it.
    #[error("{}: {what}", show(path))]
    Whiteout { path: Vec<u8>, what: &'static str },
    /// An entry below something that is not a directory.
    #[error("{}: its parent {} is not a directory", show(path), show(parent))]
    NotADirectory { path: Vec<u8>, parent: Vec<u8> },
    /// More than forty symbolic links in one path, as the kernel counts.
    #[error("{}: too many levels of symbolic links", show(path))]
    LinkLoop { path: Vec<u8> },
    /// A hard link to something that neither the archive nor the layers below have.
    #[error(
        "{}: hard link to {}, which is not in the archive and not in the layers below",
        show(path),
        show(target)
    )]
    HardLinkTarget { path: Vec<u8>, target: Vec<u8> },
    /// A hard link to a directory.
    #[error("{}: hard link to {}, which is a directory", show(path), show(target))]
    HardLinkToDirectory { path: Vec<u8>, target: Vec<u8> },
    /// A file of more than 2 TiB, or at such an offset: the index counts 512-byte blocks in 32 bits.
    #[error("{}: lies beyond 2 TiB in the tar", show(path))]
    TooLarge { path: Vec<u8> },
    /// Metadata of the layers below could not be read.
    #[error("cannot look up {} in the layers below: {source}", show(path))]
    Lower { path: Vec<u8>, source: io::Error },
    /// A compression that image layers do not use and this program does not read.
    #[error("the data is compressed with {name}; gzip, zstd, xz and none are read")]
    UnsupportedCompression { name: &'static str },
    /// More memory than is given to a decompressor.
    #[error("the {format} data asks for more than {limit} MiB of memory")]
    Dictionary { format: &'static str, limit: u32 },
    /// The compressed data is damaged.
    #[error("damaged {format} data: {source}")]
    Compressed { format: &'static str, source: io::Error },
    /// Something else than padding follows the compressed data.
    #[error("damaged gzip data: something that is not gzip follows it")]
    CompressedTrailer,
    /// The data grows beyond what [`crate::compress::Ceiling`] allows.
    #[error("the data grows to more than {limit} {unit}")]
    Decompressed { limit: u64, unit: &'static str },
    /// The stream of the tar failed.
    #[error("cannot read the tar: {source}")]
    Read { source: io::Error },
    /// The copy of the tar could not be written.
    #[error("cannot write the copy of the tar: {source}")]
    Copy { source: io::Error },
    /// The index could not be written.
    #[error("cannot write the index: {source}")]
    WriteIndex { source: io::Error },
    /// The tar that is being made could not be written.
    #[error("{}: cannot write to the tar: {source}", show(path))]
    WriteTar { path: Vec<u8>, source: io::Error },
    /// An entry that is being written does not have the length it was announced with.
    #[error("{}: {written} bytes written where {announced} were announced", show(path))]
    WriteLength { path: Vec<u8>, written: u64, announced: u64 },
    /// A system call of the unpacking failed.
    #[error("{}: {call}: {source}", show(path))]
    Unpack { path: Vec<u8>, call: &'static str, source: io::Error },
}

/// A path from an archive as text on one line: other bytes and control characters are escaped, and what is long
/// is cut, since an archive may claim a name of a megabyte.
fn show(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    match path {
        [] => "/".to_owned(),
        short if short.len() <= SHOWN => short.escape_ascii().to_string(),
        long => format!("{}…", long[..SHOWN].escape_ascii()),
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::UnsupportedType { .. } | Error::SparseUnaligned { .. } | Error::TooLarge { .. } => {
                Kind::Unsupported
            }
            Error::Limit { .. } | Error::Padding { .. } => Kind::Exhausted,
            Error::UnsupportedCompression { .. } => Kind::Unsupported,
            Error::Decompressed { .. } | Error::Dictionary { .. } => Kind::Exhausted,
            // Our own readers pass our own errors through `Read`.
            Error::Read { source } => {
                let own = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
                own.map_or_else(|| Kind::of_io(source), Diagnose::kind)
            }
            Error::Lower { source, .. }
            | Error::Copy { source }
            | Error::WriteIndex { source }
            | Error::WriteTar { source, .. }
            | Error::Unpack { source, .. } => Kind::of_io(source),
            Error::WriteLength { .. } => Kind::Internal,
            _ => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Truncated { .. } => Some("fetch or export the archive again".to_owned()),
            Error::Decompressed { .. } => {
                Some("if it is meant to be so large, say so: `layer_limit` under [store] in onggi.toml is the most that a layer may grow to".to_owned())
            }
            Error::UnsupportedCompression { name } => {
                Some(format!("decompress it on the way: `{name} -dc FILE | onggi load`, or `… | onggi import - NAME`"))
            }
            Error::Dictionary { format, .. } => {
                Some(format!("compress it with `{format} -9` or less, or decompress it on the way: `{format} -dc FILE | …`"))
            }
            Error::SparseUnaligned { .. } => Some("make the archive again without tar's --sparse".to_owned()),
            Error::HardLinkTarget { .. } => {
                Some("build the layer again with the file itself in it, not only a link".to_owned())
            }
            Error::Unpack { call: "fchown" | "fchownat", source, .. }
                if source.kind() == io::ErrorKind::InvalidInput =>
            {
                let grant = "the owner is none of the ids that /etc/subuid and /etc/subgid grant this user: grant a longer range, \
                             end the user's containers and try again";
                Some(grant.to_owned())
            }
            Error::Unpack { call: "fsetxattr" | "lsetxattr", source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::ArgumentListTooLong | io::ErrorKind::Unsupported
                ) =>
            {
                let other = "if the disk is not full, the file system cannot hold the attributes that the layer gives one file (ext4 has room for 4 KiB): \
                             put the data root on xfs or btrfs (--root), or use layers that are not unpacked (`layers = \"auto\"` under [store], Linux 6.12)";
                Some(other.to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_cannot_hold_is_told_with_a_way_out() {
        for (call, errno, told) in [("fsetxattr", 28, true), ("lsetxattr", 95, true), ("write", 28, false)] {
            let source = io::Error::from_raw_os_error(errno);
            let hint = Error::Unpack { path: b"etc".to_vec(), call, source }.hint();
            assert_eq!(hint.is_some_and(|hint| hint.contains("attributes")), told, "{call} {errno}");
        }
    }
}
