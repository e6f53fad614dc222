//! Where the container's control groups are: as `cgroupsPath` says it, by runc's rules.

use onggi_cgroup::{Layout, Own};
use onggi_oci as oci;
use onggi_runtime::plan::clean;

use super::error::Error;
use super::{Context, systemd};

/// The control groups that there are for it, and in the specification the path in them.
///
/// A path that begins with a slash is one of the host's; any other, and none at all, is relative to the caller's own groups, whose limits then hold
/// for the container as well. `..` leads nowhere above either. What an ordinary user names has to be there for that user; one who names
/// nothing has cgroups where some were delegated, and none elsewhere.
pub(crate) fn layout(
    context: &Context,
    systemd: Option<&mut systemd::Driver>,
    spec: &mut oci::Spec,
    id: &str,
) -> Result<Layout, Error> {
    if let Some(driver) = systemd {
        return driver.layout();
    }
    if context.without_cgroups {
        return Ok(Layout::none());
    }
    let given = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref()).unwrap_or_default();
    let cleaned = clean(given);
    let (layout, path) = if given.starts_with('/') {
        let layout =
            if context.rootless { onggi_cgroup::detect_for(&cleaned) } else { onggi_cgroup::detect() };
        (layout.map_err(Error::Cgroup)?, cleaned)
    } else {
        let Own { layout, parent } = onggi_cgroup::detect_own(context.rootless).map_err(Error::Cgroup)?;
        let path = relative(&parent, &cleaned, id);
        (layout, path)
    };
    if let Some(linux) = &mut spec.linux {
        linux.cgroups_path = Some(path);
    }
    Ok(layout)
}

/// With a slash before it, so that `a:b:c` is not taken for what systemd is told.
fn relative(parent: &str, cleaned: &str, id: &str) -> String {
    let name = if cleaned == "/" { id } else { cleaned.trim_start_matches('/') };
    clean(&format!("{parent}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_stays_below_its_parent() {
        for (parent, given, expected) in [
            ("", "", "/jar"),
            ("a/b", "", "/a/b/jar"),
            ("a/b", ".", "/a/b/jar"),
            ("a/b", "..", "/a/b/jar"),
            ("a/b", "x/../../../y", "/a/b/y"),
            ("", "a:b:c", "/a:b:c"),
        ] {
            assert_eq!(relative(parent, &clean(given), "jar"), expected, "{parent:?} {given:?}");
        }
    }
}
