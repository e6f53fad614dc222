//! Sealed records as the store has them (`onggi_store::sealed`): a first line with the digest of the JSON that follows.
//!
//! Written out here a second time, in its smallest form, because the store would bring SQLite into a program of which there are as
//! many as containers. A test holds both to the same bytes.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use onggi_image::Digest;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::protocol::Durability;

const MAGIC: &str = "onggi-record v1 ";
/// The largest record that is read (bytes).
const LIMIT: u64 = 1 << 20;

/// Writes a record: beside its place, synced if it must survive a power cut, renamed.
pub(crate) fn write<T: Serialize>(
    directory: BorrowedFd<'_>,
    name: &'static str,
    body: &T,
    durability: Durability,
) -> Result<(), Error> {
    let fail = |step| move |source: std::io::Error| Error::Record { step, file: name, source };
    let mut json = serde_json::to_vec(body).map_err(|source| Error::Message { source })?;
    json.push(b'\n');
    let mut bytes = format!("{MAGIC}{}\n", Digest::of(&json)).into_bytes();
    bytes.append(&mut json);
    let temporary = format!(".{name}.monitor.tmp");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &temporary, flags, Mode::from_raw_mode(0o600));
    let mut file = std::fs::File::from(file.map_err(|errno| fail("create")(errno.into()))?);
    file.write_all(&bytes).map_err(fail("write"))?;
    if durability == Durability::Synced {
        file.sync_all().map_err(fail("sync"))?;
    }
    onggi_sys::fault::point("monitor.state.written");
    rustix::fs::renameat(directory, &temporary, directory, name)
        .map_err(|errno| fail("rename")(errno.into()))?;
    if durability == Durability::Synced {
        rustix::fs::fsync(directory).map_err(|errno| fail("sync the directory")(errno.into()))?;
    }
    Ok(())
}

/// Reads a record and checks its seal.
pub(crate) fn read<T: DeserializeOwned>(directory: BorrowedFd<'_>, name: &'static str) -> Result<T, Error> {
    let fail = |step| move |source: std::io::Error| Error::Record { step, file: name, source };
    let damaged = |why: String| Error::Damaged { file: name, why };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty())
        .map_err(|errno| fail("open")(errno.into()))?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(LIMIT).read_to_end(&mut bytes).map_err(fail("read"))?;
    let end =
        bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged("it has no first line".into()))?;
    let (line, body) = (&bytes[..end], &bytes[end + 1..]);
    let digest = line
        .strip_prefix(MAGIC.as_bytes())
        .and_then(|digest| Digest::parse(std::str::from_utf8(digest).ok()?).ok())
        .ok_or_else(|| damaged("its first line is no seal that this program knows".into()))?;
    if !digest.matches(body) {
        return Err(damaged("its content does not have the digest of its seal".into()));
    }
    serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))
}
