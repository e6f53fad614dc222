//! What networks look like from outside: `network ls` and `inspect`, and a container's part of it in its own `inspect` and in `ps`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use onggi_net::endpoint::{self, Endpoint, Port};
use serde_json::{Map, Value, json};

use super::{BUILT_IN, DEFAULT, Network, ports};
use crate::Engine;
use crate::error::Error;
use crate::events::label_matches;
use crate::human;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{self, Filters, NetworkRequest};
use crate::summary::Row;

/// `80/tcp`, and the places of the host that lead there.
pub type PublishedPorts = Vec<(String, Vec<(IpAddr, u16)>)>;

/// One line of `network ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSummary {
    pub id: String,
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// RFC 3339; empty for what is built in.
    pub created: String,
    pub internal: bool,
    pub ipv6: bool,
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// The networks by name, with the built-in ones. Filters: `driver`, `id`, `label`, `name`, `scope`, `type`, `dangling`.
    ///
    /// # Errors
    /// A filter that means nothing.
    pub fn networks(&self, filters: &Filters) -> Result<Vec<NetworkSummary>, Error> {
        const KNOWN: [&str; 8] = ["dangling", "driver", "id", "label", "name", "scope", "type", "until"];
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::Invalid { what: format!("invalid filter '{name}'") });
        }
        // Who only looks sees it all the same where it cannot be made: on a full disk, without a free subnet.
        let unmade = self.read_network(DEFAULT)?.is_none() && self.make_default_network().is_err();
        let mut networks: Vec<NetworkSummary> = self.all_networks()?.into_iter().map(summary).collect();
        networks.extend(unmade.then(default_to_be));
        networks.extend(BUILT_IN.map(built_in));
        networks.sort_by(|left, right| left.name.cmp(&right.name));
        let mut wanted = Vec::new();
        for network in networks {
            if self.is_wanted(&network, filters)? {
                wanted.push(network);
            }
        }
        Ok(wanted)
    }

    fn is_wanted(&self, network: &NetworkSummary, filters: &Filters) -> Result<bool, Error> {
        let own = is_built_in(&network.name);
        for (key, values) in filters {
            let invalid = |value: &str| Error::Invalid { what: format!("invalid filter '{key}={value}'") };
            let wanted = match key.as_str() {
                "label" => values.iter().all(|value| label_matches(&network.labels, value)),
                "name" => values.iter().any(|value| network.name.contains(value.as_str())),
                "id" => values.iter().any(|value| network.id.contains(value.as_str())),
                "driver" => values.contains(&network.driver),
                "scope" => values.iter().any(|value| value == "local"),
                "until" => return Err(Error::Invalid { what: "invalid filter 'until'".to_owned() }),
                "type" => {
                    if let Some(value) =
                        values.iter().find(|value| !matches!(value.as_str(), "builtin" | "custom"))
                    {
                        return Err(invalid(value));
                    }
                    values.iter().any(|value| (value == "builtin") == own)
                }
                _ => {
                    let mut any = false;
                    for value in values {
                        let dangling = match value.as_str() {
                            "1" | "true" => true,
                            "0" | "false" => false,
                            other => return Err(invalid(other)),
                        };
                        let is_dangling = !own
                            && self.read_network(&network.name)?.is_some_and(|network| {
                                endpoint::list(&self.endpoints(&network)).is_ok_and(|all| all.is_empty())
                            });
                        any |= dangling == is_dangling;
                    }
                    any
                }
            };
            if !wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Docker's description of a network.
    ///
    /// # Errors
    /// There is none.
    pub fn network_inspect(&self, name: &str) -> Result<Value, Error> {
        if BUILT_IN.contains(&name) {
            let NetworkSummary { id, name, driver, .. } = built_in(name);
            return Ok(json!({
                "Name": name, "Id": id, "Created": "", "Scope": "local", "Driver": driver, "EnableIPv4": true,
                "EnableIPv6": false, "IPAM": { "Driver": "default", "Options": null, "Config": [] }, "Internal": false,
                "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" }, "ConfigOnly": false,
                "Containers": {}, "Options": {}, "Labels": {},
            }));
        }
        let network = self.find_network(name)?;
        let mut containers = Map::new();
        let mut endpoints = endpoint::list(&self.endpoints(&network))?;
        endpoints.sort_by(|left, right| left.names.cmp(&right.names));
        for endpoint in endpoints {
            let with_prefix = |address: Option<std::net::IpAddr>| {
                let prefix = address.and_then(|address| network.range(address.is_ipv4()));
                match (address, prefix) {
                    (Some(address), Some(range)) => format!("{address}/{}", range.subnet.prefix()),
                    _ => String::new(),
                }
            };
            // The record's, as a name in DNS has no capitals.
            let id = endpoint.container.parse().ok();
            let name = id.and_then(|id| self.record(&id).ok()).map_or_else(String::new, |record| record.name);
            containers.insert(
                endpoint.container.clone(),
                json!({
                    "Name": name,
                    "EndpointID": endpoint_id(&endpoint),
                    "MacAddress": endpoint.mac,
                    "IPv4Address": with_prefix(endpoint.ipv4.map(Into::into)),
                    "IPv6Address": with_prefix(endpoint.ipv6.map(Into::into)),
                }),
            );
        }
        let mut options = network.options.clone();
        let bridge = network.bridge(&self.instance());
        options.entry(super::create::BRIDGE_NAME.to_owned()).or_insert(bridge);
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": true,
            "EnableIPv6": network.ipv6,
            "IPAM": {
                "Driver": "default",
                "Options": null,
                "Config": network.subnets.iter().map(|range| {
                    let mut config = json!({ "Subnet": range.subnet, "Gateway": range.gateway });
                    if let (Some(range), Some(config)) = (range.range, config.as_object_mut()) {
                        config.insert("IPRange".to_owned(), json!(range));
                    }
                    config
                }).collect::<Vec<_>>(),
            },
            "Internal": network.internal,
            "Attachable": false,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": containers,
            "Options": options,
            "Labels": network.labels,
        }))
    }

    /// The published ports of a container: `80/tcp` and the places of the host that lead there. None unless it runs.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn published_ports(&self, id: &ContainerId) -> Result<PublishedPorts, Error> {
        let record = self.record(id)?;
        Ok(ports::by_container_port(&self.live_ports(&record)?))
    }

    fn live_ports(&self, record: &Record) -> Result<Vec<Port>, Error> {
        if record.request.publish.is_empty() && !record.request.publish_all {
            return Ok(Vec::new());
        }
        Ok(self.live_endpoints(record)?.into_iter().flat_map(|(_, endpoint)| endpoint.ports).collect())
    }

    /// `NetworkSettings` of a container.
    pub(crate) fn network_settings(&self, record: &Record, live: bool, pid: i32) -> Value {
        let endpoints = if live { self.live_endpoints(record).unwrap_or_default() } else { Vec::new() };
        let mut networks = Map::new();
        match &record.request.network {
            request::Network::Bridge => {
                for wanted in &record.resolved.networks {
                    let there = endpoints.iter().find(|(network, _)| is_named(network, &wanted.name));
                    let name =
                        there.map_or_else(|| familiar(&wanted.name), |(network, _)| network.name.clone());
                    networks.insert(name, self.endpoint_settings(record, wanted, there));
                }
            }
            request::Network::Container(_) => {}
            request::Network::None | request::Network::Host => {
                let name = record.request.network.name();
                networks.insert(name.clone(), endpoint_settings(&json!({}), &built_in(&name).id, ""));
            }
        }
        let mut ports = Map::new();
        for exposed in &record.resolved.exposed_ports {
            if live {
                ports.insert(exposed.clone(), Value::Null);
            }
        }
        let all: Vec<Port> = endpoints.iter().flat_map(|(_, endpoint)| endpoint.ports.clone()).collect();
        for (name, places) in ports::by_container_port(&all) {
            let places: Vec<Value> = places
                .iter()
                .map(|(address, port)| json!({ "HostIp": address.to_string(), "HostPort": port.to_string() }))
                .collect();
            ports.insert(name, json!(places));
        }
        let key = if live { format!("/proc/{pid}/ns/net") } else { String::new() };
        // Docker's older clients read the default network's address here.
        let default = networks.get(DEFAULT).cloned().unwrap_or_else(|| endpoint_settings(&json!({}), "", ""));
        let of_default = |name: &str| default.get(name).cloned().unwrap_or(Value::Null);
        json!({
            "Bridge": "",
            "SandboxID": if live { record.id.as_str() } else { "" },
            "SandboxKey": key,
            "Ports": ports,
            "HairpinMode": false,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null,
            "EndpointID": of_default("EndpointID"),
            "Gateway": of_default("Gateway"),
            "GlobalIPv6Address": of_default("GlobalIPv6Address"),
            "GlobalIPv6PrefixLen": of_default("GlobalIPv6PrefixLen"),
            "IPAddress": of_default("IPAddress"),
            "IPPrefixLen": of_default("IPPrefixLen"),
            "IPv6Gateway": of_default("IPv6Gateway"),
            "MacAddress": of_default("MacAddress"),
            "Networks": networks,
        })
    }

    fn endpoint_settings(
        &self,
        record: &Record,
        wanted: &NetworkRequest,
        there: Option<&(Network, Endpoint)>,
    ) -> Value {
        let fixed = wanted.ipv4.is_some() || wanted.ipv6.is_some();
        let mut ipam = Map::new();
        if let Some(address) = wanted.ipv4 {
            ipam.insert("IPv4Address".to_owned(), json!(address));
        }
        if let Some(address) = wanted.ipv6 {
            ipam.insert("IPv6Address".to_owned(), json!(address));
        }
        let mut all = json!({
            "IPAMConfig": if fixed { json!(ipam) } else { Value::Null },
            "Aliases": if wanted.aliases.is_empty() { Value::Null } else { json!(wanted.aliases) },
            "MacAddress": wanted.mac.clone().unwrap_or_default(),
        });
        let mut id = String::new();
        if let (Some((network, endpoint)), Some(fields)) = (there, all.as_object_mut()) {
            id.clone_from(&network.id);
            fields.insert("MacAddress".to_owned(), json!(endpoint.mac));
            let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
            if let (Some(range), Some(address)) = (network.range(true), endpoint.ipv4) {
                add(
                    "Gateway",
                    json!(if network.internal { String::new() } else { range.gateway.to_string() }),
                );
                add("IPAddress", json!(address));
                add("IPPrefixLen", json!(range.subnet.prefix()));
            }
            if let (Some(range), Some(address)) = (network.range(false), endpoint.ipv6) {
                add(
                    "IPv6Gateway",
                    json!(if network.internal { String::new() } else { range.gateway.to_string() }),
                );
                add("GlobalIPv6Address", json!(address));
                add("GlobalIPv6PrefixLen", json!(range.subnet.prefix()));
            }
            if !network.is_default() {
                let names = super::attach::names(record, wanted);
                add("DNSNames", json!(names));
            }
        }
        endpoint_settings(&all, &id, &there.map_or_else(String::new, |(_, endpoint)| endpoint_id(endpoint)))
    }

    /// The column of `ps`: `0.0.0.0:8080->80/tcp, 443/tcp`.
    pub(crate) fn shown_ports(&self, id: &ContainerId, row: &Row) -> String {
        let mut ports = Vec::new();
        // Only those that may have some are looked at.
        for name in row.networks.iter().filter(|_| row.publishes) {
            let Ok(network) = self.find_network(name) else { continue };
            let endpoint = endpoint::read(&self.endpoints(&network).endpoints().join(id.as_str()));
            ports.extend(endpoint.map(|endpoint| endpoint.ports).unwrap_or_default());
        }
        human::ports(&ports, &row.exposed_ports)
    }
}

/// All of Docker's fields, with these in place of the empty ones.
fn endpoint_settings(known: &Value, network: &str, endpoint: &str) -> Value {
    let mut all = json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "MacAddress": "",
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": network,
        "EndpointID": endpoint,
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    });
    if let (Some(all), Some(known)) = (all.as_object_mut(), known.as_object()) {
        all.extend(known.clone());
    }
    all
}

/// What tells an endpoint from others: half of each id.
fn endpoint_id(endpoint: &Endpoint) -> String {
    let half = |id: &str| id.get(..32).unwrap_or(id).to_owned();
    half(&endpoint.container) + &half(&endpoint.network)
}

fn is_named(network: &Network, name: &str) -> bool {
    network.name == familiar(name) || network.id.starts_with(name)
}

fn familiar(name: &str) -> String {
    if name == "default" { DEFAULT.to_owned() } else { name.to_owned() }
}

fn is_built_in(name: &str) -> bool {
    name == DEFAULT || BUILT_IN.contains(&name)
}

fn summary(network: Network) -> NetworkSummary {
    let Network { id, name, driver, created, internal, ipv6, labels, .. } = network;
    NetworkSummary { id, name, driver, created, internal, ipv6, labels }
}

/// `bridge`, before its first use.
fn default_to_be() -> NetworkSummary {
    NetworkSummary { id: String::new(), driver: DEFAULT.to_owned(), ..built_in(DEFAULT) }
}

/// `host` and `none`, which have no record; their ids are made of their names.
fn built_in(name: &str) -> NetworkSummary {
    let hexadecimal: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    NetworkSummary {
        id: format!("{hexadecimal:0<64}"),
        name: name.to_owned(),
        driver: if name == "none" { "null".to_owned() } else { name.to_owned() },
        created: String::new(),
        internal: false,
        ipv6: false,
        labels: BTreeMap::new(),
    }
}
