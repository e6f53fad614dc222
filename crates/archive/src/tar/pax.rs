//! PAX extended headers: records of `length key=value\n` that replace or add to what the next header says.
//! Only what a layer can use is kept; values may hold any byte, as binary attributes do.

use crate::metadata::{Timestamp, Xattrs};
use crate::{Error, Limits};

/// What the records before an entry say about it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: Sparse,
}

/// The keys of GNU's three PAX sparse formats.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sparse {
    /// 1.0 says so by itself; 0.0 and 0.1 are known by their maps.
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Numbers of the map in order: offset, length, offset, length …
    pub(super) map: Option<Vec<u64>>,
}

/// Parses the data of an `x` header that lies at byte `at` of the tar.
pub(super) fn parse(data: &[u8], at: u64, limits: &Limits) -> Result<Records, Error> {
    let mut records = Records::default();
    let mut xattr_bytes = 0;
    each(data, at, |key, value| {
        let number = |what| decimal(value).ok_or(Error::Pax { at, what });
        match key {
            b"path" => records.path = text(value, at)?,
            b"linkpath" => records.link_path = text(value, at)?,
            b"size" => records.size = Some(number("size is not a number")?),
            b"uid" => records.uid = Some(number("uid is not a number")?),
            b"gid" => records.gid = Some(number("gid is not a number")?),
            b"mtime" => {
                let time = timestamp(value).ok_or(Error::Pax { at, what: "mtime is not a time" })?;
                records.mtime = Some(time);
            }
            _ if key.starts_with(b"SCHILY.xattr.") => {
                let name = &key[b"SCHILY.xattr.".len()..];
                xattr_bytes += name.len() + value.len();
                if xattr_bytes > limits.xattr_bytes {
                    let limit = limits.xattr_bytes as u64;
                    let path = records.path.clone().unwrap_or_default();
                    return Err(Error::Limit { path, what: "bytes of extended attributes", limit });
                }
                records.xattrs.push((name.to_vec(), value.to_vec()));
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                sparse(&mut records.sparse, &key[b"GNU.sparse.".len()..], value, at, limits)?;
            }
            // Names of owners, times of access, comments, ACLs as text: nothing that a layer keeps.
            _ => {}
        }
        Ok(())
    })?;
    Ok(records)
}

/// Checks the data of a `g` header. What it says is ignored, as Docker does; what would move the borders
/// between entries for the readers that do heed it is refused.
pub(super) fn check_global(data: &[u8], at: u64) -> Result<(), Error> {
    each(data, at, |key, _| match key {
        b"path" | b"linkpath" | b"size" => Err(Error::Conflict {
            at,
            what: "a global header sets a path or size, which readers take differently",
        }),
        _ if key.starts_with(b"GNU.sparse.") => Err(Error::Conflict {
            at,
            what: "a global header sets a sparse map, which readers take differently",
        }),
        _ => Ok(()),
    })
}

fn each(
    mut data: &[u8],
    at: u64,
    mut record: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    while !data.is_empty() {
        // Some writers pad the last block of records with NULs inside the declared size.
        if data.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let space = data
            .iter()
            .take(20)
            .position(|&byte| byte == b' ')
            .ok_or(Error::Pax { at, what: "a record without length" })?;
        let length = decimal(&data[..space])
            .and_then(|length| usize::try_from(length).ok())
            .filter(|&length| length > space + 1 && length <= data.len())
            .ok_or(Error::Pax { at, what: "a record whose length is wrong" })?;
        let (line, rest) = data.split_at(length);
        let Some((b'\n', line)) = line[space + 1..].split_last() else {
            return Err(Error::Pax { at, what: "a record that does not end in a newline" });
        };
        let equals = line
            .iter()
            .position(|&byte| byte == b'=')
            .filter(|&equals| equals > 0)
            .ok_or(Error::Pax { at, what: "a record without key" })?;
        record(&line[..equals], &line[equals + 1..])?;
        data = rest;
    }
    Ok(())
}

/// An empty value takes the record back (POSIX pax, "Extended Header Keyword Precedence").
fn text(value: &[u8], at: u64) -> Result<Option<Vec<u8>>, Error> {
    if value.contains(&0) {
        return Err(Error::Pax { at, what: "a path with a NUL in it" });
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn sparse(found: &mut Sparse, key: &[u8], value: &[u8], at: u64, limits: &Limits) -> Result<(), Error> {
    let number = || decimal(value).ok_or(Error::Pax { at, what: "a sparse value is not a number" });
    match key {
        b"major" => found.major = Some(number()?),
        b"minor" => found.minor = Some(number()?),
        b"name" => found.name = text(value, at)?,
        b"size" | b"realsize" => found.real_size = Some(number()?),
        b"map" => {
            let map: Option<Vec<u64>> = value.split(|&byte| byte == b',').map(decimal).collect();
            found.map = Some(map.ok_or(Error::Pax { at, what: "a sparse map that is not numbers" })?);
        }
        // Format 0.0 repeats these two, in this order, for each segment.
        b"offset" | b"numbytes" => {
            let map = found.map.get_or_insert_default();
            if map.len().is_multiple_of(2) != (key == b"offset") {
                return Err(Error::Pax { at, what: "sparse offsets and lengths do not alternate" });
            }
            map.push(number()?);
        }
        _ => {}
    }
    if found.map.as_ref().is_some_and(|map| map.len() / 2 > limits.sparse_segments) {
        let path = found.name.clone().unwrap_or_default();
        return Err(Error::Limit { path, what: "sparse segments", limit: limits.sparse_segments as u64 });
    }
    Ok(())
}

/// Plain decimal digits, nothing else: `u64::from_str` would take a plus sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional fraction and sign; digits below a nanosecond are dropped.
fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digit = |position: usize| fraction.get(position).map_or(0, |digit| u32::from(digit - b'0'));
        nanoseconds = (0..9).fold(0, |sum, position| sum * 10 + digit(position));
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with its length in front.
    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let digits = |length: usize| length.to_string().len();
        let mut length = rest.len() + digits(rest.len());
        length = rest.len() + digits(length);
        [length.to_string().as_bytes(), &rest].concat()
    }

    #[test]
    fn records_are_read() {
        let data = [
            record("path", b"a/b"),
            record("mtime", b"-1.5000000019"),
            record("SCHILY.xattr.user.x", b"a\n\0=bc"),
            record("comment", &[b'x'; 200]),
            record("size", b"12"),
            vec![0; 5],
        ];
        let records = parse(&data.concat(), 0, &Limits::default()).unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(records.mtime, Some(Timestamp { seconds: -2, nanoseconds: 499_999_999 }));
        assert_eq!(records.xattrs, [(b"user.x".to_vec(), b"a\n\0=bc".to_vec())]);
        assert_eq!(records.size, Some(12));
    }

    #[test]
    fn malformed_records_are_refused() {
        let limits = Limits { xattr_bytes: 40, ..Limits::default() };
        assert!(parse(&record("SCHILY.xattr.user.x", &[b'x'; 41]), 0, &limits).is_err());
        for (key, value) in [
            ("path", &b"a\0b"[..]),
            ("size", b"x"),
            ("size", b"-1"),
            ("size", b"99999999999999999999999"),
            ("mtime", b""),
            ("mtime", b"1e"),
            ("mtime", b"--1"),
            ("mtime", b"1.-5"),
            ("GNU.sparse.map", b"0,512,1024,"),
            ("GNU.sparse.numbytes", b"1234"),
        ] {
            assert!(parse(&record(key, value), 0, &limits).is_err(), "{key}={}", value.escape_ascii());
        }
        let bad: &[&[u8]] = &[
            b"12 path=a/b",
            b"path=a/b\n",
            b"+12 path=a/b\n",
            b"11 path=a/b\n",
            b"13 path=a/b\n",
            b"99999999999999999999 a=b\n",
            b"4 =\n",
            b"7 =abc\n",
            b"6 abc\n",
        ];
        for data in bad {
            assert!(parse(data, 0, &limits).is_err(), "{}", data.escape_ascii());
        }
    }

    #[test]
    fn an_empty_path_takes_the_record_back_and_the_last_one_counts() {
        let records = parse(b"12 path=a/b\n12 path=c/d\n", 0, &Limits::default()).unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"c/d"[..]));
        let records = parse(b"12 path=a/b\n8 path=\n", 0, &Limits::default()).unwrap();
        assert_eq!(records.path, None);
    }

    #[test]
    fn global_headers_may_comment_but_not_move_entries() {
        assert!(check_global(b"52 comment=0123456789012345678901234567890123456789\n", 0).is_ok());
        assert!(check_global(b"10 size=5\n", 0).is_err());
        assert!(check_global(b"12 path=a/b\n", 0).is_err());
        assert!(check_global(b"nonsense", 0).is_err());
    }
}
