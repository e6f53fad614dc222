//! The keys that leave an attached container running: `ctrl-p,ctrl-q`, or any sequence written the same way.
//!
//! Docker's words (`moby/term/ascii.go`): `ctrl-` with a letter or one of `@ [ \ ] ^ _`, `DEL`, or one printable character.

/// The bytes to look for in the input.
///
/// # Errors
/// A sentence that names the key that is none.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    text.split(',')
        .map(|key| {
            parse_key(key)
                .ok_or_else(|| format!("unknown key `{key}`; write ctrl-p,ctrl-q or a single character"))
        })
        .collect()
}

fn parse_key(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return byte.is_ascii().then_some(*byte);
    }
    match key.to_ascii_lowercase().as_bytes() {
        b"del" => Some(127),
        [b'c', b't', b'r', b'l', b'-', byte @ (b'a'..=b'z')] => Some(byte - b'a' + 1),
        b"ctrl-@" => Some(0),
        b"ctrl-[" => Some(27),
        b"ctrl-\\" => Some(28),
        b"ctrl-]" => Some(29),
        b"ctrl-^" => Some(30),
        b"ctrl-_" => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(parse("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(parse("a,ctrl-@,CTRL-Z,ctrl-[,DEL"), Ok(vec![b'a', 0, 26, 27, 127]));
        for text in ["", "ctrl-1", "shift-a", "ctrl-p,", "ö"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
