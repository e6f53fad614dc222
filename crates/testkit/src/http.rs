//! A server that does what a test tells it: each connection is answered by a closure that sees the request and writes what it likes. For clients
//! that must stand hostile registries, which no real one is.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What a client sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn is(&self, method: &str, target: &str) -> bool {
        self.method == method && self.target == target
    }
}

/// Writes the answer; the connection is closed after it.
pub type Answer = dyn Fn(&Request, &mut TcpStream) + Send + Sync;

/// A server on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request by `answer`.
    ///
    /// # Panics
    /// Without a free port.
    #[must_use]
    pub fn new(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it has an address").port();
        let (seen, answer): (Arc<Mutex<Vec<Request>>>, Arc<Answer>) = (Arc::default(), Arc::new(answer));
        let (kept, over) = (Arc::clone(&seen), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&over);
        let listening = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                connections.push(std::thread::spawn(move || {
                    let mut stream = stream;
                    if let Some(request) = read(&stream) {
                        seen.lock().expect("nobody panics with it").push(request.clone());
                        answer(&request, &mut stream);
                    }
                }));
            }
            for connection in connections {
                // One that has panicked has said so.
                let _ = connection.join();
            }
        });
        Server { port, seen: kept, over, listener: Some(listening) }
    }

    /// `127.0.0.1:1234`
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    ///
    /// # Panics
    /// If an answer has panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Server {
    /// Waits until the last answer has ended, so that no descriptor of it is left.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener, which looks then whether it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let mut request = Request { method, target, headers, body: Vec::new() };
    if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).ok()?;
    }
    while request.header("transfer-encoding") == Some("chunked") {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim_end(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        request.body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            break;
        }
    }
    Some(request)
}

/// A whole answer.
pub fn respond(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    // A client that has seen enough hangs up.
    let _ = stream.write_all(&[text.as_bytes(), body].concat());
}
