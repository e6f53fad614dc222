//! What only root's containers have: refused by name to an ordinary user, before anything is made.

use onggi_cgroup::Layout;
use onggi_net::endpoint::Protocol;

use crate::error::Error;
use crate::request::{Isolation, PidMode, RunRequest};

/// # Errors
/// [`Error::NeedsRoot`], or [`onggi_cgroup::Error::NotDelegated`] for what a delegated control group makes possible.
pub(crate) fn check(request: &RunRequest, cgroups: &Layout) -> Result<(), Error> {
    if request.isolation == Isolation::Process {
        // Its procfs hides the host's processes, and only root can mount one of the host's process ids.
        return Err(Error::NeedsRoot { what: "--isolation process".to_owned() });
    }
    let first = first_port();
    for port in &request.publish {
        match port.host {
            Some((port, _)) if port < first => return Err(Error::LowPort { port, first }),
            // Their connections are not taken in and begun anew by a program in between, and only root's need none.
            _ if port.protocol == Protocol::Sctp => {
                return Err(Error::NeedsRoot { what: "--publish of SCTP ports".to_owned() });
            }
            _ => {}
        }
    }
    if !request.device_rules.is_empty() {
        return Err(Error::NeedsRoot { what: "--device-cgroup-rule".to_owned() });
    }
    for device in &request.devices {
        // The host's own node stands in the container: there is nobody who would ask for more than its permissions.
        if device.access != "rwm" || device.host != device.container {
            let what =
                format!("--device {} with another name or less access than the host gives", device.host);
            return Err(Error::NeedsRoot { what });
        }
    }
    if request.resources.nano_cpus.is_some() && !cgroups.has_controller("cpu") {
        // The kernel's words for it, a period and a quota, are not what was typed.
        return Err(onggi_cgroup::Error::NotDelegated { limit: "--cpus", controller: "cpu" }.into());
    }
    let limit = match request.pid {
        PidMode::Private => return Ok(()),
        PidMode::Host => "--pid host",
        PidMode::Container(_) => "--pid container:…",
    };
    if cgroups.is_none() {
        // The end of a process id namespace of its own ends everything in it; without one, a control group is needed to find the rest.
        return Err(onggi_cgroup::Error::NotDelegated { limit, controller: "pids" }.into());
    }
    Ok(())
}

/// The first port that an ordinary user may have.
fn first_port() -> u16 {
    const USUAL: u16 = 1024;
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::PublishRequest;
    use onggi_error::Diagnose;

    fn publish(protocol: Protocol, host: Option<(u16, u16)>) -> PublishRequest {
        PublishRequest { protocol, address: None, host, container: (80, 80) }
    }

    #[test]
    fn what_cannot_be_had_is_named_with_what_would_help() {
        let asking = |change: fn(&mut RunRequest)| {
            let mut request = RunRequest::default();
            change(&mut request);
            check(&request, &Layout::none())
                .map_err(|error| (error.to_string(), error.hint().unwrap_or_default()))
        };
        assert_eq!(asking(|_| {}), Ok(()));
        let (text, hint) = asking(|request| request.isolation = Isolation::Process).unwrap_err();
        assert_eq!(text, "--isolation process needs root");
        assert!(hint.contains("sudo"), "{hint}");
        let (text, hint) =
            asking(|request| request.publish = vec![publish(Protocol::Tcp, Some((80, 80)))]).unwrap_err();
        assert!(
            text.starts_with("port 80 is below ") && text.contains("ip_unprivileged_port_start"),
            "{text}"
        );
        assert_eq!(hint, "sudo sysctl net.ipv4.ip_unprivileged_port_start=80; or publish on a higher port");
        assert_eq!(
            asking(|request| request.publish = vec![publish(Protocol::Udp, Some((8080, 8080)))]),
            Ok(())
        );
        let sctp = asking(|request| request.publish = vec![publish(Protocol::Sctp, None)]).unwrap_err();
        assert_eq!(sctp.0, "--publish of SCTP ports needs root");
        let (text, hint) = asking(|request| request.pid = PidMode::Host).unwrap_err();
        assert_eq!(text, "--pid host cannot be had: no pids cgroup controller is delegated to this user");
        assert!(hint.contains("docs/rootless.md") || hint.contains("systemd-run"), "{hint}");
        let delegated = Layout::V2 { root: "/sys/fs/cgroup/user".into(), controllers: Vec::new() };
        let request = RunRequest { pid: PidMode::Host, ..RunRequest::default() };
        assert!(check(&request, &delegated).is_ok());
    }
}
