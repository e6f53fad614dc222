//! One connection through the relay: two sockets, and in each direction a pipe while there is something to be passed on.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::numbers::Numbers;

/// How much is taken at once (bytes). The kernel has a limit on the pipes of one user, beyond which they are smaller.
const PIECE: usize = 256 * 1024;
/// As many pieces of one direction are passed on before others have their turn.
const TURNS: usize = 16;
/// As many pipes are kept for who needs one next.
const SPARE: usize = 2;

/// A connection: the client's end, and the container's.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u32,
    pub(super) ends: [OwnedFd; 2],
    pub(super) connecting: bool,
    /// From the client to the container, and back.
    ways: [Way; 2],
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    /// Nothing more comes.
    ended: bool,
    /// And the other side knows.
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// How a connection stands after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Until its next event.
    Wait,
    /// There is more to do at once.
    More,
    /// Both sides have ended, or one has broken off.
    Done,
}

impl Connection {
    pub(super) fn new(number: u32, ends: [OwnedFd; 2]) -> io::Result<Connection> {
        for end in &ends {
            // What one side sends goes on at once, and a side that vanished is not kept for ever.
            sockopt::set_tcp_nodelay(end, true)?;
            sockopt::set_socket_keepalive(end, true)?;
        }
        Ok(Connection { number, ends, connecting: true, ways: Default::default() })
    }

    /// Passes on whatever there is. `spare` are pipes that nobody needs just now.
    pub(super) fn pass(&mut self, spare: &mut Vec<Pipe>, numbers: &Numbers) -> Progress {
        if self.connecting {
            match connected(&self.ends[1]) {
                Ok(false) => return Progress::Wait,
                Ok(true) => self.connecting = false,
                Err(_) => return self.break_off(),
            }
        }
        let [client, container] = &self.ends;
        let [forth, back] = &mut self.ways;
        let passed = forth
            .pass(client, container, spare, numbers)
            .and_then(|more| Ok(more | back.pass(container, client, spare, numbers)?));
        let Ok(more) = passed else { return self.break_off() };
        match (self.ways.iter().all(|way| way.closed), more) {
            (true, _) => Progress::Done,
            (false, true) => Progress::More,
            (false, false) => Progress::Wait,
        }
    }

    /// Both sides hear of it as of a connection that was reset.
    pub(super) fn break_off(&self) -> Progress {
        for end in &self.ends {
            let _ = sockopt::set_socket_linger(end, Some(Duration::ZERO));
        }
        Progress::Done
    }
}

/// Whether the way to the container is there.
fn connected(socket: &OwnedFd) -> io::Result<bool> {
    if let Err(errno) = sockopt::socket_error(socket)? {
        return Err(errno.into());
    }
    match rustix::net::getpeername(socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

impl Way {
    /// `true` if its turns were over before there was nothing more to do.
    fn pass(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        spare: &mut Vec<Pipe>,
        numbers: &Numbers,
    ) -> io::Result<bool> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        for _ in 0..TURNS {
            if self.closed {
                return Ok(false);
            }
            if self.held == 0 && self.ended {
                self.give_back(spare);
                self.closed = true;
                match shutdown(to, Shutdown::Write) {
                    // It has gone by itself.
                    Ok(()) | Err(Errno::NOTCONN) => return Ok(false),
                    Err(errno) => return Err(errno.into()),
                }
            }
            let pipe = match &mut self.pipe {
                Some(pipe) => pipe,
                empty => empty.insert(spare.pop().map_or_else(|| Pipe::new(numbers), Ok)?),
            };
            if self.held == 0 {
                match splice(from, None, &pipe.write, None, PIECE, flags) {
                    Ok(0) => self.ended = true,
                    Ok(count) => self.held = count,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        self.give_back(spare);
                        return Ok(false);
                    }
                    Err(errno) => return Err(errno.into()),
                }
            } else {
                match splice(&pipe.read, None, to, None, self.held, flags) {
                    Ok(count) => self.held -= count,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return Ok(false),
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(true)
    }

    /// An empty pipe is anybody's.
    fn give_back(&mut self, spare: &mut Vec<Pipe>) {
        let pipe = self.pipe.take();
        if spare.len() < SPARE {
            spare.extend(pipe);
        }
    }
}

impl Pipe {
    fn new(numbers: &Numbers) -> io::Result<Pipe> {
        numbers.raised(|| {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let pipe = Pipe { read: numbers.high(read)?, write: numbers.high(write)? };
            // A smaller one does as well.
            let _ = fcntl_setpipe_size(&pipe.write, PIECE);
            Ok(pipe)
        })
    }
}
