//! The container's log: cuts output into lines as Docker does and writes them as records, whole ones only.
//!
//! A line longer than 16 KiB becomes several records of which only the last ends with a newline; all carry the time of the first, so
//! that readers can join them.

mod file;
mod json;

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::protocol::{LogConfig, LogDriver};
use file::LogFile;

/// Where moby cuts a line (bytes).
const LONGEST_PIECE: usize = 16 * 1024;

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// As the log names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// As Docker's frames number it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        }
    }
}

/// A line that has begun and not ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    text: Vec<u8>,
    /// Pieces of this line are in the log already; they had this time (nanoseconds).
    continues: Option<i64>,
}

/// The log of one container, or none.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<LogFile>,
    unfinished: [Unfinished; 2],
}

impl Log {
    /// Opens the log in the container's directory; makes `log/` if it is missing.
    pub(crate) fn open(container: &OwnedFd, config: &LogConfig) -> io::Result<Log> {
        let file = match config.driver {
            LogDriver::None => None,
            LogDriver::JsonFile => Some(LogFile::open(container, config)?),
        };
        Ok(Log { file, unfinished: Default::default() })
    }

    /// Takes what one of the streams said; all of it is in the file after the next [`Log::flush`].
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8], now: Moment) {
        let Some(file) = &mut self.file else { return };
        let line = &mut self.unfinished[stream as usize];
        let ending = json::ending(stream.name(), now);
        while !bytes.is_empty() {
            let room = LONGEST_PIECE - line.text.len();
            let near = &bytes[..room.min(bytes.len())];
            let piece = match memchr::memchr(b'\n', near) {
                Some(at) => &bytes[..=at],
                None => near,
            };
            bytes = &bytes[piece.len()..];
            let whole = piece.ends_with(b"\n");
            if whole && line.text.is_empty() && line.continues.is_none() {
                file.record(piece, &ending);
                continue;
            }
            line.text.extend_from_slice(piece);
            if whole {
                let time = line.continues.take().map_or(now, Moment::from_nanoseconds);
                file.record(&line.text, &json::ending(stream.name(), time));
                line.text.clear();
            } else if line.text.len() == LONGEST_PIECE {
                let time = *line.continues.get_or_insert(now.nanoseconds());
                file.record(&line.text, &json::ending(stream.name(), Moment::from_nanoseconds(time)));
                line.text.clear();
            }
        }
    }

    /// Writes what was gathered.
    pub(crate) fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// The streams have ended: what has no newline is written without one.
    pub(crate) fn finish(&mut self, now: Moment) {
        let Some(file) = &mut self.file else { return };
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.unfinished[stream as usize]);
            if !line.text.is_empty() {
                let time = line.continues.map_or(now, Moment::from_nanoseconds);
                file.record(&line.text, &json::ending(stream.name(), time));
            }
        }
        file.flush();
    }

    /// Writes how many records a full disk has cost, if there is room for that by now. Answers the same words if there is not.
    pub(crate) fn say_loss(&mut self) -> Option<String> {
        self.flush();
        self.loss()
    }

    /// What is lost and not yet said in the log itself.
    pub(crate) fn loss(&self) -> Option<String> {
        self.file.as_ref().and_then(LogFile::loss)
    }

    /// Opens the file again, which somebody may have moved away.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), LogFile::reopen)
    }

    /// Gives back the memory that a burst of output left behind.
    pub(crate) fn shrink(&mut self) {
        for line in &mut self.unfinished {
            line.text.shrink_to_fit();
        }
        if let Some(file) = &mut self.file {
            file.shrink();
        }
    }

    /// The unfinished lines, for the program that goes on in this one's place.
    pub(crate) fn unfinished(&mut self) -> &mut [Unfinished; 2] {
        &mut self.unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn log(directory: &std::path::Path, max_size: u64, max_file: u32) -> Log {
        let container = fs::File::open(directory).unwrap().into();
        Log::open(&container, &LogConfig { driver: LogDriver::JsonFile, max_size, max_file }).unwrap()
    }

    fn say(log: &mut Log, stream: Stream, text: &[u8], now: Moment) {
        log.write(stream, text, now);
        log.flush();
    }

    fn read(path: std::path::PathBuf) -> Vec<(String, String, String)> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let field = |name: &str| value[name].as_str().unwrap().to_owned();
                (field("log"), field("stream"), field("time"))
            })
            .collect()
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 0, 1);
        let time = Moment::from_nanoseconds;
        say(&mut log, Stream::Stdout, b"one\ntw", time(1));
        say(&mut log, Stream::Stderr, b"oops\n", time(2));
        say(&mut log, Stream::Stdout, b"o\nthree", time(3));
        log.finish(time(4));
        let lines: Vec<_> = read(directory.path().join("log/json.log"))
            .into_iter()
            .map(|(text, stream, _)| (text, stream))
            .collect();
        let expected = [("one\n", "stdout"), ("oops\n", "stderr"), ("two\n", "stdout"), ("three", "stdout")];
        assert_eq!(lines, expected.map(|(text, stream)| (text.to_owned(), stream.to_owned())));
    }

    #[test]
    fn long_lines_are_cut_at_16_kib_and_keep_their_first_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 0, 1);
        let mut line = vec![b'x'; 2 * LONGEST_PIECE + 5];
        line.push(b'\n');
        for (at, piece) in line.chunks(5000).enumerate() {
            say(&mut log, Stream::Stdout, piece, Moment::from_nanoseconds(at as i64));
        }
        let mut exact = vec![b'y'; LONGEST_PIECE];
        exact.push(b'\n');
        say(&mut log, Stream::Stdout, &exact, Moment::from_nanoseconds(50));
        let records = read(directory.path().join("log/json.log"));
        let lengths: Vec<_> = records.iter().map(|(text, ..)| text.len()).collect();
        assert_eq!(lengths, [LONGEST_PIECE, LONGEST_PIECE, 6, LONGEST_PIECE, 1]);
        assert_eq!(records[0].2, records[1].2);
        assert_eq!(records[0].2, records[2].2);
        assert_eq!(records[3].2, "1970-01-01T00:00:00.00000005Z");
    }

    #[test]
    fn rotation_loses_no_line_and_keeps_the_number_of_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 1000, 3);
        for n in 0..40 {
            say(&mut log, Stream::Stdout, format!("line {n}\n").as_bytes(), Moment::from_nanoseconds(n));
        }
        let mut all = Vec::new();
        for name in ["json.log.2", "json.log.1", "json.log"] {
            let path = directory.path().join("log").join(name);
            assert!(fs::metadata(&path).unwrap().len() <= 1000);
            all.extend(read(path).into_iter().map(|(text, ..)| text));
        }
        assert!(!directory.path().join("log/json.log.3").exists());
        let first = 40 - all.len();
        let expected: Vec<_> = (first..40).map(|n| format!("line {n}\n")).collect();
        assert!(all.len() > 20);
        assert_eq!(all, expected);
    }

    #[test]
    fn a_single_file_starts_anew_as_another_file() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 100, 1);
        let inode = || fs::metadata(directory.path().join("log/json.log")).unwrap().ino();
        say(&mut log, Stream::Stdout, b"first\n", Moment::from_nanoseconds(1));
        let before = fs::File::open(directory.path().join("log/json.log")).unwrap();
        say(&mut log, Stream::Stdout, b"second\n", Moment::from_nanoseconds(2));
        assert_ne!(before.metadata().unwrap().ino(), inode(), "a follower can tell that it is another file");
        assert!(before.metadata().unwrap().len() > 0, "and can read the old one to its end");
        assert_eq!(read(directory.path().join("log/json.log")).len(), 1);
    }

    #[test]
    fn a_torn_record_is_closed_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("log")).unwrap();
        fs::write(directory.path().join("log/json.log"), "{\"log\":\"torn").unwrap();
        let mut log = log(directory.path(), 0, 1);
        say(&mut log, Stream::Stdout, b"whole\n", Moment::from_nanoseconds(1));
        let text = fs::read_to_string(directory.path().join("log/json.log")).unwrap();
        assert_eq!(text.lines().next(), Some("{\"log\":\"torn"));
        assert!(text.lines().nth(1).unwrap().starts_with("{\"log\":\"whole\\n\""));
    }

    #[test]
    fn a_moved_file_is_followed_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log/json.log");
        let mut log = log(directory.path(), 0, 1);
        say(&mut log, Stream::Stdout, b"a\n", Moment::from_nanoseconds(1));
        fs::rename(&path, directory.path().join("moved")).unwrap();
        log.reopen().unwrap();
        say(&mut log, Stream::Stdout, b"b\n", Moment::from_nanoseconds(1));
        assert_eq!(read(path)[0].0, "b\n");
        assert_eq!(read(directory.path().join("moved"))[0].0, "a\n");
    }
}
