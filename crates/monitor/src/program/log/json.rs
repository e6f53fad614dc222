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

/// What needs no escape is copied in runs, the rest byte for byte from a table, without a branch on what each byte is: in binary output
/// nothing predicts that. Written for speed, since all output of all containers goes through it.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    // Most output grows little; binary output grows sixfold at worst, and then the vector grows with it.
    out.reserve(text.len());
    let mut rest = text;
    loop {
        let run = if rest.first().is_some_and(|&byte| is_plain(byte)) { plain_length(rest) } else { 0 };
        out.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        match rest {
            [] => return,
            // The end of most lines.
            [byte] => return out.extend_from_slice(written(&ESCAPES[usize::from(*byte)])),
            _ => rest = &rest[escape_stretch(out, rest)..],
        }
    }
}

/// As many bytes are escaped one by one before a run is looked for again.
const STRETCH: usize = 128;
/// The longest that one byte becomes.
const WIDEST: usize = 6;
/// An entry of the table: what a byte becomes by itself, and in the last place how long that is.
const ENTRY: usize = 8;

/// Escapes the first bytes; answers how many.
fn escape_stretch(out: &mut Vec<u8>, text: &[u8]) -> usize {
    let mut piece = [0; WIDEST * STRETCH + ENTRY];
    let (mut read, mut written) = (0, 0);
    while read < STRETCH && read < text.len() {
        let byte = text[read];
        let mut entry = &ESCAPES[usize::from(byte)];
        let mut length = 1;
        let (first, count) = SECONDS[usize::from(byte)];
        let second = text.get(read + 1).copied().unwrap_or(0);
        if second.wrapping_sub(first) < count {
            match wide(&text[read..]) {
                Wide::Character(length) => {
                    match text[read..].first_chunk::<4>() {
                        // As with an entry of the table.
                        Some(four) => piece[written..written + 4].copy_from_slice(four),
                        None => piece[written..written + length].copy_from_slice(&text[read..read + length]),
                    }
                    (read, written) = (read + length, written + length);
                    continue;
                }
                Wide::LineSeparator => (entry, length) = (&LINE_SEPARATOR, 3),
                Wide::ParagraphSeparator => (entry, length) = (&PARAGRAPH_SEPARATOR, 3),
                Wide::Invalid => {}
            }
        }
        // All eight are copied, which is one instruction, and the next one overwrites what is too much.
        piece[written..written + ENTRY].copy_from_slice(entry);
        (read, written) = (read + length, written + usize::from(entry[ENTRY - 1]));
    }
    out.extend_from_slice(&piece[..written]);
    read
}

/// What is to be written of an entry.
fn written(entry: &[u8; ENTRY]) -> &[u8] {
    &entry[..usize::from(entry[ENTRY - 1])]
}

/// How many of the first bytes are copied as they are: printable ASCII but for the five that JSON or HTML care about, and DEL, as in Go.
fn plain_length(text: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let mut length = 0;
    for block in text.chunks_exact(BLOCK) {
        // Without a way out of the loop the compiler looks at all of them at once.
        if block.iter().fold(false, |found, &byte| found | !is_plain(byte)) {
            break;
        }
        length += BLOCK;
    }
    let rest = &text[length..];
    length + rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len())
}

const fn is_plain(byte: u8) -> bool {
    byte >= 0x20
        && byte < 0x80
        && byte != b'"'
        && byte != b'\\'
        && byte != b'<'
        && byte != b'>'
        && byte != b'&'
}

/// What stands for a byte that is no UTF-8.
const REPLACEMENT: [u8; ENTRY] = entry_of(b"\\ufffd");
const LINE_SEPARATOR: [u8; ENTRY] = entry_of(b"\\u2028");
const PARAGRAPH_SEPARATOR: [u8; ENTRY] = entry_of(b"\\u2029");

static ESCAPES: [[u8; ENTRY]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut entries = [[0; ENTRY]; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        entries[byte] = match value {
            b'"' => entry_of(b"\\\""),
            b'\\' => entry_of(b"\\\\"),
            b'\n' => entry_of(b"\\n"),
            b'\r' => entry_of(b"\\r"),
            0x80.. => REPLACEMENT,
            _ if is_plain(value) => entry_of(&[value]),
            _ => entry_of(&[b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15]]),
        };
        byte += 1;
    }
    entries
};

const fn entry_of(text: &[u8]) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let mut at = 0;
    while at < text.len() {
        entry[at] = text[at];
        at += 1;
    }
    entry[ENTRY - 1] = text.len() as u8;
    entry
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

/// Where the second byte of a character begins and how many there are, by the first (Unicode's table 3-7): none for what begins none.
static SECONDS: [(u8, u8); 256] = {
    let mut seconds = [(0, 0); 256];
    let mut byte = 0xC2;
    while byte <= 0xF4 {
        seconds[byte] = match byte {
            0xE0 => (0xA0, 0x20),
            0xED => (0x80, 0x20),
            0xF0 => (0x90, 0x30),
            0xF4 => (0x80, 0x10),
            _ => (0x80, 0x40),
        };
        byte += 1;
    }
    seconds
};

/// What the first byte of a character begins whose second is right.
fn wide(text: &[u8]) -> Wide {
    let length = match text[0] {
        ..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    };
    if text.len() < length || !text[2..length].iter().all(|&byte| byte & 0xC0 == 0x80) {
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
        proptest::collection::vec(piece, 0..160).prop_map(|pieces| pieces.concat())
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
