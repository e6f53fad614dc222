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
}
