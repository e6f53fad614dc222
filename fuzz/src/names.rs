//! What a layer's names amount to: whiteouts, duplicates, links and paths through them, a line for each entry.
//!
//! The first letter of a line is the kind (`f`ile, `d`irectory, hard `l`ink, `s`ymbolic link, `p`ipe, `c`haracter device); links have their target
//! behind a tab.

use onggi_archive::tar::Kind;
use onggi_archive::write::Writer;
use onggi_archive::{Metadata, Timestamp};

/// The tar of these entries is a layer whose index can be read, or is refused; however it comes.
pub fn check(bytes: &[u8]) {
    let time = Timestamp { seconds: 1, nanoseconds: 2 };
    let metadata = Metadata { mode: 0o755, uid: 3, gid: 4, mtime: time, xattrs: Vec::new() };
    let mut tar = Writer::new(Vec::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((letter, rest)) = line.split_first() else { continue };
        let mut halves = rest.splitn(2, |byte| *byte == b'\t');
        let (path, target) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default().to_vec());
        let kind = match letter {
            b'd' => Kind::Directory,
            b'l' => Kind::HardLink(target),
            b's' => Kind::Symlink(target),
            b'p' => Kind::Fifo,
            b'c' => Kind::CharDevice { major: 1, minor: 3 },
            _ => {
                // Its content is its target, so that duplicates differ.
                if tar.file(path, &metadata, target.len() as u64, &mut &target[..]).is_err() {
                    return;
                }
                continue;
            }
        };
        if tar.entry(path, &metadata, &kind).is_err() {
            return;
        }
    }
    if let Ok(tar) = tar.finish() {
        crate::layer::check_tar(&tar);
    }
}
