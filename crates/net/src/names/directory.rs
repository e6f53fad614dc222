//! Who is found under a name or an address: a look into the live files of a network ([`crate::endpoint`]), each time anew.
//!
//! Nothing is remembered, so a name is there as soon as its file is and gone with it, and the monitor holds no table.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::random::Random;
use super::resolve::{Addresses, Lookup, MOST_ADDRESSES, Network};
use crate::endpoint::{self, Directory};

/// The live files of networks, below a run root.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a>(pub &'a Path);

impl Lookup for Files<'_> {
    fn by_name(&self, network: &Network, name: &str, random: &mut Random) -> Vec<Addresses> {
        // What cannot be a file's name (`..`, a slash) is nobody's.
        let Some(directory) = Directory::new(self.0, &network.id).name(name) else { return Vec::new() };
        // A container may end between the list and the look at its file; then it is not found, which is right.
        let endpoints = sample(&directory, random).into_iter().filter_map(|path| endpoint::read(&path).ok());
        endpoints.map(|endpoint| Addresses { ipv4: endpoint.ipv4, ipv6: endpoint.ipv6 }).collect()
    }

    fn by_address(&self, network: &Network, address: IpAddr) -> Option<String> {
        let endpoint = endpoint::read(&Directory::new(self.0, &network.id).address(address)).ok()?;
        endpoint.names.into_iter().next()
    }
}

/// The files of a directory: all, or [`MOST_ADDRESSES`] of them, of which each has the same chance (Vitter's algorithm R).
fn sample(directory: &Path, random: &mut Random) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        seen += 1;
        if files.len() < MOST_ADDRESSES {
            files.push(entry.path());
            continue;
        }
        if let Some(place) = files.get_mut(random.below(seen)) {
            *place = entry.path();
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::endpoint::{Endpoint, VERSION};

    fn network() -> Network {
        Network { id: "1".repeat(64), name: "shop".into(), internal: false }
    }

    fn write(run_root: &Path, container: &str, names: &[&str], ipv4: &str) {
        let directory = Directory::new(run_root, &network().id);
        let endpoint = Endpoint {
            version: VERSION,
            network: network().id,
            network_name: network().name,
            container: container.into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            ipv4: Some(ipv4.parse().unwrap()),
            ipv6: None,
            mac: "02:42:0a:c8:00:02".into(),
            interface: "og0".into(),
            inside: "eth0".into(),
            ports: Vec::new(),
        };
        for directory in [directory.endpoints(), directory.addresses()] {
            fs::create_dir_all(directory).unwrap();
        }
        let file = directory.endpoints().join(container);
        fs::write(&file, serde_json::to_vec(&endpoint).unwrap()).unwrap();
        fs::hard_link(&file, directory.address(ipv4.parse().unwrap())).unwrap();
        for name in names {
            let name = directory.name(name).unwrap();
            fs::create_dir_all(&name).unwrap();
            fs::hard_link(&file, name.join(container)).unwrap();
        }
    }

    fn found(run_root: &Path, name: &str) -> Vec<String> {
        let found = Files(run_root).by_name(&network(), name, &mut Random::from_seed(1));
        let mut found: Vec<String> = found.iter().map(|found| found.ipv4.unwrap().to_string()).collect();
        found.sort();
        found
    }

    #[test]
    fn a_name_is_there_while_its_file_is() {
        let run_root = tempfile::tempdir().unwrap();
        assert!(found(run_root.path(), "web").is_empty());
        write(run_root.path(), "aa", &["web", "app"], "10.0.0.2");
        write(run_root.path(), "bb", &["app"], "10.0.0.3");
        assert_eq!(found(run_root.path(), "web"), ["10.0.0.2"]);
        assert_eq!(found(run_root.path(), "app"), ["10.0.0.2", "10.0.0.3"]);
        let name = Files(run_root.path()).by_address(&network(), "10.0.0.2".parse().unwrap());
        assert_eq!(name.as_deref(), Some("web"));
        fs::remove_file(Directory::new(run_root.path(), &network().id).name("app").unwrap().join("aa"))
            .unwrap();
        assert_eq!(found(run_root.path(), "app"), ["10.0.0.3"]);
    }

    #[test]
    fn a_hostile_name_leads_nowhere() {
        let run_root = tempfile::tempdir().unwrap();
        write(run_root.path(), "aa", &["web"], "10.0.0.2");
        for name in
            ["", ".", "..", "../names/web", "web/", "web/../web", "/", "web\0", "../../../etc", "web/aa"]
        {
            assert!(found(run_root.path(), name).is_empty(), "{name:?}");
        }
    }

    #[test]
    fn what_is_damaged_is_not_found() {
        let run_root = tempfile::tempdir().unwrap();
        write(run_root.path(), "aa", &["web"], "10.0.0.2");
        let names = Directory::new(run_root.path(), &network().id).name("web").unwrap();
        fs::write(names.join("bb"), b"{").unwrap();
        fs::create_dir(names.join("cc")).unwrap();
        assert_eq!(found(run_root.path(), "web"), ["10.0.0.2"]);
    }

    #[test]
    fn of_many_each_has_its_chance() {
        let run_root = tempfile::tempdir().unwrap();
        let many = 2 * MOST_ADDRESSES;
        for number in 0..many {
            fs::write(run_root.path().join(number.to_string()), b"").unwrap();
        }
        let mut random = Random::from_seed(1);
        let mut count = vec![0; many];
        for _ in 0..100 {
            let files = sample(run_root.path(), &mut random);
            assert_eq!(files.len(), MOST_ADDRESSES);
            for file in files {
                count[file.file_name().unwrap().to_str().unwrap().parse::<usize>().unwrap()] += 1;
            }
        }
        // 50 each; a fair coin thrown a hundred times leaves this range once in ten thousand times, and the seed is fixed.
        assert!(count.iter().all(|count| (20..=80).contains(count)), "{count:?}");
    }
}
