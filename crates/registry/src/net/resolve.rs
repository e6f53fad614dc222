//! Names to addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf`, as resolv.conf(5) says.
//!
//! The C library's own resolver loads the host's libraries at run time, which a static program of another release may not survive; and
//! nobody can interrupt it. What a host resolves by other means (mDNS, LDAP) is found here if its name server knows it, as systemd-resolved's does.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::watch::Watch;

const A: u16 = 1;
const AAAA: u16 = 28;
const TICK: Duration = Duration::from_millis(200);

/// The addresses of a host, those to try first in front.
pub(super) fn resolve(host: &str, watch: &dyn Watch) -> Result<Vec<IpAddr>, Error> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let known = in_hosts(&read("/etc/hosts"), host);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761: never asked of anybody.
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let servers = Servers::parse(&read("/etc/resolv.conf"));
    for name in servers.candidates(host) {
        let addresses = servers.ask(host, &name, watch)?;
        if !addresses.is_empty() {
            return Ok(addresses);
        }
    }
    Err(Error::NoSuchHost { host: host.to_owned() })
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Servers {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    /// A name with fewer dots is first tried with the search list.
    dots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Servers {
    fn parse(text: &str) -> Servers {
        let mut servers = Servers {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // A zone behind an address (`fe80::1%eth0`) names an interface; such servers are left out.
                Some("nameserver") => {
                    servers.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => servers.search = words.map(str::to_owned).take(6).collect(),
                Some("options") => words.for_each(|word| {
                    let number =
                        |text: &str, most: u32| text.parse::<u32>().map(|value| value.min(most)).ok();
                    match word.split_once(':') {
                        Some(("ndots", value)) => {
                            servers.dots = number(value, 15).map_or(1, |dots| dots as usize);
                        }
                        Some(("timeout", value)) => {
                            servers.timeout =
                                Duration::from_secs(number(value, 30).unwrap_or(5).max(1).into());
                        }
                        Some(("attempts", value)) => servers.attempts = number(value, 5).unwrap_or(2).max(1),
                        _ => {}
                    }
                }),
                _ => {}
            }
        }
        servers.servers.truncate(3);
        if servers.servers.is_empty() {
            servers.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        servers
    }

    /// The whole names to ask for, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(whole) = host.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{host}.{domain}")).collect();
        let dotted = host.bytes().filter(|&byte| byte == b'.').count() >= self.dots;
        names.insert(if dotted { 0 } else { names.len() }, host.to_owned());
        names
    }

    /// Asks for one name. No address: it is known that there is none.
    fn ask(&self, host: &str, name: &str, watch: &dyn Watch) -> Result<Vec<IpAddr>, Error> {
        let failed = |server: IpAddr, reason: String| Error::Lookup { host: host.to_owned(), server, reason };
        let mut last = None;
        for _ in 0..self.attempts {
            for &server in &self.servers {
                // The families are asked for one after the other: a server that answers one answers the other as fast.
                match self.both(server, name, watch) {
                    Ok(addresses) => return Ok(addresses),
                    Err(error) if watch.is_interrupted() => {
                        let _ = error;
                        return Err(Error::Interrupted);
                    }
                    Err(error) => last = Some(failed(server, error.to_string())),
                }
            }
        }
        Err(last.unwrap_or(Error::NoSuchHost { host: host.to_owned() }))
    }

    fn both(&self, server: IpAddr, name: &str, watch: &dyn Watch) -> io::Result<Vec<IpAddr>> {
        let mut addresses = self.query(server, name, A, watch)?;
        // Without IPv6 in the kernel its addresses only cost a failed attempt each.
        addresses.extend(self.query(server, name, AAAA, watch).unwrap_or_default());
        Ok(addresses)
    }

    fn query(&self, server: IpAddr, name: &str, kind: u16, watch: &dyn Watch) -> io::Result<Vec<IpAddr>> {
        let id = random()?;
        let query = encode(id, name, kind)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"))?;
        let local: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let server = SocketAddr::new(server, 53);
        let socket = UdpSocket::bind((local, 0))?;
        // Connected: answers of others are not seen.
        socket.connect(server)?;
        socket.set_read_timeout(Some(TICK))?;
        socket.send(&query)?;
        let (deadline, mut buffer) = (Instant::now() + self.timeout, [0; 4096]);
        loop {
            match socket.recv(&mut buffer) {
                Ok(length) => match decode(&buffer[..length], id, &query[12..], kind) {
                    Answer::Foreign => {}
                    Answer::Truncated => return self.query_by_tcp(server, &query, id, kind),
                    Answer::Failed(reason) => return Err(io::Error::other(reason)),
                    Answer::Addresses(addresses) => return Ok(addresses),
                },
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
            if watch.is_interrupted() || Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
            }
        }
    }

    fn query_by_tcp(&self, server: SocketAddr, query: &[u8], id: u16, kind: u16) -> io::Result<Vec<IpAddr>> {
        let mut stream = TcpStream::connect_timeout(&server, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let length = u16::try_from(query.len()).unwrap_or_default().to_be_bytes();
        stream.write_all(&[&length, query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        match decode(&answer, id, &query[12..], kind) {
            Answer::Addresses(addresses) => Ok(addresses),
            _ => Err(io::Error::other("its answer cannot be read")),
        }
    }
}

/// Two bytes that nobody can foresee: whoever could would answer in the server's place.
fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
    Ok(u16::from_be_bytes(bytes))
}

/// A query of one question (RFC 1035, section 4).
fn encode(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut query = Vec::with_capacity(name.len() + 18);
    query.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        query.push(length);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    (name.len() <= 253).then_some(query)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Not to our question.
    Foreign,
    Truncated,
    Failed(String),
    /// None: there is no such name, or it has no address of this kind.
    Addresses(Vec<IpAddr>),
}

fn decode(message: &[u8], id: u16, question: &[u8], kind: u16) -> Answer {
    let Some(head) = message.first_chunk::<12>() else { return Answer::Foreign };
    let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (flags, questions, answers) = (number(2), number(4), number(6));
    let echoed = message.get(12..12 + question.len());
    let same = echoed.is_some_and(|echoed| echoed.eq_ignore_ascii_case(question));
    if number(0) != id || flags & 0x8000 == 0 || questions != 1 || !same {
        return Answer::Foreign;
    }
    match flags & 15 {
        _ if flags & 0x0200 != 0 => return Answer::Truncated,
        0 => {}
        3 => return Answer::Addresses(Vec::new()),
        2 => return Answer::Failed("it failed (SERVFAIL)".to_owned()),
        5 => return Answer::Failed("it refuses (REFUSED)".to_owned()),
        code => return Answer::Failed(format!("it answers with the error {code}")),
    }
    let mut rest = &message[12 + question.len()..];
    let mut addresses = Vec::new();
    for _ in 0..answers {
        // Aliases come in the same answer as what they lead to; the records of our kind are the addresses.
        let Some((found, data, after)) = record(rest) else { break };
        rest = after;
        if found != kind {
            continue;
        }
        if let Ok(data) = <[u8; 4]>::try_from(data) {
            addresses.push(Ipv4Addr::from(data).into());
        } else if let Ok(data) = <[u8; 16]>::try_from(data) {
            addresses.push(Ipv6Addr::from(data).into());
        }
    }
    Answer::Addresses(addresses)
}

/// The kind and the data of the next record, and what follows it.
fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let (&length, after) = rest.split_first()?;
        match length {
            0 => {
                rest = after;
                break;
            }
            // A pointer to a name that was there before; it ends the name.
            0xc0.. => {
                rest = after.get(1..)?;
                break;
            }
            length => rest = after.get(usize::from(length)..)?,
        }
    }
    let head = rest.first_chunk::<10>()?;
    let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
    Some((u16::from_be_bytes([head[0], head[1]]), rest.get(10..10 + length)?, rest.get(10 + length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let hosts = "127.0.0.1 localhost\n# 1.2.3.4 not.this\n10.0.0.1\tregistry.local reg # comment\nfe80::1%x y\n::1 reg\n";
        assert_eq!(in_hosts(hosts, "REG"), ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(in_hosts(hosts, "not.this").is_empty());
    }

    #[test]
    fn resolv_conf_is_read() {
        let servers = Servers::parse(
            "# x\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 timeout:1 attempts:9\n",
        );
        assert_eq!(servers.servers, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!((servers.timeout, servers.attempts), (Duration::from_secs(1), 5));
        assert_eq!(servers.candidates("r.io"), ["r.io.a.example", "r.io.b.example", "r.io"]);
        assert_eq!(servers.candidates("x.r.io"), ["x.r.io", "x.r.io.a.example", "x.r.io.b.example"]);
        assert_eq!(servers.candidates("r."), ["r"]);
        assert_eq!(Servers::parse("").servers, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    fn answer(id: u16, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = encode(id, "r.io", A).unwrap();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (kind, data) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 9]);
            message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    #[test]
    fn answers_are_read_and_those_of_others_are_not() {
        let query = encode(7, "r.io", A).unwrap();
        let decoded = |message: &[u8]| decode(message, 7, &query[12..], A);
        let good = answer(7, 0x8180, &[(5, b"\x01x\0"), (A, &[1, 2, 3, 4]), (AAAA, &[0; 16])]);
        assert_eq!(decoded(&good), Answer::Addresses(vec!["1.2.3.4".parse().unwrap()]));
        assert_eq!(decoded(&answer(7, 0x8183, &[])), Answer::Addresses(vec![]));
        assert_eq!(decoded(&answer(7, 0x8380, &[])), Answer::Truncated);
        assert!(matches!(decoded(&answer(7, 0x8182, &[])), Answer::Failed(_)));
        assert_eq!(decoded(&answer(8, 0x8180, &[])), Answer::Foreign);
        assert_eq!(decoded(&answer(7, 0x0180, &[])), Answer::Foreign);
        assert_eq!(decoded(&good[..11]), Answer::Foreign);
        assert!(encode(1, "a..b", A).is_none() && encode(1, &"a".repeat(64), A).is_none());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let query = encode(7, "r.io", A).unwrap();
            let mut message = answer(7, 0x8180, &[]);
            message[7] = 9;
            message.extend_from_slice(&tail);
            let _ = decode(&message, 7, &query[12..], A);
            let _ = decode(&tail, 7, &query[12..], A);
        }
    }
}
