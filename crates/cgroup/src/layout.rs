//! Where control groups are mounted on this host: one v2 tree, or one directory for each v1 hierarchy.
//!
//! The parsing is pure; only [`detect`] reads `/proc`. Nothing here knows what a container is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The control group file systems of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// One tree for all controllers (`cgroup2`).
    V2 {
        /// Usually `/sys/fs/cgroup`.
        root: PathBuf,
        /// What the root's `cgroup.controllers` offers.
        controllers: Vec<String>,
    },
    /// A tree for each controller or group of them, the layout before systemd 247 ("legacy" and "hybrid").
    V1 {
        /// In the order of the mounts; `name=systemd` and the like included.
        hierarchies: Vec<Hierarchy>,
        /// The v2 tree beside them, if it is mounted writable. Its controllers, if it has any, are not used.
        unified: Option<PathBuf>,
    },
}

/// One mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// `["cpu", "cpuacct"]`, or one `name=…` for a hierarchy that controls nothing.
    pub controllers: Vec<String>,
    /// The mount point, or for an ordinary user the group in it that was delegated.
    pub root: PathBuf,
}

impl Hierarchy {
    /// What it is mounted as by custom (cgroups(7)): `cpu,cpuacct`, and `systemd` for `name=systemd`. No two hierarchies have the same.
    #[must_use]
    pub fn name(&self) -> String {
        let names: Vec<&str> =
            self.controllers.iter().map(|name| name.strip_prefix("name=").unwrap_or(name)).collect();
        names.join(",")
    }

    /// Whether these are its names in a `/proc/PID/cgroup`.
    pub(crate) fn is_called(&self, names: &str) -> bool {
        names.split(',').eq(self.controllers.iter())
    }
}

/// The group of one hierarchy in `/proc/PID/cgroup` (cgroups(7)), without a leading slash; the names are empty for version 2.
pub(crate) fn own_group<'a>(process_cgroups: &'a str, is_called: &dyn Fn(&str) -> bool) -> Option<&'a str> {
    process_cgroups.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        is_called(names).then(|| path.trim_start_matches('/'))
    })
}

impl Layout {
    /// All mount points, the v2 tree beside v1 last; a plan's steps refer to them by index.
    pub(crate) fn roots(&self) -> Vec<&Path> {
        match self {
            Layout::V2 { root, .. } => vec![root],
            Layout::V1 { hierarchies, unified } => hierarchies
                .iter()
                .map(|hierarchy| hierarchy.root.as_path())
                .chain(unified.as_deref())
                .collect(),
        }
    }

    /// The index of the root that has this controller.
    pub(crate) fn index_of(&self, controller: &str) -> Option<usize> {
        let has = |list: &[String]| list.iter().any(|name| name == controller);
        match self {
            Layout::V2 { controllers, .. } => has(controllers).then_some(0),
            Layout::V1 { hierarchies, .. } => hierarchies.iter().position(|each| has(&each.controllers)),
        }
    }

    pub(crate) fn is_version_2(&self) -> bool {
        matches!(self, Layout::V2 { .. })
    }

    /// The index of the v2 root, if there is one.
    pub(crate) fn unified_index(&self) -> Option<usize> {
        match self {
            Layout::V2 { .. } => Some(0),
            Layout::V1 { hierarchies, unified } => unified.as_ref().map(|_| hierarchies.len()),
        }
    }

    /// Whether the host can apply limits of this controller (`memory`, `cpu`, …).
    #[must_use]
    pub fn has_controller(&self, controller: &str) -> bool {
        self.index_of(controller).is_some()
    }

    /// The v1 hierarchies that the kernel keeps but that are mounted nowhere, so that nobody can join them: `["hugetlb"]`, or
    /// `["cpu,cpuacct"]`. `process_cgroups` is any process's `/proc/PID/cgroup` (cgroups(7)), which has a line for each.
    #[must_use]
    pub fn unmounted(&self, process_cgroups: &str) -> Vec<String> {
        let lines = process_cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let is_mounted = |names: &str| match self {
            Layout::V2 { .. } => false,
            Layout::V1 { hierarchies, .. } => hierarchies
                .iter()
                .any(|each| names.split(',').any(|name| each.controllers.iter().any(|known| known == name))),
        };
        lines
            .map(|(names, _)| names)
            .filter(|names| !names.is_empty() && !is_mounted(names))
            .map(str::to_owned)
            .collect()
    }

    /// No control groups at all: what an ordinary user has to whom none were delegated. No limit can be applied.
    #[must_use]
    pub fn none() -> Layout {
        Layout::V1 { hierarchies: Vec::new(), unified: None }
    }

    /// Whether this is [`Layout::none`].
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.roots().is_empty()
    }

    /// What of it was delegated to a process that is not root of the machine: each tree from the topmost group on that is above the
    /// process (`process_cgroups` is its `/proc/PID/cgroup`) and into which it may move processes. The topmost is where systemd's
    /// user manager begins, so that all commands of a user find the same; and the kernel lets a process be moved only by who may
    /// write to the group above both places.
    #[must_use]
    pub fn delegated(&self, process_cgroups: &str, may_write: &dyn Fn(&Path) -> bool) -> Layout {
        let own = |matches: &dyn Fn(&str) -> bool| own_group(process_cgroups, matches);
        let top = |root: &Path, own: Option<&str>| {
            let own = root.join(own?);
            let above: Vec<&Path> = own.ancestors().take_while(|path| path.starts_with(root)).collect();
            above.into_iter().rev().find(|path| may_write(path)).map(Path::to_path_buf)
        };
        match self {
            Layout::V2 { root, controllers } => match top(root, own(&str::is_empty)) {
                Some(root) => Layout::V2 { root, controllers: controllers.clone() },
                None => Layout::none(),
            },
            Layout::V1 { hierarchies, unified } => {
                let within = |hierarchy: &Hierarchy| {
                    let root = top(&hierarchy.root, own(&|names| hierarchy.is_called(names)))?;
                    Some(Hierarchy { controllers: hierarchy.controllers.clone(), root })
                };
                Layout::V1 {
                    hierarchies: hierarchies.iter().filter_map(within).collect(),
                    unified: unified.as_deref().and_then(|root| top(root, own(&str::is_empty))),
                }
            }
        }
    }

    /// Without the v2 tree beside v1 if an ordinary user may not make this group there, as who grants version 1's groups leaves it out: it
    /// controls nothing. `may_write` is asked for the lowest directory that is there.
    #[must_use]
    pub fn without_closed_unified(mut self, path: &str, may_write: &dyn Fn(&Path) -> bool) -> Layout {
        if let Layout::V1 { unified, .. } = &mut self {
            let may_make = |root: &mut PathBuf| {
                let group = root.join(path.trim_start_matches('/'));
                group.ancestors().find(|above| above.exists()).is_some_and(may_write)
            };
            unified.take_if(|root| !may_make(root));
        }
        self
    }

    /// `v1`, `v2` or `none`, as `info` prints it.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self {
            Layout::V2 { .. } => "v2",
            Layout::V1 { .. } if self.is_none() => "none",
            Layout::V1 { .. } => "v1",
        }
    }
}

/// What this process sees in `/proc/self/mountinfo`, and in a user namespace what of it was delegated to the user.
///
/// # Errors
/// [`Error::Read`] without `/proc`, [`Error::NotMounted`] if there are no control groups.
pub fn detect() -> Result<Layout, Error> {
    if onggi_sys::namespace::in_user_namespace() {
        return detect_delegated();
    }
    with_controllers(mounted()?)
}

/// What of the control groups was delegated to an ordinary user; [`Layout::none`] if nothing was.
///
/// # Errors
/// [`Error::Read`] without `/proc`.
pub fn detect_delegated() -> Result<Layout, Error> {
    let path = Path::new("/proc/self/cgroup");
    let own = onggi_sys::kernel_file::read_text(path)
        .map_err(|source| Error::Read { path: path.into(), source })?;
    match mounted() {
        Ok(layout) => with_controllers(layout.delegated(&own, &may_move_into)),
        Err(Error::NotMounted) => Ok(Layout::none()),
        Err(error) => Err(error),
    }
}

/// What an ordinary user who names a group has for it.
///
/// # Errors
/// As [`detect`].
pub fn detect_for(group: &str) -> Result<Layout, Error> {
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    detect().map(|layout| layout.without_closed_unified(group, &may_write))
}

/// Only what is beneath one group of a v2 host (`/user.slice/…`, as `/proc/PID/cgroup` has it); `None` on a v1 host.
///
/// # Errors
/// [`Error::Read`] without `/proc` or without such a group, [`Error::BadPath`], [`Error::NotMounted`].
pub fn detect_beneath(group: &str) -> Result<Option<Layout>, Error> {
    match mounted()? {
        Layout::V2 { root, .. } if group.trim_matches('/').is_empty() => {
            with_controllers(Layout::V2 { root, controllers: Vec::new() }).map(Some)
        }
        Layout::V2 { root, .. } => {
            let root = root.join(crate::plan::parse_path(group)?);
            with_controllers(Layout::V2 { root, controllers: Vec::new() }).map(Some)
        }
        Layout::V1 { .. } => Ok(None),
    }
}

fn mounted() -> Result<Layout, Error> {
    detect_at(&mountinfo()?, "")
}

/// Of the table of mounts the lines of control groups.
pub(crate) fn mountinfo() -> Result<String, Error> {
    let path = Path::new("/proc/self/mountinfo");
    let mountinfo =
        onggi_sys::kernel_file::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    // A mount point may be any bytes; those of the control groups are not.
    Ok(String::from_utf8_lossy(&of_cgroups(&mountinfo)).into_owned())
}

/// The lines in which a file system of the kind may be named: a few of the hundreds of a host that runs containers.
fn of_cgroups(mountinfo: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut done = 0;
    for at in memchr::memmem::find_iter(mountinfo, b" - cgroup") {
        if at < done {
            continue;
        }
        let start = memchr::memrchr(b'\n', &mountinfo[done..at]).map_or(done, |end| done + end + 1);
        done = memchr::memchr(b'\n', &mountinfo[at..]).map_or(mountinfo.len(), |end| at + end + 1);
        lines.extend_from_slice(&mountinfo[start..done]);
    }
    lines
}

/// What the v2 tree offers from its root on.
pub(crate) fn with_controllers(mut layout: Layout) -> Result<Layout, Error> {
    if let Layout::V2 { root, controllers } = &mut layout {
        let path = root.join("cgroup.controllers");
        let text = onggi_sys::kernel_file::read_text(&path).map_err(|source| Error::Read { path, source })?;
        *controllers = words(&text);
    }
    Ok(layout)
}

/// Whether the caller may make groups below this one and move processes between them.
pub(crate) fn may_move_into(group: &Path) -> bool {
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    may_write(group) && may_write(&group.join("cgroup.procs"))
}

/// The layout that a text in the form of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) describes, given what the v2 tree's
/// `cgroup.controllers` says (looked at for a v2 host only).
///
/// # Errors
/// [`Error::NotMounted`] if it names no control groups.
pub fn detect_at(mountinfo: &str, v2_controllers: &str) -> Result<Layout, Error> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    let mut unified: Option<(PathBuf, bool)> = None;
    for line in mountinfo.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let mut mount = mount.split(' ').skip(4);
        let (Some(point), Some(options)) = (mount.next(), mount.next()) else { continue };
        let mut file_system = file_system.split(' ');
        let (kind, super_options) = (file_system.next(), file_system.nth(1).unwrap_or(""));
        let root = PathBuf::from(unescape(point));
        let writable = options.split(',').chain(super_options.split(',')).all(|option| option != "ro");
        match kind {
            // The same tree may be mounted again elsewhere (into somebody's root file system): the first one counts.
            Some("cgroup2") if unified.is_none() => unified = Some((root, writable)),
            Some("cgroup") => {
                let controllers: Vec<String> = super_options
                    .split(',')
                    .filter(|option| is_controller(option))
                    .map(str::to_owned)
                    .collect();
                if !controllers.is_empty()
                    && !hierarchies.iter().any(|known| known.controllers == controllers)
                {
                    hierarchies.push(Hierarchy { controllers, root });
                }
            }
            _ => {}
        }
    }
    match (hierarchies.is_empty(), unified) {
        (true, None) => Err(Error::NotMounted),
        (true, Some((root, _))) => Ok(Layout::V2 { root, controllers: words(v2_controllers) }),
        (false, unified) => Ok(Layout::V1 {
            hierarchies,
            unified: unified.and_then(|(root, writable)| writable.then_some(root)),
        }),
    }
}

/// Every option of a v1 mount that is neither a flag nor a setting is a controller.
fn is_controller(option: &str) -> bool {
    option.starts_with("name=")
        || !(option.contains('=')
            || matches!(
                option,
                "" | "rw"
                    | "ro"
                    | "none"
                    | "all"
                    | "noprefix"
                    | "clone_children"
                    | "cpuset_v2_mode"
                    | "xattr"
                    | "favordynmods"
            ))
}

/// `\040` and the other octal escapes of mountinfo.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| {
            (bytes[at] == b'\\')
                .then(|| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok())
                .flatten()
        });
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 8:1 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,noprefix,release_agent=/x,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
77 31 0:37 / /srv/jail\\040one/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn of_a_table_only_the_lines_of_control_groups_are_looked_at() {
        let lines = |table: &str| String::from_utf8(of_cgroups(table.as_bytes())).unwrap();
        let of_cgroups = HYBRID.lines().filter(|line| line.contains("- cgroup"));
        assert_eq!(lines(HYBRID), of_cgroups.map(|line| format!("{line}\n")).collect::<String>());
        assert_eq!(lines(HYBRID.trim_end()), lines(HYBRID).trim_end());
        assert_eq!(
            lines("1 2 0:1 / / rw - tmpfs - cgroup\n3 4 0:2 / /x rw - ext4 x rw"),
            "1 2 0:1 / / rw - tmpfs - cgroup\n"
        );
        assert_eq!(lines(""), "");
    }

    fn hierarchy(controllers: &[&str], root: &str) -> Hierarchy {
        Hierarchy { controllers: controllers.iter().map(|&name| name.into()).collect(), root: root.into() }
    }

    #[test]
    fn a_hybrid_host_has_a_hierarchy_for_each_set_of_controllers() {
        let hierarchies = vec![
            hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"),
            hierarchy(&["cpuset"], "/sys/fs/cgroup/cpuset"),
            hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd"),
        ];
        let unified = Some("/sys/fs/cgroup/unified".into());
        let layout = detect_at(HYBRID, "").unwrap();
        assert_eq!(layout, Layout::V1 { hierarchies: hierarchies.clone(), unified });
        assert!(layout.has_controller("cpuacct") && !layout.has_controller("memory"));
        assert_eq!(layout.unified_index(), Some(3));

        let read_only = HYBRID.replace("unified rw", "unified ro");
        assert_eq!(detect_at(&read_only, "").unwrap(), Layout::V1 { hierarchies, unified: None });
    }

    #[test]
    fn what_was_delegated_keeps_the_name_of_its_hierarchy() {
        let layout = detect_at(HYBRID, "").unwrap();
        let own = "3:name=systemd:/kim\n2:cpu,cpuacct:/kim\n1:cpuset:/kim\n0::/\n";
        let Layout::V1 { hierarchies, unified } = layout.delegated(own, &|path| path.ends_with("kim")) else {
            panic!("version 1 stays version 1")
        };
        assert_eq!(unified, None);
        assert_eq!(hierarchies[0].root, Path::new("/sys/fs/cgroup/cpu,cpuacct/kim"));
        let names: Vec<String> = hierarchies.iter().map(Hierarchy::name).collect();
        assert_eq!(names, ["cpu,cpuacct", "cpuset", "systemd"]);
    }

    #[test]
    fn a_v2_host_has_one_tree() {
        let line = "25 1 0:22 / /sys/fs/cgroup\\040x rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        let expected =
            Layout::V2 { root: "/sys/fs/cgroup x".into(), controllers: vec!["cpu".into(), "memory".into()] };
        assert_eq!(detect_at(line, "cpu memory\n").unwrap(), expected);
    }

    #[test]
    fn a_hierarchy_may_be_active_and_mounted_nowhere() {
        let layout = detect_at(HYBRID, "").unwrap();
        let process =
            "12:hugetlb:/\n4:cpuset:/a:b\n3:name=systemd:/\n2:cpu,cpuacct:/\n1:net_cls,net_prio:/\n0::/\n";
        assert_eq!(layout.unmounted(process), ["hugetlb", "net_cls,net_prio"]);
        let v2 = Layout::V2 { root: "/sys/fs/cgroup".into(), controllers: vec!["cpu".into()] };
        assert_eq!((v2.unmounted("0::/\n"), v2.unmounted(process).len()), (vec![], 5));
    }

    #[test]
    fn a_host_without_any_is_an_error() {
        assert!(matches!(detect_at("garbage\n1 2 - \n", ""), Err(Error::NotMounted)));
    }

    #[test]
    fn a_unified_tree_where_the_group_cannot_be_is_left_out() {
        let layout = || Layout::V1 { hierarchies: Vec::new(), unified: Some("/nowhere/unified".into()) };
        // What is asked about is what is there of `/nowhere/unified/group`.
        assert_eq!(layout().without_closed_unified("/group", &|path| path == Path::new("/")), layout());
        assert_eq!(layout().without_closed_unified("/group", &|_| false), Layout::none());
    }
}
