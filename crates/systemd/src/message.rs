//! D-Bus messages: a header of fixed and of typed fields, then the body (D-Bus specification, "Message Format"). Pure.

use crate::Error;
use crate::value::{Reader, Value, Writer};

/// Before the typed fields' length can be known.
pub(crate) const FIXED: usize = 16;
/// Larger than anything that systemd answers to the calls made here; the specification allows 128 MiB.
const MOST: usize = 1 << 20;

const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;

// Types of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

// Codes of fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A call that is to be made.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) destination: &'static str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'static str,
    pub(crate) member: &'static str,
    pub(crate) body: &'a [Value],
}

impl Call<'_> {
    /// `serial` is never 0.
    pub(crate) fn to_bytes(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let mut fields = vec![
            field(PATH, Value::ObjectPath(self.path.to_owned())),
            field(INTERFACE, self.interface.into()),
            field(MEMBER, self.member.into()),
            field(DESTINATION, self.destination.into()),
        ];
        if !signature.is_empty() {
            fields.push(field(SIGNATURE, Value::Signature(signature)));
        }
        let mut message = Writer(vec![LITTLE_ENDIAN, CALL, 0, VERSION]);
        message.u32(u32::try_from(body.0.len()).unwrap_or(u32::MAX));
        message.u32(serial);
        message.value(&Value::Array("(yv)".into(), fields));
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

fn field(code: u8, value: Value) -> Value {
    Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))])
}

/// What came.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    Return {
        serial: u32,
        body: Vec<Value>,
    },
    Error {
        serial: u32,
        name: String,
        body: Vec<Value>,
    },
    Signal {
        interface: String,
        member: String,
        body: Vec<Value>,
    },
    /// A call to us, or a type of a later version: passed over, as the specification wants it.
    Other,
}

/// How long the message is whose first [`FIXED`] bytes these are.
pub(crate) fn whole_length(head: &[u8; FIXED]) -> Result<usize, Error> {
    if head[0] != LITTLE_ENDIAN || head[3] != VERSION {
        return Err(Error::Protocol { what: "a message of another byte order or version" });
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let fields = word(12).checked_next_multiple_of(8);
    let length = fields.and_then(|fields| fields.checked_add(FIXED)?.checked_add(word(4)));
    length.filter(|&length| length <= MOST).ok_or(Error::Protocol { what: "a message too long" })
}

/// A whole message.
pub(crate) fn parse(bytes: &[u8]) -> Result<Incoming, Error> {
    let kind = *bytes.get(1).ok_or(Error::Protocol { what: "a message too short" })?;
    let mut reader = Reader::new(bytes);
    let Some(Value::Array(_, fields)) = reader.values("yyyyuua(yv)")?.pop() else {
        return Err(Error::Protocol { what: "a message without fields" });
    };
    reader.align(8);
    let find = |wanted: u8| {
        fields.iter().find_map(|field| match field {
            Value::Struct(pair) => match pair.as_slice() {
                [Value::Byte(code), Value::Variant(value)] if *code == wanted => Some(value.as_ref()),
                _ => None,
            },
            _ => None,
        })
    };
    let text = |code: u8| find(code).and_then(Value::as_str).unwrap_or_default().to_owned();
    let serial = find(REPLY_SERIAL).and_then(Value::as_u32).unwrap_or(0);
    if !matches!(kind, RETURN | ERROR | SIGNAL) {
        return Ok(Incoming::Other);
    }
    let body = reader.values(&text(SIGNATURE))?;
    Ok(match kind {
        RETURN => Incoming::Return { serial, body },
        ERROR => Incoming::Error { serial, name: text(ERROR_NAME), body },
        _ => Incoming::Signal { interface: text(INTERFACE), member: text(MEMBER), body },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, fields: Vec<Value>, body: &[Value]) -> Vec<u8> {
        let mut bytes = Writer::default();
        body.iter().for_each(|value| bytes.value(value));
        let mut message = Writer(vec![b'l', kind, 0, 1]);
        message.u32(bytes.0.len() as u32);
        message.u32(9);
        message.value(&Value::Array("(yv)".into(), fields));
        message.align(8);
        message.0.extend(bytes.0);
        message.0
    }

    #[test]
    fn a_call_is_as_long_as_its_head_says() {
        let body = ["a.scope".into(), 7_u64.into()];
        let call =
            Call { destination: "org.x", path: "/org/x", interface: "org.x.I", member: "Do", body: &body };
        let bytes = call.to_bytes(3);
        let head: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(whole_length(&head).unwrap(), bytes.len());
        assert_eq!((&bytes[..4], &bytes[8..12]), (&b"l\x01\0\x01"[..], &3_u32.to_le_bytes()[..]));
        assert_eq!(parse(&bytes).unwrap(), Incoming::Other);
    }

    #[test]
    fn answers_and_signals_are_told_apart() {
        let signature = || field(SIGNATURE, Value::Signature("s".into()));
        let serial = || field(REPLY_SERIAL, Value::Uint32(3));
        let body = vec![Value::from("text")];
        let returned = message(RETURN, vec![serial(), signature()], &body);
        assert_eq!(parse(&returned).unwrap(), Incoming::Return { serial: 3, body: body.clone() });
        let fields = vec![serial(), field(ERROR_NAME, "org.x.No".into()), signature()];
        let error = Incoming::Error { serial: 3, name: "org.x.No".into(), body: body.clone() };
        assert_eq!(parse(&message(ERROR, fields, &body)).unwrap(), error);
        let fields = vec![field(INTERFACE, "org.x.I".into()), field(MEMBER, "Gone".into()), signature()];
        let bytes = message(SIGNAL, fields, &body);
        let signal = Incoming::Signal { interface: "org.x.I".into(), member: "Gone".into(), body };
        assert_eq!(parse(&bytes).unwrap(), signal);
    }

    #[test]
    fn a_length_is_believed_up_to_a_megabyte() {
        let mut head = *b"l\x02\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(whole_length(&head).unwrap(), FIXED);
        head[15] = 0xff;
        assert!(whole_length(&head).is_err());
        head[0] = b'B';
        assert!(whole_length(&head).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = parse(&bytes);
        }
    }
}
