//! The container's networks: connecting its namespace while its steps go on, holding its ports, giving everything back at the end.
//!
//! What to connect is in the record that the monitor was started with; addresses and names were leased before. The leases and the
//! elements live as long as the container does, its pauses between two lives included; the links live as long as a namespace.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use onggi_error::{Diagnose, Kind};
use onggi_net::attachment::Attachment;
use onggi_net::endpoint::{self, Directory};
use onggi_net::home::Home;
use onggi_net::names::resolve::Config;
use onggi_net::wire::{self, Firewall, Namespace};
use onggi_net::{Socket, port, relay};
use onggi_sys::process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::isolation::Refusal;
use super::session::MAIN;
use super::{Monitor, Watched};
use crate::protocol::{Reply, Start, WayOut};

/// Sockets that hold the published ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    reserved: Vec<OwnedFd>,
}

impl Ports {
    /// Takes every port that the networks publish.
    pub(super) fn reserve(home: &Home, start: &Start) -> Result<Ports, Refusal> {
        let mut ports = Ports::default();
        for attachment in &start.networks {
            ports.add(home, attachment, &start.name)?;
        }
        Ok(ports)
    }

    fn add(&mut self, home: &Home, attachment: &Attachment, container: &str) -> Result<(), Refusal> {
        let room = Room::for_sockets(count(attachment))?;
        for wanted in &attachment.endpoint.ports {
            for offset in 0..wanted.count {
                let address = SocketAddr::new(wanted.host_address, wanted.host + offset);
                // Nothing arrives where the kernel passes everything on.
                let taken = if relay::serves(home, &attachment.endpoint, wanted) {
                    port::open(wanted.protocol, address)
                } else {
                    port::reserve(wanted.protocol, address).map(|(socket, _)| socket)
                };
                let socket = taken.map_err(|error| {
                    // Docker's sentence, on which its clients match.
                    let message = format!(
                        "driver failed programming external connectivity on endpoint {container} ({}): {error}",
                        attachment.endpoint.container
                    );
                    Refusal { message, ..refusal(&error) }
                })?;
                self.reserved.push(match &room {
                    Some(room) => room.take_in(&socket)?,
                    None => socket,
                });
            }
        }
        Ok(())
    }

    /// Gives up those of one network; the others are held without a break. `before` are the networks that come before it.
    fn release(&mut self, before: &[Attachment], gone: &Attachment) {
        let from = before.iter().map(count).sum::<usize>();
        // Who was adopted while others had its ports holds none.
        if from + count(gone) <= self.reserved.len() {
            self.reserved.drain(from..from + count(gone));
        }
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.reserved.iter().map(AsFd::as_fd)
    }

    /// For a re-execution.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.reserved.iter().map(AsRawFd::as_raw_fd).collect()
    }

    pub(super) fn restore(numbers: Vec<RawFd>) -> std::io::Result<Ports> {
        let reserved = numbers.into_iter().map(onggi_sys::descriptor::take_inherited);
        Ok(Ports { reserved: reserved.collect::<Result<_, _>>()? })
    }
}

/// How many sockets its ports take.
fn count(attachment: &Attachment) -> usize {
    attachment.endpoint.ports.iter().map(|port| usize::from(port.count)).sum()
}

/// Room for many sockets: at numbers that leave the low ones to everything else, above the soft limit if need be. That is raised
/// only while this lives, as the container inherits it.
#[derive(Debug)]
pub(super) struct Room {
    limits: (u64, u64),
    first: i32,
}

impl Room {
    /// None: they are few, and need none.
    pub(super) fn for_sockets(count: usize) -> Result<Option<Room>, Refusal> {
        if count <= FEW {
            return Ok(None);
        }
        let limits = process::limit(OPEN_FILES).map_err(|error| limit_refusal(&error))?;
        let (soft, hard) = limits;
        let first = soft.min(hard.saturating_sub(count as u64));
        if first < SPARE {
            let message = format!(
                "{count} published ports take as many open files, and the hard limit is {hard}: publish fewer, or raise it \
                 (ulimit -Hn, LimitNOFILE=)"
            );
            return Err(Refusal::new(Kind::Exhausted, "network", &message));
        }
        process::set_limit(OPEN_FILES, hard, hard).map_err(|error| limit_refusal(&error))?;
        Ok(Some(Room { limits, first: i32::try_from(first).unwrap_or(i32::MAX) }))
    }

    pub(super) fn take_in(&self, socket: impl AsFd) -> Result<OwnedFd, Refusal> {
        rustix::io::fcntl_dupfd_cloexec(socket, self.first).map_err(|errno| limit_refusal(&errno.into()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Down to what it was: that is never refused. What is open stays open.
        let _ = process::set_limit(OPEN_FILES, self.limits.0, self.limits.1);
    }
}

fn limit_refusal(error: &std::io::Error) -> Refusal {
    Refusal::io("network", "make room for the sockets of published ports", error)
}

/// `RLIMIT_NOFILE`
const OPEN_FILES: u32 = 7;
/// As many sockets as are no matter beside the usual limit of 1,024.
const FEW: usize = 256;
/// Open files that a monitor needs for all else, at least.
const SPARE: u64 = 256;

/// Where the bridges of these networks are: an ordinary user's in a network namespace of the user's own.
pub(super) fn home(networks: &[Attachment]) -> Result<Home, Refusal> {
    let run = networks.first().map(|attachment| attachment.run_root.as_path());
    let run = run.filter(|run| onggi_sys::namespace::in_user_namespace() && onggi_rootless::is_held(run));
    let Some(run) = run else { return Ok(Home::here()) };
    let namespace = onggi_rootless::network(run)
        .map_err(|error| Refusal::new(error.kind(), "network", error.to_string()))?;
    Ok(Home::behind(namespace.into()))
}

/// Connects the network namespace of a process to all the networks of its container.
pub(super) fn connect(
    home: &Home,
    firewall: &mut Firewall,
    target: BorrowedFd<'_>,
    networks: &[Attachment],
) -> Result<(), Refusal> {
    if networks.is_empty() {
        return Ok(());
    }
    home.within(|| connect_here(firewall, target, networks)).map_err(|error| refusal(&error))?
}

fn connect_here(
    firewall: &mut Firewall,
    target: BorrowedFd<'_>,
    networks: &[Attachment],
) -> Result<(), Refusal> {
    let mut namespace = match Namespace::of(target) {
        // It has ended already or is just ending, and its report says why.
        Err(error) if error.errno() == Some(NO_PROCESS) || ends_now(target) => return Ok(()),
        other => other.map_err(|error| refusal(&error))?,
    };
    let mut host = Socket::route().map_err(|error| refusal(&error))?;
    for attachment in networks {
        wire::connect(&mut host, firewall, &mut namespace, attachment).map_err(|error| refusal(&error))?;
    }
    onggi_sys::fault::point("monitor.network.connected");
    Ok(())
}

/// `ESRCH`
const NO_PROCESS: i32 = 3;

/// Whether the process ends within a moment: one that is just giving up what it has is refused with `EPERM`, not yet with `ESRCH`.
fn ends_now(target: BorrowedFd<'_>) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut ended = [PollFd::from_borrowed_fd(target, PollFlags::IN)];
    poll(&mut ended, Some(&moment)).is_ok_and(|count| count > 0)
}

pub(super) fn refusal(error: &onggi_net::Error) -> Refusal {
    Refusal {
        kind: error.kind(),
        step: "network".to_owned(),
        errno: error.errno().unwrap_or(0),
        message: error.to_string(),
    }
}

impl Watched {
    /// Gives up addresses, names and ports, for good. The links go with the namespace.
    pub(super) fn disconnect(&mut self, firewall: &mut Firewall) {
        self.ports = Ports::default();
        for attachment in std::mem::take(&mut self.start.networks) {
            let done = self.home.within(|| wire::disconnect(firewall, &attachment, false));
            if let Err(error) = done.and_then(|done| done) {
                self.problem = Some(error.to_string());
            }
        }
    }
}

impl Monitor<'_> {
    /// A network more, while the container runs.
    pub(super) fn connect_network(
        &mut self,
        attachment: Attachment,
        names: Option<Config>,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(main) = self.sessions.iter().find(|session| session.number == MAIN) else {
            return Err(Refusal::new(Kind::Conflict, "connect-network", "the container does not run"));
        };
        let Some(watched) = &mut self.watched else { return Ok(None) };
        if watched.start.networks.iter().any(|known| known.endpoint.network == attachment.endpoint.network) {
            return Err(Refusal::new(
                Kind::AlreadyExists,
                "connect-network",
                "the container is on this network",
            ));
        }
        if watched.home.namespace().is_none() {
            watched.home = home(std::slice::from_ref(&attachment))?;
        }
        let held = watched.ports.reserved.len();
        let extra = network_event(&attachment);
        let wired = watched.ports.add(&watched.home, &attachment, &watched.start.name).and_then(|()| {
            let (home, target) = (&watched.home, main.pidfd.as_fd());
            connect(home, &mut self.firewall.calls, target, std::slice::from_ref(&attachment))?;
            watched.start.networks.push(attachment);
            watched.sandbox.write_start(&watched.start).inspect_err(|_| {
                watched.start.networks.pop();
            })
        });
        if let Err(refusal) = wired {
            // Whoever asked takes links and leases away.
            watched.ports.reserved.truncate(held);
            return Err(refusal);
        }
        onggi_sys::fault::point("monitor.network.written");
        self.watch_firewall();
        self.emit_network("connect", extra);
        self.change_relay()?;
        self.change_names(names)?;
        Ok(Some(Reply::Ok))
    }

    /// A network less.
    pub(super) fn disconnect_network(
        &mut self,
        network: &str,
        names: Option<Config>,
        way_out: Option<WayOut>,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(watched) = &mut self.watched else { return Ok(None) };
        let networks = &mut watched.start.networks;
        let Some(at) = networks.iter().position(|known| known.endpoint.network == network) else {
            return Err(Refusal::new(
                Kind::NotFound,
                "disconnect-network",
                "the container is not on this network",
            ));
        };
        let done = watched.home.within(|| wire::disconnect(&mut self.firewall.calls, &networks[at], true));
        done.and_then(|done| done).map_err(|error| refusal(&error))?;
        onggi_sys::fault::point("monitor.network.disconnected");
        let gone = networks.remove(at);
        let successor = way_out.and_then(|way| succeed(networks, &gone, &way));
        match &successor {
            // It has the ports now, and the sockets that hold them stay as they are.
            Some(next) if !next.endpoint.ports.is_empty() => {}
            _ => watched.ports.release(&networks[..at], &gone),
        }
        watched.sandbox.write_start(&watched.start)?;
        self.emit_network("disconnect", network_event(&gone));
        if let Some(next) = successor {
            self.lead_out(&next)?;
        }
        self.change_relay()?;
        self.change_names(names)?;
        Ok(Some(Reply::Ok))
    }

    /// The default route, and the ports, by another network than before.
    fn lead_out(&mut self, next: &Attachment) -> Result<(), Refusal> {
        let Some(main) = self.sessions.iter().find(|session| session.number == MAIN) else { return Ok(()) };
        let refuse = |error: onggi_net::Error| refusal(&error);
        let directory = Directory::new(&next.run_root, &next.endpoint.network);
        if !next.endpoint.ports.is_empty() {
            endpoint::rename(&directory, &next.endpoint).map_err(refuse)?;
        }
        let home = self.watched.as_ref().map(|watched| watched.home.clone()).unwrap_or_default();
        let calls = &mut self.firewall.calls;
        let led = home.within(|| {
            let mut namespace = Namespace::of(main.pidfd.as_fd())?;
            wire::lead_out(&mut Socket::route()?, calls, &mut namespace, next)
        });
        led.and_then(|done| done).map_err(refuse)
    }

    /// An event for each network, of the kind that Docker's clients follow.
    pub(super) fn tell_networks(&mut self, action: &str) {
        let networks = self.watched.as_ref().map(|watched| &watched.start.networks);
        let events: Vec<[(String, String); 2]> = networks.into_iter().flatten().map(network_event).collect();
        for event in events {
            self.emit_network(action, event);
        }
    }
}

/// Has a network take over what the one that has gone was: the way out of a family, and with that of IPv4 the ports. Answers as much of its
/// attachment as is new, if anything is.
fn succeed(networks: &mut [Attachment], gone: &Attachment, way: &WayOut) -> Option<Attachment> {
    let next = networks.iter_mut().find(|next| next.endpoint.network == way.network)?;
    let was = |ipv4: bool| gone.gateways.iter().any(|gateway| gateway.is_ipv4() == ipv4);
    let gateways: Vec<IpAddr> =
        way.gateways.iter().copied().filter(|gateway| was(gateway.is_ipv4())).collect();
    if gateways.is_empty() {
        return None;
    }
    next.gateways.extend(&gateways);
    let mut new = next.clone();
    new.gateways = gateways;
    if was(true) && next.endpoint.ports.is_empty() {
        next.endpoint.ports.clone_from(&gone.endpoint.ports);
        new.endpoint.ports.clone_from(&gone.endpoint.ports);
    }
    Some(new)
}

/// The id and the name.
fn network_event(attachment: &Attachment) -> [(String, String); 2] {
    let Attachment { endpoint, .. } = attachment;
    [("id".to_owned(), endpoint.network.clone()), ("name".to_owned(), endpoint.network_name.clone())]
}

#[cfg(test)]
mod tests {
    use onggi_net::endpoint::{Endpoint, Port, Protocol, VERSION};

    use super::*;

    fn attachment(host: u16, count: u16) -> Attachment {
        let port = Port {
            protocol: Protocol::Udp,
            host_address: "127.77.0.1".parse().unwrap(),
            host,
            container: 1,
            count,
        };
        Attachment {
            run_root: "/run/onggi".into(),
            bridge: "onggi0".into(),
            mtu: 1500,
            prefix4: 22,
            prefix6: 0,
            gateways: Vec::new(),
            endpoint: Endpoint {
                version: VERSION,
                network: "d".repeat(64),
                network_name: "bridge".into(),
                container: "c".repeat(64),
                names: Vec::new(),
                ipv4: None,
                ipv6: None,
                mac: String::new(),
                interface: "ogccccccccdddd".into(),
                inside: "eth0".into(),
                ports: vec![port],
            },
        }
    }

    #[test]
    fn the_way_out_and_the_ports_pass_to_the_next() {
        let way = |network: char, gateways: &[&str]| WayOut {
            network: network.to_string().repeat(64),
            gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let mut gone = attachment(8080, 1);
        let mut other = attachment(1, 1);
        other.endpoint.network = "e".repeat(64);
        other.endpoint.ports.clear();
        assert_eq!(succeed(&mut [other.clone()], &gone, &way('e', &["10.0.0.1"])), None, "it was none");
        gone.gateways = vec!["10.1.0.1".parse().unwrap()];
        assert_eq!(succeed(&mut [other.clone()], &gone, &way('f', &["10.0.0.1"])), None, "it is not there");
        let mut networks = [other];
        let new = succeed(&mut networks, &gone, &way('e', &["10.0.0.1", "fd00::1"])).unwrap();
        assert_eq!(
            (&new.gateways, &new.endpoint.ports),
            (&way('e', &["10.0.0.1"]).gateways, &gone.endpoint.ports)
        );
        assert_eq!(networks, [new]);
    }

    #[test]
    fn ranges_beyond_the_soft_limit_leave_it_and_the_low_numbers_alone() {
        let before = process::limit(OPEN_FILES).unwrap();
        process::set_limit(OPEN_FILES, 300, before.1).unwrap();
        let networks = [attachment(20_000, 10), attachment(21_000, 400), attachment(22_000, 10)];
        let mut ports = Ports::default();
        for network in &networks {
            ports.add(&Home::here(), network, "web").unwrap();
        }
        let numbers = ports.numbers();
        assert_eq!(numbers.len(), 420);
        assert!(numbers[10..410].iter().all(|&number| number >= 300), "{numbers:?}");
        assert_eq!(process::limit(OPEN_FILES).unwrap(), (300, before.1));
        std::fs::File::open("/dev/null").unwrap();

        ports.release(&networks[..1], &networks[1]);
        assert_eq!(ports.numbers(), [&numbers[..10], &numbers[410..]].concat());
        let taken = ports.add(&Home::here(), &attachment(22_009, 1), "other").unwrap_err();
        assert!(taken.message.contains("port is already allocated"), "{taken:?}");
        ports.add(&Home::here(), &attachment(21_000, 1), "other").unwrap();

        let refused = Room::for_sockets(usize::try_from(before.1).unwrap()).unwrap_err();
        assert!(refused.message.contains("the hard limit is"), "{refused:?}");
        process::set_limit(OPEN_FILES, before.0, before.1).unwrap();
    }
}
