//! What the child says to its parent, which may be anything once the container's hooks and mounts could run; and a plan that is none.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use onggi_runtime::exec::{parse_report, read_report, read_report_with_requests};
use rustix::fs::MemfdFlags;

/// More than the parent may read of a report.
const LONGEST: usize = 64 << 10;

/// Whoever reads in one piece and whoever reads in small ones sees the same; what it asks for is done at most once; nothing is read without end.
pub fn check(bytes: &[u8]) {
    let whole = read_report(&mut &*bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && bytes.len() < LONGEST
    {
        assert_eq!(parse_report(text).ok(), whole.as_ref().ok().cloned());
    }
    let size = usize::from(bytes.first().copied().unwrap_or(1)).max(1);
    let mut pieces = Pieces { bytes, size, read: 0 };
    // Of hooks and of a listener, each at most once.
    let mut requests = 0;
    let piecewise = read_report_with_requests(&mut pieces, &mut |_| requests += 1);
    assert!(requests <= 2 && pieces.read <= LONGEST + 1024);
    if std::str::from_utf8(bytes).is_ok() && bytes.len() < LONGEST {
        assert_eq!(piecewise.ok(), whole.ok());
    }
    plan(bytes);
}

/// A descriptor that is no plan, or a damaged one, is an error.
fn plan(bytes: &[u8]) {
    let file = rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC).expect("a memory file");
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).expect("to write it");
    let _ = onggi_runtime::decode_launch(file.as_fd());
    let _ = onggi_runtime::decode_steps(file.as_fd());
    let _ = onggi_runtime::decode_filter(file.as_fd());
}

/// A pipe that gives little at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
    read: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.size.min(buffer.len());
        let count = self.bytes.read(&mut buffer[..count])?;
        self.read += count;
        Ok(count)
    }
}
