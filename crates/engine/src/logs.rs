//! Reading what a container has written: the json-file log across its rotated files, and following it to the container's end.
//!
//! The monitor writes `log/json.log` and renames it to `json.log.1` and so on. A follower holds the file that it reads open; when the
//! name leads to another one, it reads its own to the end, finds it among the rotated ones by inode, and goes on with the next newer.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::follow::{Lines, Watch, Woken};
use crate::human;
use crate::request::LogOptions;
use crate::summary::{LogLine, LogStream};

/// One line of Docker's json-file format.
#[derive(Debug, Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

/// Calls `each` for the lines that the options want. `alive` is something of the container's that hangs up when it ends; without it, or
/// without `follow`, reading stops at the end of the file.
pub(crate) fn read(
    path: &Path,
    options: &LogOptions,
    alive: Option<BorrowedFd<'_>>,
    each: &mut dyn FnMut(LogLine) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // Before the first read, so that nothing written in between is missed.
    let watch = (options.follow && alive.is_some()).then(|| Watch::new(directory)).transpose()?;
    let Some(mut position) = Position::at(path, options.tail)? else { return Ok(()) };
    let mut ended = watch.is_none();
    loop {
        if !position.drain(options, each)? {
            return Ok(());
        }
        if position.advance(path)? {
            continue;
        }
        let Some(watch) = watch.as_ref().filter(|_| !ended) else { return Ok(()) };
        let milliseconds = options.until.map(|until| (until - now()).max(0) / 1_000_000 + 1);
        match watch.wait(alive, milliseconds)? {
            Woken::Changed => {}
            // Once more, for what was written last.
            Woken::Other | Woken::TimedOut => ended = true,
        }
    }
}

fn now() -> i64 {
    onggi_monitor::clock::Moment::now().nanoseconds()
}

/// The file that is being read, and which one it is.
struct Position {
    lines: Lines,
    inode: u64,
}

impl Position {
    /// The oldest file, or where the last `tail` lines begin. `None` if there is no log.
    fn at(path: &Path, tail: Option<u64>) -> io::Result<Option<Position>> {
        let files = files(path)?;
        let Some(tail) = tail else { return files.into_iter().next().map(Position::new).transpose() };
        let mut wanted = tail;
        let mut chosen = None;
        for mut file in files.into_iter().rev() {
            let (offset, found) = last_lines(&mut file, wanted)?;
            file.seek(SeekFrom::Start(offset))?;
            chosen = Some(file);
            wanted -= found;
            if wanted == 0 {
                break;
            }
        }
        chosen.map(Position::new).transpose()
    }

    fn new(file: File) -> io::Result<Position> {
        let inode = file.metadata()?.ino();
        Ok(Position { lines: Lines::new(file), inode })
    }

    /// Hands over every line there is; `false` once nothing more can be wanted.
    fn drain(
        &mut self,
        options: &LogOptions,
        each: &mut dyn FnMut(LogLine) -> io::Result<()>,
    ) -> io::Result<bool> {
        while let Some(line) = self.lines.next()? {
            // A line that a crash cut short is no line; the next one is.
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
            let stream = if entry.stream == "stderr" { LogStream::Stderr } else { LogStream::Stdout };
            let wanted = if stream == LogStream::Stderr { options.stderr } else { options.stdout };
            if options.since.is_some() || options.until.is_some() {
                let time = human::nanoseconds(&entry.time).unwrap_or(0);
                if options.until.is_some_and(|until| time > until) {
                    return Ok(false);
                }
                if options.since.is_some_and(|since| time < since) {
                    continue;
                }
            }
            if wanted {
                each(LogLine { stream, time: entry.time, text: entry.log.into_bytes() })?;
            }
        }
        Ok(true)
    }

    /// Goes on with the next newer file, if this one was rotated away. Its end was seen before, but more may have come since:
    /// the caller drains again before each call, and a rotated file never grows.
    fn advance(&mut self, path: &Path) -> io::Result<bool> {
        let files = files(path)?;
        let inodes = files
            .iter()
            .map(|file| file.metadata().map(|data| data.ino()))
            .collect::<io::Result<Vec<_>>>()?;
        let place = inodes.iter().position(|inode| *inode == self.inode);
        if place.is_some_and(|place| place + 1 == files.len()) || files.is_empty() {
            return Ok(false);
        }
        // Our file may have grown between our last read and its rotation.
        if self.lines.file().stream_position_of()? < self.lines.file().metadata()?.len() {
            return Ok(true);
        }
        // If it is deleted already, the oldest that is left comes next.
        let next = place.map_or(0, |place| place + 1);
        if let Some(file) = files.into_iter().nth(next) {
            *self = Position::new(file)?;
        }
        Ok(true)
    }
}

trait StreamPositionOf {
    fn stream_position_of(&self) -> io::Result<u64>;
}

impl StreamPositionOf for File {
    fn stream_position_of(&self) -> io::Result<u64> {
        Ok(rustix::fs::tell(self.as_fd())?)
    }
}

/// Open, the oldest first. A rotation may go on meanwhile: it leaves a hole in the numbers for a moment, and shows one file under two.
fn files(path: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut inodes = Vec::new();
    let mut holes = 0;
    for number in 0.. {
        let name = match number {
            0 => path.to_owned(),
            _ => PathBuf::from(format!("{}.{number}", path.display())),
        };
        match File::open(&name) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                if !inodes.contains(&inode) {
                    inodes.push(inode);
                    files.push(file);
                }
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) if holes == 1 => break,
            Err(_) => holes += 1,
        }
    }
    files.reverse();
    Ok(files)
}

/// Where the last `wanted` lines begin, and how many there are (fewer if the file has fewer).
fn last_lines(file: &mut File, wanted: u64) -> io::Result<(u64, u64)> {
    const BLOCK: u64 = 64 * 1024;
    let length = file.metadata()?.len();
    if wanted == 0 {
        return Ok((length, 0));
    }
    let (mut end, mut found) = (length, 0);
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The end of the file ends a line, but none begins behind it.
            if after == length {
                continue;
            }
            found += 1;
            if found == wanted {
                return Ok((after, found));
            }
        }
        end = start;
    }
    // The first line has no line end before it.
    Ok((0, if length == 0 { found } else { found + 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entry(number: u32, stream: &str) -> String {
        format!(
            "{{\"log\":\"{number}\\n\",\"stream\":\"{stream}\",\"time\":\"2024-01-01T00:00:{number:02}Z\"}}\n"
        )
    }

    fn write(path: &Path, numbers: std::ops::Range<u32>) {
        let text: String = numbers.map(|number| entry(number, "stdout")).collect();
        std::fs::write(path, text).unwrap();
    }

    fn all() -> LogOptions {
        LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
    }

    fn numbers(path: &Path, options: &LogOptions) -> Vec<u32> {
        let mut seen = Vec::new();
        read(path, options, None, &mut |line| {
            seen.push(String::from_utf8(line.text).unwrap().trim().parse().unwrap());
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn rotated_files_are_one_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("json.log");
        assert_eq!(numbers(&path, &all()), Vec::<u32>::new());
        write(&directory.path().join("json.log.2"), 0..3);
        write(&directory.path().join("json.log.1"), 3..6);
        write(&path, 6..9);
        assert_eq!(numbers(&path, &all()), (0..9).collect::<Vec<_>>());
        for tail in 0..12 {
            let options = LogOptions { tail: Some(tail), ..all() };
            assert_eq!(numbers(&path, &options), (9 - (tail as u32).min(9)..9).collect::<Vec<_>>(), "{tail}");
        }
        let at = |second: i64| human::nanoseconds("2024-01-01T00:00:00Z").unwrap() + second * 1_000_000_000;
        let options = LogOptions { since: Some(at(2)), until: Some(at(7)), ..all() };
        assert_eq!(numbers(&path, &options), [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn streams_are_chosen_and_broken_lines_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("json.log");
        std::fs::write(&path, format!("{}{{\"log\":\"cut\n{}", entry(1, "stdout"), entry(2, "stderr")))
            .unwrap();
        assert_eq!(numbers(&path, &LogOptions { stdout: true, ..LogOptions::default() }), [1]);
        assert_eq!(numbers(&path, &LogOptions { stderr: true, ..LogOptions::default() }), [2]);
    }

    #[test]
    fn a_follower_loses_nothing_over_rotations_and_ends_with_the_container() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("json.log");
        write(&path, 0..1);
        let (alive, container) = std::io::pipe().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                for round in 1..6 {
                    // As the monitor: append, then rotate, three files at most.
                    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
                    file.write_all(entry(round * 2 - 1, "stdout").as_bytes()).unwrap();
                    let seen: u32 = receiver.recv().unwrap();
                    assert!(seen < round * 2);
                    file.write_all(entry(round * 2, "stdout").as_bytes()).unwrap();
                    let at = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
                    let _ = std::fs::rename(at(1), at(2));
                    std::fs::rename(&path, at(1)).unwrap();
                    std::fs::write(&path, "").unwrap();
                }
                drop(container);
            }
        });
        let mut seen = Vec::new();
        let options = LogOptions { follow: true, ..all() };
        read(&path, &options, Some(alive.as_fd()), &mut |line| {
            let number: u32 = String::from_utf8(line.text).unwrap().trim().parse().unwrap();
            seen.push(number);
            if number % 2 == 1 {
                let _ = sender.send(number);
            }
            Ok(())
        })
        .unwrap();
        writer.join().unwrap();
        assert_eq!(seen, (0..11).collect::<Vec<_>>());
    }
}
