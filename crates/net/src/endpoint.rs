//! The live file of an endpoint: one container on one network, with its addresses and names.
//!
//! It is one small JSON file, `endpoints/<container>` in the network's live directory, and the same file under other names:
//! `addresses/<address>`, of which there can be only one, which makes it the lease of that address; and `names/<name>/<container>`, so that
//! looking a name up reads one directory. A file never changes; another is put in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
    /// The host's end of the link.
    pub interface: String,
    /// What of it is reached from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub protocol: Protocol,
    /// The host's address; unspecified is every one of its family.
    pub host_address: IpAddr,
    pub host: u16,
    pub container: u16,
}

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
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

    #[test]
    fn a_newer_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let endpoint = Endpoint {
            version: VERSION,
            network: "n".repeat(64),
            network_name: "shop".to_owned(),
            container: "c".repeat(64),
            names: vec!["web".to_owned()],
            ipv4: Some(Ipv4Addr::new(10, 200, 0, 2)),
            ipv6: None,
            mac: "02:42:0a:c8:00:02".to_owned(),
            interface: "ogcccccccccc".to_owned(),
            ports: vec![Port {
                protocol: Protocol::Tcp,
                host_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                host: 8080,
                container: 80,
            }],
        };
        std::fs::write(file.path(), serde_json::to_vec(&endpoint).unwrap()).unwrap();
        assert_eq!(read(file.path()).unwrap(), endpoint);
        let newer = Endpoint { version: VERSION + 1, ..endpoint };
        std::fs::write(file.path(), serde_json::to_vec(&newer).unwrap()).unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains("newer"));
    }
}
