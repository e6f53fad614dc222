//! What the tests of names share: messages written by hand.

/// Bytes from hexadecimal digits, whatever is between them.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A query that wants recursion.
pub(crate) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(hex("0100 0001 0000 0000 0000"));
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(hex("0001"));
    bytes
}

/// The query with an OPT record: datagrams of this size, and DNSSEC wanted.
pub(crate) fn with_edns(mut query: Vec<u8>, size: u16) -> Vec<u8> {
    query[11] = 1;
    query.extend(hex("00 0029"));
    query.extend(size.to_be_bytes());
    query.extend(hex("0000 8000 0000"));
    query
}
