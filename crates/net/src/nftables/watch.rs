//! Hearing that somebody deletes tables, chains or rules, whoever's they are: `nft flush ruleset` does, and so does a firewall that
//! loads its rules again. Of chains that are made or get another policy, as Docker's do when it starts. And that somebody other than Onggi takes
//! elements out of its tables.
//!
//! The kernel tells everybody who listens of every change. What containers do all the time, adding and taking away elements, is kept
//! from waking anybody by a filter that the kernel runs. What has changed is not read: a question to the kernel is surer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use onggi_sys::socket_filter::{self, Instruction};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, sockopt};

use super::batch::{OWN, SUBSYSTEM, kind};
use crate::Error;
use crate::netlink::message::HEADER;

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// What wakes.
const WAKING: [u8; 4] = [kind::DELETE_TABLE, kind::DELETE_CHAIN, kind::DELETE_RULE, kind::NEW_CHAIN];
/// Bytes of a packet that is taken: all. What a filter cuts off, those who listen behind it do not get either, and know nothing from the rest.
const WHOLE: u32 = u32::MAX;
/// What the names of all tables of Onggi's begin with.
const NAMES: [u8; 4] = *b"ongg";
/// Where a message has its table's name: behind its header, nf_tables' own, and that of its first attribute.
const NAME_AT: u32 = HEADER as u32 + 4 + 4;
/// Where a message has the upper half of its number.
const OWN_AT: u32 = if cfg!(target_endian = "little") { 10 } else { 8 };
/// The kernel puts as many messages into a packet as a page takes. So many are looked at; a packet with more (ports by the dozen are one)
/// wakes in any case.
const LOOKED_AT: usize = 16;

/// A socket that becomes readable when something of that happens, in the network namespace in which it was made.
#[derive(Debug)]
pub struct Watch {
    descriptor: OwnedFd,
}

impl Watch {
    /// From now on.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open() -> Result<Watch, Error> {
        let fail = |source: io::Error| Error::Socket { source };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            Some(netlink::NETFILTER),
        )
        .map_err(|errno| fail(errno.into()))?;
        socket_filter::attach(descriptor.as_fd(), &program()).map_err(fail)?;
        // As small as the kernel has them: one packet is enough to wake, and one too many wakes as well (`ENOBUFS`).
        sockopt::set_socket_recv_buffer_size(&descriptor, 0).map_err(|errno| fail(errno.into()))?;
        let groups = SocketAddrNetlink::new(0, 1 << (GROUP - 1));
        rustix::net::bind(&descriptor, &groups).map_err(|errno| fail(errno.into()))?;
        Ok(Watch { descriptor })
    }

    /// Takes what there is. Whether there was something since the last look.
    pub fn heard(&self) -> bool {
        let mut heard = false;
        loop {
            match rustix::net::recv(&self.descriptor, &mut [0_u8; 4], RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                // There was more than the socket holds.
                Ok(_) | Err(Errno::NOBUFS) => heard = true,
                Err(_) => return heard,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Takes a packet with such a message in it. A load from beyond the packet's end ends the program with 0, which drops it.
fn program() -> Vec<Instruction> {
    // `linux/bpf_common.h`. X is the place of a message in the packet, A what is being computed.
    const X_IS: u16 = 0x01;
    const X_IS_A: u16 = 0x07;
    const X_IS_STORED: u16 = 0x61;
    const STORE_X: u16 = 0x03;
    const STORE_A: u16 = 0x02;
    const HALF_AT_X: u16 = 0x48;
    const BYTE_AT_X: u16 = 0x50;
    const WORD_AT_X: u16 = 0x40;
    const ADD: u16 = 0x04;
    const ADD_X: u16 = 0x0c;
    const AND: u16 = 0x54;
    const SHIFT_LEFT: u16 = 0x64;
    const IF_EQUAL: u16 = 0x15;
    let plain = Instruction::plain;
    // Jumps over so many instructions if A is the value, or is not.
    let compare =
        |value, equal, other| Instruction { code: IF_EQUAL, jump_true: equal, jump_false: other, k: value };
    // As numbers of the host's order look when they are read in the network's.
    let kind_of =
        |kind| u32::from(u16::from_be_bytes((u16::from(SUBSYSTEM) << 8 | u16::from(kind)).to_ne_bytes()));
    let own = u32::from(u16::from_be_bytes(OWN.to_ne_bytes()));
    // The filter reads numbers in network order and netlink's are the host's: a length byte by byte, the lower of two first.
    let (low, high) = if cfg!(target_endian = "little") { (0, 1) } else { (3, 2) };
    let mut program = vec![plain(X_IS, 0)];
    for _ in 0..LOOKED_AT {
        program.push(plain(HALF_AT_X, 4));
        for waking in WAKING {
            program.push(compare(kind_of(waking), 0, 1));
            program.push(Instruction::take(WHOLE));
        }
        // Elements of a table of Onggi's that somebody else takes out.
        program.extend([
            compare(kind_of(kind::DELETE_ELEMENT), 0, 5),
            plain(HALF_AT_X, OWN_AT),
            compare(own, 3, 0),
            plain(WORD_AT_X, NAME_AT),
            compare(u32::from_be_bytes(NAMES), 0, 1),
            Instruction::take(WHOLE),
        ]);
        program.extend([
            plain(BYTE_AT_X, high),
            plain(SHIFT_LEFT, 8),
            plain(STORE_A, 0),
            plain(BYTE_AT_X, low),
            plain(STORE_X, 1),
            plain(X_IS_STORED, 0),
            plain(ADD_X, 0),
            // The next message is at a multiple of four.
            plain(ADD, 3),
            plain(AND, !3),
            plain(X_IS_STORED, 1),
            plain(ADD_X, 0),
            plain(X_IS_A, 0),
        ]);
    }
    program.push(Instruction::take(WHOLE));
    program
}
