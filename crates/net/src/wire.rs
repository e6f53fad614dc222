//! Carrying a wiring plan out: into the container's network namespace and back, links, addresses, routes, elements.
//!
//! Only for processes with one thread, or on a thread that is the caller's own: a network namespace is a thread's. What fails half
//! way goes with [`disconnect`], or with the namespace itself.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use crate::Error;
use crate::attachment::Attachment;
use crate::conntrack;
use crate::endpoint::{self, Directory, Protocol};
use crate::instance::Instance;
use crate::link::{self, Pair};
use crate::netlink::Socket;
use crate::nftables::{Change, Published};
use crate::plan::wiring::{Step, plan};
use crate::turn;

/// `CLONE_NEWNET`
const NETWORK: i32 = 0x4000_0000;

/// A network namespace that we are not in.
#[derive(Debug)]
pub struct Namespace {
    descriptor: File,
    socket: Socket,
}

/// Runs something in the network namespace of a process, by its pidfd or a descriptor of the namespace.
///
/// # Errors
/// [`Error::Enter`]. If it is the way back that fails, the caller has to end: it is in the wrong place.
pub fn within<T>(target: BorrowedFd<'_>, act: impl FnOnce() -> T) -> Result<T, Error> {
    let own = current()?;
    let enter =
        |target| onggi_sys::namespace::setns(target, NETWORK).map_err(|source| Error::Enter { source });
    enter(target)?;
    let done = act();
    enter(own.as_fd())?;
    Ok(done)
}

fn current() -> Result<File, Error> {
    File::open(OWN).map_err(Error::file("open", OWN))
}

const OWN: &str = "/proc/thread-self/ns/net";

impl Namespace {
    /// That of a process, with loopback up.
    ///
    /// # Errors
    /// [`Error::Enter`], [`Error::Netlink`].
    pub fn of(target: BorrowedFd<'_>) -> Result<Namespace, Error> {
        let (descriptor, socket) = within(target, || (current(), Socket::route()))?;
        let mut socket = socket?;
        link::loopback_up(&mut socket)?;
        Ok(Namespace { descriptor: descriptor?, socket })
    }
}

/// A socket to nf_tables, made on first use and kept: its end waits until nobody on any processor looks at what was last taken out of a table
/// (10 to 75 ms), so it should come when nobody waits for who holds this.
#[derive(Debug, Default)]
pub struct Firewall(Option<Socket>);

impl Firewall {
    /// The socket.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn socket(&mut self) -> Result<&mut Socket, Error> {
        match &mut self.0 {
            Some(socket) => Ok(socket),
            empty => Ok(empty.insert(Socket::netfilter()?)),
        }
    }
}

/// Connects the namespace to a network whose bridge and table are there. Should somebody have taken the table away this very moment, the
/// ports are in it as soon as it is made again.
///
/// # Errors
/// [`Error::Netlink`], which says the step.
pub fn connect(
    host: &mut Socket,
    firewall: &mut Firewall,
    namespace: &mut Namespace,
    attachment: &Attachment,
) -> Result<(), Error> {
    plan(attachment).into_iter().try_for_each(|step| carry_out(step, host, firewall, namespace, attachment))
}

/// Has a connection that is there become the container's way out, and lead its ports: its gateways are the default routes from now on. The
/// endpoint's file says so already.
///
/// # Errors
/// As [`connect`].
pub fn lead_out(
    host: &mut Socket,
    firewall: &mut Firewall,
    namespace: &mut Namespace,
    attachment: &Attachment,
) -> Result<(), Error> {
    if !attachment.endpoint.ports.is_empty() {
        let name = &attachment.endpoint.interface;
        let outside = link::find(host, name)?.ok_or_else(|| missing(name))?.index;
        link::set_hairpin(host, outside)?;
    }
    let steps = plan(attachment).into_iter();
    let mut steps = steps.filter(|step| matches!(step, Step::DefaultRoute { .. } | Step::Publish { .. }));
    steps.try_for_each(|step| carry_out(step, host, firewall, namespace, attachment))
}

fn carry_out(
    step: Step,
    host: &mut Socket,
    firewall: &mut Firewall,
    namespace: &mut Namespace,
    attachment: &Attachment,
) -> Result<(), Error> {
    match step {
        Step::Links { name, bridge, inside, mac, mtu, ipv6, hairpin } => {
            within(namespace.descriptor.as_fd(), || set_ipv6(ipv6))??;
            let bridge = link::find(host, &bridge)?.ok_or_else(|| missing(&bridge))?.index;
            let inside = (namespace.descriptor.as_fd(), inside.as_str());
            let pair =
                Pair { name: &name, bridge, mtu, inside: inside.0, inside_name: inside.1, inside_mac: mac };
            match link::create_pair(host, &pair) {
                // Of the container's last life: the kernel takes it away in its own time.
                Err(error) if error.errno() == Some(EEXIST) => {
                    link::delete(host, &name)?;
                    link::create_pair(host, &pair)?;
                }
                other => other?,
            }
            let index = index(&mut namespace.socket, inside.1)?;
            link::set_up(&mut namespace.socket, index)?;
            // Asked about a link, the kernel (6.8) first makes the carrier that has just come true, which else waits for a worker; until
            // then what is sent is lost, and the first connection of all takes a second.
            let outside = link::find(host, &name)?.ok_or_else(|| missing(&name))?.index;
            if hairpin {
                link::set_hairpin(host, outside)?;
            }
        }
        Step::Address { inside, address, prefix } => {
            let index = index(&mut namespace.socket, &inside)?;
            link::add_address(&mut namespace.socket, index, address, prefix)?;
        }
        Step::DefaultRoute { inside, gateway } => {
            let index = index(&mut namespace.socket, &inside)?;
            link::add_default_route(&mut namespace.socket, index, gateway)?;
        }
        Step::Publish { ports } => {
            let _turn = turn::change(&attachment.run_root)?;
            let table = Instance::new(&attachment.run_root).table();
            match table.apply(firewall.socket()?, &Change::of_ports(&ports), &[]) {
                Err(error) if error.errno() == Some(ENOENT) => {}
                other => other?,
            }
            conntrack::forget_early(firewall.socket()?, &ports, Protocol::Udp)?;
        }
    }
    onggi_sys::fault::point("net.wire.step");
    Ok(())
}

/// Undoes what is not undone by the end of the namespace: elements, leases. With `links` the links too.
///
/// # Errors
/// The first failure, after everything that could be undone was.
pub fn disconnect(firewall: &mut Firewall, attachment: &Attachment, links: bool) -> Result<(), Error> {
    let endpoint = &attachment.endpoint;
    let ports: Vec<Published> = endpoint.published().collect();
    // Ports and the file that they follow from go in one turn. Without one they go all the same.
    let turn = (!ports.is_empty()).then(|| turn::change(&attachment.run_root)).transpose();
    let unpublished = unpublish(firewall, attachment, &ports);
    onggi_sys::fault::point("net.wire.unpublished");
    let unlinked = if links {
        Socket::route().and_then(|mut socket| link::delete(&mut socket, &endpoint.interface))
    } else {
        Ok(())
    };
    let released = endpoint::release(&Directory::new(&attachment.run_root, &endpoint.network), endpoint);
    turn.map(drop).and(unpublished).and(unlinked).and(released)
}

/// All elements in one batch; if one of them is gone already, each by itself.
fn unpublish(firewall: &mut Firewall, attachment: &Attachment, ports: &[Published]) -> Result<(), Error> {
    if ports.is_empty() {
        return Ok(());
    }
    let changes = Change::of_ports(ports);
    let table = Instance::new(&attachment.run_root).table();
    let socket = firewall.socket()?;
    let gone = |error: &Error| error.errno() == Some(ENOENT);
    match table.apply(socket, &[], &changes) {
        Err(error) if gone(&error) => {
            for change in changes {
                // One that leads elsewhere is another's: who was refused it must not take it away. Of one that the relay passes on nobody can tell;
                // left behind it does no harm, and a check finds it.
                if let Change::Port(port) = &change
                    && table.leads_there(socket, port)? != Some(true)
                {
                    continue;
                }
                match table.apply(socket, &[], &[change]) {
                    Err(error) if gone(&error) => {}
                    other => other?,
                }
            }
        }
        other => other?,
    }
    conntrack::forget_led(socket, ports)
}

pub(crate) fn index(socket: &mut Socket, name: &str) -> Result<u32, Error> {
    link::find(socket, name)?.map(|link| link.index).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::Netlink {
        act: format!("look for the link {name}"),
        source: std::io::Error::from_raw_os_error(ENODEV),
        detail: String::new(),
    }
}

/// Of links that are about to be born here: without an IPv6 network they have no such address, not even one of the link.
fn set_ipv6(on: bool) -> Result<(), Error> {
    let set = |name: &str, value: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/default/{name}");
        match std::fs::write(&path, value) {
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound && !on => Ok(()),
            other => other.map_err(Error::file("write", path)),
        }
    };
    set("disable_ipv6", if on { "0" } else { "1" })?;
    if on {
        // Addresses are given, not found out, and nobody else can have them.
        set("accept_ra", "0")?;
        set("accept_dad", "0")?;
    }
    Ok(())
}

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
