//! TCP that does not wait for ever: a silent peer, one that drips, and Ctrl-C all end a read or a write.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::http::url::Origin;
use crate::watch::Watch;

/// How often a waiting read looks whether it was interrupted.
const TICK: Duration = Duration::from_millis(200);
/// How long each address may take to answer, in one round after the other: the first good one of several is found fast,
/// and a slow one is still found.
const ROUNDS: [Duration; 3] = [Duration::from_millis(1500), Duration::from_secs(4), Duration::from_secs(8)];
/// Fewer bytes than this in the time that counts as silence are silence too.
const DRIP: u64 = 256;

/// Connects to the first address that answers.
pub(super) fn connect(
    origin: &Origin,
    addresses: &[IpAddr],
    is_proxy: bool,
    silence: Duration,
    watch: &Arc<dyn Watch>,
) -> Result<Patient, Error> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address");
    for round in ROUNDS {
        let mut timed_out = false;
        for address in addresses {
            if watch.is_interrupted() {
                return Err(Error::Interrupted);
            }
            match TcpStream::connect_timeout(&SocketAddr::new(*address, origin.port), round) {
                Ok(stream) => {
                    return Patient::new(stream, silence, Arc::clone(watch))
                        .map_err(|source| Error::Connect { address: origin.authority(), is_proxy, source });
                }
                Err(error) => {
                    timed_out |= error.kind() == io::ErrorKind::TimedOut;
                    last = error;
                }
            }
        }
        // A refusal does not change by asking again here.
        if !timed_out {
            break;
        }
    }
    Err(Error::Connect { address: origin.authority(), is_proxy, source: last })
}

/// A connection whose reads and writes end.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    silence: Duration,
    watch: Arc<dyn Watch>,
    /// How long the peer was waited for, and what it has moved meanwhile, since the last good sign of life.
    waited: Duration,
    moved: u64,
}

impl Patient {
    fn new(stream: TcpStream, silence: Duration, watch: Arc<dyn Watch>) -> io::Result<Patient> {
        stream.set_nodelay(true)?;
        let tick = TICK.min(silence);
        stream.set_read_timeout(Some(tick))?;
        stream.set_write_timeout(Some(tick))?;
        Ok(Patient { stream, silence, watch, waited: Duration::ZERO, moved: 0 })
    }

    /// Only the time in here counts: what we do between two acts is not the peer's doing.
    fn wait_for(&mut self, mut act: impl FnMut(&mut TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            let began = Instant::now();
            let outcome = act(&mut self.stream);
            self.waited += began.elapsed();
            let count = match outcome {
                Ok(0) => return Ok(0),
                Ok(count) => {
                    self.moved += count as u64;
                    if self.moved >= DRIP {
                        self.start_anew();
                    }
                    Some(count)
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) =>
                {
                    None
                }
                Err(error) => return Err(error),
            };
            if self.watch.is_interrupted() {
                return Err(io::Error::other(Error::Interrupted));
            }
            if self.waited > self.silence {
                return Err(silent(self.silence));
            }
            if let Some(count) = count {
                return Ok(count);
            }
        }
    }

    fn start_anew(&mut self) {
        (self.waited, self.moved) = (Duration::ZERO, 0);
    }
}

fn silent(silence: Duration) -> io::Error {
    let seconds = silence.as_secs_f64();
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("nothing, or next to nothing, came for {seconds} seconds"),
    )
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait_for(|stream| stream.read(buffer))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // With a request of ours the peer's time begins anew.
        self.start_anew();
        self.wait_for(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
