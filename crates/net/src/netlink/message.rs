//! A netlink message and its attributes (`netlink(7)`): lengths and types in host order, everything at multiples of four.

/// `struct nlmsghdr`, bytes.
pub(crate) const HEADER: usize = 16;

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
/// On "new", in the place of one that is there. The same bit asks a dump for the root.
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
/// On "new", behind those that are there.
pub(crate) const APPEND: u16 = 0x800;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub(crate) const DUMP: u16 = 0x300;
/// On an attribute: there are attributes inside.
const NESTED: u16 = 0x8000;

/// One message under construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this type; `flags` beside [`REQUEST`].
    pub(crate) fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Message { bytes }
    }

    /// The family's own header, or what stands before its attributes.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Message {
        self.push(bytes);
        self
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Message {
        self.push(&attribute_header(kind, value.len()));
        self.push(value);
        self
    }

    /// With the zero at its end that the kernel expects.
    pub(crate) fn text(self, kind: u16, value: &str) -> Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// In host order.
    pub(crate) fn number(self, kind: u16, value: u32) -> Message {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// In network order, as nf_tables has all its numbers.
    pub(crate) fn big(self, kind: u16, value: u32) -> Message {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Attributes in an attribute.
    pub(crate) fn nest(mut self, kind: u16, inside: impl FnOnce(Message) -> Message) -> Message {
        let start = self.bytes.len();
        self.push(&attribute_header(kind | NESTED, 0));
        let mut message = inside(self);
        // No list of ours comes near the 64 KiB that a length can say: who fills one cuts it before (`nftables::elements`).
        let length = u16::try_from(message.bytes.len() - start).unwrap_or(u16::MAX);
        message.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    /// The whole message under this number. The length is right only now.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    pub(crate) fn with_flags(mut self, flags: u16) -> Message {
        let known = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[6..8].copy_from_slice(&(known | flags).to_ne_bytes());
        self
    }

    /// Without the header: for what becomes part of another message.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

/// The attributes in some bytes: type (without its flags) and value. Stops at what is damaged.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn find(&self, wanted: u16) -> Option<&'a [u8]> {
        self.clone().find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    /// Without the zero at its end.
    pub(crate) fn find_text(&self, wanted: u16) -> Option<&'a str> {
        let value = self.find(wanted)?;
        let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
        std::str::from_utf8(&value[..end]).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3FFF;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A message in what was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) body: &'a [u8],
}

/// The messages in a packet. Stops at what is damaged.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let received = Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(received)
    })
}

pub(crate) fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn attribute_header(kind: u16, length: usize) -> [u8; 4] {
    let length = u16::try_from(length + 4).unwrap_or(u16::MAX).to_ne_bytes();
    let kind = kind.to_ne_bytes();
    [length[0], length[1], kind[0], kind[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_types_and_padding() {
        let bytes = Message::new(16, ACK)
            .raw(&[1, 2, 3, 4])
            .text(3, "eth0")
            .nest(18, |inside| inside.number(1, 7))
            .finish(9);
        #[rustfmt::skip]
        let wanted = [
            44, 0, 0, 0, 16, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0,
            1, 2, 3, 4,
            9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0,
            12, 0, 18, 0x80, 8, 0, 1, 0, 7, 0, 0, 0,
        ];
        assert_eq!(bytes, wanted);
        let received: Vec<_> = messages(&bytes).collect();
        assert_eq!((received.len(), received[0].kind), (1, 16));
        let attributes = Attributes(&received[0].body[4..]);
        assert_eq!(attributes.find_text(3), Some("eth0"));
        assert_eq!(
            attributes.find(18).and_then(|inside| Attributes(inside).find(1)),
            Some(&[7, 0, 0, 0][..])
        );
        assert_eq!(attributes.find(4), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(Attributes(&bytes).count() <= bytes.len());
        }
    }
}
