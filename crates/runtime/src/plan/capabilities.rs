//! Capability names and their bits.

use onggi_oci as oci;

use super::error::invalid;
use super::{Capabilities, Error};

/// In the order of their numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that has a name. The kernel ignores those it does not know.
pub(crate) const ALL: u64 = (1 << NAMES.len()) - 1;

/// `CAP_…`, or the number if it has no name yet.
pub(crate) fn capability_name(number: u32) -> String {
    NAMES.get(number as usize).map_or_else(|| number.to_string(), |name| format!("CAP_{name}"))
}

/// Whether a name, with or without `CAP_`, is one of a capability.
#[must_use]
pub fn is_capability(name: &str) -> bool {
    NAMES.contains(&name.strip_prefix("CAP_").unwrap_or(name))
}

/// All names, with `CAP_`, in the order of their numbers.
pub fn capability_names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

impl Capabilities {
    /// `--privileged`: everything, but nothing that an executed file could inherit.
    pub(crate) fn all() -> Capabilities {
        Capabilities { bounding: ALL, effective: ALL, permitted: ALL, inheritable: 0, ambient: 0 }
    }

    pub(crate) fn parse(given: &oci::Capabilities) -> Result<Capabilities, Error> {
        let set = |names: &[String], name: &str| bits(names, &format!("process.capabilities.{name}"));
        let capabilities = Capabilities {
            bounding: set(&given.bounding, "bounding")?,
            effective: set(&given.effective, "effective")?,
            permitted: set(&given.permitted, "permitted")?,
            inheritable: set(&given.inheritable, "inheritable")?,
            ambient: set(&given.ambient, "ambient")?,
        };
        if capabilities.effective & !capabilities.permitted != 0 {
            return Err(invalid("process.capabilities.effective", "it holds what `permitted` does not"));
        }
        if capabilities.ambient & !(capabilities.permitted & capabilities.inheritable) != 0 {
            return Err(invalid(
                "process.capabilities.ambient",
                "it holds what `permitted` or `inheritable` does not",
            ));
        }
        Ok(capabilities)
    }
}

fn bits(names: &[String], field: &str) -> Result<u64, Error> {
    names.iter().try_fold(0, |bits, name| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let number = NAMES.iter().position(|&known| known == short);
        number.map(|number| bits | 1 << number).ok_or_else(|| invalid(field, format!("there is no {name:?}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn names_are_bits() {
        let given = oci::Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_SYS_ADMIN", "BPF"]),
            ..Default::default()
        };
        assert_eq!(Capabilities::parse(&given).unwrap().bounding, 1 | 1 << 21 | 1 << 39);
    }

    #[test]
    fn nothing_is_inheritable_unless_the_specification_says_so() {
        // CVE-2022-27650, CVE-2022-29162, CVE-2025-27612.
        let given = oci::Capabilities {
            bounding: names(&["CAP_CHOWN"]),
            effective: names(&["CAP_CHOWN"]),
            permitted: names(&["CAP_CHOWN"]),
            ..Default::default()
        };
        let parsed = Capabilities::parse(&given).unwrap();
        assert_eq!((parsed.inheritable, parsed.ambient), (0, 0));
        assert_eq!((Capabilities::all().inheritable, Capabilities::all().ambient), (0, 0));
    }

    #[test]
    fn impossible_sets_are_refused() {
        let unknown = oci::Capabilities { bounding: names(&["CAP_NONE"]), ..Default::default() };
        assert_eq!(
            Capabilities::parse(&unknown).unwrap_err().to_string(),
            "process.capabilities.bounding: there is no \"CAP_NONE\""
        );
        let loose = oci::Capabilities { effective: names(&["CAP_CHOWN"]), ..Default::default() };
        assert!(Capabilities::parse(&loose).is_err());
        let ambient = oci::Capabilities {
            permitted: names(&["CAP_CHOWN"]),
            ambient: names(&["CAP_CHOWN"]),
            ..Default::default()
        };
        assert!(Capabilities::parse(&ambient).is_err());
    }
}
