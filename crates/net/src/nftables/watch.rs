//! Hearing that somebody other than Onggi changes nf_tables: `nft flush ruleset` does, a firewall that loads its rules again, Docker
//! when it starts, and whoever takes elements out of Onggi's sets.
//!
//! The kernel tells everybody who listens of every change, and ends each transaction with word of a new generation, which has the number of the
//! transaction's first message. What Onggi itself does all the time, adding and taking away elements, is known by that number
//! and kept from waking anybody by a filter that the kernel runs. (Word of a single element has none, on Linux 6.18.)
//! What has changed is not read: a question to the kernel is surer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use onggi_sys::socket_filter::{self, Instruction};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, sockopt};

use super::batch::{OWN, SUBSYSTEM, kind};
use crate::Error;

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// Bytes of a packet that is taken: all. What a filter cuts off, those who listen behind it do not get either.
const WHOLE: u32 = u32::MAX;
/// Where a message has its kind (`struct nlmsghdr`), and the upper half of its number.
const KIND_AT: u32 = 4;
const OWN_AT: u32 = if cfg!(target_endian = "little") { 10 } else { 8 };

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

/// Takes word of a new generation that somebody else has made; it comes in a packet of its own. A load from beyond the packet's end ends the
/// program with 0, which drops it.
fn program() -> [Instruction; 6] {
    // `linux/bpf_common.h`.
    const HALF_AT: u16 = 0x28;
    const IF_EQUAL: u16 = 0x15;
    // Jumps over so many instructions if the half that was loaded is the value, or is not. The filter reads in the network's order, netlink writes in the host's.
    let compare = |value: u16, equal, other| Instruction {
        code: IF_EQUAL,
        jump_true: equal,
        jump_false: other,
        k: u32::from(value.to_be()),
    };
    [
        Instruction::plain(HALF_AT, KIND_AT),
        compare(u16::from(SUBSYSTEM) << 8 | u16::from(kind::NEW_GENERATION), 0, 3),
        Instruction::plain(HALF_AT, OWN_AT),
        compare(OWN, 1, 0),
        Instruction::take(WHOLE),
        Instruction::take(0),
    ]
}
