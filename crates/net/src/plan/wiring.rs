//! The steps that connect a container to a network: typed data, for `--explain` and for [`crate::wire`].

use std::net::IpAddr;

use crate::address::Mac;
use crate::attachment::Attachment;
use crate::nftables::Published;

/// One step. `inside` names a link in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A pair of links: one at the bridge, the other in the container.
    Links {
        name: String,
        bridge: String,
        inside: String,
        mac: Mac,
        mtu: u32,
        ipv6: bool,
        hairpin: bool,
    },
    Address {
        inside: String,
        address: IpAddr,
        prefix: u8,
    },
    DefaultRoute {
        inside: String,
        gateway: IpAddr,
    },
    /// In the table, in one batch.
    Publish {
        ports: Vec<Published>,
    },
}

impl Step {
    /// One sentence for people.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Step::Links { name, bridge, inside, mac, .. } => format!(
                "Make a pair of links: {name} at the bridge {bridge}, and {inside} ({mac}) in the container."
            ),
            Step::Address { inside, address, prefix } => {
                format!("Give {inside} the address {address}/{prefix}, which nobody else has.")
            }
            Step::DefaultRoute { gateway, .. } => format!("Send what is not for this network to {gateway}."),
            Step::Publish { ports } => {
                let list = |kernel_s: bool| {
                    let ports = ports.iter().filter(|port| port.is_kernel_s() == kernel_s);
                    let texts = ports
                        .map(|port| format!("{}/{} to {}", port.host, port.protocol.name(), port.container));
                    texts.collect::<Vec<_>>().join(", ")
                };
                let sentence =
                    |who, ports: String| (!ports.is_empty()).then(|| format!("Have {who} pass on {ports}."));
                let sentences = [sentence("the kernel", list(true)), sentence("the monitor", list(false))];
                sentences.into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// In order.
#[must_use]
pub fn plan(attachment: &Attachment) -> Vec<Step> {
    let Attachment { bridge, mtu, prefix4, prefix6, gateways, endpoint, .. } = attachment;
    let inside = &endpoint.inside;
    let mac = endpoint.mac.parse().unwrap_or_else(|_| Mac::of_id(&endpoint.container));
    let mut steps = vec![Step::Links {
        name: endpoint.interface.clone(),
        bridge: bridge.clone(),
        inside: inside.clone(),
        mac,
        mtu: *mtu,
        ipv6: endpoint.ipv6.is_some(),
        // Only who publishes something can come back to itself.
        hairpin: !endpoint.ports.is_empty(),
    }];
    steps.extend(endpoint.addresses().map(|address| Step::Address {
        inside: inside.clone(),
        address,
        prefix: if address.is_ipv4() { *prefix4 } else { *prefix6 },
    }));
    steps.extend(gateways.iter().map(|&gateway| Step::DefaultRoute { inside: inside.clone(), gateway }));
    let ports: Vec<Published> = endpoint.published().collect();
    if !ports.is_empty() {
        steps.push(Step::Publish { ports });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Endpoint, Port, Protocol, VERSION};

    #[test]
    fn a_container_on_both_families_with_ports() {
        let port = |address: &str, host, container| Port {
            protocol: Protocol::Tcp,
            host_address: address.parse().unwrap(),
            host,
            container,
            count: 1,
        };
        let mut attachment = Attachment {
            run_root: "/run/onggi".into(),
            bridge: "onggi0".into(),
            mtu: 1500,
            prefix4: 22,
            prefix6: 64,
            gateways: vec!["10.192.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            endpoint: Endpoint {
                version: VERSION,
                network: "d".repeat(64),
                network_name: "bridge".into(),
                container: "c".repeat(64),
                names: vec!["web".into()],
                ipv4: Some("10.192.0.2".parse().unwrap()),
                ipv6: Some("fd00::2".parse().unwrap()),
                mac: "02:42:0a:c0:00:02".into(),
                interface: "ogccccccccdddd".into(),
                inside: "eth0".into(),
                ports: vec![port("0.0.0.0", 8080, 80), port("::", 8080, 80), port("::1", 8081, 80)],
            },
        };
        let explained = |attachment: &Attachment| {
            plan(attachment).iter().map(Step::explain).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            explained(&attachment),
            "Make a pair of links: ogccccccccdddd at the bridge onggi0, and eth0 (02:42:0a:c0:00:02) in the container.\n\
             Give eth0 the address 10.192.0.2/22, which nobody else has.\n\
             Give eth0 the address fd00::2/64, which nobody else has.\n\
             Send what is not for this network to 10.192.0.1.\n\
             Send what is not for this network to fd00::1.\n\
             Have the kernel pass on 0.0.0.0:8080/tcp to 10.192.0.2:80, [::]:8080/tcp to [fd00::2]:80."
        );
        attachment.endpoint.ipv6 = None;
        let last = plan(&attachment).pop().unwrap().explain();
        assert_eq!(
            last,
            "Have the kernel pass on 0.0.0.0:8080/tcp to 10.192.0.2:80. Have the monitor pass on [::]:8080/tcp to 10.192.0.2:80."
        );
        attachment.gateways.clear();
        attachment.endpoint.ports.clear();
        let steps = plan(&attachment);
        assert!(matches!(&steps[..], [Step::Links { ipv6: false, .. }, Step::Address { prefix: 22, .. }]));
    }
}
