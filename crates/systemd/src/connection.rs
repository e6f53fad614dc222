//! A connection to systemd: to its own socket where that may be used, which asks for no bus, else over the bus (D-Bus specification,
//! "Authentication Protocol"). Blocking, one call at a time.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use crate::Error;
use crate::message::{Call, FIXED, Incoming, parse, whole_length};
use crate::value::Value;

/// For an answer and for a job; as long as runc waits for a unit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A line of the authentication; the longest is an OK with the bus's identity.
const LONGEST_LINE: usize = 512;

/// Something that happened: its interface, its name, its values.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) body: Vec<Value>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Those that came while an answer was waited for.
    signals: VecDeque<Signal>,
}

impl Connection {
    /// To a socket that has systemd itself at its other end.
    pub(crate) fn direct(path: &str) -> Result<Connection, Error> {
        let stream = UnixStream::connect(path);
        let stream = stream.map_err(|source| Error::Connect { address: path.to_owned(), source })?;
        Connection::over(stream, path)
    }

    /// To the bus at an address such as `unix:path=/run/dbus/system_bus_socket`; of several the first that answers.
    pub(crate) fn bus(addresses: &str) -> Result<Connection, Error> {
        let mut last = None;
        for address in addresses.split(';').filter(|address| !address.is_empty()) {
            match connect(address) {
                Ok(stream) => {
                    let mut connection = Connection::over(stream, address)?;
                    connection.call(&of_the_bus("Hello", &[]))?;
                    return Ok(connection);
                }
                Err(source) => last = Some(Error::Connect { address: address.to_owned(), source }),
            }
        }
        Err(last.unwrap_or(Error::NoUserBus))
    }

    /// Has the bus pass signals of a kind on.
    pub(crate) fn add_match(&mut self, rule: &str) -> Result<(), Error> {
        self.call(&of_the_bus("AddMatch", &[rule.into()])).map(|_| ())
    }

    /// Who we are the kernel tells the other end: no user is named, as a number would mean another one outside of a user namespace.
    fn over(stream: UnixStream, address: &str) -> Result<Connection, Error> {
        let limit = stream.set_write_timeout(Some(PATIENCE));
        limit.map_err(|source| Error::Transport { act: "set a limit for writing to", source })?;
        let mut connection = Connection { stream, serial: 0, signals: VecDeque::new() };
        connection.wait_for(PATIENCE)?;
        let mut answer = connection.line("\0AUTH EXTERNAL\r\n")?;
        let is_asked = answer.starts_with("DATA");
        if is_asked {
            // With the beginning behind it, before the OK: a message that systemd reads together with BEGIN lies in its buffer until
            // something else comes.
            answer = connection.line("DATA\r\nBEGIN\r\n")?;
        }
        if !answer.starts_with("OK") {
            return Err(Error::Authenticate { address: address.to_owned(), answer });
        }
        if !is_asked {
            connection.write(b"BEGIN\r\n")?;
        }
        Ok(connection)
    }

    fn line(&mut self, line: &str) -> Result<String, Error> {
        self.write(line.as_bytes())?;
        let mut answer = Vec::new();
        // Byte by byte, as the other end may send messages right behind it.
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > LONGEST_LINE {
                return Err(Error::Protocol { what: "an endless line" });
            }
        }
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    fn wait_for(&mut self, limit: Duration) -> Result<(), Error> {
        let set = self.stream.set_read_timeout(Some(limit));
        set.map_err(|source| Error::Transport { act: "set a limit for reading from", source })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).map_err(|source| Error::Transport { act: "write to", source })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.stream.read_exact(buffer).map_err(|source| Error::Transport { act: "read from", source })
    }

    /// The answer's values.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Error> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let wanted = self.serial;
        self.wait_for(PATIENCE)?;
        self.write(&call.to_bytes(wanted))?;
        loop {
            match self.receive()? {
                Incoming::Return { serial, body } if serial == wanted => return Ok(body),
                Incoming::Error { serial, name, body } if serial == wanted => {
                    let message = body.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Err(Error::Refused { method: call.member, name, message });
                }
                Incoming::Signal { interface, member, body } => {
                    self.signals.push_back(Signal { interface, member, body });
                }
                _ => {}
            }
        }
    }

    /// The next signal, before `end`; `None` if none came.
    pub(crate) fn signal(&mut self, end: Instant) -> Result<Option<Signal>, Error> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(Some(signal));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait_for(left)?;
            match self.receive() {
                Ok(Incoming::Signal { interface, member, body }) => {
                    return Ok(Some(Signal { interface, member, body }));
                }
                Ok(_) => {}
                Err(Error::Transport { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self) -> Result<Incoming, Error> {
        let mut head = [0; FIXED];
        self.read(&mut head)?;
        let mut message = head.to_vec();
        message.resize(whole_length(&head)?, 0);
        self.read(&mut message[FIXED..])?;
        parse(&message)
    }
}

fn of_the_bus<'a>(member: &'static str, body: &'a [Value]) -> Call<'a> {
    Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
        body,
    }
}

fn connect(address: &str) -> std::io::Result<UnixStream> {
    let unsupported = || std::io::Error::from(std::io::ErrorKind::Unsupported);
    let keys = address.strip_prefix("unix:").ok_or_else(unsupported)?;
    for (key, value) in keys.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = unescape(value).ok_or(std::io::ErrorKind::InvalidInput)?;
        match key {
            "path" => return UnixStream::connect(value),
            "abstract" => return UnixStream::connect_addr(&SocketAddr::from_abstract_name(value)?),
            _ => {}
        }
    }
    Err(unsupported())
}

/// `%20` and its like ("Server Addresses").
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unescaped() {
        assert_eq!(unescape("/run/user%2f1000/bus").as_deref(), Some("/run/user/1000/bus"));
        assert_eq!((unescape("a%2"), unescape("%zz")), (None, None));
    }

    #[test]
    fn of_several_buses_the_one_that_is_there_counts() {
        let error = Connection::bus("tcp:host=x;unix:path=/nonexistent/bus").unwrap_err();
        assert!(
            matches!(&error, Error::Connect { address, .. } if address == "unix:path=/nonexistent/bus"),
            "{error}"
        );
        assert!(matches!(Connection::bus("").unwrap_err(), Error::NoUserBus));
    }

    /// The other end of a conversation, which answers whatever is said to it.
    fn serve(answers: Vec<&'static [u8]>) -> (UnixStream, std::thread::JoinHandle<()>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            for answer in answers {
                assert!(theirs.read(&mut buffer).unwrap() > 0);
                theirs.write_all(answer).unwrap();
            }
            let _ = theirs.read(&mut buffer);
        });
        (ours, thread)
    }

    #[test]
    fn both_forms_of_the_welcome_are_understood() {
        for answers in [vec![&b"OK 1234\r\n"[..]], vec![b"DATA\r\n", b"OK 1234\r\n"]] {
            let (ours, thread) = serve(answers);
            Connection::over(ours, "test").unwrap();
            thread.join().unwrap();
        }
        let (ours, thread) = serve(vec![b"REJECTED EXTERNAL\r\n"]);
        assert!(matches!(Connection::over(ours, "test"), Err(Error::Authenticate { .. })));
        thread.join().unwrap();
    }
}
