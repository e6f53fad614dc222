//! Who is asked for names that are not ours: the servers that the container was given, or those of the host's resolv.conf.
//!
//! The host's file is looked at before each use and read again when it has changed, as it does when a laptop moves.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::net::{AddressFamily, SocketType};

/// As many servers as resolv.conf(5) knows.
pub const MOST_SERVERS: usize = 3;
/// Where servers listen.
const PORT: u16 = 53;
/// More of a resolv.conf is not read.
const LARGEST_FILE: u64 = 16 * 1024;

/// The host's file.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The servers to ask, in this order.
#[derive(Debug)]
pub enum Servers {
    Given(Vec<SocketAddr>),
    Host { file: PathBuf, state: Option<Stamp>, servers: Vec<SocketAddr> },
}

/// What changes with a file: device, inode, size, and the time of its last change in seconds and nanoseconds.
pub type Stamp = (u64, u64, u64, i64, i64);

impl Servers {
    /// Those at these addresses or, if there are none, those in the host's file.
    #[must_use]
    pub fn new(given: &[IpAddr], file: &Path) -> Servers {
        if given.is_empty() {
            return Servers::Host { file: file.to_owned(), state: None, servers: Vec::new() };
        }
        Servers::Given(
            given.iter().take(MOST_SERVERS).map(|&address| SocketAddr::new(address, PORT)).collect(),
        )
    }

    /// The servers as of now.
    pub fn current(&mut self) -> &[SocketAddr] {
        match self {
            Servers::Given(servers) => servers,
            Servers::Host { file, state, servers } => {
                let stamp = std::fs::metadata(&*file).ok().map(|metadata| {
                    let changed = (metadata.ctime(), metadata.ctime_nsec());
                    (metadata.dev(), metadata.ino(), metadata.size(), changed.0, changed.1)
                });
                if stamp.is_none() || stamp != *state {
                    *servers = read(file).map(|text| parse(&text, interface)).unwrap_or_default();
                    *state = stamp;
                }
                servers
            }
        }
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(
        &mut std::io::Read::take(std::fs::File::open(file)?, LARGEST_FILE),
        &mut bytes,
    )?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first servers in the text of a resolv.conf; a line that is no server's is passed over, as the C libraries do.
fn parse(text: &str, interface: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split(['#', ';']).next()?.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        let word = words.next()?;
        let Some((address, scope)) = word.split_once('%') else {
            return Some(SocketAddr::new(word.parse().ok()?, PORT));
        };
        // A link-local address means nothing without its link.
        let scope = scope.parse().ok().or_else(|| interface(scope))?;
        Some(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, PORT, 0, scope).into())
    });
    servers.take(MOST_SERVERS).collect()
}

/// The number of the host's interface of this name.
fn interface(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(socket.as_fd(), name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        let interface = |name: &str| (name == "eth0").then_some(7);
        parse(text, interface).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_read_from_the_hosts_file() {
        let text = "# nameserver 1.1.1.1\n; nameserver 1.1.1.1\nsearch nameserver\n nameserver\t127.0.0.53 # stub\n\
                    nameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver 9.9.9.9\n";
        assert_eq!(parsed(text), ["127.0.0.53:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]);
        assert_eq!(parsed("nameserver fe80::1%3"), ["[fe80::1%3]:53"]);
        for text in
            ["", "nameserver", "nameserver example.com", "nameserver fe80::1%none", "nameserver 1.1.1.1%eth0"]
        {
            assert!(parsed(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("resolv.conf");
        let mut servers = Servers::new(&[], &file);
        assert!(servers.current().is_empty());
        std::fs::write(&file, "nameserver 1.1.1.1\n").unwrap();
        assert_eq!(servers.current(), ["1.1.1.1:53".parse().unwrap()]);
        // As editors and network managers do it.
        let new = directory.path().join("new");
        std::fs::write(&new, "nameserver 2.2.2.2\n").unwrap();
        std::fs::rename(&new, &file).unwrap();
        assert_eq!(servers.current(), ["2.2.2.2:53".parse().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        assert!(servers.current().is_empty());
    }

    #[test]
    fn the_containers_own_servers_go_before_the_hosts() {
        let addresses = ["1.1.1.1", "fd00::1", "3.3.3.3", "4.4.4.4"].map(|text| text.parse().unwrap());
        let mut servers = Servers::new(&addresses, Path::new("/nonexistent"));
        let servers: Vec<String> = servers.current().iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["1.1.1.1:53", "[fd00::1]:53", "3.3.3.3:53"]);
    }
}
