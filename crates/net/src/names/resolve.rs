//! What a query is answered with: a pure function of the query, the networks that a sandbox is on, and who is found there.
//!
//! The rules are those of Docker's embedded server (moby, `daemon/libnetwork/resolver.go` and `sandbox.go`), since compose files lean on
//! them; where those forward a question about a local name, this one does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::message::{INTERNET, Query, kind};
use super::name::Name;
use super::random::Random;

/// No answer has more addresses, so that the largest one fits into a message of [`super::message::LARGEST`] bytes.
pub const MOST_ADDRESSES: usize = 128;

/// What a sandbox's names are served from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Onggi's run root, below which are the live files of networks ([`crate::endpoint::Directory`]).
    pub run_root: PathBuf,
    /// Those that the sandbox is on, in the order in which they are asked.
    pub networks: Vec<Network>,
    /// Who is asked for all other names, at most [`super::upstream::MOST_SERVERS`]. Empty: the host's own.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    /// The container's resolv.conf asks for more than no dots in a name (`ndots`), so its clients try such names behind the search
    /// domains; alone they are not for the world.
    #[serde(default)]
    pub dotted_only: bool,
    /// Others are asked although there is no network with names: the sandbox is on one that leads out, and could not ask them itself.
    #[serde(default)]
    pub asks_others: bool,
}

/// A network that a sandbox is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// It has no way out, and names must not become one (CVE-2024-29018).
    #[serde(default)]
    pub internal: bool,
}

/// The addresses of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

/// Where endpoints are found.
pub trait Lookup {
    /// Those on the network that carry the name, in lower case: all, or [`MOST_ADDRESSES`] of them by chance.
    fn by_name(&self, network: &Network, name: &str, random: &mut Random) -> Vec<Addresses>;
    /// The first name of the endpoint with this address.
    fn by_address(&self, network: &Network, address: IpAddr) -> Option<String>;
}

/// What a query is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// In the order in which they are to be sent. None: the name is known, and has nothing of the kind asked for.
    Addresses(Vec<IpAddr>),
    Pointer(Box<Name>),
    /// Somebody else has to know.
    Forward,
    /// Somebody else would have to be asked, and must not be.
    Keep,
    /// What is not for servers like this one: transfers of zones.
    Refuse,
}

/// Answers a query.
pub fn resolve(config: &Config, lookup: &dyn Lookup, query: &Query<'_>, random: &mut Random) -> Answer {
    if matches!(query.kind, kind::AXFR | kind::IXFR) {
        return Answer::Refuse;
    }
    local(config, lookup, query, random).unwrap_or_else(|| elsewhere(config, query))
}

fn local(config: &Config, lookup: &dyn Lookup, query: &Query<'_>, random: &mut Random) -> Option<Answer> {
    if query.class != INTERNET {
        return None;
    }
    if query.kind == kind::PTR
        && let Some(address) = query.name.reverse()
    {
        return config.networks.iter().find_map(|network| {
            let name = lookup.by_address(network, address)?;
            Name::from_text(&format!("{name}.{}", network.name)).map(|name| Answer::Pointer(Box::new(name)))
        });
    }
    let text = query.name.text()?;
    let mut known = false;
    for (name, suffix) in splits(&text) {
        for network in &config.networks {
            if suffix.is_some_and(|suffix| !suffix.eq_ignore_ascii_case(&network.name)) {
                continue;
            }
            let found = lookup.by_name(network, name, random);
            known |= !found.is_empty();
            let mut addresses = wanted(&found, query.kind);
            if !addresses.is_empty() {
                random.shuffle(&mut addresses);
                addresses.truncate(MOST_ADDRESSES);
                return Some(Answer::Addresses(addresses));
            }
        }
    }
    known.then(|| Answer::Addresses(Vec::new()))
}

/// The ways to read a text as a name, and behind it perhaps that of a network; both may have dots.
fn splits(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let dots = text.rmatch_indices('.').map(|(dot, _)| (&text[..dot], Some(&text[dot + 1..])));
    std::iter::once((text, None)).filter(|_| !text.is_empty()).chain(dots)
}

fn wanted(endpoints: &[Addresses], kind: u16) -> Vec<IpAddr> {
    let four = matches!(kind, kind::A | kind::ANY);
    let six = matches!(kind, kind::AAAA | kind::ANY);
    let of = |endpoint: &Addresses| {
        let ipv4 = endpoint.ipv4.filter(|_| four).map(IpAddr::V4);
        let ipv6 = endpoint.ipv6.filter(|_| six).map(IpAddr::V6);
        [ipv4, ipv6]
    };
    endpoints.iter().flat_map(of).flatten().collect()
}

fn elsewhere(config: &Config, query: &Query<'_>) -> Answer {
    if !config.asks_others && config.networks.iter().all(|network| network.internal) {
        return Answer::Keep;
    }
    let is_address = matches!(query.kind, kind::A | kind::AAAA);
    let is_single = query.name.text().is_some_and(|text| !text.is_empty() && !text.contains('.'));
    if config.dotted_only && is_address && is_single {
        return Answer::Addresses(Vec::new());
    }
    Answer::Forward
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    /// network, name, addresses
    struct Table(Vec<(&'static str, &'static str, &'static str)>);

    impl Lookup for Table {
        fn by_name(&self, network: &Network, name: &str, _: &mut Random) -> Vec<Addresses> {
            let mine = self.0.iter().filter(|row| row.0 == network.id && row.1 == name);
            mine.map(|row| {
                let mut addresses = Addresses { ipv4: None, ipv6: None };
                for address in row.2.split(' ') {
                    match address.parse().unwrap() {
                        IpAddr::V4(address) => addresses.ipv4 = Some(address),
                        IpAddr::V6(address) => addresses.ipv6 = Some(address),
                    }
                }
                addresses
            })
            .collect()
        }

        fn by_address(&self, network: &Network, address: IpAddr) -> Option<String> {
            let address = address.to_string();
            let row =
                self.0.iter().find(|row| row.0 == network.id && row.2.split(' ').any(|of| of == address));
            row.map(|row| row.1.to_owned())
        }
    }

    fn network(id: &str, name: &str, internal: bool) -> Network {
        Network { id: id.into(), name: name.into(), internal }
    }

    fn shop() -> (Config, Table) {
        let config = Config {
            networks: vec![network("1", "shop", false), network("2", "back.End", true)],
            ..Config::default()
        };
        let table = Table(vec![
            ("1", "web", "10.200.0.2"),
            ("1", "0123456789ab", "10.200.0.2"),
            ("1", "both", "10.200.0.3 fd00::3"),
            ("1", "shared", "10.200.0.4"),
            ("2", "shared", "10.200.1.4 fd01::4"),
            ("2", "db", "10.200.1.2"),
            ("2", "a.b", "10.200.1.9"),
            ("1", "app", "10.200.0.5"),
            ("1", "app", "10.200.0.6"),
            ("1", "app", "fd00::7"),
        ]);
        (config, table)
    }

    fn ask(config: &Config, table: &Table, name: &str, kind: u16) -> Answer {
        let bytes = testing::query(1, name, kind);
        resolve(config, table, &Query::parse(&bytes).unwrap(), &mut Random::from_seed(1))
    }

    fn addresses(texts: &[&str]) -> Answer {
        Answer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn names_and_what_they_are_answered_with() {
        const MX: u16 = 15;
        const HTTPS: u16 = 65;
        let (config, table) = shop();
        for (name, kind, wanted) in [
            ("web", kind::A, addresses(&["10.200.0.2"])),
            ("WeB", kind::A, addresses(&["10.200.0.2"])),
            ("0123456789ab", kind::A, addresses(&["10.200.0.2"])),
            ("web.shop", kind::A, addresses(&["10.200.0.2"])),
            ("web.SHOP", kind::A, addresses(&["10.200.0.2"])),
            // A name is looked for on the network that it says, and on no other.
            ("web.back.end", kind::A, Answer::Forward),
            ("db.back.end", kind::A, addresses(&["10.200.1.2"])),
            ("a.b", kind::A, addresses(&["10.200.1.9"])),
            ("a.b.back.end", kind::A, addresses(&["10.200.1.9"])),
            ("both", kind::AAAA, addresses(&["fd00::3"])),
            // The first network on which there is such an address.
            ("shared", kind::A, addresses(&["10.200.0.4"])),
            ("shared", kind::AAAA, addresses(&["fd01::4"])),
            ("shared.shop", kind::AAAA, addresses(&[])),
            // Clients that ask for both must not be told that there is no such name, nor wait for somebody far away.
            ("web", kind::AAAA, addresses(&[])),
            ("web", MX, addresses(&[])),
            ("web.shop", HTTPS, addresses(&[])),
            ("web", kind::PTR, addresses(&[])),
            ("nobody", kind::A, Answer::Forward),
            ("example.com", kind::A, Answer::Forward),
            ("example.com", MX, Answer::Forward),
            ("web", kind::AXFR, Answer::Refuse),
            ("example.com", kind::IXFR, Answer::Refuse),
        ] {
            assert_eq!(ask(&config, &table, name, kind), wanted, "{name} {kind}");
        }
        let Answer::Addresses(mut any) = ask(&config, &table, "both", kind::ANY) else { panic!() };
        any.sort();
        assert_eq!(Answer::Addresses(any), addresses(&["10.200.0.3", "fd00::3"]));
    }

    #[test]
    fn addresses_have_the_name_of_their_container() {
        let (config, table) = shop();
        let three = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        for (name, wanted) in [
            ("2.0.200.10.in-addr.arpa", Some("web.shop")),
            ("2.1.200.10.in-addr.arpa", Some("db.back.End")),
            (three, Some("both.shop")),
            ("1.1.1.1.in-addr.arpa", None),
        ] {
            let wanted = wanted
                .map_or(Answer::Forward, |name| Answer::Pointer(Box::new(Name::from_text(name).unwrap())));
            assert_eq!(ask(&config, &table, name, kind::PTR), wanted, "{name}");
        }
    }

    #[test]
    fn who_shares_a_name_is_shuffled() {
        let (config, table) = shop();
        let bytes = testing::query(1, "app", kind::A);
        let query = Query::parse(&bytes).unwrap();
        let mut random = Random::from_seed(1);
        let mut first = [0; 2];
        for _ in 0..1000 {
            let Answer::Addresses(addresses) = resolve(&config, &table, &query, &mut random) else {
                panic!()
            };
            assert_eq!(addresses.len(), 2);
            first[usize::from(addresses[0] == IpAddr::from([10, 200, 0, 6]))] += 1;
        }
        assert!(first.iter().all(|&count| count > 400), "{first:?}");
    }

    #[test]
    fn an_internal_network_keeps_to_itself() {
        let (mut config, table) = shop();
        config.networks.retain(|network| network.internal);
        for (name, kind) in
            [("example.com", kind::A), ("nobody", kind::A), ("1.1.1.1.in-addr.arpa", kind::PTR)]
        {
            assert_eq!(ask(&config, &table, name, kind), Answer::Keep, "{name}");
        }
        assert_eq!(ask(&config, &table, "db", kind::A), addresses(&["10.200.1.2"]));
        config.networks.clear();
        assert_eq!(ask(&config, &table, "db", kind::A), Answer::Keep);
        config.asks_others = true;
        assert_eq!(ask(&config, &table, "db", kind::A), Answer::Forward);
    }

    #[test]
    fn with_ndots_single_words_stay_here() {
        let (mut config, table) = shop();
        config.dotted_only = true;
        assert_eq!(ask(&config, &table, "nobody", kind::A), addresses(&[]));
        assert_eq!(ask(&config, &table, "nobody.example", kind::A), Answer::Forward);
        assert_eq!(ask(&config, &table, "nobody", 15), Answer::Forward);
        assert_eq!(ask(&config, &table, "web", kind::A), addresses(&["10.200.0.2"]));
    }

    #[test]
    fn other_classes_and_odd_bytes_are_not_ours() {
        let (config, table) = shop();
        let mut bytes = testing::query(1, "web", kind::A);
        let last = bytes.len() - 1;
        bytes[last] = 3;
        let query = Query::parse(&bytes).unwrap();
        assert_eq!(resolve(&config, &table, &query, &mut Random::from_seed(1)), Answer::Forward);
        assert_eq!(ask(&config, &table, "we\u{0}b", kind::A), Answer::Forward);
    }
}
