//! What separates a container from the host, and what contradicts the separation that was asked for.

use super::invalid;
use crate::error::Error;
use crate::request::{Isolation, Network, PidMode, RunRequest};

/// Without namespaces there is nothing that these flags could change but the host itself.
pub(super) fn check(request: &RunRequest) -> Result<(), Error> {
    if request.isolation == Isolation::Process {
        let refused = [
            (request.privileged, "--privileged"),
            (request.network != Network::Host && request.domainname.is_some(), "--domainname"),
            (request.network == Network::Bridge, "--network"),
            (matches!(request.network, Network::Container(_)), "--network container"),
            (request.pid != PidMode::Private, "--pid"),
            (request.init, "--init"),
            (!request.sysctls.is_empty(), "--sysctl"),
            (!request.devices.is_empty(), "--device"),
            (request.read_only, "--read-only"),
            (request.host_cgroup_namespace, "--cgroupns"),
        ];
        if let Some((_, flag)) = refused.into_iter().find(|(given, _)| *given) {
            return Err(invalid(format!(
                "{flag} needs a namespace, which --isolation process does not make"
            )));
        }
    }
    if request.init && request.pid != PidMode::Private {
        return Err(invalid(
            "--init needs a process id namespace of the container's own; it conflicts with --pid",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, texts};
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        samples::refused(&[
            (RunRequest { init: true, pid: PidMode::Host, ..RunRequest::default() }, "conflicts with --pid"),
            (RunRequest { cap_add: texts(&["COFFEE"]), ..RunRequest::default() }, "invalid capability"),
        ]);
    }
}
