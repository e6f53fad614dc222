//! The event log: one line of JSON for each thing that happened, in Docker's form, appended by commands and monitors alike.
//!
//! A line is written by one `write(2)` on a descriptor opened with `O_APPEND`, so that writers need no lock; only the one who
//! finds the file too large takes one, to rotate it. Readers of the log live in the engine.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clock::Moment;

/// The current log in the events directory.
pub const FILE: &str = "events.jsonl";
/// The one before it, complete.
pub const PREVIOUS_FILE: &str = "events.jsonl.1";
/// Locked (OFD) by whoever rotates.
pub const LOCK_FILE: &str = "lock";
/// Bytes after which the log is rotated.
pub const MAX_FILE_SIZE: u64 = 10 * 1024 * 1024;
/// No line is longer (bytes, the newline included): the attributes are cut to fit.
pub const MAX_LINE: usize = 4096;

/// One event, as `docker events --format json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event of now. `kind` is `container`, `image`, `volume` …; `action` is Docker's word (`start`, `die`, `exec_start: ls`).
    #[must_use]
    pub fn now(kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) -> Event {
        Event::at(Moment::now(), kind, action, id, attributes)
    }

    /// As [`Event::now`], at a given moment.
    #[must_use]
    pub fn at(
        when: Moment,
        kind: &str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) -> Event {
        Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor { id: id.to_owned(), attributes },
            scope: "local".to_owned(),
            time: when.seconds(),
            time_nano: when.nanoseconds(),
        }
    }

    /// The line with its newline, at most [`MAX_LINE`] bytes: cut as [`Event::cut`] does it.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let line = encode(self);
        if line.len() <= MAX_LINE { line } else { encode(&self.cut()) }
    }

    /// The event as it fits into a line: if it is too long, first the long values are cut, then the longest attributes are left out, and
    /// `onggi.truncated` says so.
    #[must_use]
    pub fn cut(&self) -> Event {
        let mut short = self.clone();
        if encode(&short).len() <= MAX_LINE {
            return short;
        }
        truncate(&mut short.action, 512);
        for value in short.actor.attributes.values_mut() {
            truncate(value, 128);
        }
        short.actor.attributes.insert("onggi.truncated".into(), "true".into());
        while encode(&short).len() > MAX_LINE {
            let attributes = &mut short.actor.attributes;
            let longest = attributes
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "name" | "image" | "exitCode" | "onggi.truncated"))
                .max_by_key(|(key, value)| key.len() + value.len())
                .map(|(key, _)| key.clone());
            match longest {
                Some(key) => attributes.remove(&key),
                // Only an id or a type of kilobytes gets here, and nobody makes those.
                None => break,
            };
        }
        short
    }
}

/// Appends to the log in one events directory.
#[derive(Debug)]
pub struct Writer {
    directory: OwnedFd,
}

impl Writer {
    /// `directory` is `<data>/events`, open.
    #[must_use]
    pub fn new(directory: OwnedFd) -> Writer {
        Writer { directory }
    }

    /// The events directory itself.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Appends the event and rotates the log if it has grown past [`MAX_FILE_SIZE`].
    ///
    /// # Errors
    /// [`Error::EventLog`]: the file cannot be opened, written whole, or rotated.
    pub fn append(&self, event: &Event) -> Result<(), Error> {
        self.append_line(&event.line())
    }

    pub(crate) fn append_line(&self, line: &[u8]) -> Result<(), Error> {
        let fail = |step| move |errno: rustix::io::Errno| Error::EventLog { step, source: errno.into() };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.directory, FILE, flags, Mode::from_raw_mode(0o600))
            .map_err(fail("open"))?;
        let size = u64::try_from(rustix::fs::fstat(&file).map_err(fail("stat"))?.st_size).unwrap_or(0);
        let mut last = [b'\n'];
        if size > 0 {
            rustix::io::pread(&file, &mut last, size - 1).map_err(fail("read"))?;
        }
        // A full disk, or a writer that was killed, has left half a line: it shall not take this one with it.
        let end: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
        let pieces = [io::IoSlice::new(end), io::IoSlice::new(line)];
        let written =
            rustix::io::retry_on_intr(|| rustix::io::writev(&file, &pieces)).map_err(fail("write"))?;
        if written != end.len() + line.len() {
            return Err(Error::EventLog { step: "write", source: io::ErrorKind::StorageFull.into() });
        }
        if size + written as u64 >= MAX_FILE_SIZE {
            self.rotate().map_err(|source| Error::EventLog { step: "rotate", source })?;
        }
        Ok(())
    }

    /// A writer that opened the file just before the rename adds its line to the previous log, which readers read to its end first.
    fn rotate(&self) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&self.directory, LOCK_FILE, flags, Mode::from_raw_mode(0o600))?;
        if !onggi_sys::ofd::try_lock(lock.as_fd())? {
            return Ok(()); // somebody else is at it
        }
        // Somebody else may have done it since we looked.
        let now = rustix::fs::statat(&self.directory, FILE, AtFlags::SYMLINK_NOFOLLOW)?;
        if u64::try_from(now.st_size).unwrap_or(0) >= MAX_FILE_SIZE {
            rustix::fs::renameat(&self.directory, FILE, &self.directory, PREVIOUS_FILE)?;
            onggi_sys::fault::point("events.rotate.renamed");
        }
        Ok(())
    }
}

fn encode(event: &Event) -> Vec<u8> {
    // A structure of strings and integers always encodes.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line
}

fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn writer(directory: &std::path::Path) -> Writer {
        Writer::new(fs::File::open(directory).unwrap().into())
    }

    fn sample(attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event::at(
            Moment::from_nanoseconds(1_700_000_000_120_000_000),
            "container",
            "start",
            "abc",
            attributes,
        )
    }

    #[test]
    fn a_line_has_dockers_form() {
        let line = String::from_utf8(sample(&[("image", "busybox"), ("name", "kimchi")]).line()).unwrap();
        assert_eq!(
            line,
            "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"abc\",\"Attributes\":{\"image\":\"busybox\",\
             \"name\":\"kimchi\"}},\"scope\":\"local\",\"time\":1700000000,\"timeNano\":1700000000120000000}\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let long = "옹".repeat(3000);
        let mut event = sample(&[("name", "kimchi"), ("long", &long)]);
        for n in 0..100 {
            event.actor.attributes.insert(format!("label.{n}"), "x".repeat(60));
        }
        let line = event.line();
        assert!(line.len() <= MAX_LINE);
        let back: Event = serde_json::from_slice(&line).unwrap();
        assert_eq!(back.actor.attributes["name"], "kimchi");
        assert_eq!(back.actor.attributes["onggi.truncated"], "true");
    }

    #[test]
    fn half_a_line_takes_no_whole_one_with_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{\"Type\":\"conta").unwrap();
        writer(directory.path()).append(&sample(&[("n", "1")])).unwrap();
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), sample(&[("n", "1")]));
    }

    #[test]
    fn the_log_rotates_and_keeps_one() {
        let directory = tempfile::tempdir().unwrap();
        let log = writer(directory.path());
        fs::write(directory.path().join(FILE), vec![b'\n'; MAX_FILE_SIZE as usize - 10]).unwrap();
        log.append(&sample(&[("n", "1")])).unwrap();
        log.append(&sample(&[("n", "2")])).unwrap();
        let previous = fs::read_to_string(directory.path().join(PREVIOUS_FILE)).unwrap();
        let current = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(previous.trim_start().contains("\"n\":\"1\""));
        assert!(current.contains("\"n\":\"2\"") && !current.contains("\"n\":\"1\""));
    }

    #[test]
    fn many_writers_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = writer(directory.path());
                scope.spawn(move || {
                    for n in 0..100 {
                        log.append(&sample(&[("n", &format!("{thread}-{n}"))])).unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        // Who looks while another is writing may take the other's line for a torn one, and ends it: readers pass over the empty line.
        let lines = text.lines().filter(|line| !line.is_empty());
        let events: Vec<Event> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 400);
    }
}
