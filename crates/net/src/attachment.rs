//! What a monitor is told of one network of its container: enough to make the connection, to undo it, and to make it again.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// A container's connection to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The run root, from which the network's live directory and the table's name follow.
    pub run_root: PathBuf,
    /// The network's bridge, which is there.
    pub bridge: String,
    /// Bytes in a packet.
    pub mtu: u32,
    pub prefix4: u8,
    #[serde(default)]
    pub prefix6: u8,
    /// The ways out; empty if they lead elsewhere or there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Written, with its leases taken.
    pub endpoint: Endpoint,
}
