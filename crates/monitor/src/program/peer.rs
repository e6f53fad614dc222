//! A control connection: packets in, packets out, never waiting for a client that does not read.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::isolation::Refusal;
use super::poller::Registered;
use crate::client::{receive_packet, send_packet};
use crate::protocol::{Answer, MAX_PACKET, Reply};

/// A client that has this many answers unread is hung up on.
const LONGEST_QUEUE: usize = 64;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) number: u32,
    pub(crate) socket: OwnedFd,
    pub(crate) registered: Registered,
    /// Answers that its socket did not take yet.
    pub(crate) queue: VecDeque<Vec<u8>>,
    pub(crate) waits: Vec<Waiting>,
    /// The question of its subscription.
    pub(crate) subscription: Option<u32>,
    /// It removes the container itself.
    pub(crate) finishes: bool,
    pub(crate) gone: bool,
}

/// A question that is answered when something ends.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Waiting {
    pub(crate) question: u32,
    /// The exec session; `None`: the container.
    pub(crate) exec: Option<String>,
    /// The end that it has seen, until its streams were given everything.
    #[serde(default)]
    pub(crate) end: Option<Reply>,
}

/// A packet and the descriptors that came with it.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Peer {
    pub(crate) fn new(number: u32, socket: OwnedFd) -> Peer {
        Peer {
            number,
            socket,
            registered: Registered::default(),
            queue: VecDeque::new(),
            waits: Vec::new(),
            subscription: None,
            finishes: false,
            gone: false,
        }
    }

    /// The next packet; `None`: none now, or the peer is gone.
    pub(crate) fn receive(&mut self) -> Option<Packet> {
        // Only as much memory as the packet needs.
        let look = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let size = match rustix::net::recv(&self.socket, &mut [0_u8; 0], look) {
            Ok((_, size)) => size,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => {
                self.gone = true;
                return None;
            }
        };
        let mut packet = Packet { bytes: vec![0; size.min(MAX_PACKET)], descriptors: Vec::new() };
        match receive_packet(
            self.socket.as_fd(),
            &mut packet.bytes,
            &mut packet.descriptors,
            RecvFlags::DONTWAIT,
        ) {
            // An empty packet says nothing; no client sends one. So does a hang-up.
            Ok(0) | Err(_) => {
                self.gone = true;
                None
            }
            Ok(length) => {
                packet.bytes.truncate(length);
                Some(packet)
            }
        }
    }

    /// Answers a question.
    pub(crate) fn answer(&mut self, question: u32, reply: Reply) {
        if self.gone {
            return;
        }
        // Replies are strings and numbers; they always encode.
        let Ok(packet) = serde_json::to_vec(&Answer { number: question, reply }) else { return };
        self.queue.push_back(packet);
        self.flush();
        if self.queue.len() > LONGEST_QUEUE {
            self.gone = true;
        }
    }

    /// Refuses a question.
    pub(crate) fn refuse(&mut self, question: u32, refusal: Refusal) {
        let Refusal { kind, step, errno, message } = refusal;
        self.answer(question, Reply::Error { kind: kind.name().to_owned(), step, errno, message });
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        while let Some(packet) = self.queue.front() {
            match send_packet(self.socket.as_fd(), packet, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(()) => {
                    self.queue.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }
}

/// Whether the process at the other end may command this monitor: root, or who the monitor runs as.
pub(crate) fn is_allowed(socket: &OwnedFd) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid.is_root() || peer.uid == own)
}
