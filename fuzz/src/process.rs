//! The process that `exec --process` is given, as JSON.

use onggi_oci::{Linux, Namespace, NamespaceKind, Process, Spec};
use onggi_runtime::plan::{Extra, JoinInput, Step, join};

use crate::host::layouts;

/// It is refused, or its plan ends in a program whose texts the kernel takes as they are.
pub fn check(bytes: &[u8]) {
    let Ok(process) = onggi_oci::parse::<Process>(bytes) else { return };
    let kinds = [NamespaceKind::Pid, NamespaceKind::Mount, NamespaceKind::Network, NamespaceKind::Ipc];
    let namespaces = kinds.map(|kind| Namespace { kind, path: None }).into();
    let spec = Spec { linux: Some(Linux { namespaces, ..Linux::default() }), ..Spec::default() };
    for layout in &layouts() {
        let input = JoinInput {
            id: "jar",
            spec: &spec,
            process: &process,
            cgroups: layout,
            extra: Extra { home: true, ..Extra::default() },
            privileged: false,
        };
        let Ok(plan) = join(&input) else { continue };
        assert!(matches!(plan.steps.last(), Some(Step::Execute)), "it ends without a program");
        for step in &plan.steps {
            if let Step::FindProgram { args, env, .. } = step {
                assert!(!args.is_empty());
                assert!(!args.iter().chain(env).any(|text| text.contains('\0')));
            }
            if let Step::Credentials { capabilities, umask, .. } = step {
                assert_eq!(capabilities.ambient & !(capabilities.permitted & capabilities.inheritable), 0);
                assert!(*umask <= 0o777);
            }
        }
    }
}
