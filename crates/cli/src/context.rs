//! What every command is given: settings, the engine, the two streams to print on.
//!
//! Settings and engine are opened when a command first asks for them, because help and versions need
//! neither.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::io::{self, IsTerminal as _, Write as _};

use onggi_engine::Engine;
use onggi_settings::{Flags, Settings};
use onggi_store::Store;

use crate::error::CliError;
use crate::output::plain::{plain, plain_lines};

/// Shared by all commands.
pub(crate) struct Context {
    /// `--root`, `--run-root`.
    pub(crate) flags: Flags,
    /// Colour on standard error.
    pub(crate) colour: bool,
    settings: OnceCell<Settings>,
    engine: OnceCell<Engine>,
}

impl Context {
    pub(crate) fn new() -> Context {
        let unwanted = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Context {
            flags: Flags::default(),
            colour: io::stderr().is_terminal() && !unwanted("NO_COLOR"),
            settings: OnceCell::new(),
            engine: OnceCell::new(),
        }
    }

    pub(crate) fn settings(&self) -> Result<&Settings, CliError> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = Settings::load(&self.flags)?;
        Ok(self.settings.get_or_init(|| settings))
    }

    pub(crate) fn engine(&self) -> Result<&Engine, CliError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let mut settings = self.settings()?.clone();
        // This very program, whatever has become of its file: it has the command `image unpack-layer`.
        settings.unpack_program = Some("/proc/self/exe".into());
        let engine = Engine::open(settings)?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// For what is about images alone.
    pub(crate) fn store(&self) -> Result<&Store, CliError> {
        Ok(self.engine()?.store())
    }

    /// Writes to standard output. A reader that went away ends the command silently. What an image says of itself must not paint over a terminal, in
    /// whichever format it is asked for; a program gets the very bytes, as from Docker.
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        match plain_lines(text) {
            Cow::Owned(spelled_out) if io::stdout().is_terminal() => self.draw(&spelled_out),
            _ => self.draw(text),
        }
    }

    /// As [`Context::print`], for text that moves the cursor itself and holds nothing else that would.
    pub(crate) fn draw(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| CliError::io("write standard output", &error))
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{text}\n"))
    }

    /// Writes to standard error. There is nobody left to tell if that fails.
    pub(crate) fn complain(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// A warning: the act goes on.
    pub(crate) fn warn(&self, text: &str) {
        let (yellow, end) = if self.colour { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        self.complain(&format!("{yellow}warning:{end} {}\n", plain(text)));
    }

    /// A variable that is misspelled would otherwise be ignored in silence; a misspelled key of a file is an error.
    pub(crate) fn warn_of_unknown_variables(&self) {
        for name in onggi_settings::environment::unknown() {
            self.warn(&format!("the environment variable {name} means nothing to onggi: `onggi config show` lists what can be set"));
        }
    }

    /// Does `act` for each name, prints each failure at once and goes on, as Docker does with many names.
    pub(crate) fn each<'n>(
        &self,
        names: impl IntoIterator<Item = &'n String>,
        mut act: impl FnMut(&str) -> Result<(), CliError>,
    ) -> Result<u8, CliError> {
        let mut failed = None;
        for name in names {
            match act(name) {
                Ok(()) => {}
                Err(error) if error.is_silent() => return Err(error),
                Err(error) => {
                    failed = Some(error.report(self, 1));
                }
            }
        }
        match failed {
            None => Ok(0),
            Some(code) => Err(CliError::told().code(code)),
        }
    }

    /// As [`Context::each`], but all acts begin at once, for those that may each take long. What they say comes in the names' order.
    pub(crate) fn each_at_once(
        &self,
        names: &[String],
        act: impl Fn(&Engine, &str) -> Result<(), onggi_engine::Error> + Sync,
    ) -> Result<u8, CliError> {
        let engine = self.engine()?;
        let act = &act;
        let mut ends = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for name in names {
                let engine = engine.clone();
                threads.push(scope.spawn(move || act(&engine, name)));
            }
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>().into_iter()
        });
        self.each(names, |name| {
            match ends.next() {
                Some(Ok(end)) => end?,
                _ => return Err(CliError::invalid("the thread that was to do it has failed")),
            }
            self.line(name)
        })
    }
}
