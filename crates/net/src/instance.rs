//! What things in the kernel are called: a function of Onggi's run root, a network's id and a container's, so that any later command
//! finds them from the records alone.
//!
//! Several installations may share a host (tests do): all but the one at the usual place carry a mark of their run root.

use std::path::{Path, PathBuf};

use crate::nftables::Table;

/// Where the one installation of an ordinary host lives.
const USUAL_RUN_ROOT: &str = "/run/onggi";

/// One installation of Onggi on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    run_root: PathBuf,
}

impl Instance {
    #[must_use]
    pub fn new(run_root: &Path) -> Instance {
        Instance { run_root: run_root.to_owned() }
    }

    /// The table with its ports.
    #[must_use]
    pub fn table(&self) -> Table {
        Table::new(match self.mark() {
            None => "onggi".to_owned(),
            Some(mark) => format!("onggi-{mark:08x}"),
        })
    }

    /// The bridge of the default network.
    #[must_use]
    pub fn default_bridge(&self) -> String {
        self.mark().map_or_else(|| "onggi0".to_owned(), |mark| format!("onggi-{mark:08x}"))
    }

    /// The alias of a bridge: one without it is another's, or not yet born ([`crate::bridge`]).
    #[must_use]
    pub fn alias(&self, network: &str) -> String {
        format!("onggi network {network} of {}", self.run_root.display())
    }

    /// Whether an alias is one of ours, for any network.
    #[must_use]
    pub fn owns(&self, alias: &str) -> bool {
        let place = alias.strip_prefix("onggi network ").and_then(|rest| rest.split_once(" of "));
        place.is_some_and(|(_, run_root)| Path::new(run_root) == self.run_root)
    }

    /// Where to begin to look for a free subnet, so that installations that look at the same moment do not find the same.
    #[must_use]
    pub fn first_choice(&self) -> usize {
        self.mark().unwrap_or(0) as usize
    }

    /// FNV-1a of the path; `None` for the usual place.
    fn mark(&self) -> Option<u32> {
        if self.run_root == Path::new(USUAL_RUN_ROOT) {
            return None;
        }
        let bytes = self.run_root.as_os_str().as_encoded_bytes();
        Some(
            bytes
                .iter()
                .fold(0x811C_9DC5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)),
        )
    }
}

/// The bridge of a network that a user has made. Half an id by chance: nobody else has such a name, so any network's bridge is born under it.
#[must_use]
pub fn bridge(network: &str) -> String {
    format!("og-{}", network.get(..10).unwrap_or(network))
}

/// The host's end of a container's link to a network.
#[must_use]
pub fn link(container: &str, network: &str) -> String {
    format!("og{}{}", container.get(..8).unwrap_or(container), network.get(..4).unwrap_or(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        let (usual, other) = (Instance::new(Path::new("/run/onggi")), Instance::new(Path::new("/run/x")));
        let (container, network) = ("c".repeat(64), "d".repeat(64));
        for name in
            [usual.default_bridge(), other.default_bridge(), bridge(&network), link(&container, &network)]
        {
            assert!(name.len() < 16, "{name}");
        }
        assert_eq!((usual.table().name(), usual.default_bridge().as_str()), ("onggi", "onggi0"));
        assert_ne!(usual.table(), other.table());
        assert_eq!(link(&container, &network), "ogccccccccdddd");
    }

    #[test]
    fn a_bridge_tells_whose_it_is() {
        let (usual, other) = (Instance::new(Path::new("/run/onggi")), Instance::new(Path::new("/run/x")));
        let alias = usual.alias("0123");
        assert_eq!(alias, "onggi network 0123 of /run/onggi");
        assert!(usual.owns(&alias) && !other.owns(&alias) && !usual.owns(""));
    }
}
