//! `config.json` of a bundle: from the bytes to the plan that the child reads.

use std::os::fd::AsFd;

use onggi_cgroup::Layout;
use onggi_oci::Spec;
use onggi_runtime::plan::{Bundle, CgroupView, Extra, Input, Plan, Root, Source, Step, clean, container};

use crate::host::layouts;

/// A configuration is refused, or becomes a plan that stays inside the container and comes back from its encoding as it was.
pub fn check(bytes: &[u8]) {
    if let Ok(spec) = onggi_oci::parse::<Spec>(bytes) {
        check_spec(&spec);
    }
}

/// The same for one that is put together by the target itself.
pub fn check_spec(spec: &Spec) {
    for layout in &layouts() {
        if let Ok(plan) = plan(spec, layout) {
            stays_inside(&plan);
            comes_back(&plan);
        }
    }
}

/// As `onggi-runtime create` does it.
fn plan(spec: &Spec, layout: &Layout) -> Result<Plan, onggi_runtime::plan::Error> {
    let bundle = Bundle {
        state: Some(onggi_oci::State::default()),
        gate: Some("/run/onggi-runtime/jar/exec.fifo".into()),
        what_there_is: true,
        ..Bundle::default()
    };
    let extra = Extra { home: true, bundle, ..Extra::default() };
    let root = Root::Directory { path: "/bundle/rootfs".into() };
    container(&Input { id: "jar", spec, root, cgroups: layout, extra })
}

/// No step has a path that climbs, or a text that the kernel would take for a shorter one.
fn stays_inside(plan: &Plan) {
    for step in &plan.steps {
        match step {
            Step::Mount(mount) => {
                inside(&mount.destination);
                if let Source::New { kind, options, .. } = &mount.source {
                    whole(kind);
                    options.iter().for_each(|option| whole(option));
                }
            }
            Step::MountCgroups(mount) => {
                inside(&mount.destination);
                let directories: Vec<_> = match &mount.view {
                    CgroupView::V2 { directory } | CgroupView::V2Host { directory } => vec![directory],
                    CgroupView::V1 { hierarchies, .. } => hierarchies.iter().map(|(_, path)| path).collect(),
                };
                for directory in directories {
                    assert!(directory.starts_with("/sys/fs/cgroup"), "{}", directory.display());
                    assert!(!directory.components().any(|part| part.as_os_str() == ".."));
                }
            }
            Step::MaskPaths { paths, .. } | Step::ReadOnlyPaths { paths } => {
                paths.iter().for_each(|path| whole(path))
            }
            Step::Sysctls { values } => {
                for (path, _) in values {
                    whole(path);
                    assert!(path.split('/').all(|name| !matches!(name, "" | "." | "..")), "{path}");
                }
            }
            Step::FindProgram { args, env, .. } => args.iter().chain(env).for_each(|text| whole(text)),
            _ => {}
        }
    }
    let cgroup = &plan.launch.cgroup.path;
    assert!(
        !cgroup.starts_with('/') && cgroup.split('/').all(|name| !matches!(name, "." | "..")),
        "{cgroup}"
    );
    assert!(matches!(plan.steps.last(), Some(Step::Execute)), "it ends without a program");
}

/// Absolute, clean and not the root itself.
fn inside(destination: &str) {
    assert_eq!(clean(destination), destination);
    assert!(destination.starts_with('/'), "{destination:?}");
    whole(destination);
}

fn whole(text: &str) {
    assert!(!text.contains('\0'), "{text:?}");
}

fn comes_back(plan: &Plan) {
    let file = onggi_runtime::encode(plan).expect("a memory file");
    assert_eq!(onggi_runtime::decode_launch(file.as_fd()).expect("the parent's part"), plan.launch);
    assert_eq!(onggi_runtime::decode_steps(file.as_fd()).expect("the child's part"), plan.steps);
    assert_eq!(onggi_runtime::decode_filter(file.as_fd()).expect("the program"), plan.filter);
    let _ = plan.explain();
}
