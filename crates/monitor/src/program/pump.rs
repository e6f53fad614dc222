//! Moves bytes: from the outputs to the log and the attached clients, from the clients to standard input.
//!
//! Nothing is queued beyond one piece for each client and one for standard input. Who cannot take more makes the other side wait: an
//! output is not read while one of its clients has a piece left, a client is not read while standard input has.
//!
//! The two outputs are two pipes, and the kernel keeps no order between them: whichever became ready first is read first, one piece, and
//! a record's time is that of the reading. What a program writes to both between two looks of the monitor may change places.

use std::os::fd::AsFd;

use rustix::thread::{Timespec, nanosleep};

use super::attached::Attached;
use super::log::Stream;
use super::pace::GATHER;
use super::poller::{Ready, Token};
use super::session::{GROWN_PIPE, Got, MAIN, Session};
use super::{Monitor, monotonic};
use crate::clock::Moment;
use crate::protocol::Reply;

/// A piece (bytes): a quarter of what a pipe holds by default. Larger ones save little time and are memory of every busy monitor.
const PIECE: usize = 16 * 1024;
/// Room for Docker's frame header before it.
const HEADER: usize = 8;
/// The most that is read of an output after its process has ended (bytes): what the largest pipe of an ordinary user holds. Only a
/// process that was left behind and goes on writing has more.
const MOST_LEFT: usize = 1 << 20;

impl Monitor<'_> {
    pub(super) fn output_ready(&mut self, number: u32, stream: Stream) {
        if self.session(number).is_some_and(|session| session.start.is_some()) {
            // Its program runs, or it could not speak; the record shall say so before the log has its first line.
            self.read_report(number);
        }
        self.let_gather(number, stream);
        let moved = self.move_outputs(number, stream);
        if let Some(session) = self.session(number) {
            session.pace.was_read(monotonic(), moved >= PIECE);
            if let (true, Some(output)) = (moved >= PIECE, &mut session.outputs[stream as usize]) {
                output.grow();
            }
        }
        self.update_session(number);
    }

    /// Lets a stream that goes on in small pieces become a large one, while its process has room to write on.
    fn let_gather(&mut self, number: u32, stream: Stream) {
        let Some(session) = self.session(number) else { return };
        let is_pipe = !session.has_terminal;
        let Some(output) = session.outputs[stream as usize].as_mut().filter(|_| is_pipe) else { return };
        if session.pace.ready(stream, monotonic()) {
            output.grow();
            let moment = Timespec { tv_sec: 0, tv_nsec: GATHER.cast_signed() };
            // A signal would end it early, and all of them are told by descriptors.
            let _ = nanosleep(&moment);
        }
    }

    /// Moves one piece of an output, and if nobody else had anything to say all that it has, until a client has to catch up.
    /// Answers how many bytes.
    fn move_outputs(&mut self, number: u32, stream: Stream) -> usize {
        let mut moved = 0;
        while let Got::Bytes(count) = self.move_output(number, stream) {
            moved += count;
            // More than a pipe holds comes only from one who writes on and on, and the others have their turn.
            let goes_on = count == PIECE && moved < GROWN_PIPE && self.poller.found_one();
            if !goes_on || self.is_held_up(number, stream) {
                break;
            }
        }
        if let Some(watched) = self.watched.as_mut().filter(|_| number == MAIN) {
            watched.log.flush();
        }
        moved
    }

    /// Whether a client has not yet taken what it got of this stream.
    fn is_held_up(&self, number: u32, stream: Stream) -> bool {
        let mut clients = self.attached.iter();
        clients.any(|client| client.session == number && client.wants(stream) && !client.pending.is_empty())
    }

    /// Reads what is left in the outputs of an ended process, without waiting and without regard for slow clients: it is at most what
    /// the pipes hold. Which of the two was written first is not known any more; they take turns.
    pub(super) fn drain(&mut self, number: u32) {
        let mut rest = [(Stream::Stdout, MOST_LEFT), (Stream::Stderr, MOST_LEFT)];
        while rest.iter().any(|(_, left)| *left > 0) {
            for (stream, left) in rest.iter_mut().filter(|(_, left)| *left > 0) {
                *left = match self.move_output(number, *stream) {
                    Got::Bytes(count) => left.saturating_sub(count),
                    Got::NothingNow | Got::End => 0,
                };
            }
        }
    }

    /// Moves one piece.
    fn move_output(&mut self, number: u32, stream: Stream) -> Got {
        if self.buffer.is_empty() {
            self.buffer = vec![0; HEADER + PIECE];
        }
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) else {
            return Got::End;
        };
        let Some(output) = session.output(stream) else { return Got::End };
        let got = output.read(&mut self.buffer[HEADER..]);
        match got {
            Got::NothingNow => {}
            Got::End => {
                // The descriptor leaves the epoll set as it is closed, but for a terminal's, of which there is another.
                let output = session.outputs[stream as usize].as_mut();
                if let Some(output) = output {
                    let token = output_token(number, stream);
                    self.poller.set(&output.descriptor, token, &mut output.registered, None);
                }
                session.outputs[stream as usize] = None;
            }
            Got::Bytes(count) => {
                if number == MAIN
                    && let Some(watched) = &mut self.watched
                {
                    watched.log.write(stream, &self.buffer[HEADER..HEADER + count], Moment::now());
                    if count < PIECE {
                        // There is no more; a client that has seen it finds it in the log.
                        watched.log.flush();
                    }
                }
                // A piece is far smaller than 4 GiB.
                let length = u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
                self.buffer[..HEADER].copy_from_slice(&[
                    stream.number(),
                    0,
                    0,
                    0,
                    length[0],
                    length[1],
                    length[2],
                    length[3],
                ]);
                let frame = &self.buffer[..HEADER + count];
                let mut gone = Vec::new();
                for client in
                    self.attached.iter_mut().filter(|client| client.session == number && client.wants(stream))
                {
                    if client.offer(frame).is_err() {
                        gone.push(client.number);
                    }
                }
                for client in gone {
                    self.drop_client(client);
                }
            }
        }
        got
    }

    pub(super) fn input_ready(&mut self, number: u32) {
        if let Some(session) = self.session(number)
            && let Some(input) = &mut session.stdin
        {
            let goes_on = input.flush();
            if !goes_on || (input.pending.is_empty() && input.close_when_empty) {
                self.close_input(number);
            }
        }
        self.update_session(number);
    }

    pub(super) fn attached_ready(&mut self, number: u32, ready: Ready) {
        let Some(at) = self.attached.iter().position(|attached| attached.number == number) else { return };
        let session = self.attached[at].session;
        let mut gone = false;
        if ready.contains(Ready::OUT) {
            gone = self.attached[at].flush().is_err();
        }
        if self.attached[at].stdin && ready.intersects(Ready::IN | Ready::HUP | Ready::ERR) {
            if !gone {
                self.read_client_out(number);
            }
        } else if ready.intersects(Ready::HUP | Ready::ERR) {
            gone = true;
        } else if ready.contains(Ready::IN) {
            // It has no right to standard input, and what it says is dropped; but the end of it is noticed.
            let mut rest = [0; 512];
            match self.attached[at].receive(&mut rest) {
                Ok(Some(0)) => self.attached[at].listening = false,
                Ok(_) => {}
                Err(_) => gone = true,
            }
        }
        if gone {
            self.drop_client(number);
        }
        self.update_session(session);
        self.answer_waits();
    }

    /// Takes what a client has said, until standard input is full.
    fn read_client_out(&mut self, number: u32) {
        let mut pieces = GROWN_PIPE / PIECE;
        while self.read_client(number) && pieces > 0 {
            pieces -= 1;
        }
    }

    /// Takes one piece. `true`: there may be more, and room for it.
    fn read_client(&mut self, number: u32) -> bool {
        if self.buffer.is_empty() {
            self.buffer = vec![0; HEADER + PIECE];
        }
        let Some(client) = self.attached.iter_mut().find(|attached| attached.number == number) else {
            return false;
        };
        let session_number = client.session;
        match client.receive(&mut self.buffer[..PIECE]) {
            Ok(None) => {}
            Err(_) => self.drop_client(number),
            Ok(Some(0)) => {
                let mut held_back = Vec::new();
                client.keys.flush(&mut held_back);
                client.stdin = false;
                client.listening = false;
                self.feed(session_number, &held_back);
                self.client_closed_stdin(session_number);
            }
            Ok(Some(count)) => {
                let buffer = std::mem::take(&mut self.buffer);
                self.take_input(number, &buffer[..count]);
                self.buffer = buffer;
                return count == PIECE
                    && self.attached.iter().any(|client| client.number == number && client.stdin)
                    && self.session(session_number).is_some_and(Session::takes_input);
            }
        }
        false
    }

    /// What a client has typed.
    pub(super) fn take_input(&mut self, number: u32, bytes: &[u8]) {
        let Some(client) = self.attached.iter_mut().find(|attached| attached.number == number) else {
            return;
        };
        let session = client.session;
        if client.keys.is_empty() {
            self.feed(session, bytes);
            return;
        }
        let mut through = Vec::new();
        let detached = client.keys.filter(bytes, &mut through);
        self.feed(session, &through);
        if detached {
            self.detach(number);
        }
    }

    /// Gives bytes to standard input. If nobody reads it any more, its clients are told.
    fn feed(&mut self, number: u32, bytes: &[u8]) {
        let Some(session) = self.session(number) else { return };
        session.pace.asked();
        let Some(input) = &mut session.stdin else {
            self.refuse_stdin(number);
            return;
        };
        if !bytes.is_empty() && !input.write(bytes) {
            self.close_input(number);
        }
    }

    /// A client has ended its side of standard input. A terminal has no end of file but the one that is typed.
    fn client_closed_stdin(&mut self, number: u32) {
        let Some(session) = self.session(number) else { return };
        if !session.stdin_once || session.has_terminal {
            return;
        }
        let Some(input) = &mut session.stdin else { return };
        input.close_when_empty = true;
        if input.pending.is_empty() {
            self.close_input(number);
        }
    }

    fn close_input(&mut self, number: u32) {
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) else { return };
        if let Some(mut input) = session.stdin.take() {
            self.poller.set(&input.descriptor, Token::Stdin(number), &mut input.registered, None);
        }
        self.refuse_stdin(number);
    }

    fn refuse_stdin(&mut self, number: u32) {
        for client in self.attached.iter_mut().filter(|client| client.session == number && client.stdin) {
            client.stop_reading();
        }
    }

    /// The client has typed its keys: its stream ends, and its peer is told that the process goes on.
    fn detach(&mut self, number: u32) {
        let Some(client) = self.attached.iter().find(|attached| attached.number == number) else { return };
        let (peer, question, session) = (client.peer, client.question, client.session);
        self.answer(peer, question, Reply::Detached);
        self.drop_client(number);
        if session == MAIN {
            self.emit("detach", &[]);
        } else {
            let id = self.session(session).map(|session| session.id.clone()).unwrap_or_default();
            self.emit("exec_detach", &[("execID", id)]);
        }
    }

    /// A client that leaves takes its standard input with it, if the container was to have it only once.
    pub(super) fn drop_client(&mut self, number: u32) {
        let Some(at) = self.attached.iter().position(|attached| attached.number == number) else { return };
        let mut client = self.attached.remove(at);
        // Its socket may have another descriptor elsewhere, which would keep it in the set.
        self.poller.set(&client.socket, Token::Attached(number), &mut client.registered, None);
        if client.feeds_stdin {
            self.client_closed_stdin(client.session);
        }
    }

    /// Brings what epoll watches in line with what can be moved, for one session and its clients.
    pub(super) fn update_session(&mut self, number: u32) {
        let through =
            |client: &Attached| client.session == number && client.closing && client.pending.is_empty();
        while let Some(done) = self.attached.iter().find(|client| through(client)) {
            self.drop_client(done.number);
        }
        let held_up = [Stream::Stdout, Stream::Stderr].map(|stream| self.is_held_up(number, stream));
        let session = self.sessions.iter_mut().find(|session| session.number == number);
        let mut input_is_full = true;
        if let Some(session) = session {
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(output) = &mut session.outputs[stream as usize] {
                    let wanted = (!held_up[stream as usize]).then_some(Ready::IN);
                    let token = output_token(number, stream);
                    self.poller.set(output.descriptor.as_fd(), token, &mut output.registered, wanted);
                }
            }
            input_is_full = session.waits_for_terminal()
                || session.stdin.as_ref().is_some_and(|input| !input.pending.is_empty());
            if let Some(input) = &mut session.stdin {
                let wanted = input_is_full.then_some(Ready::OUT);
                self.poller.set(
                    input.descriptor.as_fd(),
                    Token::Stdin(number),
                    &mut input.registered,
                    wanted,
                );
            }
        }
        for client in self.attached.iter_mut().filter(|client| client.session == number) {
            let out = if client.pending.is_empty() { Ready::empty() } else { Ready::OUT };
            let wanted = match (client.listening, client.stdin && input_is_full) {
                (true, false) => Some(out | Ready::IN),
                // It must wait; without `out` not even its hang-up can be dealt with before the rest of what it said.
                (true, true) => (!out.is_empty()).then_some(out),
                (false, _) => Some(out),
            };
            let token = Token::Attached(client.number);
            self.poller.set(client.socket.as_fd(), token, &mut client.registered, wanted);
        }
    }
}

fn output_token(number: u32, stream: Stream) -> Token {
    match stream {
        Stream::Stdout => Token::Stdout(number),
        Stream::Stderr => Token::Stderr(number),
    }
}
