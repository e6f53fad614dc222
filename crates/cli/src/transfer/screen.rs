//! The lines of a transfer's layers at the end of a terminal, drawn again in their place.
//!
//! Between two frames the cursor stands at the beginning of the first line. So nothing has to be counted when the window becomes narrower
//! and its lines wrap: the next frame begins where the last one began, and what is below goes. It is also where `^C` is echoed, under the next frame.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::row::{self, State};

/// Between two frames that only numbers tell apart.
const FRAME: Duration = Duration::from_millis(80);

/// A layer's line.
#[derive(Debug)]
struct Row {
    /// What tells it from the others.
    key: String,
    label: String,
    what: What,
    pace: Pace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A word for what it is at, or that it waits.
    Says(String),
    /// A word that stays: it is done with.
    Done(String),
    Moves {
        word: &'static str,
        done: u64,
        total: Option<u64>,
    },
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Screen {
    /// In the order in which they were told of.
    rows: Vec<Row>,
    is_drawn: bool,
    last: Option<Instant>,
}

impl Screen {
    /// Lines on standard error; `None` if it is no terminal, or one that cannot move its cursor.
    pub(crate) fn new() -> Option<Screen> {
        let moves = std::env::var_os("TERM").is_none_or(|name| !name.is_empty() && name != "dumb");
        (io::stderr().is_terminal() && moves).then(|| Screen {
            rows: Vec::new(),
            is_drawn: false,
            last: None,
        })
    }

    /// Tells of a layer, by a name of its own. `label` is what it is shown as.
    pub(crate) fn tell(&mut self, key: &str, label: &str, what: What) {
        let row = match self.rows.iter_mut().find(|row| row.key == key) {
            Some(row) => row,
            None => {
                let (key, label) = (key.to_owned(), label.to_owned());
                self.rows.push(Row { key, label, what: What::Says(String::new()), pace: Pace::default() });
                let last = self.rows.len() - 1;
                &mut self.rows[last]
            }
        };
        let moved = |what: &What| matches!(what, What::Moves { .. });
        let only_numbers = moved(&row.what) && moved(&what);
        row.what = what;
        self.draw(!only_numbers);
    }

    /// As [`Screen::tell`], of a layer that has a line already.
    pub(crate) fn tell_of_known(&mut self, key: &str, what: What) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.key == key) {
            row.what = what;
            self.draw(true);
        }
    }

    /// Draws what has changed with time: rates, and the width of the window.
    pub(crate) fn tick(&mut self) {
        if self.is_drawn {
            self.draw(false);
        }
    }

    /// Has something printed above the lines.
    pub(crate) fn above(&mut self, print: impl FnOnce()) {
        let was_drawn = self.is_drawn;
        self.clear();
        print();
        if was_drawn {
            self.draw(true);
        }
    }

    /// Takes the lines off; they come again with the next frame.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            // Only a terminal that is gone fails here.
            let _ = io::stderr().lock().write_all(b"\r\x1b[J");
        }
    }

    /// The same for good: what their layers said last.
    pub(crate) fn settle(&mut self) -> Vec<(String, String)> {
        self.clear();
        let said = std::mem::take(&mut self.rows).into_iter().map(|row| {
            let text = match row.what {
                What::Says(text) | What::Done(text) => text,
                What::Moves { word, .. } => word.to_owned(),
            };
            (row.label, text)
        });
        said.collect()
    }

    fn draw(&mut self, at_once: bool) {
        let now = Instant::now();
        if !at_once && self.last.is_some_and(|last| now.duration_since(last) < FRAME) {
            return;
        }
        self.last = Some(now);
        let (rows, columns) = window();
        let lines = self.lines(now, rows, columns);
        if lines.is_empty() {
            return;
        }
        let mut frame = format!("\r{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        if lines.len() > 1 {
            frame.push_str(&format!("\x1b[{}A", lines.len() - 1));
        }
        frame.push('\r');
        // As above.
        let _ = io::stderr().lock().write_all(frame.as_bytes());
        self.is_drawn = true;
    }

    /// As many as the window has rows: those that are done with make room for those that are not.
    fn lines(&mut self, now: Instant, rows: usize, columns: usize) -> Vec<String> {
        let most = rows.saturating_sub(1).max(1);
        let mut surplus = self.rows.len().saturating_sub(most);
        let shown = self.rows.iter_mut().filter(|row| {
            let left_out = surplus > 0 && matches!(row.what, What::Done(_));
            surplus -= usize::from(left_out);
            !left_out
        });
        let shown: Vec<_> = shown.take(most).collect();
        let longest = shown.iter().map(|row| row::cells(&row.label)).max().unwrap_or_default();
        let label_cells = longest.min(row::label_room(columns));
        let line = |row: &mut Row| {
            let state = match &row.what {
                What::Says(text) | What::Done(text) => State::Says(text.clone()),
                What::Moves { word, done, total } => {
                    State::Moves { word, done: *done, total: *total, rate: row.pace.at(now, *done) }
                }
            };
            row::line(&row.label, label_cells, &state, columns)
        };
        shown.into_iter().map(line).collect()
    }
}

/// Rows and columns of the window, as it is now. One that does not say has 24 by 80.
fn window() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let or =
        |number: Option<u16>, usual: usize| number.filter(|number| *number > 0).map_or(usual, usize::from);
    (or(size.map(|size| size.ws_row), 24), or(size.map(|size| size.ws_col), 80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_makes_room_in_a_low_window() {
        let layer =
            |key: &str, what| Row { key: key.to_owned(), label: key.to_owned(), what, pace: Pace::default() };
        let done = || What::Done("Pull complete".to_owned());
        let waits = || What::Says("Pulling fs layer".to_owned());
        let rows = vec![layer("a", done()), layer("b", waits()), layer("c", done()), layer("d", waits())];
        let mut screen = Screen { rows, is_drawn: false, last: None };
        let mut shown = |rows| {
            let lines = screen.lines(Instant::now(), rows, 80);
            lines.iter().map(|line| line[..1].to_owned()).collect::<String>()
        };
        assert_eq!(
            (shown(24), shown(5), shown(4), shown(3), shown(2), shown(0)),
            ("abcd".into(), "abcd".into(), "bcd".into(), "bd".into(), "b".into(), "b".into())
        );
    }
}
