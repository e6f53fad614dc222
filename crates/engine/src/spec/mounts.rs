//! The mounts of a container in their order: the file systems that every container has, the files that Onggi generates, and what the
//! user and the image asked for, parents before children.

use onggi_oci as oci;
use onggi_runtime::plan;

use super::Facts;
use crate::record::{MountKind, MountPoint, Record};
use crate::request::{IpcMode, Network, PidMode};

/// All of them. What the user puts on a default's place takes the default away; on `/dev`, everything below it too.
pub(super) fn all(record: &Record, facts: &Facts) -> Vec<oci::Mount> {
    let wanted = &record.resolved.mounts;
    let replaced = |destination: &str| {
        wanted.iter().any(|mount| {
            mount.destination == destination
                || (mount.destination == "/dev" && destination.starts_with("/dev/"))
        })
    };
    let mut mounts: Vec<oci::Mount> =
        defaults(record, facts).into_iter().filter(|mount| !replaced(&mount.destination)).collect();
    mounts.append(&mut asked_for(record, facts));
    mounts
}

/// The generated files, and what the user and the image asked for: all that `--isolation process` gets from here, where the planner
/// adds the few file systems that need no namespace.
pub(super) fn asked_for(record: &Record, facts: &Facts) -> Vec<oci::Mount> {
    let wanted = &record.resolved.mounts;
    let replaced = |destination: &str| wanted.iter().any(|mount| mount.destination == destination);
    let mut mounts: Vec<oci::Mount> =
        generated_files(record, facts).into_iter().filter(|mount| !replaced(&mount.destination)).collect();
    mounts.extend(wanted.iter().map(|mount| wanted_mount(mount, facts)));
    // Stable: what is equally deep stays in the order of the command line.
    mounts.sort_by_key(|mount| mount.destination.matches('/').count());
    mounts
}

/// Volumes that are empty and get a copy of what they cover.
pub(super) fn populate(record: &Record, facts: &Facts) -> Vec<plan::Populate> {
    let from_image = |mount: &MountPoint| match &mount.kind {
        MountKind::Volume { name, no_copy: false, .. } if facts.empty_volumes.contains(name) => {
            let volume = facts.volumes.join(name).join("_data");
            Some(plan::Populate { destination: mount.destination.clone(), volume })
        }
        _ => None,
    };
    record.resolved.mounts.iter().filter_map(from_image).collect()
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> oci::Mount {
    oci::Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..oci::Mount::default()
    }
}

fn defaults(record: &Record, facts: &Facts) -> Vec<oci::Mount> {
    let request = &record.request;
    let access = if request.privileged { "rw" } else { "ro" };
    // Root of a user namespace mounts what shows a namespace only where that is its own; of another there is what the host mounted.
    let hosts =
        |path: &str, access: &str| mount(path, "bind", path, &["rbind", "nosuid", "noexec", "nodev", access]);
    let mut mounts = vec![
        match &request.pid {
            PidMode::Host if facts.rootless => hosts("/proc", "rw"),
            _ => mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        },
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
    ];
    mounts.push(match &request.network {
        Network::Host if facts.rootless => hosts("/sys", if request.privileged { "rw" } else { "rro" }),
        _ => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    });
    mounts.push(mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", access],
    ));
    // A new mqueue shows the queues of the IPC namespace that it is mounted in: the host's, for a container without one.
    match &request.ipc {
        IpcMode::Host if facts.rootless && facts.host_queues => mounts.push(hosts("/dev/mqueue", "rw")),
        IpcMode::Host if facts.rootless => {}
        _ => mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])),
    }
    let shared = |source: &str| mount("/dev/shm", "bind", source, &["rbind", "nosuid", "noexec", "nodev"]);
    match (&request.ipc, &facts.shm) {
        (IpcMode::None, _) => {}
        (IpcMode::Host, _) => mounts.push(shared("/dev/shm")),
        (_, Some(source)) => mounts.push(shared(&source.to_string_lossy())),
        (_, None) => {
            let size = format!("size={}", record.resolved.shm_size);
            mounts.push(mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", &size],
            ));
        }
    }
    mounts
}

/// Bound from the container's directory, so that they are the container's own and survive a restart of it.
fn generated_files(record: &Record, facts: &Facts) -> Vec<oci::Mount> {
    // As Docker: with `--read-only` these are, too.
    let access = if record.request.read_only { "ro" } else { "rw" };
    ["resolv.conf", "hostname", "hosts"]
        .iter()
        .map(|name| {
            let source = facts.network_directory.as_ref().unwrap_or(&facts.directory).join(name);
            mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), &["rbind", access, "rprivate"])
        })
        .collect()
}

fn wanted_mount(point: &MountPoint, facts: &Facts) -> oci::Mount {
    let destination = &point.destination;
    match &point.kind {
        MountKind::Bind { source, propagation, recursive, .. } => {
            // A read-only tree is read-only all the way down, as in Docker since version 25.
            let access = match (point.read_only, recursive) {
                (true, true) => "rro",
                (true, false) => "ro",
                (false, _) => "rw",
            };
            let bind = if *recursive { "rbind" } else { "bind" };
            mount(destination, "bind", source, &[bind, access, propagation.name()])
        }
        MountKind::Volume { name, .. } => {
            let source = facts.volumes.join(name).join("_data");
            let access = if point.read_only { "ro" } else { "rw" };
            mount(destination, "bind", &source.to_string_lossy(), &["bind", access, "rprivate"])
        }
        MountKind::Tmpfs { options } => {
            // Without a mode it is the one of the directory below, or 1777: the runtime's rule, as runc's.
            let mut all = vec!["noexec", "nosuid", "nodev"];
            all.extend(options.iter().map(String::as_str));
            if point.read_only {
                all.push("ro");
            }
            mount(destination, "tmpfs", "tmpfs", &all)
        }
    }
}
