//! A domain name as it is on the wire (RFC 1035 §3.1 and §4.1.4): read from hostile bytes, written, compared, and turned into text.
//!
//! Compression is only ever followed backwards, so no message can make a reader go in circles.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::Malformed;

/// The longest name on the wire in bytes, with the length before each label and the root's zero (RFC 1035 §2.3.4).
pub const LONGEST: usize = 255;
/// The longest label in bytes.
const LONGEST_LABEL: usize = 63;
/// The two bits of a length that say "go on over there".
const POINTER: u8 = 0xC0;

/// A domain name: labels, each behind its length, and the root's zero. The case of its letters is kept.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Name {
    /// Reads the name at `at` of a message; the number is where the bytes after it begin.
    ///
    /// # Errors
    /// [`Malformed`] for a name that is cut off, longer than [`LONGEST`], made of unknown labels, or compressed by a pointer that does not
    /// go backwards.
    pub fn read(message: &[u8], at: usize) -> Result<(Name, usize), Malformed> {
        let mut name = Name { bytes: [0; LONGEST], length: 0 };
        let mut place = at;
        // Every pointer has to go before the place where the last one led.
        let mut before = at;
        let mut end = None;
        loop {
            let length = *message.get(place).ok_or(Malformed)?;
            match length & POINTER {
                0 => {
                    let label = message.get(place..=place + usize::from(length)).ok_or(Malformed)?;
                    name.push(label)?;
                    place += label.len();
                    if length == 0 {
                        return Ok((name, end.unwrap_or(place)));
                    }
                }
                POINTER => {
                    let low = *message.get(place + 1).ok_or(Malformed)?;
                    end.get_or_insert(place + 2);
                    place = usize::from(u16::from_be_bytes([length & !POINTER, low]));
                    if place >= before {
                        return Err(Malformed);
                    }
                    before = place;
                }
                // Extended labels never came into use (RFC 6891 §5).
                _ => return Err(Malformed),
            }
        }
    }

    /// The name written as labels with dots between; `None` if it has an empty label or one that is too long, or is too long itself.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Name> {
        let mut name = Name { bytes: [0; LONGEST], length: 0 };
        for label in text.split('.') {
            if label.is_empty() || label.len() > LONGEST_LABEL {
                return None;
            }
            // 63 at most, as was just seen.
            name.push(&[label.len() as u8]).ok()?;
            name.push(label.as_bytes()).ok()?;
        }
        name.push(&[0]).ok()?;
        Some(name)
    }

    /// Its labels in lower case with dots between, nothing for the root; `None` if a label has a dot in it or is no UTF-8, since then no
    /// text is the name's alone.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.length);
        for label in self.labels() {
            if label.contains(&b'.') {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(std::str::from_utf8(label).ok()?);
        }
        text.make_ascii_lowercase();
        Some(text)
    }

    /// As on the wire, without compression.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether this is the root, which has no labels.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.length == 1
    }

    /// The address whose name is asked for by this one, in `in-addr.arpa` (RFC 1035 §3.5) or `ip6.arpa` (RFC 3596 §2.5).
    #[must_use]
    pub fn reverse(&self) -> Option<IpAddr> {
        let text = self.text()?;
        if let Some(numbers) = text.strip_suffix(".in-addr.arpa") {
            // The standard library's reader takes exactly four, and none with a zero in front.
            let address: Ipv4Addr = numbers.parse().ok()?;
            let [a, b, c, d] = address.octets();
            return Some(IpAddr::V4(Ipv4Addr::new(d, c, b, a)));
        }
        let mut address: u128 = 0;
        let mut count = 0;
        for digit in text.strip_suffix(".ip6.arpa")?.split('.') {
            let value = u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1)?;
            if count == 32 {
                return None;
            }
            address |= value << (4 * count);
            count += 1;
        }
        (count == 32).then_some(IpAddr::V6(Ipv6Addr::from_bits(address)))
    }

    fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire();
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(length)).filter(|_| length != 0)?;
            rest = after;
            Some(label)
        })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let place = self.bytes.get_mut(self.length..self.length + bytes.len()).ok_or(Malformed)?;
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }
}

/// Names are the same whatever the case of their ASCII letters (RFC 4343).
impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        // No length is an ASCII letter's code or counts as one: a label's is at most 63, below "A".
        self.wire().eq_ignore_ascii_case(other.wire())
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(")?;
        for label in self.labels() {
            write!(f, "{}.", label.escape_ascii())?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let written = name("Db.shop");
        assert_eq!(written.wire(), b"\x02Db\x04shop\x00");
        let (read, end) = Name::read(b"??\x02Db\x04shop\x00!", 2).unwrap();
        assert_eq!((read.wire(), end), (written.wire(), 11));
        assert_eq!(read.text().unwrap(), "db.shop");
        assert_eq!(read, name("dB.SHOP"));
        assert_ne!(read, name("db.shops"));
        let (root, end) = Name::read(b"\x00", 0).unwrap();
        assert!(root.is_root());
        assert_eq!((root.text().unwrap().as_str(), end), ("", 1));
    }

    #[test]
    fn compression_is_followed_backwards() {
        //            0         6       11        (db → shop)
        let message = b"\x05local\x00\x04shop\xC0\x00\x02db\xC0\x07";
        assert_eq!(Name::read(message, 7).unwrap(), (name("shop.local"), 14));
        assert_eq!(Name::read(message, 14).unwrap(), (name("db.shop.local"), 19));
    }

    #[test]
    fn hostile_names_are_refused() {
        let mut deep = Vec::new();
        for _ in 0..5 {
            deep.push(63);
            deep.extend([b'a'; 63]);
        }
        deep.push(0);
        for (what, message, at) in [
            ("empty", &b""[..], 0),
            ("no end", b"\x02ab", 0),
            ("cut in a label", b"\x05ab", 0),
            ("cut in a pointer", b"\xC0", 0),
            ("itself", b"\xC0\x00", 0),
            ("forwards", b"\xC0\x04\x00\x00\x00", 0),
            ("in a circle", b"\x01a\xC0\x05\x00\x01b\xC0\x00", 5),
            ("outside", b"\x00\xC0\x7F", 1),
            ("the kinds that are not in use", b"\x41a\x00", 0),
            ("the other such kind", b"\x81a\x00", 0),
            ("too long", &deep, 0),
        ] {
            assert_eq!(Name::read(message, at).err(), Some(Malformed), "{what}");
        }
    }

    #[test]
    fn texts_that_are_no_names() {
        for text in ["", ".", "a..b", "a.", ".a", &"a".repeat(64), &["a"; 128].join(".")] {
            assert!(Name::from_text(text).is_none(), "{text:?}");
        }
        assert!(Name::from_text(&["a"; 127].join(".")).is_some());
        // A dot inside of a label must not look like one between two.
        assert_eq!(Name::read(b"\x03a.b\x00", 0).unwrap().0.text(), None);
        assert_eq!(Name::read(b"\x01\xFF\x00", 0).unwrap().0.text(), None);
    }

    #[test]
    fn addresses_are_read_from_their_names() {
        let six = "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.ARPA";
        for (text, wanted) in [
            ("2.0.200.10.in-addr.arpa", Some("10.200.0.2")),
            ("2.0.200.10.IN-ADDR.arpa", Some("10.200.0.2")),
            (six, Some("2001:db8::567:89ab")),
            ("0.200.10.in-addr.arpa", None),
            ("1.2.0.200.10.in-addr.arpa", None),
            ("02.0.200.10.in-addr.arpa", None),
            ("256.0.200.10.in-addr.arpa", None),
            ("in-addr.arpa", None),
            (&six[2..], None),
            (&format!("1.{six}"), None),
            (&format!("1{six}"), None),
            (&six.replacen('b', "+", 1), None),
            ("db.shop", None),
        ] {
            assert_eq!(name(text).reverse().map(|address| address.to_string()).as_deref(), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..420) {
            if let Ok((name, end)) = Name::read(&message, at) {
                prop_assert!(name.wire().len() <= LONGEST && end <= message.len() && end > at);
                prop_assert_eq!(Name::read(name.wire(), 0).unwrap(), (name, name.wire().len()));
                let _ = (name.text(), name.reverse());
            }
        }

        #[test]
        fn pointers_of_every_kind_end(message in prop::collection::vec(prop_oneof![Just(0xC0_u8), 0_u8..4, Just(1)], 0..300)) {
            for at in 0..message.len() {
                let _ = Name::read(&message, at);
            }
        }

        #[test]
        fn every_text_comes_back(labels in prop::collection::vec("[a-zé0-9_-]{1,20}", 1..8)) {
            let text = labels.join(".");
            prop_assume!(text.len() < 250);
            prop_assert_eq!(Name::from_text(&text).unwrap().text().unwrap(), text);
        }

        #[test]
        fn every_address_comes_back(bits: u128, four: u32) {
            let digits: Vec<String> = (0..32).map(|place| format!("{:x}", bits >> (4 * place) & 15)).collect();
            let six = name(&format!("{}.ip6.arpa", digits.join(".")));
            prop_assert_eq!(six.reverse(), Some(IpAddr::V6(Ipv6Addr::from_bits(bits))));
            let [a, b, c, d] = four.to_be_bytes();
            prop_assert_eq!(name(&format!("{d}.{c}.{b}.{a}.in-addr.arpa")).reverse(), Some(IpAddr::V4(Ipv4Addr::from_bits(four))));
        }
    }
}
