//! What a container has in place of the host's: names, kernel parameters, a loopback interface.

use super::child::Child;
use super::problem::{Doing, Outcome};

pub(super) fn hostname(name: &str) -> Outcome {
    rustix::system::sethostname(name.as_bytes()).doing(|| format!("sethostname {name:?}"))
}

pub(super) fn domainname(name: &str) -> Outcome {
    rustix::system::setdomainname(name.as_bytes()).doing(|| format!("setdomainname {name:?}"))
}

/// Through the host's procfs: the kernel goes by the namespaces of who writes.
pub(super) fn sysctls(child: &Child<'_>, values: &[(String, String)]) -> Outcome {
    for (path, value) in values {
        child
            .procfs
            .write(&format!("sys/{path}"), value)
            .doing(|| format!("set sysctl {path} to {value:?}"))?;
    }
    Ok(())
}

pub(super) fn loopback() -> Outcome {
    onggi_sys::interface::loopback_up().doing(|| "bring the loopback interface up")
}
