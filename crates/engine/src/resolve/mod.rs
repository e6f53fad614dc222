//! From a request, an image and the settings to what will hold: Docker's rules for each field, and its refusals. Pure.
//!
//! The rules are those of moby's `runconfig`, `daemon/create.go`, `daemon/container.go` and `daemon/daemon_unix.go`, one file for
//! each subject; those that hold for a change of a container too are called from there by name.

use onggi_image::Digest;
use onggi_image::config::RunConfig;
use onggi_settings::Settings;

use crate::capabilities;
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::{MountPoint, Resolved};
use crate::request::RunRequest;

mod isolation;
mod life;
mod limits;
mod mounts;
mod network;
mod process;
#[cfg(test)]
pub(crate) mod samples;

pub(crate) use life::check_restart;
pub(crate) use limits::{cgroup, cgroup_parent, check_cpuset, check_limits};
pub(crate) use process::variable;

/// What is given besides the request.
pub(crate) struct Facts<'a> {
    pub id: &'a ContainerId,
    pub layers: &'a [Digest],
    pub config: &'a RunConfig,
    pub settings: &'a Settings,
    /// The host's own name, for a container that shares it.
    pub host_name: &'a str,
    /// Of the container whose network it joins.
    pub shared_hostname: Option<&'a str>,
    /// Processors of the host.
    pub processors: u64,
    /// Those that are online, and the memory nodes, as the kernel lists them: `0-3`. Empty: not known.
    pub processor_list: &'a str,
    pub memory_nodes: &'a str,
    /// What the containers of `volumes_from` have mounted, in their order.
    pub borrowed: &'a [MountPoint],
    /// Names for anonymous volumes.
    pub new_volume: &'a mut dyn FnMut() -> String,
}

/// # Errors
/// The request means nothing: Docker's sentence for it.
pub(crate) fn resolve(request: &RunRequest, facts: &mut Facts<'_>) -> Result<Resolved, Error> {
    let image = facts.config;
    let settings = facts.settings;
    check_limits(&request.resources, facts.processors)?;
    check_cpuset(&request.resources, facts.processor_list, facts.memory_nodes)?;
    isolation::check(request)?;
    limits::check_oom_score(request)?;
    check_restart(request)?;
    network::check_files(request)?;
    network::check(request)?;
    let (entrypoint, command) = process::command(request, image)?;
    let stop_signal = life::stop_signal(request, image)?;
    let mut labels = image.labels.clone();
    labels.extend(request.labels.clone());
    Ok(Resolved {
        layers: facts.layers.to_vec(),
        entrypoint,
        command,
        env: process::environment(&request.env, &image.env)?,
        working_dir: process::working_directory(request.workdir.as_deref(), &image.working_dir)?,
        user: request.user.clone().unwrap_or_else(|| image.user.clone()),
        hostname: network::hostname(request, facts)?,
        labels,
        exposed_ports: network::exposed_ports(request, image)?,
        networks: request.networks.clone(),
        healthcheck: life::healthcheck(request.healthcheck.as_ref(), image.healthcheck.as_ref())?,
        stop_signal,
        stop_timeout: request.stop_timeout.unwrap_or(settings.stop_timeout),
        mounts: mounts::mounts(request, image, facts)?,
        capabilities: capabilities::resolve(request, settings.compat).map_err(invalid)?,
        shm_size: mounts::shm_size(request, settings),
        pids_limit: limits::pids(request, settings),
        cgroup: cgroup(cgroup_parent(request).unwrap_or(&settings.cgroup_parent), facts.id)?,
        log: life::log(request, settings)?,
        detach_keys: match &request.detach_keys {
            Some(keys) => keys.clone(),
            None => onggi_settings::detach_keys::parse(&settings.detach_keys).map_err(invalid)?,
        },
    })
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Invalid { what: what.into() }
}
