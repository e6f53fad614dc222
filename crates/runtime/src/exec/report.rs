//! What the child says to its parent, over a pipe that closes itself when the container's program runs.
//!
//! One JSON object a line: how long the steps took (if asked), and at most one failure. The parent treats it as hostile input:
//! a bounded length, numbers and texts only.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// A report is two short lines; more is an attack or a bug.
const LONGEST_REPORT: u64 = 64 << 10;
/// Of a message that names a long argument so many bytes are told.
const LONGEST_MESSAGE: usize = 4 << 10;

/// The step that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// [`crate::plan::Step::name`].
    pub step: String,
    /// Its place in the plan, from 0.
    pub index: u32,
    /// 0 if no system call was at fault.
    pub errno: i32,
    /// What failed with which arguments, in the words that clients of other runtimes match on.
    pub message: String,
}

impl Failure {
    /// The pipe closes as well when the child is killed; but then it has not said before that only the program is left.
    pub(super) fn killed() -> Failure {
        let message = "the new process was killed before its program ran (is the memory limit too low?)";
        Failure { step: "end".into(), index: 0, errno: 0, message: message.into() }
    }
}

/// Everything that a child reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The step's index, and nanoseconds from its beginning to its end (`CLOCK_MONOTONIC`).
    pub timings: Vec<(u32, u64)>,
    /// `None` if the program was executed.
    pub failure: Option<Failure>,
}

impl Report {
    /// The child ended before its program ran, and did not say why.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.failure.as_ref() == Some(&Failure::killed())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Timings(Vec<(u32, u64)>),
    /// Nothing is left but the filter and the program.
    Ready,
    Failure(Failure),
    /// The child waits for the parent's hooks.
    Hooks,
    /// The child's number of its seccomp listener; it waits until the parent has it.
    Listener(i32),
}

/// What a child waits for its parent to do. What answers it is [`super::Running::network`] and [`super::Running::listener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To run its hooks.
    Hooks,
    /// To take the listener, which has this number in the child.
    Listener(i32),
}

/// Reads until the pipe ends, which is when the program has been executed or the child has ended.
///
/// # Errors
/// The reader's, and `InvalidData` if what came is no report.
pub fn read_report(reader: &mut impl Read) -> io::Result<Report> {
    let mut text = String::new();
    reader.take(LONGEST_REPORT).read_to_string(&mut text)?;
    parse_report(&text)
}

/// The report from its whole text, for those who read the pipe in pieces. A child that ended without a word was killed.
///
/// # Errors
/// `InvalidData` if it is no report.
pub fn parse_report(text: &str) -> io::Result<Report> {
    let mut report = Report::default();
    let mut ready = false;
    for line in text.lines() {
        match serde_json::from_str(line)? {
            Line::Timings(timings) => report.timings = timings,
            Line::Failure(failure) => report.failure = Some(failure),
            Line::Ready => ready = true,
            Line::Hooks | Line::Listener(_) => {}
        }
    }
    if !ready && report.failure.is_none() {
        report.failure = Some(Failure::killed());
    }
    Ok(report)
}

/// As [`read_report`] for a child that may wait for its parent: `answer` is called when it does, once for each thing to wait for.
///
/// # Errors
/// As [`read_report`].
pub fn read_report_with_requests(
    reader: &mut impl Read,
    answer: &mut dyn FnMut(Request),
) -> io::Result<Report> {
    let mut text = Vec::new();
    let (mut hooks, mut listener) = (false, false);
    let mut bytes = [0; 1024];
    let mut reader = reader.take(LONGEST_REPORT);
    loop {
        match reader.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It has ended before it heard that it may go on.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
        if !text.ends_with(b"\n") {
            continue;
        }
        // Only once, however often the child says so.
        for line in text.split(|&byte| byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Hooks) if !std::mem::replace(&mut hooks, true) => answer(Request::Hooks),
                Ok(Line::Listener(number)) if !std::mem::replace(&mut listener, true) => {
                    answer(Request::Listener(number));
                }
                _ => {}
            }
        }
    }
    parse_report(&String::from_utf8_lossy(&text))
}

pub(super) fn write_hooks(writer: &mut impl Write) -> io::Result<()> {
    write_line(writer, &Line::Hooks)
}

pub(super) fn write_listener(writer: &mut impl Write, number: i32) -> io::Result<()> {
    write_line(writer, &Line::Listener(number))
}

pub(super) fn write_ready(writer: &mut impl Write) -> io::Result<()> {
    write_line(writer, &Line::Ready)
}

pub(super) fn write_timings(writer: &mut impl Write, timings: &[(u32, u64)]) -> io::Result<()> {
    write_line(writer, &Line::Timings(timings.to_vec()))
}

pub(super) fn write_failure(writer: &mut impl Write, mut failure: Failure) -> io::Result<()> {
    if failure.message.len() > LONGEST_MESSAGE {
        // Both ends: what failed is named at the beginning, and why at the end.
        let half = LONGEST_MESSAGE / 2;
        let begin = failure.message.floor_char_boundary(half);
        let end = failure.message.ceil_char_boundary(failure.message.len() - half);
        failure.message.replace_range(begin..end, " … ");
    }
    write_line(writer, &Line::Failure(failure))
}

fn write_line(writer: &mut impl Write, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    writer.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was_written() {
        let failure = Failure {
            step: "execute".into(),
            index: 7,
            errno: 2,
            message: "exec: \"x\": no\nnewline".into(),
        };
        let mut bytes = Vec::new();
        write_timings(&mut bytes, &[(0, 12), (1, 34)]).unwrap();
        write_failure(&mut bytes, failure.clone()).unwrap();
        let report = read_report(&mut bytes.as_slice()).unwrap();
        assert_eq!(report, Report { timings: vec![(0, 12), (1, 34)], failure: Some(failure) });
    }

    #[test]
    fn a_long_failure_is_cut_in_its_middle() {
        let message = format!("sethostname {}: invalid argument", "ö".repeat(100_000));
        let failure = Failure { step: "hostname".into(), index: 7, errno: 22, message };
        let mut bytes = Vec::new();
        write_failure(&mut bytes, failure).unwrap();
        let told = read_report(&mut bytes.as_slice()).unwrap().failure.unwrap().message;
        assert!(told.starts_with("sethostname ö") && told.ends_with("ö: invalid argument"), "{told}");
        assert!(told.len() < LONGEST_MESSAGE + 10);
    }

    #[test]
    fn each_request_is_answered_once() {
        let mut bytes = Vec::new();
        write_hooks(&mut bytes).unwrap();
        write_hooks(&mut bytes).unwrap();
        write_listener(&mut bytes, 7).unwrap();
        write_listener(&mut bytes, 8).unwrap();
        write_ready(&mut bytes).unwrap();
        let mut requests = Vec::new();
        let report = read_report_with_requests(&mut bytes.as_slice(), &mut |request| requests.push(request));
        assert_eq!(report.unwrap(), Report::default());
        assert_eq!(requests, [Request::Hooks, Request::Listener(7)]);
    }

    #[test]
    fn silence_is_a_child_that_was_killed_and_noise_is_no_report() {
        assert_eq!(read_report(&mut &b""[..]).unwrap().failure, Some(Failure::killed()));
        let mut bytes = Vec::new();
        write_ready(&mut bytes).unwrap();
        assert_eq!(read_report(&mut bytes.as_slice()).unwrap(), Report::default());
        assert!(read_report(&mut &b"hello\n"[..]).is_err());
    }
}
