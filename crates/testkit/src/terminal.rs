//! A terminal with a person in front of it: a pseudo-terminal that a command runs in, typed on and read by a test.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::PATIENCE;
use crate::process::Process;

/// The terminal and the command in it.
#[derive(Debug)]
pub struct Terminal {
    master: Option<OwnedFd>,
    child: std::process::Child,
    /// The command's process.
    pub process: Process,
    seen: Vec<u8>,
    searched: usize,
}

impl Terminal {
    /// Runs `command` as the leader of a session of its own with a new terminal, 24 rows by 80 columns.
    pub(crate) fn start(command: &Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("the terminal's name");
        set_size(&master, 24, 80);
        let side = || {
            let slave = open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
                .expect("the terminal");
            Stdio::from(slave)
        };
        // util-linux's setsid makes the session and takes the terminal: in Rust that would take an unsafe pre_exec.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side());
        let child = session.spawn().expect("util-linux's setsid is installed");
        let process =
            Process::open(child.id().cast_signed()).expect("a child that is not waited for yet has a pidfd");
        Terminal { master: Some(master), child, process, seen: Vec::new(), searched: 0 }
    }

    /// Types `keys`: "\r" is Return, "\x03" Ctrl-C.
    ///
    /// # Panics
    /// If the terminal takes no more.
    pub fn press(&mut self, keys: &str) {
        let mut bytes = keys.as_bytes();
        while !bytes.is_empty() {
            let written = rustix::io::write(self.master(), bytes).expect("the terminal takes keys");
            bytes = &bytes[written..];
        }
    }

    /// Waits until the screen has shown `text` after what the last wait found, and gives what stood before it.
    ///
    /// # Panics
    /// If the command closes the terminal first, or the deadline passes.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = &self.seen[self.searched..];
            if let Some(at) = rest.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&rest[..at]).into_owned();
                self.searched += at + text.len();
                return before;
            }
            assert!(
                self.read(deadline),
                "the terminal was closed before it showed {text:?}: {}",
                self.screen()
            );
        }
    }

    /// Everything shown so far.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Makes the window `rows` by `columns`; the kernel tells the command by SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(self.master(), rows, columns);
    }

    /// Waits for the command's end and gives its exit code (128 + n for a signal) and everything that was shown.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline) {}
        assert!(self.process.ends_within(PATIENCE), "the command closed its terminal but does not end");
        let status = self.child.wait().expect("a child can be waited for once");
        let code = std::os::unix::process::ExitStatusExt::signal(&status)
            .map_or(status.code(), |signal| Some(128 + signal));
        (code.expect("a code or a signal"), self.screen())
    }

    /// Closes the window, as a person does or an ssh connection that breaks: the command gets SIGHUP.
    pub fn hang_up(&mut self) {
        self.master = None;
        let _ = self.child.wait();
    }

    /// Takes what there is to read; false when the last holder has closed the other side.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            ready(self.master(), left),
            "nothing more on the terminal for {PATIENCE:?}: {}",
            self.screen()
        );
        let mut buffer = [0; 4096];
        match rustix::io::read(self.master(), &mut buffer) {
            Ok(0) | Err(Errno::IO) => false,
            Ok(count) => {
                self.seen.extend_from_slice(&buffer[..count]);
                true
            }
            Err(Errno::INTR) => true,
            Err(errno) => panic!("reading the terminal: {errno}"),
        }
    }

    fn master(&self) -> &OwnedFd {
        self.master.as_ref().expect("the window is open")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

fn ready(descriptor: impl AsFd, left: Duration) -> bool {
    let mut waiting = [PollFd::new(&descriptor, PollFlags::IN)];
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut waiting, Some(&timeout)) {
        Ok(count) => count > 0,
        Err(Errno::INTR) => true,
        Err(errno) => panic!("poll of the terminal: {errno}"),
    }
}

fn set_size(terminal: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("the window's size");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Terminal {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Terminal::start(&command)
    }

    #[test]
    fn a_command_is_typed_at_and_read() {
        let mut window = shell("tty; stty size; read word; echo got $word; exit 3");
        window.expect("/dev/pts/");
        window.expect("24 80\r\n");
        window.press("jar\r");
        window.expect("got jar");
        assert_eq!(window.wait().0, 3);
    }

    #[test]
    fn a_closed_window_hangs_up() {
        let mut window = shell("echo ready; sleep 1000");
        window.expect("ready");
        window.hang_up();
        assert!(window.process.ends_within(Duration::ZERO));
    }
}
