//! Which capabilities a container gets: the defaults, what is added and what is dropped. Pure.

use onggi_settings::Compat;

use crate::request::RunRequest;

/// In the order of the kernel's numbers (`linux/capability.h`), without `CAP_`.
#[rustfmt::skip]
pub(crate) const ALL: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

/// Podman's eleven (container-libs, `common/pkg/config/default.go`).
const DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What Docker gives besides.
const DOCKER: [&str; 3] = ["MKNOD", "NET_RAW", "AUDIT_WRITE"];

/// The set, with `CAP_`, in the kernel's order.
///
/// # Errors
/// A name that is no capability.
pub(crate) fn resolve(request: &RunRequest, compat: Compat) -> Result<Vec<String>, String> {
    let (add, drop) = (parse(&request.cap_add)?, parse(&request.cap_drop)?);
    let everything = |names: &[&str]| names.contains(&"ALL");
    let docker = compat == Compat::Docker;
    let holds = |name: &&str| {
        if request.privileged {
            return true;
        }
        let by_default = DEFAULT.contains(name) || (docker && DOCKER.contains(name));
        // Docker's order: ALL in one list, the exceptions in the other.
        match (everything(&add), everything(&drop)) {
            (true, false) => !drop.contains(name),
            (true, true) => false,
            (false, true) => add.contains(name),
            (false, false) => (by_default || add.contains(name)) && !drop.contains(name),
        }
    };
    Ok(ALL.iter().filter(|name| holds(name)).map(|name| format!("CAP_{name}")).collect())
}

fn parse(names: &[String]) -> Result<Vec<&'static str>, String> {
    let known = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = ALL.iter().chain(&["ALL"]).find(|known| **known == bare);
        known.copied().ok_or_else(|| format!("invalid capability: \"{name}\""))
    };
    names.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str], privileged: bool, compat: Compat) -> Vec<String> {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let request =
            RunRequest { cap_add: texts(add), cap_drop: texts(drop), privileged, ..RunRequest::default() };
        resolve(&request, compat).unwrap().iter().map(|name| name["CAP_".len()..].to_owned()).collect()
    }

    #[test]
    fn sets() {
        use Compat::{Docker, Onggi};
        assert_eq!(set(&[], &[], false, Onggi).len(), 11);
        assert_eq!(set(&[], &[], false, Docker).len(), 14);
        assert_eq!(set(&[], &["all"], false, Onggi), Vec::<String>::new());
        assert_eq!(set(&["net_admin"], &["ALL"], false, Onggi), ["NET_ADMIN"]);
        assert_eq!(set(&["ALL"], &["CAP_SYS_ADMIN"], false, Onggi).len(), 40);
        assert_eq!(set(&["CAP_SYS_TIME"], &["CHOWN"], false, Onggi).len(), 11);
        assert_eq!(set(&[], &["ALL"], true, Onggi).len(), 41, "privileged has everything");
        let request = RunRequest { cap_add: vec!["CAP_COFFEE".into()], ..RunRequest::default() };
        assert!(resolve(&request, Onggi).unwrap_err().contains("CAP_COFFEE"));
    }
}
