//! As much of protobuf's wire format as CRIU's messages need (<https://protobuf.dev/programming-guides/encoding/>): numbers, texts, messages
//! within messages. Pure. What is read may be anything: nothing is trusted that is not checked here.

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Puts a message together, field by field.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

const NUMBER: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH_AND_BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

impl Writer {
    pub(crate) fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3 | NUMBER);
        self.varint(value);
    }

    /// An `int32`: a negative one has ten bytes, as its sign goes up to the 64th bit.
    pub(crate) fn integer(&mut self, field: u32, value: i32) {
        self.number(field, i64::from(value).cast_unsigned());
    }

    /// `false` is what a reader takes a missing one for.
    pub(crate) fn switch(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    pub(crate) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(field, &inner.bytes);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | LENGTH_AND_BYTES);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Seven bits a byte, the lowest first; the eighth says that another one follows.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// A field's value. Those of a fixed size are passed over: no message of CRIU's has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Value::Number(number) => Ok(number),
            _ => Err(Malformed("a field that is to be a number is none")),
        }
    }

    pub(crate) fn integer(self) -> Result<i32, Malformed> {
        let number = self.number()?.cast_signed();
        i32::try_from(number).map_err(|_| Malformed("a number has more than 32 bits"))
    }

    pub(crate) fn switch(self) -> Result<bool, Malformed> {
        self.number().map(|number| number != 0)
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a field that is to have a length has none")),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }
}

/// The fields of a message, in its order; after the first that cannot be read there are no more.
pub(crate) fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), Malformed> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok().filter(|&number| number != 0);
    let number = number.ok_or(Malformed("a field's number is out of range"))?;
    let value = match key & 7 {
        NUMBER => Value::Number(varint(rest)?),
        LENGTH_AND_BYTES => {
            let length = usize::try_from(varint(rest)?).map_err(|_| TOO_SHORT)?;
            Value::Bytes(take(rest, length)?)
        }
        EIGHT_BYTES => take(rest, 8).map(|_| Value::Fixed)?,
        FOUR_BYTES => take(rest, 4).map(|_| Value::Fixed)?,
        _ => return Err(Malformed("a field is of no known kind")),
    };
    Ok((number, value))
}

const TOO_SHORT: Malformed = Malformed("it ends in the middle of a field");

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, behind) = rest.split_at_checked(length).ok_or(TOO_SHORT)?;
    *rest = behind;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let &byte = take(rest, 1)?.first().ok_or(TOO_SHORT)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number has more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        fields(bytes).collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut writer = Writer::default();
        writer.number(1, 150);
        writer.text(2, "testing");
        writer.switch(3, false);
        writer.message(3, |inner| inner.number(1, 150));
        writer.integer(4, -1);
        let expected = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 0x07],
            b"testing",
            &[0x1a, 0x03, 0x08, 0x96, 0x01],
            &[0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        assert_eq!(writer.finish(), expected.concat());
    }

    #[test]
    fn what_is_cut_or_too_large_is_refused() {
        for (bytes, text) in [
            (&[0x08][..], "in the middle"),
            (&[0x12, 0x05, b'a'], "in the middle"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "in the middle"),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], "more than 64 bits"),
            (&[0x00, 0x01], "out of range"),
            (&[0x0b], "no known kind"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.0.contains(text), "{bytes:?}: {error}");
        }
        assert_eq!(Value::Number(1 << 40).integer(), Err(Malformed("a number has more than 32 bits")));
        assert!(Value::Bytes(&[0xff]).text().is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(number in 1u32..1 << 29, value: u64, integer: i32, text: String) {
            let mut writer = Writer::default();
            writer.number(number, value);
            writer.integer(number, integer);
            writer.text(number, &text);
            let bytes = writer.finish();
            let read = read(&bytes).unwrap();
            prop_assert_eq!(read.len(), 3);
            prop_assert!(read.iter().all(|(found, _)| *found == number));
            prop_assert_eq!(read[0].1.number(), Ok(value));
            prop_assert_eq!(read[1].1.integer(), Ok(integer));
            prop_assert_eq!(read[2].1.text(), Ok(text.as_str()));
        }

        #[test]
        fn anything_is_read_to_its_end_or_refused(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
