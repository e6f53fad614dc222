//! One record of Docker's `json-file` log, byte for byte as Docker's own encoder writes it.
//!
//! The rules are those of moby's `daemon/logger/jsonfilelog/jsonlog`: `<`, `>`, `&` and the two line separators U+2028 and U+2029
//! are escaped, control characters other than `\n` and `\r` become `\u00XX`, and each byte that is no UTF-8 becomes `\ufffd`.

use crate::clock::Moment;

/// What follows the text in a record. It is the same for all lines of one piece of output, so it is made once.
pub(crate) fn ending(stream: &str, time: Moment) -> String {
    format!("\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
}

/// Appends `{"log":"…","stream":"stdout","time":"…"}` and a newline.
pub(crate) fn record(out: &mut Vec<u8>, text: &[u8], ending: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    out.extend_from_slice(ending.as_bytes());
}

/// One pass; what needs no escape is copied in runs. Written for speed, since all output of all containers goes through it.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    // Most output grows little; binary output grows sixfold at worst, and then the vector grows with it.
    out.reserve(text.len());
    let (mut begun, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        let (length, escaped) = match CLASSES[byte as usize] {
            Class::Plain => {
                at += 1;
                continue;
            }
            Class::Escaped => (1, None),
            Class::Wide => match wide(&text[at..]) {
                Wide::Character(length) => {
                    at += length;
                    continue;
                }
                Wide::LineSeparator => (3, Some(b"\\u2028")),
                Wide::ParagraphSeparator => (3, Some(b"\\u2029")),
                Wide::Invalid => (1, Some(b"\\ufffd")),
            },
        };
        if begun < at {
            out.extend_from_slice(&text[begun..at]);
        }
        match escaped {
            Some(escaped) => out.extend_from_slice(escaped),
            None => escape_ascii(out, byte),
        }
        at += length;
        begun = at;
    }
    out.extend_from_slice(&text[begun..]);
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Escaped,
    /// Not ASCII.
    Wide,
}

/// Printable ASCII is copied as it is, but for the five that JSON or HTML care about. DEL is plain, as in Go.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Escaped; 256];
    let mut byte = 0x20;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'"' | b'\\' | b'<' | b'>' | b'&' => Class::Escaped,
            0x80.. => Class::Wide,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

/// What begins with a byte that is not ASCII.
enum Wide {
    /// A valid character of this many bytes.
    Character(usize),
    LineSeparator,
    ParagraphSeparator,
    /// One byte that begins no valid character. Go decides byte by byte, so the next one is looked at afresh.
    Invalid,
}

/// The well-formed byte sequences of Unicode's table 3-7.
fn wide(text: &[u8]) -> Wide {
    let (length, second) = match text[0] {
        0xC2..=0xDF => (2, 0x80..=0xBF),
        0xE0 => (3, 0xA0..=0xBF),
        0xE1..=0xEC | 0xEE..=0xEF => (3, 0x80..=0xBF),
        0xED => (3, 0x80..=0x9F),
        0xF0 => (4, 0x90..=0xBF),
        0xF1..=0xF3 => (4, 0x80..=0xBF),
        0xF4 => (4, 0x80..=0x8F),
        _ => return Wide::Invalid,
    };
    let Some(&next) = text.get(1) else { return Wide::Invalid };
    if !second.contains(&next)
        || text.len() < length
        || !text[2..length].iter().all(|&byte| byte & 0xC0 == 0x80)
    {
        return Wide::Invalid;
    }
    match &text[..length] {
        [0xE2, 0x80, 0xA8] => Wide::LineSeparator,
        [0xE2, 0x80, 0xA9] => Wide::ParagraphSeparator,
        _ => Wide::Character(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_has_dockers_form() {
        let mut out = Vec::new();
        let time = Moment::from_nanoseconds(1_700_000_000_120_000_000);
        record(&mut out, b"hello\n", &ending("stderr", time));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"log\":\"hello\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20.12Z\"}\n"
        );
    }

    #[test]
    fn bytes_are_escaped_as_docker_does() {
        for (text, expected) in [
            (&b""[..], ""),
            (b"plain ~\x7f", "plain ~\x7f"),
            (b"tab\t nul\0 esc\x1b[0m", "tab\\u0009 nul\\u0000 esc\\u001b[0m"),
            (b"a\r\n", "a\\r\\n"),
            (br#"say "hi" \o/"#, r#"say \"hi\" \\o/"#),
            (b"<a href='x'>&amp;", "\\u003ca href='x'\\u003e\\u0026amp;"),
            ("김치 🍲".as_bytes(), "김치 🍲"),
            ("a\u{2028}b\u{2029}".as_bytes(), "a\\u2028b\\u2029"),
            ("\u{2028}\u{2028}".as_bytes(), "\\u2028\\u2028"),
            (b"\xff", "\\ufffd"),
            (b"\xe2\x82", "\\ufffd\\ufffd"),
            (b"\xe2\x82x", "\\ufffd\\ufffdx"),
            (b"\xf0\x9f\x8d\xb2\xf0\x9f\x8d", "🍲\\ufffd\\ufffd\\ufffd"),
            (b"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"), // a surrogate
            (b"\xc0\xaf", "\\ufffd\\ufffd"),            // overlong
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    /// Bytes of all kinds, and pieces of characters, so that half characters are common.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..4),
            "\\PC{0,3}".prop_map(String::into_bytes),
            any::<(char, u8)>().prop_map(|(c, cut)| {
                let bytes = c.to_string().into_bytes();
                bytes[..usize::from(cut) % (bytes.len() + 1)].to_vec()
            }),
            Just("\u{2028}\u{2029}".as_bytes().to_vec()),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Whatever comes in, a JSON decoder reads back the text with each bad byte replaced.
        #[test]
        fn a_decoder_reads_back_what_was_written(text in bytes()) {
            let mut out = Vec::new();
            record(&mut out, &text, &ending("stdout", Moment::from_nanoseconds(0)));
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let mut expected = String::new();
            for chunk in text.utf8_chunks() {
                expected.push_str(chunk.valid());
                expected.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
            }
            prop_assert_eq!(value["log"].as_str().unwrap(), expected);
            prop_assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        }
    }
}
