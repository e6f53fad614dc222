//! What only root's containers have: refused by name to an ordinary user, before anything is made.

use onggi_cgroup::Layout;

use crate::error::Error;
use crate::request::{Isolation, Network, PidMode, RunRequest};

/// # Errors
/// [`Error::NeedsRoot`], or [`onggi_cgroup::Error::NotDelegated`] for what a delegated control group makes possible.
pub(crate) fn check(request: &RunRequest, cgroups: &Layout) -> Result<(), Error> {
    if request.isolation == Isolation::Process {
        // Its procfs hides the host's processes, and only root can mount one of the host's process ids.
        return Err(Error::NeedsRoot { what: "--isolation process".to_owned() });
    }
    if request.network == Network::Bridge {
        let names: Vec<&str> = request.networks.iter().map(|network| network.name.as_str()).collect();
        return Err(Error::NeedsRoot { what: format!("--network {}", names.join(",")) });
    }
    if request.publish_all || !request.publish.is_empty() {
        return Err(Error::NeedsRoot { what: "--publish".to_owned() });
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

#[cfg(test)]
mod tests {
    use super::*;
    use onggi_error::Diagnose;

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
        let (text, _) = asking(|request| request.network = Network::Bridge).unwrap_err();
        assert_eq!(text, "--network  needs root");
        let (text, _) = asking(|request| request.publish_all = true).unwrap_err();
        assert_eq!(text, "--publish needs root");
        let (text, hint) = asking(|request| request.pid = PidMode::Host).unwrap_err();
        assert_eq!(text, "--pid host cannot be had: no pids cgroup controller is delegated to this user");
        assert!(hint.contains("docs/rootless.md") || hint.contains("systemd-run"), "{hint}");
        let delegated = Layout::V2 { root: "/sys/fs/cgroup/user".into(), controllers: Vec::new() };
        let request = RunRequest { pid: PidMode::Host, ..RunRequest::default() };
        assert!(check(&request, &delegated).is_ok());
    }
}
