//! One layer's line on a terminal: what fits into its width, and never a cell more. Pure.
//!
//! A line that is too long wraps, and whoever draws the next frame then paints over the wrong rows. So a narrow terminal gets fewer
//! parts, each as wide for any number as for any other, and not a line that hopes.

use crate::output::human::size;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// A word or a sentence.
    Says(String),
    Moves {
        /// What is done with it: `Downloading`.
        word: &'static str,
        done: u64,
        total: Option<u64>,
        /// Bytes a second.
        rate: Option<f64>,
    },
}

/// Cells of `Downloading`, of `123.4MB/1.234GB`, of `12.3MB/s` and of `23h59m`.
const WORD: usize = 11;
const AMOUNTS: usize = 15;
const RATE: usize = 8;
const LEFT: usize = 6;
/// A bar shorter than this says less than the number beside it, and a longer one no more.
const SHORTEST: usize = 10;
const LONGEST: usize = 50;

/// Cells that the names of layers may take on a terminal of so many.
pub(crate) fn label_room(columns: usize) -> usize {
    if columns >= 80 { 20 } else { 12 }
}

/// The line, of less than `columns` cells: in the last one some terminals wrap already. `label` fills as many cells as that of the other lines.
pub(crate) fn line(label: &str, label_cells: usize, state: &State, columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let label = fitting(label, label_cells);
    let label = format!("{label}{}", " ".repeat(label_cells.saturating_sub(cells(&label))));
    let text = match state {
        State::Says(text) => format!("{label}: {text}"),
        State::Moves { word, done, total: None, rate } => {
            format!("{label}: {word:WORD$} {:>RATE$} {:>RATE$}", size(*done, 4), per_second(*rate))
        }
        State::Moves { word, done, total: Some(total), rate } => {
            let amounts = format!("{}/{}", size(*done, 4), size(*total, 4));
            let pace = format!("{:>RATE$} {:>LEFT$}", per_second(*rate), left(*done, *total, *rate));
            let ends = label_cells + 2 + AMOUNTS + 1 + RATE + 1 + LEFT;
            match room.checked_sub(ends) {
                Some(between) if between > WORD + SHORTEST + 2 => {
                    let bar = bar(*done, *total, between - WORD - 2);
                    format!("{label}: {word:WORD$} {bar} {amounts:>AMOUNTS$} {pace}")
                }
                Some(between) if between > SHORTEST => {
                    format!("{label}: {} {amounts:>AMOUNTS$} {pace}", bar(*done, *total, between - 1))
                }
                Some(_) => format!("{label}: {amounts:>AMOUNTS$} {pace}"),
                None => format!("{label}: {:>3}% {pace}", percent(*done, *total)),
            }
        }
    };
    fitting(text.trim_end(), room)
}

/// `[=====>     ]`, of so many cells or of as many as are of use.
fn bar(done: u64, total: u64, room: usize) -> String {
    let inside = room.min(LONGEST) - 2;
    let full = inside * percent(done, total) / 100;
    let (head, rest) = if full < inside { (">", inside - full - 1) } else { ("", 0) };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat(rest))
}

fn percent(done: u64, total: u64) -> usize {
    let percent = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    usize::try_from(percent).unwrap_or(100)
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", size(rate as u64, 3)))
}

/// How long the rest takes at this rate; nothing when there is no rest, `-` when nobody knows.
fn left(done: u64, total: u64, rate: Option<f64>) -> String {
    let rest = total.saturating_sub(done);
    let seconds = match rate {
        _ if rest == 0 => return String::new(),
        Some(rate) if rate >= 1.0 => (rest as f64 / rate).ceil() as u64,
        _ => return "-".to_owned(),
    };
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ if seconds / 86400 < 100 => format!("{}d", seconds / 86400),
        _ => "-".to_owned(),
    }
}

/// The beginning that fits, with an ellipsis where something is left out.
fn fitting(text: &str, room: usize) -> String {
    if cells(text) <= room {
        return text.to_owned();
    }
    let mut taken = 0;
    let begin = text.chars().take_while(|letter| {
        taken += cells_of(*letter);
        // The ellipsis is counted as any letter is that is not ASCII.
        taken + 2 <= room
    });
    let begin: String = begin.collect();
    if room < 2 { begin } else { format!("{begin}…") }
}

/// The cells that it takes at most.
pub(crate) fn cells(text: &str) -> usize {
    text.chars().map(cells_of).sum()
}

/// Two is the most that any letter takes, and which ones take it is a table that is not worth its size here.
fn cells_of(letter: char) -> usize {
    if letter.is_ascii() { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(done: u64, total: Option<u64>, rate: Option<f64>) -> State {
        State::Moves { word: "Downloading", done, total, rate }
    }

    #[test]
    fn each_width_has_what_fits() {
        let state = moves(12_345_678, Some(53_248_000), Some(10_480_000.0));
        for (columns, expected) in [
            (
                100,
                "0007a4904d97: Downloading [========>                              ] 12.35MB/53.25MB 10.5MB/s     4s",
            ),
            (80, "0007a4904d97: Downloading [====>              ] 12.35MB/53.25MB 10.5MB/s     4s"),
            (70, "0007a4904d97: Downloading [==>      ] 12.35MB/53.25MB 10.5MB/s     4s"),
            (60, "0007a4904d97: [==>        ] 12.35MB/53.25MB 10.5MB/s     4s"),
            (50, "0007a4904d97: 12.35MB/53.25MB 10.5MB/s     4s"),
            (40, "0007a4904d97:  23% 10.5MB/s     4s"),
            (20, "0007a4904d97:  23…"),
            (1, ""),
        ] {
            assert_eq!(line("0007a4904d97", 12, &state, columns), expected, "{columns}");
        }
        let state = State::Says("retrying in 4 s: connect to 127.0.0.1:5000: Connection refused".to_owned());
        assert_eq!(line("a", 12, &state, 40), "a           : retrying in 4 s: connec…");
        assert_eq!(line("wurzeldateisystem", 12, &State::Says("x".to_owned()), 40), "wurzeldate…: x");
    }

    #[test]
    fn the_rest_of_the_way_is_told_in_six_cells() {
        for (rest, rate, expected) in [
            (0, Some(1.0), ""),
            (1, Some(1000.0), "1s"),
            (59, Some(1.0), "59s"),
            (61, Some(1.0), "1m01s"),
            (86_399, Some(1.0), "23h59m"),
            (200_000, Some(1.0), "2d"),
            (u64::MAX, Some(1.0), "-"),
            (5, Some(0.2), "-"),
            (5, None, "-"),
        ] {
            assert_eq!(left(0, rest, rate), expected, "{rest} at {rate:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_line_reaches_the_last_cell(
            label in ".{0,40}",
            says in proptest::option::of(".{0,200}"),
            (done, total) in (proptest::num::u64::ANY, proptest::option::of(proptest::num::u64::ANY)),
            rate in proptest::option::of(0.0..1e19f64),
            columns in 1..300usize,
        ) {
            let state = says.map_or_else(|| moves(done, total, rate), State::Says);
            let label_cells = cells(&label).min(label_room(columns));
            let line = line(&label, label_cells, &state, columns);
            proptest::prop_assert!(cells(&line) < columns, "{line:?} is {} of {columns}", cells(&line));
            // What a wide terminal has of it, a narrow one still tells in 40.
            if columns >= 40 && total.is_some() && matches!(state, State::Moves { .. }) {
                proptest::prop_assert!(!line.ends_with('…'), "{line:?} of {columns}");
            }
        }
    }
}
