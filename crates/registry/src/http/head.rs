//! The head of an answer: status and headers, with limits.

/// The longest head that is read, in bytes.
pub(crate) const LIMIT: usize = 64 << 10;
const MOST_HEADERS: usize = 128;

/// Status and headers. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// The server speaks HTTP/1.1, not 1.0.
    modern: bool,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head and says how long it was; `None` if it is not all there yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, String> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("it is not HTTP: {error}")),
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
        let headers = response.headers.iter();
        Ok(Some((
            Head {
                status: response.code.unwrap_or_default(),
                reason: response.reason.unwrap_or_default().to_owned(),
                modern: response.version == Some(1),
                headers: headers
                    .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
                    .collect(),
            },
            length,
        )))
    }

    /// The first header of a name, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// 100 and its kind, after which the true answer comes. 101 is none: nobody asked to switch.
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    pub(crate) fn keep_alive(&self) -> bool {
        let says = |word: &str| {
            self.all("connection")
                .flat_map(|value| value.split(','))
                .any(|one| one.trim().eq_ignore_ascii_case(word))
        };
        if self.modern { !says("close") } else { says("keep-alive") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_are_read_when_they_are_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\nx-a: 2\r\n\r\nabc";
        let (head, length) = Head::parse(text).unwrap().unwrap();
        assert_eq!((head.status, length), (200, text.len() - 3));
        assert_eq!(head.header("content-length"), Some("3"));
        assert_eq!(head.all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(head.keep_alive());
        assert!(Head::parse(&text[..20]).unwrap().is_none());
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert!(Head::parse(many.as_bytes()).is_err());
        let closing = Head::parse(b"HTTP/1.1 200 OK\r\nConnection: TE, Close\r\n\r\n").unwrap().unwrap().0;
        assert!(!closing.keep_alive());
        assert!(!Head::parse(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap().0.keep_alive());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::parse(&bytes);
            let _ = Head::parse(&[&b"HTTP/1.1 200 OK\r\n"[..], &bytes].concat());
        }
    }
}
