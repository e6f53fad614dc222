//! One run of a program: what goes in, what comes out, how it ends, and never longer than a deadline.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::process::Process;

/// A command line being put together.
#[derive(Debug)]
pub struct Run {
    command: Command,
    shown: String,
    input: Option<Vec<u8>>,
    patience: Duration,
}

impl Run {
    pub(crate) fn new<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::behind(program, &[], arguments)
    }

    /// As [`Run::new`], with words before the arguments that messages do not show.
    pub(crate) fn behind<A: AsRef<OsStr>>(
        program: &Path,
        words: &[OsString],
        arguments: impl IntoIterator<Item = A>,
    ) -> Run {
        let arguments: Vec<OsString> =
            arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let shown =
            arguments.iter().fold("onggi".to_owned(), |line, word| line + " " + &word.to_string_lossy());
        let mut command = Command::new(program);
        command.args(words).args(arguments).stdin(Stdio::null());
        Run { command, shown, input: None, patience: PATIENCE }
    }

    /// Sets an environment variable of the command.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Writes `bytes` to its standard input, through a pipe, and closes it.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.input = Some(bytes.into());
        self
    }

    /// Gives it a file, or anything else, as its standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Run {
        self.command.stdin(stdin);
        self
    }

    /// Gives it another deadline than [`PATIENCE`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Run {
        self.patience = patience;
        self
    }

    /// Runs it to its end, and to the end of its output.
    ///
    /// # Panics
    /// If it does not end in time, or something that it started keeps its output open.
    pub fn output(mut self) -> Output {
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let input = self.input.take();
        let patience = self.patience;
        let mut child = self.spawn();
        if let (Some(bytes), Some(mut pipe)) = (input, child.child.stdin.take()) {
            // A program may end without having read all of it; what counts is what it says and returns.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        child.patience = patience;
        child.wait()
    }

    /// As [`Run::output`], and fails the test unless the exit code is 0. Gives standard output without the last line's end.
    pub fn success(self) -> String {
        let output = self.output();
        assert_eq!(output.code, 0, "{output}");
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Starts it and goes on; its input, if it is to have one, comes from [`Run::piped`].
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn spawn(mut self) -> Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command.get_program()));
        let (sender, received) = channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ];
        for (which, stream) in streams.into_iter().flatten().enumerate() {
            let sender = sender.clone();
            std::thread::spawn(move || forward(stream, which, &sender));
        }
        let process =
            Process::open(child.id().cast_signed()).expect("a child that is not waited for yet has a pidfd");
        let texts = [Vec::new(), Vec::new()];
        Child {
            child,
            process,
            shown: self.shown,
            received,
            texts,
            searched: [0; 2],
            open: 2,
            patience: self.patience,
        }
    }

    /// Its standard input becomes a pipe: [`Child::stdin`].
    #[must_use]
    pub fn piped(mut self) -> Run {
        self.command.stdin(Stdio::piped());
        self
    }

    /// The command itself, for what this type does not offer.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    /// The process, for signals and for looking at it.
    pub process: Process,
    shown: String,
    received: Receiver<(usize, Vec<u8>)>,
    texts: [Vec<u8>; 2],
    searched: [usize; 2],
    open: usize,
    patience: Duration,
}

impl Child {
    /// The writing end of its standard input: drop it to close it.
    ///
    /// # Panics
    /// If it was not made with [`Run::piped`], or was taken before.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("the command was started with piped()")
    }

    /// Waits until its standard output holds `text` after the place where the last wait ended.
    ///
    /// # Panics
    /// If the output ends first, or the deadline passes.
    pub fn expect(&mut self, text: &str) {
        self.expect_in(0, text);
    }

    /// As [`Child::expect`], of its standard error.
    pub fn expect_error(&mut self, text: &str) {
        self.expect_in(1, text);
    }

    /// Waits for the next whole line of standard output, without its end; `None` at the end of the output.
    pub fn line(&mut self) -> Option<String> {
        let deadline = Instant::now() + self.patience;
        loop {
            let rest = &self.texts[0][self.searched[0]..];
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                self.searched[0] += end + 1;
                return Some(line);
            }
            if !self.receive(deadline) {
                return None;
            }
        }
    }

    fn expect_in(&mut self, which: usize, text: &str) {
        let deadline = Instant::now() + self.patience;
        loop {
            let rest = &self.texts[which][self.searched[which]..];
            if let Some(at) = find(rest, text.as_bytes()) {
                self.searched[which] += at + text.len();
                return;
            }
            let more = self.receive(deadline);
            assert!(more, "`{}` ended before it said {text:?}: {}", self.shown, self.said());
        }
    }

    /// Takes one more piece of output; false when both streams have ended.
    fn receive(&mut self, deadline: Instant) -> bool {
        match self.received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((which, piece)) if piece.is_empty() => {
                let _ = which;
                self.open -= 1;
                self.open > 0
            }
            Ok((which, piece)) => {
                self.texts[which].extend_from_slice(&piece);
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => {
                let ended = self.process.ends_within(Duration::ZERO);
                let said = self.said();
                self.process.kill();
                let _ = self.child.wait();
                let why = if ended { "has ended, but something holds its output open" } else { "hangs" };
                panic!("`{}` {why} after {:?}: {said}", self.shown, self.patience);
            }
        }
    }

    fn said(&self) -> String {
        let [stdout, stderr] = &self.texts;
        format!(
            "\n--- standard output\n{}\n--- standard error\n{}",
            String::from_utf8_lossy(tail(stdout)),
            String::from_utf8_lossy(tail(stderr))
        )
    }

    /// Waits for its end and the end of its output.
    pub fn wait(mut self) -> Output {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + self.patience;
        while self.open > 0 && self.receive(deadline) {}
        if !self.process.ends_within(deadline.saturating_duration_since(Instant::now())) {
            let said = self.said();
            self.process.kill();
            let _ = self.child.wait();
            panic!("`{}` has closed its output but does not end: {said}", self.shown);
        }
        let status = self.child.wait().expect("a child can be waited for once");
        let [stdout, stderr] = std::mem::take(&mut self.texts);
        Output {
            command: std::mem::take(&mut self.shown),
            code: code(status),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            bytes: stdout,
        }
    }
}

impl Drop for Child {
    /// A test that fails leaves no command behind. After [`Child::wait`] this finds nothing to do.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 + n for a death by signal n, as a shell says it.
    pub code: i32,
    /// Standard output as text.
    pub stdout: String,
    /// Standard error as text.
    pub stderr: String,
    /// Standard output as it came.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Output {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails the test unless standard error contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(self.stderr.contains(text), "standard error lacks {text:?}: {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stdout, stderr) = (
            tail(self.stdout.as_bytes()).escape_ascii().to_string(),
            tail(self.stderr.as_bytes()).escape_ascii(),
        );
        let stderr = stderr.to_string().replace("\\n", "\n");
        write!(
            formatter,
            "`{}` ended with {}\n--- standard output\n{}\n--- standard error\n{stderr}",
            self.command,
            self.code,
            stdout.replace("\\n", "\n")
        )
    }
}

/// Moves a stream into the channel piece by piece; an empty piece is its end.
fn forward(mut stream: Box<dyn Read + Send>, which: usize, sender: &Sender<(usize, Vec<u8>)>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if sender.send((which, buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("reading a command's output: {error}"),
        }
    }
    // Closed before the end is told: who waits for it may look at the open descriptors next.
    drop(stream);
    let _ = sender.send((which, Vec::new()));
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// The last 4 KiB: enough of a message, however much a test moves.
fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(4096)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Run {
        Run::new(Path::new("/bin/sh"), ["-c", script])
    }

    #[test]
    fn input_goes_through_and_the_outputs_stay_apart() {
        let output = shell("cat; echo err >&2; exit 4").input("in").output();
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (4, "in", "err\n"));
        assert_eq!(shell("kill -TERM $$").output().code, 143);
    }

    #[test]
    fn lines_are_waited_for() {
        let mut child = shell("echo one; read x; echo two $x").piped().spawn();
        child.expect("one\n");
        child.stdin().write_all(b"jar\n").expect("a pipe");
        assert_eq!(child.line().as_deref(), Some("two jar"));
        assert_eq!(child.line(), None);
        assert_eq!(child.wait().code, 0);
    }

    #[test]
    #[should_panic(expected = "something holds its output open")]
    fn a_child_that_keeps_the_output_is_found() {
        shell("sleep 2 & exit 0").patience(Duration::from_millis(300)).output();
    }

    #[test]
    #[should_panic(expected = "hangs after")]
    fn a_command_that_hangs_is_found() {
        shell("exec sleep 1000").patience(Duration::from_millis(100)).output();
    }
}
