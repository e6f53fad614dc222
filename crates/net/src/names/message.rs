//! DNS messages (RFC 1035 §4, EDNS(0) RFC 6891): a strict reader of what clients ask, the check of what servers answer, and the writer
//! of replies. Bytes in, bytes out; it knows neither sockets nor who has which name.

use std::net::IpAddr;

use super::name::Name;

/// The bytes of a header.
pub const HEADER: usize = 12;
/// What every client takes in a datagram (RFC 1035 §4.2.1).
pub const SMALLEST_DATAGRAM: usize = 512;
/// The largest message that is read from a client, and the largest datagram.
pub const LARGEST: usize = 4096;
/// How long (seconds) an answer may be remembered, as Docker has it. Clients in containers hardly ever do.
const LIFETIME: u32 = 600;

/// The bytes are no DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What a question is for: RFC 1035 §3.2.2 and its successors.
pub mod kind {
    pub const A: u16 = 1;
    pub const PTR: u16 = 12;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    /// Transfers of zones, which take more than one message.
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
}

/// The class of everything in the Internet.
pub const INTERNET: u16 = 1;

/// A reply's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    NoError,
    FormatError,
    ServerFailure,
    NotImplemented,
    Refused,
    /// A version of EDNS that nobody knows yet.
    BadVersion,
}

impl Code {
    fn number(self) -> u16 {
        match self {
            Code::NoError => 0,
            Code::FormatError => 1,
            Code::ServerFailure => 2,
            Code::NotImplemented => 4,
            Code::Refused => 5,
            Code::BadVersion => 16,
        }
    }
}

/// Bits of a header's second word.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CHECKING_DISABLED: u16 = 0x0010;
const CODE: u16 = 0x000F;

/// What a client says of itself by EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest datagram (bytes) that it takes.
    pub size: u16,
    version: u8,
    dnssec: bool,
}

/// A query of exactly one question.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    pub id: u16,
    pub name: Name,
    pub kind: u16,
    pub class: u16,
    pub edns: Option<Edns>,
    flags: u16,
    /// Where the question ends.
    end: usize,
}

/// Why a message gets no answer to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswerable {
    /// It is no query: whoever answered could be made to talk to itself for ever.
    Silence,
    /// The header is a query's, with this id and these flags; the rest is not understood.
    Header { id: u16, flags: u16, code: Code },
}

impl Query<'_> {
    /// Reads a query strictly: one question, no records but additional ones, and nothing behind them.
    ///
    /// # Errors
    /// [`Unanswerable`], ready for [`refuse`].
    pub fn parse(bytes: &[u8]) -> Result<Query<'_>, Unanswerable> {
        let word = |at: usize| word(bytes, at).map_err(|Malformed| Unanswerable::Silence);
        let (id, flags) = (word(0)?, word(2)?);
        let counts = [word(4)?, word(6)?, word(8)?, word(10)?];
        if flags & RESPONSE != 0 {
            return Err(Unanswerable::Silence);
        }
        let refuse = |code| Unanswerable::Header { id, flags, code };
        if flags & OPCODE != 0 {
            return Err(refuse(Code::NotImplemented));
        }
        let read = || -> Result<Query<'_>, Malformed> {
            let [1, 0, 0, additional] = counts else { return Err(Malformed) };
            let Question { name, kind, class, end } = Question::read(bytes)?;
            let mut query = Query { bytes, id, name, kind, class, edns: None, flags, end };
            let mut at = end;
            for _ in 0..additional {
                at = query.read_additional(at)?;
            }
            if at == bytes.len() { Ok(query) } else { Err(Malformed) }
        };
        read().map_err(|Malformed| refuse(Code::FormatError))
    }

    /// Reads one additional record; the number is where the next one begins.
    fn read_additional(&mut self, at: usize) -> Result<usize, Malformed> {
        let bytes = self.bytes;
        let (name, at) = Name::read(bytes, at)?;
        let (kind, size) = (word(bytes, at)?, word(bytes, at + 2)?);
        let (lifetime, length) = ([word(bytes, at + 4)?, word(bytes, at + 6)?], word(bytes, at + 8)?);
        let end = at + 10 + usize::from(length);
        if end > bytes.len() {
            return Err(Malformed);
        }
        if kind == kind::OPT {
            if !name.is_root() || self.edns.is_some() {
                return Err(Malformed);
            }
            // The lifetime's place has the upper bits of the code, the version, and flags.
            let version = (lifetime[0] & 0xFF) as u8;
            self.edns = Some(Edns { size, version, dnssec: lifetime[1] & 0x8000 != 0 });
        }
        Ok(end)
    }

    /// Whether it speaks a version of EDNS that is not known here.
    #[must_use]
    pub fn is_too_new(&self) -> bool {
        self.edns.is_some_and(|edns| edns.version > 0)
    }

    /// The largest datagram (bytes) to send back.
    #[must_use]
    pub fn datagram_limit(&self) -> usize {
        let size = self.edns.map_or(SMALLEST_DATAGRAM, |edns| usize::from(edns.size));
        size.clamp(SMALLEST_DATAGRAM, LARGEST)
    }

    fn asks(&self, question: &Question) -> bool {
        (self.name, self.kind, self.class) == (question.name, question.kind, question.class)
    }
}

/// What a server made of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the answer to this query: something else on the way, or somebody who guesses.
    Foreign,
    /// The server will not or cannot say. Another one might.
    Failed,
    /// An answer, be it that there is no such name.
    Answered,
}

/// Whether a message from a server is the answer to `query`, which was sent with `id`: the id and the question have to be the same.
#[must_use]
pub fn judge(query: &Query<'_>, id: u16, message: &[u8]) -> Verdict {
    let header = || Ok::<_, Malformed>((word(message, 0)?, word(message, 2)?, word(message, 4)?));
    let Ok((their_id, flags, questions)) = header() else { return Verdict::Foreign };
    if their_id != id || flags & RESPONSE == 0 || flags & OPCODE != 0 || message.len() < HEADER {
        return Verdict::Foreign;
    }
    let failed = [Code::ServerFailure, Code::Refused].map(Code::number).contains(&(flags & CODE));
    // Servers that did not even look at the question leave it out (RFC 1035 does not forbid it).
    if questions == 0 && flags & CODE != 0 {
        return Verdict::Failed;
    }
    match Question::read(message) {
        Ok(question) if questions == 1 && query.asks(&question) => {
            if failed {
                Verdict::Failed
            } else {
                Verdict::Answered
            }
        }
        _ => Verdict::Foreign,
    }
}

/// Whether a message says that there is more than was sent.
#[must_use]
pub fn is_truncated(message: &[u8]) -> bool {
    word(message, 2).is_ok_and(|flags| flags & TRUNCATED != 0)
}

/// Gives a message another id.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Writes the reply to a message that was not understood.
pub fn refuse(id: u16, flags: u16, code: Code, reply: &mut Vec<u8>) {
    let flags = RESPONSE | flags & (OPCODE | RECURSION_DESIRED) | RECURSION_AVAILABLE | code.number();
    reply.clear();
    for word in [id, flags, 0, 0, 0, 0] {
        reply.extend_from_slice(&word.to_be_bytes());
    }
}

/// What a record of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    Address(IpAddr),
    Pointer(&'a Name),
}

/// Writes the reply to `query` with these records about the name that it asks for, of at most `limit` bytes. What does not fit is left out,
/// and the reply says so, so that the client asks again by TCP.
pub fn answer<'a>(
    query: &Query<'_>,
    code: Code,
    data: impl Iterator<Item = Data<'a>>,
    limit: usize,
    reply: &mut Vec<u8>,
) {
    reply.clear();
    let mut flags = RESPONSE
        | query.flags & (RECURSION_DESIRED | CHECKING_DISABLED)
        | RECURSION_AVAILABLE
        | code.number() & CODE;
    for word in [query.id, 0, 1, 0, 0, u16::from(query.edns.is_some())] {
        reply.extend_from_slice(&word.to_be_bytes());
    }
    // The very bytes of the question, since the case of their letters may be the client's protection against guessers.
    reply.extend_from_slice(&query.bytes[HEADER..query.end]);
    let room = limit.saturating_sub(if query.edns.is_some() { OPT_RECORD } else { 0 });
    let mut count: u16 = 0;
    for data in data {
        let before = reply.len();
        write_record(data, reply);
        if reply.len() > room {
            reply.truncate(before);
            flags |= TRUNCATED;
            break;
        }
        count += 1;
    }
    reply[2..4].copy_from_slice(&flags.to_be_bytes());
    reply[6..8].copy_from_slice(&count.to_be_bytes());
    if let Some(edns) = query.edns {
        reply.push(0);
        let more = (code.number() >> 4) << 8;
        let dnssec = u16::from(edns.dnssec) << 15;
        for word in [kind::OPT, LARGEST as u16, more, dnssec, 0] {
            reply.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// Writes a reply that only says to ask again by TCP.
pub fn truncated(query: &Query<'_>, reply: &mut Vec<u8>) {
    answer(query, Code::NoError, std::iter::empty(), LARGEST, reply);
    reply[2] |= (TRUNCATED >> 8) as u8;
}

/// The bytes of an OPT record without options.
const OPT_RECORD: usize = 11;

fn write_record(data: Data<'_>, reply: &mut Vec<u8>) {
    let (kind, length) = match &data {
        Data::Address(IpAddr::V4(_)) => (kind::A, 4),
        Data::Address(IpAddr::V6(_)) => (kind::AAAA, 16),
        Data::Pointer(name) => (kind::PTR, name.wire().len()),
    };
    // The name is the question's, which begins right after the header.
    let lifetime = LIFETIME.to_be_bytes();
    reply.extend_from_slice(&[0xC0, HEADER as u8]);
    for word in [kind, INTERNET] {
        reply.extend_from_slice(&word.to_be_bytes());
    }
    reply.extend_from_slice(&lifetime);
    reply.extend_from_slice(&(length as u16).to_be_bytes());
    match data {
        Data::Address(IpAddr::V4(address)) => reply.extend_from_slice(&address.octets()),
        Data::Address(IpAddr::V6(address)) => reply.extend_from_slice(&address.octets()),
        Data::Pointer(name) => reply.extend_from_slice(name.wire()),
    }
}

/// The one question of a message.
struct Question {
    name: Name,
    kind: u16,
    class: u16,
    end: usize,
}

impl Question {
    fn read(message: &[u8]) -> Result<Question, Malformed> {
        let (name, at) = Name::read(message, HEADER)?;
        // Nothing of a message comes before its question but the header, which is no place for names.
        if at != HEADER + name.wire().len() {
            return Err(Malformed);
        }
        Ok(Question { name, kind: word(message, at)?, class: word(message, at + 2)?, end: at + 4 })
    }
}

/// Two bytes of a message, the higher first.
fn word(message: &[u8], at: usize) -> Result<u16, Malformed> {
    match message.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hex, query, with_edns};
    use super::*;
    use proptest::prelude::*;

    fn reply(bytes: &[u8], data: &[Data<'_>], limit: usize) -> Vec<u8> {
        let mut reply = Vec::new();
        answer(&Query::parse(bytes).unwrap(), Code::NoError, data.iter().copied(), limit, &mut reply);
        reply
    }

    #[test]
    fn a_query_is_read() {
        let bytes = with_edns(query(7, "wEb.shop", kind::AAAA), 1232);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.id, query.kind, query.class), (7, kind::AAAA, INTERNET));
        assert_eq!(query.name.wire(), b"\x03wEb\x04shop\x00");
        assert_eq!(query.edns, Some(Edns { size: 1232, version: 0, dnssec: true }));
        assert_eq!(query.datagram_limit(), 1232);
    }

    #[test]
    fn clients_have_limits_that_are_kept() {
        for (size, limit) in [(0, 512), (511, 512), (513, 513), (65535, LARGEST)] {
            let bytes = with_edns(query(1, "a", kind::A), size);
            assert_eq!(Query::parse(&bytes).unwrap().datagram_limit(), limit);
        }
        assert_eq!(Query::parse(&query(1, "a", kind::A)).unwrap().datagram_limit(), 512);
    }

    /// Bytes in hexadecimal, and what is made of them: a corpus that grows with whatever breaks a reader.
    const CORPUS: [(&str, &str, Option<Code>); 15] = [
        ("nothing", "", None),
        ("half a header", "0001 0100 0001", None),
        ("an answer", "0001 8180 0001 0000 0000 0000 0161 00 0001 0001", None),
        ("a notification", "0001 2000 0001 0000 0000 0000 0161 00 0006 0001", Some(Code::NotImplemented)),
        ("no question", "0001 0100 0000 0000 0000 0000", Some(Code::FormatError)),
        (
            "two questions",
            "0001 0100 0002 0000 0000 0000 0161 00 0001 0001 0162 00 0001 0001",
            Some(Code::FormatError),
        ),
        ("a cut name", "0001 0100 0001 0000 0000 0000 0561", Some(Code::FormatError)),
        ("no class", "0001 0100 0001 0000 0000 0000 0161 00 0001", Some(Code::FormatError)),
        (
            "a pointer into the header",
            "0001 0100 0001 0000 0000 0000 C004 0001 0001",
            Some(Code::FormatError),
        ),
        ("a pointer to itself", "0001 0100 0001 0000 0000 0000 C00C 0001 0001", Some(Code::FormatError)),
        ("bytes behind", "0001 0100 0001 0000 0000 0000 0161 00 0001 0001 FF", Some(Code::FormatError)),
        (
            "an answer in a query",
            "0001 0100 0001 0001 0000 0000 0161 00 0001 0001 C00C 0001 0001 00000000 0004 01020304",
            Some(Code::FormatError),
        ),
        (
            "two OPT records",
            "0001 0100 0001 0000 0000 0002 0161 00 0001 0001 00 0029 1000 00000000 0000 00 0029 1000 00000000 0000",
            Some(Code::FormatError),
        ),
        (
            "an OPT record of a name",
            "0001 0100 0001 0000 0000 0001 0161 00 0001 0001 C00C 0029 1000 00000000 0000",
            Some(Code::FormatError),
        ),
        (
            "an OPT record longer than the message",
            "0001 0100 0001 0000 0000 0001 0161 00 0001 0001 00 0029 1000 00000000 0004 00",
            Some(Code::FormatError),
        ),
    ];

    #[test]
    fn what_is_no_query_is_not_taken_for_one() {
        for (what, bytes, wanted) in CORPUS {
            let found = match Query::parse(&hex(bytes)) {
                Err(Unanswerable::Silence) => None,
                Err(Unanswerable::Header { id, code, .. }) => {
                    assert_eq!(id, 1, "{what}");
                    Some(code)
                }
                Ok(_) => panic!("{what} was taken for a query"),
            };
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[test]
    fn refusals_are_headers() {
        let mut reply = Vec::new();
        refuse(9, 0x2110, Code::NotImplemented, &mut reply);
        assert_eq!(reply, hex("0009 A184 0000 0000 0000 0000"));
    }

    #[test]
    fn an_answer_is_the_question_and_the_records() {
        let four = Data::Address("10.200.0.2".parse().unwrap());
        assert_eq!(
            reply(&query(0xABCD, "Db", kind::A), &[four], 512),
            hex("ABCD 8180 0001 0001 0000 0000 02446200 0001 0001  C00C 0001 0001 00000258 0004 0AC80002")
        );
        let six = Data::Address("fd00::2".parse().unwrap());
        assert_eq!(
            reply(&with_edns(query(1, "d", kind::AAAA), 1232), &[six], 1232),
            hex("0001 8180 0001 0001 0000 0001 016400 001C 0001  C00C 001C 0001 00000258 0010 \
                 FD000000000000000000000000000002  00 0029 1000 00008000 0000")
        );
        let name = Name::from_text("db.n").unwrap();
        let name = Data::Pointer(&name);
        assert_eq!(
            reply(&query(1, "x", kind::PTR), &[name], 512),
            hex(
                "0001 8180 0001 0001 0000 0000 017800 000C 0001  C00C 000C 0001 00000258 0006 0264 62 01 6E 00"
            )
        );
    }

    #[test]
    fn an_unknown_version_of_edns_gets_its_own_code() {
        let mut bytes = with_edns(query(1, "d", kind::A), 512);
        let version = bytes.len() - 5;
        bytes[version] = 1;
        let query = Query::parse(&bytes).unwrap();
        assert!(query.is_too_new());
        let mut reply = Vec::new();
        answer(&query, Code::BadVersion, std::iter::empty(), 512, &mut reply);
        assert!(reply.ends_with(&hex("00 0029 1000 01008000 0000")), "{reply:02X?}");
        assert_eq!(reply[3] & 15, 0);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let four = [Data::Address("10.200.0.2".parse().unwrap()); 100];
        let short = reply(&query(1, "db", kind::A), &four, 512);
        // 12 of the header, 8 of the question, 16 for each record.
        assert_eq!((short.len(), short[7], short[2] & 2), (12 + 8 + 30 * 16, 30, 2));
        let long = reply(&query(1, "db", kind::A), &four, 4096);
        assert_eq!((long.len(), long[7], long[2] & 2), (12 + 8 + 100 * 16, 100, 0));
        let bytes = with_edns(query(1, "db", kind::A), 512);
        assert_eq!(reply(&bytes, &four, 512).len(), 12 + 8 + 30 * 16 + 11);
        let mut none = Vec::new();
        truncated(&Query::parse(&bytes).unwrap(), &mut none);
        assert_eq!((none.len(), none[7], none[2] & 2), (12 + 8 + 11, 0, 2));
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let asked = query(1, "db.example", kind::A);
        let query = Query::parse(&asked).unwrap();
        let answers = |hexadecimal: &str| judge(&query, 0x0102, &hex(hexadecimal));
        let question = "0264 62 07 6578616D706C65 00 0001 0001";
        assert_eq!(answers(&format!("0102 8180 0001 0000 0000 0000 {question}")), Verdict::Answered);
        // Its name does not exist: that is an answer.
        assert_eq!(answers(&format!("0102 8183 0001 0000 0000 0000 {question}")), Verdict::Answered);
        assert_eq!(answers(&format!("0102 8182 0001 0000 0000 0000 {question}")), Verdict::Failed);
        assert_eq!(answers(&format!("0102 8185 0001 0000 0000 0000 {question}")), Verdict::Failed);
        assert_eq!(answers("0102 8181 0000 0000 0000 0000"), Verdict::Failed);
        for (what, message) in [
            ("another id", format!("0103 8180 0001 0000 0000 0000 {question}")),
            ("a query", format!("0102 0100 0001 0000 0000 0000 {question}")),
            ("no question", "0102 8180 0000 0000 0000 0000".to_owned()),
            (
                "another name",
                "0102 8180 0001 0000 0000 0000 0264 63 07 6578616D706C65 00 0001 0001".to_owned(),
            ),
            (
                "another type",
                "0102 8180 0001 0000 0000 0000 0264 62 07 6578616D706C65 00 001C 0001".to_owned(),
            ),
            (
                "another class",
                "0102 8180 0001 0000 0000 0000 0264 62 07 6578616D706C65 00 0001 0003".to_owned(),
            ),
            ("half a header", "0102 8181 0000".to_owned()),
            ("nothing", String::new()),
        ] {
            assert_eq!(answers(&message), Verdict::Foreign, "{what}");
        }
        // A server may write the name in another case.
        let lower = "0102 8180 0001 0000 0000 0000 0244 42 07 6578616D706C65 00 0001 0001";
        assert_eq!(answers(lower), Verdict::Answered);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_query_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Query::parse(&bytes), judge(&Query::parse(&query(1, "a", 1)).unwrap(), 1, &bytes));
        }

        /// Bytes that are nearly right find more than noise does.
        #[test]
        fn a_damaged_query_is_a_query_or_refused(
            labels in prop::collection::vec("[a-z]{1,12}", 1..5),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = with_edns(query(1, &labels.join("."), kind::A), 4096);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(query) = Query::parse(bytes) {
                    let mut written = Vec::new();
                    answer(&query, Code::NoError, std::iter::empty(), 512, &mut written);
                    prop_assert_eq!(judge(&query, query.id, &written), Verdict::Answered);
                    prop_assert_eq!(&written[HEADER..query.end], &query.bytes[HEADER..query.end]);
                }
            }
        }

        #[test]
        fn no_answer_is_longer_than_asked_for(count in 0_usize..300, limit in 300_usize..5000, label in "[a-z]{1,60}") {
            let bytes = with_edns(query(1, &label, kind::AAAA), 4096);
            let six = vec![Data::Address("fd00::1".parse().unwrap()); count];
            let written = reply(&bytes, &six, limit);
            prop_assert!(written.len() <= limit);
            let whole = HEADER + label.len() + 2 + 4 + 28 * count + OPT_RECORD;
            prop_assert_eq!(written[2] & 2 != 0, whole > limit);
        }
    }
}
