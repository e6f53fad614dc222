//! The specification's mounts: options as `mount(8)` writes them, turned into bits, keys and steps.

use onggi_oci as oci;

use super::error::invalid;
use super::{Attributes, Error, Mount, MountIds, Propagation, PropagationKind, Source};

/// `MOUNT_ATTR_…` of `mount_setattr(2)`.
pub(crate) mod attribute {
    pub(crate) const READ_ONLY: u64 = 0x1;
    pub(crate) const NO_SUID: u64 = 0x2;
    pub(crate) const NO_DEV: u64 = 0x4;
    pub(crate) const NO_EXEC: u64 = 0x8;
    pub(crate) const ACCESS_TIME_MASK: u64 = 0x70;
    pub(crate) const NO_ACCESS_TIME: u64 = 0x10;
    pub(crate) const STRICT_ACCESS_TIME: u64 = 0x20;
    pub(crate) const NO_DIRECTORY_ACCESS_TIME: u64 = 0x80;
    pub(crate) const NO_SYMLINK_FOLLOW: u64 = 0x20_0000;
}

/// What lies below /proc and may yet be covered: files that lxcfs and the like replace, none of which a security
/// decision reads (CVE-2019-16884; the list is runc's).
const COVERABLE_BELOW_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// The options that mean the same for every kind of mount or, as `sync`, for every new file system (the kernel's `vfs_parse_sb_flag`). Any other goes
/// to the file system.
pub const OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// One mount of the specification, understood.
#[derive(Debug)]
pub(crate) enum Planned {
    Mount(Mount),
    Cgroups { destination: String, attributes: Attributes },
}

pub(crate) fn plan(mount: &oci::Mount) -> Result<Planned, Error> {
    let field = |name: &str| format!("mount of {}: {name}", mount.destination);
    let destination = clean(&mount.destination);
    if destination == "/" {
        return Err(invalid(field("destination"), "it is the root"));
    }
    let options = Options::parse(&mount.options);
    let ids = ids(mount, &options)?;
    let kind = mount.kind.as_deref().unwrap_or("");
    let bind = options.bind.or((kind == "bind").then_some(false));
    if bind.is_none() && matches!(kind, "cgroup" | "cgroup2") {
        let attributes = options.attributes;
        return Ok(Planned::Cgroups { destination, attributes });
    }
    check_proc(&destination, kind, bind.is_some())?;
    if options.remount {
        return again(mount, destination, options, bind.is_some());
    }
    let source = if let Some(recursive) = bind {
        if let Some(option) = options.data.first() {
            return Err(invalid(field("options"), format!("{option:?} means nothing to a bind mount")));
        }
        let path =
            mount.source.as_deref().ok_or_else(|| invalid(field("source"), "a bind mount needs one"))?;
        if !path.starts_with('/') {
            return Err(invalid(field("source"), format!("{path:?} is not absolute")));
        }
        Source::Bind { path: path.into(), recursive, outside: ids.is_some(), ids }
    } else {
        if ids.is_some() {
            return Err(invalid(field("options"), "id-mapped mounts are only supported for bind-mounts"));
        }
        if kind.is_empty() {
            return Err(invalid(field("type"), "it has none, and is no bind mount"));
        }
        Source::New { kind: kind.to_owned(), source: mount.source.clone(), options: options.data }
    };
    if options.copy_up && kind != "tmpfs" {
        return Err(invalid(field("options"), "tmpcopyup is for a tmpfs"));
    }
    let Exactly { attributes, implied } = match source {
        Source::Bind { .. } => options.flags.exactly(),
        _ => Exactly { attributes: options.attributes, implied: 0 },
    };
    Ok(Planned::Mount(Mount {
        destination,
        source,
        attributes,
        implied,
        recursive: options.recursive,
        propagation: options.propagation,
        copy_up: options.copy_up,
    }))
}

/// `remount`: with `bind` it is about the mount alone, otherwise about its file system too.
fn again(mount: &oci::Mount, destination: String, options: Options, bind: bool) -> Result<Planned, Error> {
    let field = format!("mount of {}: options", mount.destination);
    if options.ids.is_some() || !mount.uid_mappings.is_empty() || options.copy_up {
        return Err(invalid(field, "remount changes neither owners nor contents"));
    }
    if let Some(option) = options.data.first().filter(|_| bind) {
        return Err(invalid(field, format!("{option:?} means nothing to a bind mount")));
    }
    Ok(Planned::Mount(Mount {
        destination,
        source: Source::Again { options: (!bind).then_some(options.data) },
        attributes: options.attributes,
        implied: 0,
        recursive: options.recursive,
        propagation: options.propagation,
        copy_up: false,
    }))
}

/// One without ranges of its own has the container's, which [`super::container`] sees to.
fn ids(mount: &oci::Mount, options: &Options) -> Result<Option<MountIds>, Error> {
    let (users, groups) = (mount.uid_mappings.clone(), mount.gid_mappings.clone());
    if users.is_empty() != groups.is_empty() {
        let problem = "id-mapped mounts must have both uid and gid mappings specified";
        return Err(invalid(format!("mount of {}", mount.destination), problem));
    }
    let recursive = options.ids.unwrap_or(false);
    Ok((options.ids.is_some() || !users.is_empty()).then_some(MountIds { users, groups, recursive }))
}

/// Absolute, without `.`, `..`, double or trailing slashes; what is relative is taken from `/`, as the specification says. As Go's
/// `path.Clean`: without looking at what is there.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// That /proc is a real procfs with nothing false in it is what later steps and the container's own tools rely on.
fn check_proc(destination: &str, kind: &str, bind: bool) -> Result<(), Error> {
    let field = format!("mount of {destination}");
    if destination == "/proc" && kind != "proc" && !bind {
        return Err(invalid(field, "cannot be mounted because it is not of type proc"));
    }
    if is_below(destination, "/proc") && !COVERABLE_BELOW_PROC.contains(&destination) {
        return Err(invalid(field, "cannot be mounted because it is inside /proc"));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Options {
    attributes: Attributes,
    flags: Flags,
    recursive: Attributes,
    propagation: Option<Propagation>,
    /// Some(true) for rbind.
    bind: Option<bool>,
    copy_up: bool,
    remount: bool,
    /// Some(true) for ridmap.
    ids: Option<bool>,
    data: Vec<String>,
}

impl Options {
    fn parse(options: &[String]) -> Options {
        let mut parsed = Options::default();
        for option in options.iter().flat_map(|options| options.split(',')) {
            parsed.take(option);
        }
        parsed
    }

    fn take(&mut self, option: &str) {
        if let Some(change) = Change::of(option) {
            change.apply(&mut self.attributes);
            self.flags.take(option, &change);
        } else if let Some(propagation) = Propagation::parse(option) {
            self.propagation = Some(propagation);
        } else if let Some(change) = option.strip_prefix('r').and_then(Change::of) {
            change.apply(&mut self.recursive);
        } else {
            match option {
                "bind" => self.bind = Some(false),
                "rbind" => self.bind = Some(true),
                "tmpcopyup" => self.copy_up = true,
                // Defaults of the kernel, or a question of who prints.
                "defaults" | "silent" | "loud" | "" => {}
                "idmap" => self.ids = Some(false),
                "ridmap" => self.ids = Some(true),
                "remount" => self.remount = true,
                data => self.data.push(data.to_owned()),
            }
        }
    }
}

impl Propagation {
    /// `shared`, `rshared` and so on.
    pub(crate) fn parse(word: &str) -> Option<Propagation> {
        let (kind, recursive) = match word {
            "shared" => (PropagationKind::Shared, false),
            "rshared" => (PropagationKind::Shared, true),
            "slave" => (PropagationKind::Slave, false),
            "rslave" => (PropagationKind::Slave, true),
            "private" => (PropagationKind::Private, false),
            "rprivate" => (PropagationKind::Private, true),
            "unbindable" => (PropagationKind::Unbindable, false),
            "runbindable" => (PropagationKind::Unbindable, true),
            _ => return None,
        };
        Some(Propagation { kind, recursive })
    }
}

/// What one option does to a mount's attributes.
enum Change {
    Set(u64),
    Clear(u64),
    /// Access times are a small number within the bits: all of it is cleared, then one value set.
    AccessTime(u64),
}

impl Change {
    fn of(option: &str) -> Option<Change> {
        Some(match option {
            "ro" => Change::Set(attribute::READ_ONLY),
            "rw" => Change::Clear(attribute::READ_ONLY),
            "nosuid" => Change::Set(attribute::NO_SUID),
            "suid" => Change::Clear(attribute::NO_SUID),
            "nodev" => Change::Set(attribute::NO_DEV),
            "dev" => Change::Clear(attribute::NO_DEV),
            "noexec" => Change::Set(attribute::NO_EXEC),
            "exec" => Change::Clear(attribute::NO_EXEC),
            "nodiratime" => Change::Set(attribute::NO_DIRECTORY_ACCESS_TIME),
            "diratime" => Change::Clear(attribute::NO_DIRECTORY_ACCESS_TIME),
            "nosymfollow" => Change::Set(attribute::NO_SYMLINK_FOLLOW),
            "symfollow" => Change::Clear(attribute::NO_SYMLINK_FOLLOW),
            "noatime" => Change::AccessTime(attribute::NO_ACCESS_TIME),
            "strictatime" => Change::AccessTime(attribute::STRICT_ACCESS_TIME),
            // The kernel's default is relatime.
            "relatime" | "atime" | "norelatime" | "nostrictatime" => Change::AccessTime(0),
            _ => return None,
        })
    }

    fn apply(&self, attributes: &mut Attributes) {
        match *self {
            Change::Set(bit) => {
                attributes.set |= bit;
                attributes.clear &= !bit;
            }
            Change::Clear(bit) => {
                attributes.clear |= bit;
                attributes.set &= !bit;
            }
            Change::AccessTime(value) => {
                attributes.clear |= attribute::ACCESS_TIME_MASK;
                attributes.set = attributes.set & !attribute::ACCESS_TIME_MASK | value;
            }
        }
    }
}

/// What the words for a bind mount's flags say, each set or cleared by the last of them.
#[derive(Debug, Default, Clone, Copy)]
struct Flags {
    set: u64,
    cleared: u64,
    /// The last of `noatime`, `relatime` and `strictatime` that is none of the words which take one back.
    access_times: AccessTimes,
}

#[derive(Debug, Default, Clone, Copy)]
struct AccessTimes {
    none: bool,
    relative: bool,
    strict: bool,
}

/// The flags of a bind mount, and which of those that are cleared nobody has named and the kernel may have locked.
struct Exactly {
    attributes: Attributes,
    implied: u64,
}

/// Those that do not belong to one another.
const SINGLE: u64 = attribute::READ_ONLY
    | attribute::NO_SUID
    | attribute::NO_DEV
    | attribute::NO_EXEC
    | attribute::NO_SYMLINK_FOLLOW;

impl Flags {
    fn take(&mut self, option: &str, change: &Change) {
        match *change {
            Change::Set(bit) => (self.set, self.cleared) = (self.set | bit, self.cleared & !bit),
            Change::Clear(bit) => (self.set, self.cleared) = (self.set & !bit, self.cleared | bit),
            Change::AccessTime(_) => {
                // That something is said of them counts, even if it changes nothing.
                self.cleared |= attribute::ACCESS_TIME_MASK;
                let AccessTimes { none, relative, strict } = &mut self.access_times;
                match option {
                    "noatime" | "atime" => *none = option == "noatime",
                    "relatime" | "norelatime" => *relative = option == "relatime",
                    _ => *strict = option == "strictatime",
                }
            }
        }
    }

    /// As runc has it, with one flag named all others are off (`mount --bind -o ro` of a file system without devices is one with them), but for
    /// those of access times, of which the mount keeps what it has until one is set. Without any, all stay.
    fn exactly(self) -> Exactly {
        if self.set | self.cleared == 0 {
            return Exactly { attributes: Attributes::default(), implied: 0 };
        }
        let set = self.set & SINGLE;
        let mut attributes = Attributes { set, clear: SINGLE & !set };
        // The one flag that the kernel never locks can always be cleared.
        let implied = attributes.clear & !self.cleared & !attribute::NO_SYMLINK_FOLLOW;
        let AccessTimes { none, relative, strict } = self.access_times;
        let no_directories = self.set & attribute::NO_DIRECTORY_ACCESS_TIME;
        if none || relative || strict || no_directories != 0 {
            let value = match (strict, none) {
                (true, _) => attribute::STRICT_ACCESS_TIME,
                (false, true) => attribute::NO_ACCESS_TIME,
                (false, false) => 0,
            };
            attributes.clear |=
                attribute::ACCESS_TIME_MASK | attribute::NO_DIRECTORY_ACCESS_TIME & !no_directories;
            attributes.set |= value | no_directories;
        }
        Exactly { attributes, implied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> oci::Mount {
        oci::Mount {
            destination: destination.into(),
            kind: Some(kind.into()),
            source: Some(source.into()),
            options: options.iter().map(|&option| option.into()).collect(),
            ..oci::Mount::default()
        }
    }

    fn planned(mount: &oci::Mount) -> Mount {
        match plan(mount).unwrap() {
            Planned::Mount(mount) => mount,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_cleaned_and_stay_inside() {
        for (path, expected) in [
            ("/a//b/./c/", "/a/b/c"),
            ("relative", "/relative"),
            ("/../../etc", "/etc"),
            ("/a/../../../b", "/b"),
            ("", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn options_become_bits_and_the_last_word_counts() {
        let it = planned(&mount("bind", "/a", "/b", &["rbind", "ro", "nosuid", "rw", "noatime", "rslave"]));
        assert_eq!(it.source, Source::Bind { path: "/a".into(), recursive: true, outside: false, ids: None });
        assert_eq!(it.attributes.set, attribute::NO_SUID | attribute::NO_ACCESS_TIME);
        assert_eq!(it.recursive, Attributes::default());
        assert_eq!(it.propagation, Some(Propagation { kind: PropagationKind::Slave, recursive: true }));
        let it = planned(&mount("tmpfs", "t", "/t", &["ro", "nosuid", "rw", "noatime"]));
        let set = attribute::NO_SUID | attribute::NO_ACCESS_TIME;
        let clear = attribute::READ_ONLY | attribute::ACCESS_TIME_MASK;
        assert_eq!((it.attributes, it.implied), (Attributes { set, clear }, 0));
    }

    #[test]
    fn a_bind_mount_has_the_flags_that_are_named_and_no_others() {
        use attribute::*;
        let times = ACCESS_TIME_MASK | NO_DIRECTORY_ACCESS_TIME;
        for (options, set, clear, named) in [
            (&["bind", "rslave"][..], 0, 0, 0),
            (&["bind", "ro"], READ_ONLY, SINGLE & !READ_ONLY, 0),
            (&["bind", "dev"], 0, SINGLE, NO_DEV),
            (&["bind", "rw", "noexec"], NO_EXEC, SINGLE & !NO_EXEC, READ_ONLY),
            // Taking one of these back is no wish for another.
            (&["bind", "atime", "diratime", "norelatime"], 0, SINGLE, 0),
            (&["bind", "relatime"], 0, SINGLE | times, 0),
            (&["bind", "noatime", "atime"], 0, SINGLE, 0),
            (
                &["bind", "nodiratime"],
                NO_DIRECTORY_ACCESS_TIME,
                SINGLE | times & !NO_DIRECTORY_ACCESS_TIME,
                0,
            ),
            (
                &["bind", "nodiratime", "strictatime"],
                NO_DIRECTORY_ACCESS_TIME | STRICT_ACCESS_TIME,
                SINGLE | times & !NO_DIRECTORY_ACCESS_TIME,
                0,
            ),
        ] {
            let it = planned(&mount("bind", "/a", "/b", options));
            assert_eq!(it.attributes, Attributes { set, clear }, "{options:?}");
            assert_eq!(it.implied, clear & SINGLE & !named & !NO_SYMLINK_FOLLOW, "{options:?}");
        }
    }

    #[test]
    fn recursive_attributes_are_apart() {
        let it = planned(&mount("bind", "/a", "/b", &["bind", "rro", "rnodev", "rrelatime"]));
        let set = attribute::READ_ONLY | attribute::NO_DEV;
        assert_eq!(it.recursive, Attributes { set, clear: attribute::ACCESS_TIME_MASK });
        assert_eq!(it.attributes, Attributes::default());
    }

    #[test]
    fn what_no_flag_is_goes_to_the_file_system() {
        let it =
            planned(&mount("tmpfs", "tmpfs", "/t", &["noexec", "size=65536k", "mode=1777", "tmpcopyup"]));
        let options = vec!["size=65536k".into(), "mode=1777".into()];
        assert_eq!(it.source, Source::New { kind: "tmpfs".into(), source: Some("tmpfs".into()), options });
        assert!(it.copy_up);
    }

    #[test]
    fn a_remount_is_of_the_mount_or_of_its_file_system() {
        let it = planned(&mount("bind", "/a", "/b", &["remount", "bind", "ro"]));
        assert_eq!(it.source, Source::Again { options: None });
        assert_eq!(it.attributes, Attributes { set: attribute::READ_ONLY, clear: 0 });
        let it = planned(&mount("tmpfs", "tmpfs", "/t", &["remount", "size=1m"]));
        assert_eq!(it.source, Source::Again { options: Some(vec!["size=1m".into()]) });
        assert!(plan(&mount("bind", "/a", "/b", &["remount", "bind", "size=1m"])).is_err());
        assert!(plan(&mount("bind", "/a", "/b", &["remount", "bind", "idmap"])).is_err());
        assert!(plan(&mount("proc", "proc", "/proc/sys", &["remount"])).is_err());
    }

    #[test]
    fn refusals_name_the_mount() {
        let refused = |kind: &str, destination: &str, options: &[&str]| {
            plan(&mount(kind, "/x", destination, options)).unwrap_err().to_string()
        };
        assert_eq!(refused("tmpfs", "/", &[]), "mount of /: destination: it is the root");
        // CVE-2019-16884, CVE-2019-19921: a volume over /proc fakes what the runtime reads and writes there.
        assert_eq!(
            refused("tmpfs", "/proc", &[]),
            "mount of /proc: cannot be mounted because it is not of type proc"
        );
        assert_eq!(
            refused("bind", "/x/../proc/self/attr", &["bind"]),
            "mount of /proc/self/attr: cannot be mounted because it is inside /proc"
        );
        assert_eq!(
            refused("bind", "/b", &["bind", "size=1"]),
            "mount of /b: options: \"size=1\" means nothing to a bind mount"
        );
        assert_eq!(
            refused("tmpfs", "/b", &["idmap"]),
            "mount of /b: options: id-mapped mounts are only supported for bind-mounts"
        );
        assert_eq!(refused("ext4", "/b", &["tmpcopyup"]), "mount of /b: options: tmpcopyup is for a tmpfs");
        assert_eq!(refused("", "/b", &[]), "mount of /b: type: it has none, and is no bind mount");
        assert!(plan(&mount("bind", "/x", "/proc/cpuinfo", &["bind"])).is_ok());
    }
}
