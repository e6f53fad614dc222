//! Text that others chose (labels, commands, names in an archive), made safe to show to a person.
//!
//! An image may put escape sequences or line breaks into what it is called and what it runs: printed as they are they would paint over the
//! terminal, or make up lines that Onggi never wrote. What is made for programs (JSON, a template without a table) stays as it is.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every control character, and every one that changes the direction of writing, spelled out: `\n`, `\x1b`, `\u{202e}`.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        let _ = match letter {
            '\n' => write!(shown, "\\n"),
            '\r' => write!(shown, "\\r"),
            '\t' => write!(shown, "\\t"),
            letter if letter.is_ascii() && is_unsafe(letter) => write!(shown, "\\x{:02x}", letter as u32),
            letter if is_unsafe(letter) => write!(shown, "\\u{{{:x}}}", letter as u32),
            letter => write!(shown, "{letter}"),
        };
    }
    Cow::Owned(shown)
}

/// The same for text of several lines, and of columns that tabs part.
pub(crate) fn plain_lines(text: &str) -> Cow<'_, str> {
    let is_layout = |letter| matches!(letter, '\n' | '\t');
    if !text.contains(|letter| is_unsafe(letter) && !is_layout(letter)) {
        return Cow::Borrowed(text);
    }
    let parts = text.split_inclusive(is_layout).map(|part| match part.strip_suffix(is_layout) {
        Some(front) => format!("{}{}", plain(front), &part[front.len()..]),
        None => plain(part).into_owned(),
    });
    Cow::Owned(parts.collect())
}

/// As Go's `strconv.Quote`, which Docker's `ps` and `%q` of templates use: in double quotes, with what is not printable spelled out.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for letter in text.chars() {
        let code = u32::from(letter);
        let _ = match letter {
            '"' | '\\' => write!(shown, "\\{letter}"),
            '\n' => write!(shown, "\\n"),
            '\r' => write!(shown, "\\r"),
            '\t' => write!(shown, "\\t"),
            '\x07' => write!(shown, "\\a"),
            '\x08' => write!(shown, "\\b"),
            '\x0c' => write!(shown, "\\f"),
            '\x0b' => write!(shown, "\\v"),
            letter if letter.is_ascii_control() => write!(shown, "\\x{code:02x}"),
            // For Go no space but the common one is printable.
            letter if is_unsafe(letter) || (letter.is_whitespace() && letter != ' ') => {
                write!(shown, "\\u{code:04x}")
            }
            letter => write!(shown, "{letter}"),
        };
    }
    shown.push('"');
    shown
}

fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_spelled_out() {
        for (text, shown) in [
            ("plain ö 漢 \\n", "plain ö 漢 \\n"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("a\nb\r\tc\x7f", "a\\nb\\r\\tc\\x7f"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
        ] {
            assert_eq!(plain(text), shown);
            assert_eq!(plain(shown), shown, "once is enough");
        }
    }

    #[test]
    fn lines_and_columns_stay_what_they_are() {
        for (text, shown) in [
            ("a\tb\n\nc", "a\tb\n\nc"),
            ("a\x1b[2J\tb\x07\n\rc", "a\\x1b[2J\tb\\x07\n\\rc"),
            ("\u{9b}1m\n", "\\u{9b}1m\n"),
        ] {
            assert_eq!(plain_lines(text), shown);
        }
    }

    #[test]
    fn quoted_text_is_gos() {
        for (text, shown) in [
            ("sh -c \"a\\", r#""sh -c \"a\\""#),
            ("\x1b[2J\r\n\t\x7f\x07\x08\x0c\x0b", r#""\x1b[2J\r\n\t\x7f\a\b\f\v""#),
            ("\u{9b}\u{202e}\u{a0}… 김치", "\"\\u009b\\u202e\\u00a0… 김치\""),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }
}
