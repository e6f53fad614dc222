//! D-Bus values: their signatures, and their bytes both ways (D-Bus specification, "Marshaling"). Little-endian only, as the machines we
//! know. Pure; what is read is held against its length at every step, as it came from another process.

use crate::Error;

/// A value of a type that systemd's interfaces use.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Byte(u8),
    Boolean(bool),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    ObjectPath(String),
    Signature(String),
    /// With the signature of one element, which an empty one needs too.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

/// As deep as values may nest; the specification allows 32 arrays and 32 structures.
const DEPTH: usize = 32;

impl Value {
    /// `as`: a list of names.
    #[must_use]
    pub fn strings(list: &[&str]) -> Value {
        Value::Array("s".into(), list.iter().map(|&text| Value::from(text)).collect())
    }

    /// `ay`.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".into(), bytes.iter().map(|&byte| Value::Byte(byte)).collect())
    }

    /// Its type, as the bus writes it.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Boolean(_) => "b".into(),
            Value::Int16(_) => "n".into(),
            Value::Uint16(_) => "q".into(),
            Value::Int32(_) => "i".into(),
            Value::Uint32(_) => "u".into(),
            Value::Int64(_) => "x".into(),
            Value::Uint64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::String(_) => "s".into(),
            Value::ObjectPath(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(fields) => {
                format!("({})", fields.iter().map(Value::signature).collect::<String>())
            }
            Value::Variant(_) => "v".into(),
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::ObjectPath(text) | Value::Signature(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_u32(&self) -> Option<u32> {
        if let Value::Uint32(number) = self { Some(*number) } else { None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Value {
        Value::Boolean(is)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Uint64(number)
    }
}

/// Appends values, each at its own alignment from the beginning of the buffer on.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn short_text(&mut self, text: &str) {
        // Signatures are made here, and short.
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn fixed(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.0.extend(bytes);
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(number) => self.0.push(*number),
            Value::Boolean(is) => self.u32(u32::from(*is)),
            Value::Int16(number) => self.fixed(&number.to_le_bytes()),
            Value::Uint16(number) => self.fixed(&number.to_le_bytes()),
            Value::Int32(number) => self.fixed(&number.to_le_bytes()),
            Value::Uint32(number) => self.u32(*number),
            Value::Int64(number) => self.fixed(&number.to_le_bytes()),
            Value::Uint64(number) => self.fixed(&number.to_le_bytes()),
            Value::Double(number) => self.fixed(&number.to_le_bytes()),
            Value::String(text) | Value::ObjectPath(text) => self.text(text),
            Value::Signature(text) => self.short_text(text),
            Value::Array(element, values) => {
                self.u32(0);
                let at = self.0.len();
                // The gap before the first element does not count, and is there even if there is none.
                self.align(alignment(element.as_bytes().first().copied()));
                let begin = self.0.len();
                values.iter().for_each(|value| self.value(value));
                let bytes = length(self.0.len() - begin).to_le_bytes();
                self.0[at - 4..at].copy_from_slice(&bytes);
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|value| self.value(value));
            }
            Value::Variant(value) => {
                self.short_text(&value.signature());
                self.value(value);
            }
        }
    }
}

/// What is longer than the bus takes is refused by it.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Of the type that a signature begins with.
fn alignment(code: Option<u8>) -> usize {
    match code {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Reads values from bytes that somebody else has sent.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const SHORT: Error = Error::Protocol { what: "a value ends too early" };
const UNKNOWN: Error = Error::Protocol { what: "an unknown type" };
const DEEP: Error = Error::Protocol { what: "values too deep in each other" };

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.align(N);
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    fn text(&mut self, count: usize) -> Result<String, Error> {
        let text = self.take(count)?.to_vec();
        self.take(1)?;
        String::from_utf8(text).map_err(|_| Error::Protocol { what: "a text that is not UTF-8" })
    }

    fn long_text(&mut self) -> Result<String, Error> {
        let count = self.u32()? as usize;
        self.text(count)
    }

    fn short_text(&mut self) -> Result<String, Error> {
        let count = usize::from(self.take(1)?[0]);
        self.text(count)
    }

    /// Every value of a signature.
    pub(crate) fn values(&mut self, signature: &str) -> Result<Vec<Value>, Error> {
        self.sequence(signature.as_bytes(), DEPTH)
    }

    fn sequence(&mut self, mut signature: &[u8], depth: usize) -> Result<Vec<Value>, Error> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (one, after) = split(signature, depth)?;
            values.push(self.value(one, depth)?);
            signature = after;
        }
        Ok(values)
    }

    fn value(&mut self, signature: &[u8], depth: usize) -> Result<Value, Error> {
        let depth = depth.checked_sub(1).ok_or(DEEP)?;
        Ok(match signature.first() {
            Some(b'y') => Value::Byte(self.take(1)?[0]),
            Some(b'b') => Value::Boolean(self.u32()? != 0),
            Some(b'n') => Value::Int16(i16::from_le_bytes(self.fixed()?)),
            Some(b'q') => Value::Uint16(u16::from_le_bytes(self.fixed()?)),
            Some(b'i') => Value::Int32(i32::from_le_bytes(self.fixed()?)),
            Some(b'u' | b'h') => Value::Uint32(self.u32()?),
            Some(b'x') => Value::Int64(i64::from_le_bytes(self.fixed()?)),
            Some(b't') => Value::Uint64(u64::from_le_bytes(self.fixed()?)),
            Some(b'd') => Value::Double(f64::from_le_bytes(self.fixed()?)),
            Some(b's') => Value::String(self.long_text()?),
            Some(b'o') => Value::ObjectPath(self.long_text()?),
            Some(b'g') => Value::Signature(self.short_text()?),
            Some(b'a') => self.array(&signature[1..], depth)?,
            Some(b'(' | b'{') => {
                self.align(8);
                Value::Struct(self.sequence(&signature[1..signature.len() - 1], depth)?)
            }
            Some(b'v') => {
                let signature = self.short_text()?;
                let (one, after) = split(signature.as_bytes(), depth)?;
                if !after.is_empty() {
                    return Err(UNKNOWN);
                }
                Value::Variant(Box::new(self.value(one, depth)?))
            }
            _ => return Err(UNKNOWN),
        })
    }

    fn array(&mut self, element: &[u8], depth: usize) -> Result<Value, Error> {
        let count = self.u32()? as usize;
        self.align(alignment(element.first().copied()));
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len()).ok_or(SHORT)?;
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.value(element, depth)?);
        }
        Ok(Value::Array(String::from_utf8_lossy(element).into_owned(), values))
    }
}

/// The first complete type of a signature, and what follows it.
pub(crate) fn split(signature: &[u8], depth: usize) -> Result<(&[u8], &[u8]), Error> {
    let depth = depth.checked_sub(1).ok_or(DEEP)?;
    let end = match signature.first() {
        Some(b'a') => 1 + split(&signature[1..], depth)?.0.len(),
        Some(open @ (b'(' | b'{')) => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while signature.get(at) != Some(&close) {
                at += split(signature.get(at..).ok_or(UNKNOWN)?, depth)?.0.len();
            }
            // Nothing between the two would be a value of no length, of which an array could hold any number.
            if at == 1 {
                return Err(UNKNOWN);
            }
            at + 1
        }
        Some(code) if b"ybnqiuxtdsogvh".contains(code) => 1,
        _ => return Err(UNKNOWN),
    };
    Ok(signature.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.value(value);
        writer.0
    }

    fn round(value: &Value) -> Value {
        Reader::new(&bytes(value)).values(&value.signature()).unwrap().remove(0)
    }

    #[test]
    fn an_array_of_structures_as_the_specification_lays_it_out() {
        let pair = Value::Struct(vec!["Ab".into(), Value::Variant(Box::new(7_u64.into()))]);
        let value = Value::Array("(sv)".into(), vec![pair]);
        let expected = [
            &24_u32.to_le_bytes()[..],
            &[0; 4],
            &2_u32.to_le_bytes(),
            b"Ab\0",
            b"\x01t\0",
            &[0; 6],
            &7_u64.to_le_bytes(),
        ]
        .concat();
        assert_eq!(bytes(&value), expected);
        assert_eq!(round(&value), value);
        let empty = Value::Array("(ss)".into(), vec![]);
        assert_eq!(bytes(&empty), [0; 8], "the gap before the first element is there without one");
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_an_error() {
        for (bytes, signature) in [
            (&b"\x05\0\0\0ab"[..], "s"),
            (b"\xff\xff\xff\xff", "ay"),
            (b"\0\0\0\0", "a()"),
            (b"\x01z\0", "v"),
            (b"\x02yy\0\0\0", "v"),
            (b"", "y"),
            (b"\0", "("),
        ] {
            assert!(Reader::new(bytes).values(signature).is_err(), "{signature}");
        }
        assert!(Reader::new(&[0; 400]).values(&"a".repeat(200)).is_err());
        // A variant in a variant in a variant…
        assert!(Reader::new(&b"\x01v\0".repeat(100)).values("v").is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(Value::Byte),
            any::<bool>().prop_map(Value::Boolean),
            any::<i16>().prop_map(Value::Int16),
            any::<u32>().prop_map(Value::Uint32),
            any::<u64>().prop_map(Value::Uint64),
            "[a-zé ]{0,8}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..4).prop_map(Value::Struct),
                inner.clone().prop_map(|value| Value::Variant(Box::new(value))),
                (inner, 0_usize..4)
                    .prop_map(|(value, count)| Value::Array(value.signature(), vec![value; count])),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_come_back(value in values()) {
            prop_assert_eq!(round(&value), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            signature in "[ybnqiuxtdsogvh(){}a]{0,8}",
        ) {
            let _ = Reader::new(&bytes).values(&signature);
        }
    }
}
