//! Where a container's control group is to be, and its limits and device rules.

use onggi_cgroup::{Step, plan};
use onggi_oci::Resources;

use crate::host::layouts;

/// A line with the path, then the resources as JSON. What is written goes into files of the container's own directory only.
pub fn check(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let Ok(path) = std::str::from_utf8(&bytes[..end]) else { return };
    let resources = onggi_oci::parse::<Resources>(bytes.get(end + 1..).unwrap_or_default());
    let resources = resources.unwrap_or_default();
    for layout in &layouts() {
        let Ok(plan) = plan(layout, path, &resources) else { continue };
        assert!(!plan.path.is_empty() && !plan.path.starts_with('/'), "{:?}", plan.path);
        assert!(!plan.path.split('/').any(|name| matches!(name, "." | "..")), "{:?}", plan.path);
        assert!(!plan.path.contains('\0'));
        for step in &plan.steps {
            match step {
                Step::Write { file, value, .. } => {
                    assert!(!file.contains('/') && !file.is_empty() && file != "..", "{file:?}");
                    assert!(!file.contains('\0') && !value.contains('\0'));
                }
                Step::DeviceList { exceptions, .. } => {
                    // The kernel reads one rule at a time.
                    assert!(!exceptions.iter().any(|line| line.contains('\n')));
                }
                _ => {}
            }
        }
    }
}
