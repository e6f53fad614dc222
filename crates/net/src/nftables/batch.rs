//! A batch of nf_tables messages: one transaction. Names and numbers are `linux/netfilter/nf_tables.h`'s.

use crate::Error;
use crate::netlink::Socket;
use crate::netlink::message::{ACK, APPEND, CREATE, EXCLUSIVE, Message};

/// `NFNL_SUBSYS_NFTABLES`
pub(crate) const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `…_END`
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;

/// `NFT_MSG_…`
pub(crate) mod kind {
    pub(crate) const NEW_TABLE: u8 = 0;
    pub(crate) const DELETE_TABLE: u8 = 2;
    pub(crate) const NEW_CHAIN: u8 = 3;
    pub(crate) const GET_CHAIN: u8 = 4;
    pub(crate) const NEW_RULE: u8 = 6;
    pub(crate) const GET_RULE: u8 = 7;
    pub(crate) const DELETE_RULE: u8 = 8;
    pub(crate) const NEW_SET: u8 = 9;
    pub(crate) const NEW_ELEMENT: u8 = 12;
    pub(crate) const GET_ELEMENT: u8 = 13;
    pub(crate) const DELETE_ELEMENT: u8 = 14;
    pub(crate) const NEW_GENERATION: u8 = 15;
}

/// `NFPROTO_…`: what a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Inet,
    Ipv4,
    Ipv6,
    /// In questions: all of them.
    Any,
    /// By its number.
    Other(u8),
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Any => 0,
            Family::Inet => 1,
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
            Family::Other(number) => number,
        }
    }
}

/// Where a base chain is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// The type of a set's keys or a map's values: nft's own number, by which it prints them, and bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Type {
    pub(crate) number: u32,
    pub(crate) length: u32,
}

/// An interface's name.
pub(crate) const INTERFACE: Type = Type { number: 41, length: 16 };

/// The upper half of the numbers under which changes are sent. Whoever hears of a new generation is told its number, and so knows Onggi's own.
pub(crate) const OWN: u16 = 0x6f67;

/// Changes in order.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    messages: Vec<Message>,
    family: Family,
    table: &'a str,
}

/// A base chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaseChain {
    pub(crate) name: &'static str,
    /// `filter` or `nat`.
    pub(crate) kind: &'static str,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

impl<'a> Batch<'a> {
    /// Of changes to this table.
    pub(crate) fn new(family: Family, table: &'a str) -> Batch<'a> {
        Batch { messages: Vec::new(), family, table }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn add(&mut self, kind: u8, flags: u16, fill: impl FnOnce(Message) -> Message) {
        self.messages.push(fill(message(self.family, kind, flags)));
    }

    /// One that is there stays as it is.
    pub(crate) fn table(&mut self) {
        let table = self.table;
        self.add(kind::NEW_TABLE, CREATE, |message| message.text(1, table));
    }

    /// One that is there fails the whole batch with `EEXIST`.
    pub(crate) fn new_table(&mut self) {
        let table = self.table;
        self.add(kind::NEW_TABLE, CREATE | EXCLUSIVE, |message| message.text(1, table));
    }

    /// With everything in it.
    pub(crate) fn delete_table(&mut self) {
        let table = self.table;
        self.add(kind::DELETE_TABLE, 0, |message| message.text(1, table));
    }

    pub(crate) fn base_chain(&mut self, chain: BaseChain) {
        const ACCEPT: u32 = 1;
        let table = self.table;
        self.add(kind::NEW_CHAIN, CREATE, |message| {
            message
                .text(1, table)
                .text(3, chain.name)
                .nest(4, |hook| hook.big(1, chain.hook as u32).big(2, chain.priority.cast_unsigned()))
                .big(5, ACCEPT)
                .text(7, chain.kind)
        });
    }

    pub(crate) fn chain(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::NEW_CHAIN, CREATE, |message| message.text(1, table).text(3, name));
    }

    /// At the end of its chain.
    pub(crate) fn rule(&mut self, chain: &str, expressions: super::expression::Rule) {
        let table = self.table;
        self.add(kind::NEW_RULE, CREATE | APPEND, |message| {
            message.text(1, table).text(2, chain).nest(4, |list| expressions.write(list))
        });
    }

    /// At the end of its chain, or before the rule with this handle. `comment` is what nft and iptables show behind it.
    pub(crate) fn rule_before(
        &mut self,
        chain: &str,
        before: Option<u64>,
        comment: &str,
        expressions: super::expression::Rule,
    ) {
        let table = self.table;
        let flags = if before.is_some() { CREATE } else { CREATE | APPEND };
        // `NFTNL_UDATA_RULE_COMMENT`: a type, a length, a text with its zero.
        let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
        let text = comment.as_bytes().iter().take(usize::from(length) - 1).copied();
        let user: Vec<u8> = [0, length].into_iter().chain(text).chain([0]).collect();
        self.add(kind::NEW_RULE, flags, |message| {
            let message = message
                .text(1, table)
                .text(2, chain)
                .nest(4, |list| expressions.write(list))
                .attribute(7, &user);
            match before {
                Some(handle) => message.attribute(6, &handle.to_be_bytes()),
                None => message,
            }
        });
    }

    pub(crate) fn delete_rule(&mut self, chain: &str, handle: u64) {
        let table = self.table;
        self.add(kind::DELETE_RULE, 0, |message| {
            message.text(1, table).text(2, chain).attribute(3, &handle.to_be_bytes())
        });
    }

    /// A set, or with `data` a map. `number` tells it from the other new ones of this batch.
    pub(crate) fn set(&mut self, number: u32, name: &str, key: Type, data: Option<Type>) {
        const MAP: u32 = 8;
        let table = self.table;
        self.add(kind::NEW_SET, CREATE, |message| {
            let flags = if data.is_some() { MAP } else { 0 };
            let message =
                message.text(1, table).text(2, name).big(3, flags).big(4, key.number).big(5, key.length);
            let message = match data {
                Some(data) => message.big(6, data.number).big(7, data.length),
                None => message,
            };
            // What nft writes for itself (`NFTNL_UDATA_SET_KEYBYTEORDER`: the host's): without it, it shows names as empty.
            const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
            let message = message.big(10, number);
            if key.number == INTERFACE.number { message.attribute(13, &HOST_ORDER) } else { message }
        });
    }

    /// Elements of a set or map: key, and value of a map. One that is there with the same value is fine.
    pub(crate) fn add_elements(&mut self, set: &str, elements: &[(Vec<u8>, Option<Vec<u8>>)]) {
        self.elements(kind::NEW_ELEMENT, CREATE, set, elements);
    }

    /// One that is not there fails the whole batch.
    pub(crate) fn delete_elements(&mut self, set: &str, elements: &[(Vec<u8>, Option<Vec<u8>>)]) {
        self.elements(kind::DELETE_ELEMENT, 0, set, elements);
    }

    fn elements(&mut self, kind: u8, flags: u16, set: &str, elements: &[(Vec<u8>, Option<Vec<u8>>)]) {
        const VALUE: u16 = 1;
        let table = self.table;
        // An attribute's length is sixteen bits, and an element takes fewer than a hundred bytes.
        for some in elements.chunks(500) {
            self.add(kind, flags, |message| {
                message.text(1, table).text(2, set).nest(3, |mut list| {
                    for (key, data) in some {
                        list = list.nest(1, |element| {
                            let element = element.nest(1, |part| part.attribute(VALUE, key));
                            match data {
                                Some(data) => element.nest(2, |part| part.attribute(VALUE, data)),
                                None => element,
                            }
                        });
                    }
                    list
                })
            });
        }
    }

    /// Sends it. Nothing of it is done unless all of it is.
    pub(crate) fn send(self, socket: &mut Socket, act: impl FnOnce() -> String) -> Result<(), Error> {
        let mut bytes = edge(BEGIN);
        let count = self.messages.len() as u32;
        for (number, message) in (1..).zip(self.messages) {
            // Whoever is refused is told in any case; that all is done is said once, by the last.
            let message = if number == count { message.with_flags(ACK) } else { message };
            bytes.extend(message.finish(u32::from(OWN) << 16 | number));
        }
        bytes.extend(edge(END));
        if bytes.len() > ORDINARY {
            // Twice, as the kernel counts its own structures too. Without the right to it the send says that it is too long.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&*socket, 2 * bytes.len());
        }
        socket.exchange(&bytes, act, |_| {})
    }
}

/// What fits a socket's buffer as it is made (`net.core.wmem_default` is 208 KiB), with room to spare.
const ORDINARY: usize = 64 * 1024;

/// A message outside of a batch: a question.
pub(crate) fn message(family: Family, kind: u8, flags: u16) -> Message {
    // struct nfgenmsg: family, version 0, no resource.
    Message::new(u16::from(SUBSYSTEM) << 8 | u16::from(kind), flags).raw(&[family.number(), 0, 0, 0])
}

fn edge(kind: u16) -> Vec<u8> {
    let [high, low] = u16::from(SUBSYSTEM).to_be_bytes();
    Message::new(kind, 0).raw(&[0, 0, high, low]).finish(0)
}
