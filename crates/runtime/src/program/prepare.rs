//! What runc makes of a configuration before it looks at it: pure, and all in one place.

use std::path::Path;

use onggi_oci as oci;
use onggi_runtime::plan::{clean, is_capability};

/// Always allowed (runc's `specconv.AllowedDevices`): containerd and `spec` deny everything and rely on it. Making nodes is harmless, as
/// opening them is what is decided about.
const DEVICES: [(&str, Option<i64>, Option<i64>, &str); 11] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    // Terminals of the container's own devpts, and their ptmx.
    ("c", Some(136), None, "rwm"),
    ("c", Some(5), Some(2), "rwm"),
];

/// runc's words.
pub(crate) const KERNEL_MEMORY: &str = "Kernel memory settings are ignored and will be removed";

/// Linux 5.16 has taken away what these limited, and runc passes over them. Whether there were any.
pub(crate) fn forget_kernel_memory(memory: &mut oci::Memory) -> bool {
    [memory.kernel.take(), memory.kernel_tcp.take()].iter().any(Option::is_some)
}

/// Options of file systems, of which a bind mount has none of its own.
const OF_FILE_SYSTEMS: [&str; 7] = ["async", "dirsync", "lazytime", "mand", "nolazytime", "nomand", "sync"];
/// A flag of `mount(2)` that the calls which make file systems since Linux 5.2 have no word for: each decides itself.
const OF_NOBODY: [&str; 2] = ["iversion", "noiversion"];

/// What runc hands to a call in which it does nothing.
fn pass_over(mount: &mut oci::Mount) -> Option<String> {
    let is_bind = is_bind(mount);
    let is_idle = |option: &String| {
        OF_NOBODY.contains(&option.as_str()) || (is_bind && OF_FILE_SYSTEMS.contains(&option.as_str()))
    };
    let idle: Vec<String> = mount.options.extract_if(.., |option| is_idle(option)).collect();
    let at = &mount.destination;
    (!idle.is_empty())
        .then(|| format!("mount of {at}: ignoring options without effect: [{}]", idle.join(" ")))
}

fn is_bind(mount: &oci::Mount) -> bool {
    mount.kind.as_deref() == Some("bind")
        || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

/// Completes a configuration; what is worth a word comes back.
pub(crate) fn prepare(spec: &mut oci::Spec, bundle: &Path, rootfs: &Path, inherited: u32) -> Vec<String> {
    let mut warnings = Vec::new();
    for mount in &mut spec.mounts {
        strip_root(&mut mount.destination, rootfs);
        let is_bind = is_bind(mount);
        if let Some(source) = mount.source.as_mut().filter(|source| is_bind && !source.starts_with('/')) {
            *source = bundle.join(&source).to_string_lossy().into_owned();
        }
    }
    warnings.extend(spec.mounts.iter_mut().filter_map(pass_over));
    if !spec.oci_version.starts_with("1.") {
        // As runc, which does not look at it.
        warnings.push(format!("ociVersion {:?} is taken for {}", spec.oci_version, oci::VERSION));
        oci::VERSION.clone_into(&mut spec.oci_version);
    }
    if let Some(linux) = &mut spec.linux {
        // For a Go program an empty path is none.
        linux.cgroups_path.take_if(|path| path.is_empty());
        for namespace in &mut linux.namespaces {
            namespace.path.take_if(|path| path.is_empty());
        }
        // The specification knows none, and runc goes on.
        if let Some(personality) = linux.personality.as_mut().filter(|found| !found.flags.is_empty()) {
            let flags = std::mem::take(&mut personality.flags).join(" ");
            warnings.push(format!("ignoring unsupported personality flags: [{flags}]"));
        }
        let resources = linux.resources.get_or_insert_default();
        if resources.memory.as_mut().is_some_and(forget_kernel_memory) {
            warnings.push(KERNEL_MEMORY.to_owned());
        }
        resources.devices.get_or_insert_default().extend(DEVICES.map(|(kind, major, minor, access)| {
            oci::DeviceRule {
                allow: true,
                kind: Some(kind.into()),
                major,
                minor,
                access: Some(access.into()),
            }
        }));
    }
    if let Some(process) = &mut spec.process {
        warnings.extend(self::process(process));
        if inherited > 0 {
            // sd_listen_fds(3); the container's first process is always 1 to itself.
            process.env.push(format!("LISTEN_FDS={inherited}"));
            process.env.push("LISTEN_PID=1".to_owned());
        }
    }
    warnings
}

/// An ordinary user can set no rules about devices, and runc asks for none: such a user makes no node either, so what is there to be opened
/// are the nodes that the user may open outside. Without cgroups (`--cgroup-manager disabled`) nobody can, and crun leaves them out.
pub(crate) fn leave_devices_to_the_kernel(spec: &mut oci::Spec) {
    if let Some(resources) = spec.linux.as_mut().and_then(|linux| linux.resources.as_mut()) {
        resources.devices = None;
    }
}

/// Some write the place of a mount as the host names it. As runc: without looking at what is there.
fn strip_root(destination: &mut String, rootfs: &Path) {
    let cleaned = clean(destination);
    if let Some(rest) = rootfs.to_str().and_then(|root| cleaned.strip_prefix(root))
        && rest.starts_with('/')
    {
        *destination = rest.to_owned();
    }
}

/// The part that a process given to `exec` has as well.
pub(crate) fn process(process: &mut oci::Process) -> Vec<String> {
    let Some(sets) = process.capabilities.as_mut() else { return Vec::new() };
    let mut unknown = Vec::new();
    for set in [
        &mut sets.bounding,
        &mut sets.effective,
        &mut sets.permitted,
        &mut sets.inheritable,
        &mut sets.ambient,
    ] {
        set.retain(|name| {
            let is_known = is_capability(name);
            if !is_known && !unknown.contains(name) {
                unknown.push(name.clone());
            }
            is_known
        });
    }
    // `config.md`: what cannot be mapped or granted is for a warning.
    let mut warnings = Vec::new();
    if !unknown.is_empty() {
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    let (permitted, inheritable) = (&sets.permitted, &sets.inheritable);
    sets.ambient.retain(|name| {
        let is_possible = permitted.contains(name) && inheritable.contains(name);
        if !is_possible {
            let reason = "it is not both permitted and inheritable";
            warnings.push(format!("can't raise ambient capability {name}: {reason}"));
        }
        is_possible
    });
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundles_own_files_are_found_in_it() {
        let mount = |kind: &str, source: &str| oci::Mount {
            kind: Some(kind.into()),
            source: Some(source.into()),
            ..oci::Mount::default()
        };
        let mounts = vec![mount("bind", "data"), mount("bind", "/data"), mount("tmpfs", "data")];
        let mut spec = oci::Spec { mounts, ..oci::Spec::default() };
        prepare(&mut spec, Path::new("/bundle"), Path::new("/bundle/rootfs"), 0);
        let sources: Vec<_> = spec.mounts.iter().filter_map(|mount| mount.source.as_deref()).collect();
        assert_eq!(sources, ["/bundle/data", "/data", "data"]);
    }

    #[test]
    fn a_place_that_the_host_names_is_one_in_the_container() {
        for (given, expected) in [
            ("/bundle/rootfs/mnt//x", "/mnt/x"),
            ("/mnt", "/mnt"),
            ("/bundle/rootfs2/x", "/bundle/rootfs2/x"),
            ("/bundle/rootfs/../x", "/bundle/rootfs/../x"),
            ("mnt", "mnt"),
        ] {
            let mut destination = given.to_owned();
            strip_root(&mut destination, Path::new("/bundle/rootfs"));
            assert_eq!(destination, expected);
        }
    }

    #[test]
    fn unknown_capabilities_are_told_and_left_out() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let capabilities = oci::Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_NEW"]),
            permitted: names(&["CAP_NEW"]),
            ambient: names(&["CAP_CHOWN"]),
            ..oci::Capabilities::default()
        };
        let mut process = oci::Process { capabilities: Some(capabilities), ..oci::Process::default() };
        let warnings = super::process(&mut process);
        let expected = [
            "ignoring unknown or unavailable capabilities: [CAP_NEW]",
            "can't raise ambient capability CAP_CHOWN: it is not both permitted and inheritable",
        ];
        assert_eq!(warnings, expected);
        let left = process.capabilities.unwrap();
        assert_eq!((left.bounding, left.permitted, left.ambient), (names(&["CAP_CHOWN"]), vec![], vec![]));
    }

    #[test]
    fn an_empty_path_of_a_namespace_is_none() {
        let namespace =
            |path: &str| oci::Namespace { kind: oci::NamespaceKind::Mount, path: Some(path.to_owned()) };
        let linux = oci::Linux { namespaces: vec![namespace(""), namespace("/x")], ..Default::default() };
        let mut spec = oci::Spec { linux: Some(linux), ..oci::Spec::default() };
        prepare(&mut spec, Path::new("/bundle"), Path::new("/bundle/rootfs"), 0);
        let paths: Vec<_> = spec.linux.unwrap().namespaces.into_iter().map(|each| each.path).collect();
        assert_eq!(paths, [None, Some("/x".to_owned())]);
    }

    #[test]
    fn descriptors_of_systemd_are_announced() {
        let mut spec = oci::Spec { process: Some(oci::Process::default()), ..oci::Spec::default() };
        prepare(&mut spec, Path::new("/bundle"), Path::new("/bundle/rootfs"), 2);
        assert_eq!(spec.process.unwrap().env, ["LISTEN_FDS=2", "LISTEN_PID=1"]);
    }
}
