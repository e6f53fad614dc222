//! One mount: its destination, kind, source and options, as lines of text.

use onggi_oci::{Linux, Mount, Namespace, NamespaceKind, Process, Spec};

/// Texts rather than JSON, so that the fuzzer comes to the options at once: destination, kind, source, then one option a line.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n').map(str::to_owned);
    let mount = Mount {
        destination: lines.next().unwrap_or_default(),
        kind: lines.next().filter(|kind| !kind.is_empty()),
        source: lines.next().filter(|source| !source.is_empty()),
        options: lines.collect(),
        ..Mount::default()
    };
    let namespaces = vec![Namespace { kind: NamespaceKind::Mount, path: None }];
    let process = Process { args: vec!["true".into()], cwd: "/".into(), ..Process::default() };
    let spec = Spec {
        process: Some(process),
        mounts: vec![mount],
        linux: Some(Linux { namespaces, ..Linux::default() }),
        ..Spec::default()
    };
    crate::config::check_spec(&spec);
}
