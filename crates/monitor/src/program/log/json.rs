//! One record of Docker's `json-file` log, byte for byte as Docker's own encoder writes it.
//!
//! The rules are those of moby's `daemon/logger/jsonfilelog/jsonlog`: `<`, `>`, `&` and the two line separators U+2028 and U+2029
//! are escaped, control characters other than `\n` and `\r` become `\u00XX`, and each byte that is no UTF-8 becomes `\ufffd`.

use std::io::Write;

use crate::clock::Moment;

/// Appends `{"log":"…","stream":"stdout","time":"…"}` and a newline.
pub(crate) fn record(out: &mut Vec<u8>, text: &[u8], stream: &str, time: Moment) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    // Writing into a vector does not fail.
    let _ = writeln!(out, "\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}");
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    // Nearly all output is ASCII; one pass over a table finds the end of each run that is copied as it is.
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.iter().position(|&byte| !PLAIN[byte as usize]).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&first) = rest.first() else { break };
        if first < 0x80 {
            escape_ascii(out, first);
            rest = &rest[1..];
        } else {
            let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            escape_wide(out, &rest[..end]);
            rest = &rest[end..];
        }
    }
}

/// Which bytes are copied as they are: printable ASCII but for the five that JSON or HTML care about. DEL is, as in Go.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain
};

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Bytes that are not ASCII. Go gives one U+FFFD for each byte that begins no valid sequence; no byte of an invalid sequence can
/// begin a valid one, so the length of the sequence counts them.
fn escape_wide(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for part in chunk.valid().split_inclusive(['\u{2028}', '\u{2029}']) {
            if let Some(before) = part.strip_suffix('\u{2028}') {
                out.extend_from_slice(before.as_bytes());
                out.extend_from_slice(b"\\u2028");
            } else if let Some(before) = part.strip_suffix('\u{2029}') {
                out.extend_from_slice(before.as_bytes());
                out.extend_from_slice(b"\\u2029");
            } else {
                out.extend_from_slice(part.as_bytes());
            }
        }
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
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
        record(&mut out, b"hello\n", "stderr", Moment::from_nanoseconds(1_700_000_000_120_000_000));
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

    proptest! {
        /// Whatever comes in, a JSON decoder reads back the text with each bad byte replaced.
        #[test]
        fn a_decoder_reads_back_what_was_written(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            record(&mut out, &text, "stdout", Moment::from_nanoseconds(0));
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
