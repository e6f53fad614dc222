//! What can go wrong with networks, one variant for each step.

use std::io;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};

/// A failed step on networks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request. `detail` is its own explanation (`NETLINK_EXT_ACK`), behind ": " if there is one.
    #[error("{act}: {source}{detail}")]
    Netlink { act: String, source: io::Error, detail: String },
    #[error("open a netlink socket: {source}")]
    Socket { source: io::Error },
    #[error("{act}: the kernel's answer makes no sense")]
    Answer { act: String },
    #[error("{act} {}: {source}", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
    #[error("enter the network namespace: {source}")]
    Enter { source: io::Error },
    #[error("no subnet of /{size} is free in {pools}")]
    NoSubnet { pools: String, size: u8 },
    #[error("no address is free in {subnet}")]
    NoAddress { subnet: String },
    /// As Docker says it.
    #[error("Address already in use")]
    AddressTaken { address: std::net::IpAddr },
    #[error("Bind for {address} failed: port is already allocated")]
    PortTaken { address: std::net::SocketAddr, protocol: crate::endpoint::Protocol },
    #[error("bind {address}/{}: {source}", protocol.name())]
    Bind { address: std::net::SocketAddr, protocol: crate::endpoint::Protocol, source: io::Error },
    #[error("the link {name}: it is there, and is not of this network")]
    LinkTaken { name: String },
    #[error("{what}: {reason}")]
    Invalid { what: String, reason: String },
}

impl Error {
    /// Of a failed act on a file, for `map_err`.
    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::File { act, path: path.into(), source }
    }

    /// The kernel's number, if it was the kernel.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Netlink { source, .. }
            | Error::Socket { source }
            | Error::File { source, .. }
            | Error::Enter { source }
            | Error::Bind { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Netlink { source, .. } | Error::Socket { source }
                if source.raw_os_error() == Some(EOPNOTSUPP) =>
            {
                Kind::Unsupported
            }
            Error::Netlink { source, .. }
            | Error::Socket { source }
            | Error::File { source, .. }
            | Error::Enter { source }
            | Error::Bind { source, .. } => Kind::of_io(source),
            Error::Answer { .. } => Kind::Internal,
            Error::NoSubnet { .. } | Error::NoAddress { .. } => Kind::Exhausted,
            Error::AddressTaken { .. } | Error::PortTaken { .. } | Error::LinkTaken { .. } => Kind::Conflict,
            Error::Invalid { .. } => Kind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Netlink { source, .. } if source.raw_os_error() == Some(EOPNOTSUPP) => {
                "this kernel lacks a part: bridge, veth, nf_tables with nft_nat, nft_masq, nft_fib_inet".to_owned()
            }
            Error::Netlink { source, .. } | Error::Socket { source } | Error::Enter { source }
                if source.raw_os_error() == Some(EPERM) =>
            {
                "networks are root's here: run as root, or with --network none".to_owned()
            }
            Error::NoSubnet { .. } => {
                "remove networks that nobody uses (onggi network prune), or widen network.pools in the settings"
                    .to_owned()
            }
            Error::NoAddress { .. } => {
                "remove containers of this network, or make one with a larger --subnet".to_owned()
            }
            Error::AddressTaken { address } => {
                format!("another container has {address}; `onggi network inspect` shows which")
            }
            Error::PortTaken { address, protocol } => format!(
                "another container or program holds {address}/{}: `ss -lnp` shows which; choose another host port",
                protocol.name()
            ),
            Error::Bind { address, source, .. } if source.raw_os_error() == Some(EADDRNOTAVAIL) => {
                format!("{} is no address of this host: `ip addr` lists those that are", address.ip())
            }
            Error::Bind { protocol: crate::endpoint::Protocol::Sctp, source, .. }
                if source.raw_os_error() == Some(EPROTONOSUPPORT) =>
            {
                "this kernel speaks no SCTP: `modprobe sctp` loads it where it is a module".to_owned()
            }
            Error::LinkTaken { name } => format!(
                "`ip -d link show {name}` shows what it is; Onggi uses no bridge that it has not made: choose another com.docker.network.bridge.name"
            ),
            _ => return None,
        })
    }
}

const EPERM: i32 = 1;
const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;
const EADDRNOTAVAIL: i32 = 99;
