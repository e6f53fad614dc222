//! A plan as a sealed memory file, so that each side reads only its part.
//!
//! The first line is `{"version":1,"launch":L,"steps":S,"filter":F}`; then come L bytes of JSON ([`Launch`]), S bytes of JSON (the
//! steps) and F bytes of seccomp program as they are. Sealed against every change, so that a reader may trust the lengths.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::VERSION;
use crate::plan::{Launch, Plan, Step};

/// More than any real plan; a header that asks for more is damaged.
const LARGEST_PART: usize = 16 << 20;
const LONGEST_HEADER: usize = 128;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    launch: usize,
    steps: usize,
    filter: usize,
}

/// Writes the plan into a sealed memory file.
///
/// # Errors
/// `memfd_create(2)`'s and `write(2)`'s.
pub fn encode(plan: &Plan) -> io::Result<OwnedFd> {
    let launch = serde_json::to_vec(&plan.launch)?;
    let steps = serde_json::to_vec(&plan.steps)?;
    let header =
        Header { version: VERSION, launch: launch.len(), steps: steps.len(), filter: plan.filter.len() };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&launch);
    bytes.extend_from_slice(&steps);
    bytes.extend_from_slice(&plan.filter);

    let file = rustix::fs::memfd_create("onggi-plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(&bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

/// Reads the parent's part.
///
/// # Errors
/// `InvalidData` if the file is no plan, or a newer one than this program knows.
pub fn decode_launch(file: BorrowedFd<'_>) -> io::Result<Launch> {
    let (header, start) = header(file)?;
    Ok(serde_json::from_slice(&read(file, start, header.launch)?)?)
}

/// Reads the child's part.
///
/// # Errors
/// As [`decode_launch`].
pub fn decode_steps(file: BorrowedFd<'_>) -> io::Result<Vec<Step>> {
    let (header, start) = header(file)?;
    Ok(serde_json::from_slice(&read(file, start + header.launch, header.steps)?)?)
}

/// Reads the seccomp program; empty if there is none.
///
/// # Errors
/// As [`decode_launch`].
pub fn decode_filter(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let (header, start) = header(file)?;
    read(file, start + header.launch + header.steps, header.filter)
}

fn header(file: BorrowedFd<'_>) -> io::Result<(Header, usize)> {
    let mut bytes = [0_u8; LONGEST_HEADER];
    let length = rustix::io::pread(file.as_fd(), &mut bytes, 0)?;
    let end = bytes[..length].iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged("no header"))?;
    let header: Header = serde_json::from_slice(&bytes[..end])?;
    if header.version > VERSION {
        return Err(damaged(&format!("version {} is newer than {VERSION}, this program's", header.version)));
    }
    if header.launch.max(header.steps).max(header.filter) > LARGEST_PART {
        return Err(damaged("a part is too large"));
    }
    Ok((header, end + 1))
}

fn read(file: BorrowedFd<'_>, offset: usize, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(file, &mut bytes[filled..], (offset + filled) as u64)? {
            0 => return Err(damaged("cut short")),
            n => filled += n,
        }
    }
    Ok(bytes)
}

fn damaged(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a plan: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> OwnedFd {
        let mut file = std::fs::File::from(rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(text.as_bytes()).unwrap();
        file.into()
    }

    #[test]
    fn damaged_lengths_are_errors() {
        // CVE-2021-43784: what does not fit wraps, or reaches into the next part.
        for (head, problem) in [
            (r#"{"version":1,"launch":0,"steps":9,"filter":0}"#, "cut short"),
            (r#"{"version":1,"launch":0,"steps":16777217,"filter":0}"#, "too large"),
            (r#"{"version":1,"launch":18446744073709551615,"steps":3,"filter":0}"#, "too large"),
            (r#"{"version":1,"launch":-1,"steps":3,"filter":0}"#, "invalid value"),
            (r#"{"version":2,"launch":0,"steps":3,"filter":0}"#, "newer"),
        ] {
            let file = file(&format!("{head}\n[]\n"));
            let error = decode_steps(file.as_fd()).unwrap_err().to_string();
            assert!(error.contains(problem), "{head}: {error}");
        }
        let long = file(&format!("{}\n", " ".repeat(LONGEST_HEADER)));
        assert!(decode_launch(long.as_fd()).unwrap_err().to_string().contains("no header"));
    }
}
