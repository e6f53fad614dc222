//! The live file of an endpoint: one container on one network, with its addresses and names.
//!
//! It is one small JSON file, `endpoints/<container>` in the network's live directory, and the same file under other names:
//! `addresses/<address>`, of which there can be only one, which makes it the lease of that address; and `names/<name>/<container>`, so that
//! looking a name up reads one directory. A file never changes; another is put in its place.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The longest name that DNS can carry (RFC 1035 §2.3.4), in bytes.
pub const MAX_NAME: usize = 253;

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// [`VERSION`].
    pub version: u32,
    /// The id and the name of the network.
    pub network: String,
    pub network_name: String,
    /// 64 lower-case hexadecimal digits. The sandbox whose network namespace it is has the same id.
    pub container: String,
    /// What it is found by, lower case, without the network's name: the container's name first (which an address is answered with), then
    /// its aliases, its short id, its host name.
    pub names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// `02:42:…`.
    pub mac: String,
    /// The host's end of the link, and the container's.
    pub interface: String,
    pub inside: String,
    /// What of it is reached from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

impl Endpoint {
    /// One or two.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// A published port, or several in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub protocol: Protocol,
    /// The host's address; unspecified is every one of its family.
    pub host_address: IpAddr,
    pub host: u16,
    pub container: u16,
    /// How many in a row.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
}

fn one() -> u16 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(count: &u16) -> bool {
    *count == 1
}

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As ports are written: `80/tcp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// In an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// Where the live files of a network are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Of the network with this id, below Onggi's run root.
    #[must_use]
    pub fn new(run_root: &Path, network: &str) -> Directory {
        Directory { path: run_root.join("networks").join(network) }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One file for each container.
    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.path.join("endpoints")
    }

    /// One file for each address in use, named by the address as it is written (RFC 5952).
    #[must_use]
    pub fn addresses(&self) -> PathBuf {
        self.path.join("addresses")
    }

    /// One directory for each name in use, and in it one file for each container that carries it.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.path.join("names")
    }

    /// The file whose being there leases an address.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> PathBuf {
        self.addresses().join(address.to_string())
    }

    /// The directory of those who carry a name, whatever its case; `None` if nobody can carry it.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<PathBuf> {
        file_name(name).map(|name| self.names().join(name))
    }
}

/// Takes the addresses and names of an endpoint, so that it is found by them. Whoever calls holds the container's lock.
///
/// The addresses come first and go last: whatever else there is of an endpoint, there is a file in `addresses/` that tells whose.
///
/// # Errors
/// [`Error::AddressTaken`], and then nothing is left; [`Error::File`].
pub fn claim(directory: &Directory, endpoint: &Endpoint) -> Result<(), Error> {
    let claimed = try_claim(directory, endpoint);
    if claimed.is_err() {
        // The failure is what matters; what stays is swept by whoever wants the address.
        let _ = release(directory, endpoint);
    }
    claimed
}

fn try_claim(directory: &Directory, endpoint: &Endpoint) -> Result<(), Error> {
    for path in [directory.endpoints(), directory.addresses(), directory.names()] {
        make_directory(&path)?;
    }
    let file = directory.endpoints().join(&endpoint.container);
    let new = directory.path().join(format!(".{}", endpoint.container));
    // One of a claim that was cut short may be the lease of another address, and must not be written into.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::file("remove", new)(error)),
        _ => {}
    }
    // A structure of strings and numbers always encodes.
    let bytes = serde_json::to_vec(endpoint).unwrap_or_default();
    std::fs::write(&new, bytes).map_err(Error::file("write", &new))?;
    onggi_sys::fault::point("net.endpoint.written");
    let linked = endpoint.addresses().try_for_each(|address| {
        match std::fs::hard_link(&new, directory.address(address)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::AddressTaken { address }),
            other => other.map_err(Error::file("link", directory.address(address))),
        }
    });
    onggi_sys::fault::point("net.endpoint.addressed");
    // Also when it failed: the file by its first name is what tells our addresses from others'.
    std::fs::rename(&new, &file).map_err(Error::file("rename", &new))?;
    linked?;
    onggi_sys::fault::point("net.endpoint.placed");
    for name in &endpoint.names {
        add_name(directory, name, &file, &endpoint.container)?;
    }
    Ok(())
}

fn add_name(directory: &Directory, name: &str, file: &Path, container: &str) -> Result<(), Error> {
    let Some(place) = directory.name(name) else { return Ok(()) };
    let link = place.join(container);
    // Whoever gave the name up removes its directory, perhaps between these two.
    for _ in 0..MOST_ATTEMPTS {
        make_directory(&place)?;
        match std::fs::hard_link(file, &link) {
            Err(error) if error.kind() == ErrorKind::NotFound && file.exists() => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Of a life of this container that ended badly.
                std::fs::remove_file(&link).map_err(Error::file("remove", &link))?;
            }
            other => return other.map_err(Error::file("link", link)),
        }
    }
    Err(Error::File { act: "link", path: link, source: ErrorKind::ResourceBusy.into() })
}

/// Puts a file with other names in the place of an endpoint's; its addresses stay.
///
/// # Errors
/// [`Error::File`].
pub fn rename(directory: &Directory, endpoint: &Endpoint) -> Result<(), Error> {
    let file = directory.endpoints().join(&endpoint.container);
    let before = read(&file).map_err(Error::file("read", &file))?;
    let new = directory.path().join(format!(".{}", endpoint.container));
    std::fs::write(&new, serde_json::to_vec(endpoint).unwrap_or_default())
        .map_err(Error::file("write", &new))?;
    // The address first: who is asked for it answers with the new name, and it is never without a holder.
    for address in endpoint.addresses() {
        let again = directory.path().join(format!(".{}-address", endpoint.container));
        let _ = std::fs::remove_file(&again);
        std::fs::hard_link(&new, &again).map_err(Error::file("link", &again))?;
        std::fs::rename(&again, directory.address(address)).map_err(Error::file("rename", again))?;
    }
    std::fs::rename(&new, &file).map_err(Error::file("rename", &new))?;
    onggi_sys::fault::point("net.endpoint.renamed");
    for name in &endpoint.names {
        add_name(directory, name, &file, &endpoint.container)?;
    }
    for name in before.names.iter().filter(|name| !endpoint.names.contains(name)) {
        if let Some(place) = directory.name(name) {
            let link = place.join(&endpoint.container);
            std::fs::remove_file(&link).map_err(Error::file("remove", link))?;
            let _ = std::fs::remove_dir(place);
        }
    }
    Ok(())
}

/// Gives up everything that [`claim`] took; what is not there, or another's by now, is fine.
///
/// # Errors
/// [`Error::File`], after everything that could be removed was.
pub fn release(directory: &Directory, endpoint: &Endpoint) -> Result<(), Error> {
    let mut result = Ok(());
    let mut remove = |path: PathBuf| match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound && result.is_ok() => {
            result = Err(Error::file("remove", path)(error));
        }
        _ => {}
    };
    // A container may have another name by now than its caller knows.
    let now = find(directory, &endpoint.container).map(|now| now.names).unwrap_or_default();
    for place in endpoint.names.iter().chain(&now).filter_map(|name| directory.name(name)) {
        remove(place.join(&endpoint.container));
        // Others may carry it too.
        let _ = std::fs::remove_dir(place);
    }
    onggi_sys::fault::point("net.endpoint.nameless");
    let file = directory.endpoints().join(&endpoint.container);
    for address in endpoint.addresses() {
        let lease = directory.address(address);
        if is_one_file(&file, &lease)
            || read(&lease).is_ok_and(|holder| holder.container == endpoint.container)
        {
            remove(lease);
        }
    }
    onggi_sys::fault::point("net.endpoint.unaddressed");
    remove(file);
    remove(directory.path().join(format!(".{}", endpoint.container)));
    result
}

/// Everybody on a network, in no order. What is half made is not among them.
///
/// # Errors
/// [`Error::File`].
pub fn list(directory: &Directory) -> Result<Vec<Endpoint>, Error> {
    let names = file_names(&directory.endpoints())?;
    // One that went in the meantime, or that a newer Onggi wrote, is not to be shown.
    Ok(names.iter().filter_map(|name| read(&directory.endpoints().join(name)).ok()).collect())
}

/// What there is of a container on a network, be it half made.
#[must_use]
pub fn find(directory: &Directory, container: &str) -> Option<Endpoint> {
    let places = [directory.endpoints().join(container), directory.path().join(format!(".{container}"))];
    places.iter().find_map(|path| read(path).ok())
}

/// The addresses that are leased.
///
/// # Errors
/// [`Error::File`].
pub fn addresses(directory: &Directory) -> Result<Vec<IpAddr>, Error> {
    Ok(file_names(&directory.addresses())?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The endpoints of every lease and every file that is there: for whoever looks for what was left behind.
///
/// # Errors
/// [`Error::File`].
pub fn all_traces(directory: &Directory) -> Result<Vec<Endpoint>, Error> {
    let mut traces: Vec<Endpoint> = Vec::new();
    for place in [directory.addresses(), directory.endpoints()] {
        for name in file_names(&place)? {
            let Ok(mut trace) = read(&place.join(&name)) else { continue };
            // The lease is what the file is called, whatever it says.
            match name.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) if trace.ipv4 != Some(address) => trace.ipv4 = Some(address),
                Ok(IpAddr::V6(address)) if trace.ipv6 != Some(address) => trace.ipv6 = Some(address),
                _ => {}
            }
            if !traces.contains(&trace) {
                traces.push(trace);
            }
        }
    }
    Ok(traces)
}

fn file_names(path: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", path))?,
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

fn is_one_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.ino() == other.ino() && one.dev() == other.dev(),
        _ => false,
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("make the directory", path))
}

/// How often a name is given that others keep giving up.
const MOST_ATTEMPTS: u32 = 100;

/// The name as the name of a file; `None` if no endpoint may carry it, be it too long or no file's name.
#[must_use]
pub fn file_name(name: &str) -> Option<String> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && !name.bytes().any(|byte| byte == b'/' || byte.is_ascii_control() || byte == b' ');
    fits.then(|| name.to_ascii_lowercase())
}

/// Reads an endpoint's file.
///
/// # Errors
/// `NotFound`; `InvalidData` if it is no endpoint, or one of a newer version.
pub fn read(path: &Path) -> std::io::Result<Endpoint> {
    let invalid = |message: String| std::io::Error::new(std::io::ErrorKind::InvalidData, message);
    let endpoint: Endpoint =
        serde_json::from_slice(&std::fs::read(path)?).map_err(|error| invalid(error.to_string()))?;
    if endpoint.version > VERSION {
        return Err(invalid(format!(
            "an endpoint's file of version {}, newer than {VERSION}, which this program knows",
            endpoint.version
        )));
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_file_of_its_own_is_a_name() {
        for (name, wanted) in [
            ("Web", Some("web")),
            ("a.b-c_d", Some("a.b-c_d")),
            ("", None),
            (".", None),
            ("..", None),
            ("a/b", None),
            ("a\0b", None),
            ("a b", None),
        ] {
            assert_eq!(file_name(name).as_deref(), wanted, "{name:?}");
        }
        assert_eq!(file_name(&"a".repeat(MAX_NAME + 1)), None);
    }

    fn endpoint(container: &str, address: [u8; 4], names: &[&str]) -> Endpoint {
        Endpoint {
            version: VERSION,
            network: "n".repeat(64),
            network_name: "shop".to_owned(),
            container: container.repeat(64),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ipv4: Some(address.into()),
            ipv6: None,
            mac: "02:42:0a:c8:00:02".to_owned(),
            interface: "ogcccccccccc".to_owned(),
            inside: "eth0".to_owned(),
            ports: vec![Port {
                protocol: Protocol::Tcp,
                host_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                host: 8080,
                container: 80,
                count: 1,
            }],
        }
    }

    #[test]
    fn a_newer_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let endpoint = endpoint("c", [10, 0, 0, 2], &["web"]);
        std::fs::write(file.path(), serde_json::to_vec(&endpoint).unwrap()).unwrap();
        assert_eq!(read(file.path()).unwrap(), endpoint);
        let newer = Endpoint { version: VERSION + 1, ..endpoint };
        std::fs::write(file.path(), serde_json::to_vec(&newer).unwrap()).unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn an_address_has_one_holder_and_a_name_many() {
        let run = tempfile::tempdir().unwrap();
        let directory = Directory::new(run.path(), "n");
        let carriers = |name: &str| {
            let mut all = file_names(&directory.name(name).unwrap()).unwrap();
            all.sort();
            all.iter().map(|container| container[..1].to_owned()).collect::<String>()
        };
        let first = endpoint("a", [10, 0, 0, 2], &["web", "one"]);
        let second = endpoint("b", [10, 0, 0, 3], &["WEB", "two"]);
        claim(&directory, &first).unwrap();
        claim(&directory, &second).unwrap();
        assert_eq!(
            (carriers("web"), carriers("Web"), carriers("two")),
            ("ab".into(), "ab".into(), "b".into())
        );
        let thief = endpoint("c", [10, 0, 0, 2], &["web"]);
        assert!(matches!(claim(&directory, &thief), Err(Error::AddressTaken { .. })));
        assert_eq!(carriers("web"), "ab");
        assert_eq!(list(&directory).unwrap().len(), 2);

        // A release of what another has by now takes nothing from it.
        release(&directory, &thief).unwrap();
        assert_eq!(addresses(&directory).unwrap().len(), 2);
        release(&directory, &first).unwrap();
        assert_eq!((carriers("web"), carriers("one")), ("b".into(), String::new()));
        claim(&directory, &thief).unwrap();
        release(&directory, &first).unwrap();
        assert_eq!(read(&directory.address([10, 0, 0, 2].into())).unwrap(), thief);
        release(&directory, &thief).unwrap();
        release(&directory, &second).unwrap();
        for place in [directory.endpoints(), directory.addresses(), directory.names()] {
            assert!(file_names(&place).unwrap().is_empty(), "{place:?}");
        }
    }

    #[test]
    fn a_claim_that_was_cut_short_is_found_and_can_be_made_again() {
        let run = tempfile::tempdir().unwrap();
        let directory = Directory::new(run.path(), "n");
        let one = endpoint("a", [10, 0, 0, 2], &["web"]);
        claim(&directory, &one).unwrap();
        // As a kill right behind the address leaves it.
        std::fs::rename(directory.endpoints().join(&one.container), directory.path().join(".aaaa")).unwrap();
        assert!(list(&directory).unwrap().is_empty());
        assert_eq!(all_traces(&directory).unwrap(), std::slice::from_ref(&one));
        release(&directory, &one).unwrap();
        assert!(all_traces(&directory).unwrap().is_empty());
        claim(&directory, &one).unwrap();
        assert_eq!(list(&directory).unwrap(), [one]);
    }

    #[test]
    fn a_lease_that_was_cut_short_is_not_written_into_by_the_next() {
        let run = tempfile::tempdir().unwrap();
        let directory = Directory::new(run.path(), "n");
        let (one, two) = (endpoint("a", [10, 0, 0, 2], &["web"]), endpoint("a", [10, 0, 0, 3], &["web"]));
        claim(&directory, &one).unwrap();
        // As a kill right behind the address leaves it: both are one file.
        std::fs::rename(
            directory.endpoints().join(&one.container),
            directory.path().join(format!(".{}", one.container)),
        )
        .unwrap();
        claim(&directory, &two).unwrap();
        assert_eq!(read(&directory.address([10, 0, 0, 2].into())).unwrap(), one);
        // Also one that says something else is found by its name.
        std::fs::remove_file(directory.address([10, 0, 0, 2].into())).unwrap();
        std::fs::hard_link(directory.address([10, 0, 0, 3].into()), directory.address([10, 0, 0, 2].into()))
            .unwrap();
        for trace in all_traces(&directory).unwrap() {
            release(&directory, &trace).unwrap();
        }
        assert!(addresses(&directory).unwrap().is_empty());
        assert!(all_traces(&directory).unwrap().is_empty());
    }
}
