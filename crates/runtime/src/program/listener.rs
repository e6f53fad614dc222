//! The listener of a seccomp profile: the descriptor over which an agent answers calls of the action `SCMP_ACT_NOTIFY`.
//!
//! The process that loads the filter cannot send it anywhere, since any call of its own may be one that is listened to. So we take it out
//! of that process and send it, with the state that the specification wants (`config-linux.md`, `containerProcessState`).

use std::os::fd::BorrowedFd;

use onggi_oci as oci;
use rustix::process::PidfdGetfdFlags;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::sockets;

/// Where an agent listens, and what it is told besides the state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listener {
    path: String,
    metadata: String,
}

/// `fds` has the names of the descriptors that come along, in their order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a oci::State,
}

impl Listener {
    /// That of a profile, if it names one.
    pub(crate) fn of(profile: Option<&oci::Seccomp>) -> Option<Listener> {
        let profile = profile?;
        let path = profile.listener_path.clone().filter(|path| !path.is_empty())?;
        Some(Listener { path, metadata: profile.listener_metadata.clone().unwrap_or_default() })
    }

    /// Takes descriptor `number` of the process and sends it to the agent. `pid` is the process's, on the host; `state` the container's.
    pub(crate) fn pass_on(
        &self,
        process: BorrowedFd<'_>,
        number: i32,
        pid: i32,
        state: &oci::State,
    ) -> Result<(), Error> {
        let listener = rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty())
            .map_err(|error| Error::io("take the seccomp listener from the container's process", error))?;
        let message = ContainerProcessState {
            oci_version: onggi_oci::VERSION,
            fds: ["seccompFd"],
            pid,
            metadata: &self.metadata,
            state,
        };
        let message = serde_json::to_vec(&message)
            .map_err(|source| Error::Json { path: "the state for the seccomp agent".to_owned(), source })?;
        let agent = sockets::connect(&self.path).map_err(|error| {
            let what = "failed to connect with seccomp agent specified in the seccomp profile";
            Error::io(format!("{what}: {}", self.path), error)
        })?;
        sockets::send_over(&agent, &message, std::os::fd::AsFd::as_fd(&listener))
            .map_err(|error| Error::io(format!("cannot send seccomp fd to {}", self.path), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_told_what_the_specification_says() {
        let state = oci::State { id: "jar".into(), status: "creating".into(), pid: 7, ..Default::default() };
        let message = ContainerProcessState {
            oci_version: "1.3.0",
            fds: ["seccompFd"],
            pid: 8,
            metadata: "m",
            state: &state,
        };
        let message = serde_json::to_value(&message).unwrap();
        assert_eq!(message["fds"], serde_json::json!(["seccompFd"]));
        assert_eq!((&message["ociVersion"], &message["pid"]), (&"1.3.0".into(), &8.into()));
        assert_eq!((&message["metadata"], &message["state"]["id"]), (&"m".into(), &"jar".into()));
        assert_eq!(message["state"]["status"], "creating");
    }

    #[test]
    fn a_profile_without_a_path_has_none() {
        assert!(Listener::of(None).is_none());
        let profile = oci::Seccomp { listener_path: Some(String::new()), ..Default::default() };
        assert!(Listener::of(Some(&profile)).is_none());
    }
}
