//! The terminal in raw mode, and back on every way out.
//!
//! What must be put back is kept where a panic and a signal find it as well, because a shell left in raw
//! mode shows nothing of what one types.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::CliError;

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode for as long as this lives.
#[must_use]
pub(crate) struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode.
    pub(crate) fn enter() -> Result<RawMode, CliError> {
        let fail = |errno: rustix::io::Errno| CliError::io("set the terminal to raw mode", &errno.into());
        let before = tcgetattr(io::stdin()).map_err(fail)?;
        let mut raw = before.clone();
        raw.make_raw();
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(before);
        }
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw).map_err(fail)?;
        Ok(RawMode(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Asks for a line that is not shown: a password. Ctrl-C gives it up, with the terminal as it was.
pub(crate) fn read_unseen(prompt: &str) -> Result<String, CliError> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const DELETE: u8 = 127;
    let raw = RawMode::enter()?;
    // Not before nothing is shown any more: who types fast would show the beginning.
    say(prompt)?;
    let mut typed = Vec::new();
    let ended = loop {
        let mut byte = [0];
        match rustix::io::read(io::stdin(), &mut byte) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => break Err(CliError::io("read the password", &errno.into())),
        }
        match byte[0] {
            b'\r' | b'\n' | CTRL_D => break Ok(()),
            CTRL_C => break Err(CliError::interrupted()),
            BACKSPACE | DELETE => {
                typed.pop();
            }
            byte => typed.push(byte),
        }
    };
    drop(raw);
    // Return was not shown either.
    say("\n")?;
    ended?;
    String::from_utf8(typed).map_err(|_| CliError::invalid("the password is not UTF-8"))
}

fn say(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.map_err(|error| CliError::io("write to the terminal", &error))
}

/// Puts the terminal back, if it was changed. There is nobody to tell if it fails: the terminal is gone.
pub(crate) fn restore() {
    // A thread that holds the lock is restoring it already.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(before) = saved.take()
    {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}

/// Rows and columns, if standard output (or input) is a terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Docker's rule: a terminal for the container with its input attached needs one here.
///
/// `given`: whether `-t` was typed just now, or the container was made with it.
pub(crate) fn check(tty: bool, stdin: bool, given: bool) -> Result<(), CliError> {
    if tty && stdin && !io::stdin().is_terminal() {
        let hint = if given {
            "leave out -t to pass a pipe or a file on"
        } else {
            "the container was made with -t and wants a terminal; leave out -i to see its output only"
        };
        return Err(CliError::invalid("the input device is not a TTY").hint(hint).code(1));
    }
    Ok(())
}
