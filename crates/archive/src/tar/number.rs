//! The two ways a tar header writes a number: octal text, and GNU's base-256 for what does not fit.

/// Reads a numeric field; an empty one is 0.
///
/// Octal may have spaces or NULs on either side. Base-256 (first bit set) is big-endian two's complement over
/// the whole field, so times before 1970 are possible. `None` for anything else, and for what passes `i64`.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    match field.first()? {
        0x80..=0xff => base256(field),
        _ => octal(field),
    }
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (position, &byte) in field.iter().enumerate() {
        // The marker bit is not part of the number; of a negative one it happens to be a sign bit too.
        let byte = if position == 0 && !negative { byte & 0x7f } else { byte };
        value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        if !(i128::from(i64::MIN)..=i128::from(i64::MAX)).contains(&value) {
            return None;
        }
    }
    i64::try_from(value).ok()
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) {
        return None;
    }
    let mut value: i64 = 0;
    for digit in &digits[..end] {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers() {
        let table: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"77777777777\0", Some(8_589_934_591)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"64 4\0\0\0\0", None),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"+000001\0", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\0\0\0\x02\0\0\0\0\0\0\0", Some(1 << 57)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\0\0\0\0\0\0\0\0\0\0\0", None),
        ];
        for (field, expected) in table {
            assert_eq!(parse(field), *expected, "{}", field.escape_ascii());
        }
    }
}
