//! The caller's own groups, for a container that names none or one relative to them: what limits the caller then limits it as well.
//!
//! By runc's rule (`cgroups/fs/paths.go`, `cgroups/fs2/defaultpath.go`): on version 1 below the caller's group in each hierarchy, on version 2
//! beside it, as a group with processes of its own can hand no controllers down.

use std::path::{Path, PathBuf};

use crate::layout::{detect_at, may_move_into, mountinfo, own_group, unescape, with_controllers};
use crate::{Error, Layout};

/// Where a group that is relative to the caller's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// On version 1 its roots are the caller's groups.
    pub layout: Layout,
    /// What comes before the group's path; on version 2 alone, and without slashes around it.
    pub parent: String,
}

/// Asks the kernel. `of_user`: the caller is not root of the machine, and has what was delegated to the user; [`Layout::none`] if nothing
/// was.
///
/// # Errors
/// [`Error::Read`] without `/proc`; [`Error::NotMounted`] for root if there are no control groups.
pub fn detect_own(of_user: bool) -> Result<Own, Error> {
    let path = Path::new("/proc/self/cgroup");
    let own = onggi_sys::kernel_file::read_text(path)
        .map_err(|source| Error::Read { path: path.into(), source })?;
    let mountinfo = mountinfo()?;
    let layout = match detect_at(&mountinfo, "") {
        Err(Error::NotMounted) if of_user => Layout::none(),
        other => other?,
    };
    let may_move: &dyn Fn(&Path) -> bool = if of_user { &may_move_into } else { &|_| true };
    let mut place = place(&layout, &mountinfo, &own, of_user, may_move);
    place.layout = with_controllers(place.layout)?;
    Ok(place)
}

/// The groups that the caller is in, whoever they are for: to be looked at, not to make others in. [`Layout::none`] if there are none. `whole_v2`: of
/// version 2 the tree as it is mounted.
///
/// # Errors
/// [`Error::Read`] without `/proc`.
pub fn detect_shown(whole_v2: bool) -> Result<Layout, Error> {
    let path = Path::new("/proc/self/cgroup");
    let own = onggi_sys::kernel_file::read_text(path)
        .map_err(|source| Error::Read { path: path.into(), source })?;
    let mountinfo = mountinfo()?;
    match detect_at(&mountinfo, "") {
        Ok(layout) => Ok(shown(layout, &mountinfo, &own, whole_v2)),
        Err(Error::NotMounted) => Ok(Layout::none()),
        Err(error) => Err(error),
    }
}

fn shown(layout: Layout, mountinfo: &str, process_cgroups: &str, whole_v2: bool) -> Layout {
    match layout {
        Layout::V2 { .. } if whole_v2 => layout,
        Layout::V2 { root, controllers } => {
            let own = own_group(process_cgroups, &str::is_empty).unwrap_or_default();
            let below = below_mount(mountinfo, &root, own);
            let root = if below.is_empty() { root } else { root.join(below) };
            Layout::V2 { root, controllers }
        }
        Layout::V1 { .. } => place(&layout, mountinfo, process_cgroups, true, &|_| true).layout,
    }
}

/// Pure but for what `may_move` asks: whether the caller may move processes into a group.
fn place(
    layout: &Layout,
    mountinfo: &str,
    process_cgroups: &str,
    of_user: bool,
    may_move: &dyn Fn(&Path) -> bool,
) -> Own {
    match layout {
        Layout::V2 { root, .. } => {
            let delegated =
                if of_user { layout.delegated(process_cgroups, may_move) } else { layout.clone() };
            let own = own_group(process_cgroups, &str::is_empty).unwrap_or_default();
            let own = root.join(own);
            let top = delegated.roots().first().map(PathBuf::from).unwrap_or_default();
            // The topmost group of a user's is itself where the others go.
            let beside = own.strip_prefix(&top).ok().and_then(Path::parent).filter(|path| is_below(path));
            let parent = beside.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            Own { layout: delegated, parent }
        }
        Layout::V1 { hierarchies, unified } => {
            let within = |root: &Path, own: Option<&str>| {
                // Who is in no group is in none of whatever the mount shows.
                let below =
                    own.map(|own| if own.is_empty() { own } else { below_mount(mountinfo, root, own) })?;
                let root = if below.is_empty() { root.to_path_buf() } else { root.join(below) };
                may_move(&root).then_some(root)
            };
            let hierarchies = hierarchies.iter().filter_map(|hierarchy| {
                let own = own_group(process_cgroups, &|names| hierarchy.is_called(names));
                let root = within(&hierarchy.root, own)?;
                Some(crate::Hierarchy { controllers: hierarchy.controllers.clone(), root })
            });
            let own = own_group(process_cgroups, &str::is_empty);
            let unified = unified.as_deref().and_then(|root| within(root, own));
            Own { layout: Layout::V1 { hierarchies: hierarchies.collect(), unified }, parent: String::new() }
        }
    }
}

/// The group's path below its mount: in a container without a cgroup namespace `/proc/self/cgroup` names the host's, of which the mount
/// shows a part (proc_pid_mountinfo(5), field 4). Empty for a group that the mount does not show.
fn below_mount<'a>(mountinfo: &str, mount: &Path, own: &'a str) -> &'a str {
    let shown = mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (Path::new(&unescape(point)) == mount).then(|| unescape(root))
    });
    let shown = shown.unwrap_or_default();
    let below = Path::new(own).strip_prefix(shown.trim_start_matches('/'));
    below.ok().filter(|path| is_below(path)).and_then(Path::to_str).unwrap_or_default()
}

/// `/..` is what a group outside the caller's cgroup namespace looks like (cgroup_namespaces(7)).
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const V2: &str = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    fn placed(mountinfo: &str, own: &str, of_user: bool, may_move: &dyn Fn(&Path) -> bool) -> Own {
        place(&detect_at(mountinfo, "memory").unwrap(), mountinfo, own, of_user, may_move)
    }

    #[test]
    fn on_version_1_it_is_below_each_group_of_the_callers() {
        let roots = |own: &str, may_move: &dyn Fn(&Path) -> bool| {
            let place = placed(V1, own, true, may_move);
            assert_eq!(place.parent, "");
            place.layout.roots().iter().map(|root| root.display().to_string()).collect::<Vec<_>>()
        };
        let own = "5:cpu,cpuacct:/job/a\n4:memory:/docker/x/b\n0::/u\n";
        let expected = ["/sys/fs/cgroup/cpu/job/a", "/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/unified/u"];
        assert_eq!(roots(own, &|_| true), expected);
        // A user has only those that are the user's.
        assert_eq!(roots(own, &|path| path.ends_with("b")), expected[1..2]);
        // What the mount does not show.
        let own = "5:cpu,cpuacct:/../a\n4:memory:/docker/y\n0::/\n";
        let mounts = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"];
        assert_eq!(roots(own, &|_| true), mounts);
    }

    #[test]
    fn on_version_2_it_is_beside_the_callers_group() {
        for (own, parent) in
            [("0::/a/b/c", "a/b"), ("0::/a", ""), ("0::/", ""), ("0::/../x/y", ""), ("3:x:/a/b", "")]
        {
            let place = placed(V2, own, false, &|_| true);
            assert_eq!(place.parent, parent, "{own}");
            assert_eq!(place.layout.roots(), [Path::new("/sys/fs/cgroup")]);
        }
    }

    #[test]
    fn a_user_on_version_2_stays_in_what_was_delegated() {
        let is_users = |path: &Path| path.starts_with("/sys/fs/cgroup/user/7");
        for (own, root, parent) in [
            ("0::/user/7/app/scope", "/sys/fs/cgroup/user/7", "app"),
            ("0::/user/7/scope", "/sys/fs/cgroup/user/7", ""),
            ("0::/user/7", "/sys/fs/cgroup/user/7", ""),
        ] {
            let place = placed(V2, own, true, &is_users);
            assert_eq!((place.layout.roots(), place.parent.as_str()), (vec![Path::new(root)], parent));
        }
        assert_eq!(placed(V2, "0::/elsewhere", true, &is_users).layout, Layout::none());
    }

    #[test]
    fn what_is_shown_is_the_callers_own() {
        let own = "9:cpu,cpuacct:/job\n4:memory:/docker/x/job\n0::/user/kim\n";
        let Layout::V1 { hierarchies, .. } = shown(detect_at(V1, "").unwrap(), V1, own, false) else {
            panic!("it is of version 1")
        };
        let roots: Vec<_> = hierarchies.iter().map(|hierarchy| hierarchy.root.to_str().unwrap()).collect();
        assert_eq!(roots, ["/sys/fs/cgroup/cpu/job", "/sys/fs/cgroup/memory/job"]);
        for (whole, expected) in [(true, "/sys/fs/cgroup"), (false, "/sys/fs/cgroup/user/kim")] {
            let Layout::V2 { root, .. } = shown(detect_at(V2, "").unwrap(), V2, own, whole) else {
                panic!("it is of version 2")
            };
            assert_eq!(root.to_str(), Some(expected));
        }
    }
}
