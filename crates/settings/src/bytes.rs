//! Amounts of memory as people write them: `64m`, `1.5g`, `512k`, `4096`.
//!
//! The rules are Docker's (`go-units`, `RAMInBytes`): powers of 1024, letters of either case, an optional `b` or `ib` behind.

/// Bytes.
///
/// # Errors
/// A sentence, when the text is no amount or is more than `i64::MAX` bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    let invalid = || format!("`{text}` is not an amount of bytes: write 4096, 512k, 64m or 1.5g");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).trim_end();
    let shift = match lower[digits.len()..].trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(invalid()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(invalid());
    }
    if let Ok(whole) = digits.parse::<u64>() {
        let bytes = whole.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
        return bytes.ok_or_else(|| format!("`{text}` is more than 2^63 bytes"));
    }
    let fraction: f64 = digits.parse().map_err(|_| invalid())?;
    let bytes = fraction * (1u64 << shift) as f64;
    if bytes >= i64::MAX as f64 {
        return Err(format!("`{text}` is more than 2^63 bytes"));
    }
    Ok(bytes as u64)
}

/// The shortest text that [`parse`] reads back as the same number: `64m`.
#[must_use]
pub fn show(bytes: u64) -> String {
    for (letter, shift) in [("g", 30), ("m", 20), ("k", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{letter}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("32b", 32),
            ("32k", 32 << 10),
            ("32KB", 32 << 10),
            ("64m", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("0.5t", 1 << 39),
            ("1P", 1 << 50),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(parse(&show(bytes)), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3m", "0x10", "1e3", "99999999999g", "٣", "9223372036854775808"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
