//! The table of keys: name in a file, variable, meaning, how a text becomes the value and back.
//!
//! One line here is all that a new setting needs besides its field; files, environment and `config show` follow.

use std::path::PathBuf;

use crate::{Settings, bytes, detach_keys, environment, registries};

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// In `onggi.toml`; `log.driver` is `driver` in the table `[log]`.
    pub name: &'static str,
    pub variable: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Not listed unless it is set.
    pub hidden: bool,
    set: fn(&mut Settings, &str) -> Result<(), String>,
    show: fn(&Settings) -> String,
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

/// Whose defaults a container gets where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// Eleven capabilities, as Podman.
    Onggi,
    /// Docker's fourteen: also `MKNOD`, `NET_RAW` and `AUDIT_WRITE`.
    Docker,
}

/// What layers are presented as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// EROFS where the kernel can, else directories.
    Auto,
    Directories,
}

/// What keeps a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDriver {
    JsonFile,
    None,
}

impl LogDriver {
    /// The name that `--log-driver` and Docker use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LogDriver::JsonFile => "json-file",
            LogDriver::None => "none",
        }
    }
}

impl std::str::FromStr for LogDriver {
    type Err = String;

    fn from_str(text: &str) -> Result<LogDriver, String> {
        match text {
            "json-file" => Ok(LogDriver::JsonFile),
            "none" => Ok(LogDriver::None),
            _ => Err("the log drivers built so far are json-file and none".to_owned()),
        }
    }
}

/// Every setting, in the order in which it is shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "root",
        variable: environment::ROOT,
        about: "where images, layers and containers are kept",
        hidden: false,
        set: |settings, text| path(text).map(|path| settings.root = path),
        show: |settings| settings.root.display().to_string(),
    },
    Key {
        name: "run_root",
        variable: environment::RUN_ROOT,
        about: "where sockets, mounts and other things that end with a reboot are",
        hidden: false,
        set: |settings, text| path(text).map(|path| settings.run_root = path),
        show: |settings| settings.run_root.display().to_string(),
    },
    Key {
        name: "compat",
        variable: environment::COMPAT,
        about: "onggi, or docker to add Docker's capabilities MKNOD, NET_RAW and AUDIT_WRITE",
        hidden: false,
        set: |settings, text| {
            settings.compat = match text {
                "onggi" => Compat::Onggi,
                "docker" => Compat::Docker,
                _ => return Err("write onggi or docker".to_owned()),
            };
            Ok(())
        },
        show: |settings| match settings.compat {
            Compat::Onggi => "onggi".to_owned(),
            Compat::Docker => "docker".to_owned(),
        },
    },
    Key {
        name: "pids_limit",
        variable: environment::PIDS_LIMIT,
        about: "most processes in a container; -1 is no limit",
        hidden: false,
        set: |settings, text| match integer(text)? {
            limit if limit == -1 || limit > 0 => {
                settings.pids_limit = limit;
                Ok(())
            }
            _ => Err("write a number above 0, or -1 for no limit".to_owned()),
        },
        show: |settings| settings.pids_limit.to_string(),
    },
    Key {
        name: "shm_size",
        variable: environment::SHM_SIZE,
        about: "size of /dev/shm",
        hidden: false,
        set: |settings, text| bytes::parse(text).map(|size| settings.shm_size = size),
        show: |settings| bytes::show(settings.shm_size),
    },
    Key {
        name: "stop_timeout",
        variable: environment::STOP_TIMEOUT,
        about: "seconds that stop waits before it kills; -1 waits for ever",
        hidden: false,
        set: |settings, text| match integer(text)? {
            seconds if seconds >= -1 => {
                settings.stop_timeout = seconds;
                Ok(())
            }
            _ => Err("write seconds, or -1 to wait for ever".to_owned()),
        },
        show: |settings| settings.stop_timeout.to_string(),
    },
    Key {
        name: "cgroup_parent",
        variable: environment::CGROUP_PARENT,
        about: "the cgroup that holds the containers' own",
        hidden: false,
        set: |settings, text| cgroup(text).map(|path| settings.cgroup_parent = path),
        show: |settings| settings.cgroup_parent.clone(),
    },
    Key {
        name: "detach_keys",
        variable: environment::DETACH_KEYS,
        about: "the keys that leave an attached container running",
        hidden: false,
        set: |settings, text| {
            detach_keys::parse(text)?;
            text.clone_into(&mut settings.detach_keys);
            Ok(())
        },
        show: |settings| settings.detach_keys.clone(),
    },
    Key {
        name: "log.driver",
        variable: environment::LOG_DRIVER,
        about: "json-file or none",
        hidden: false,
        set: |settings, text| text.parse().map(|driver| settings.log_driver = driver),
        show: |settings| settings.log_driver.name().to_owned(),
    },
    Key {
        name: "log.max_size",
        variable: environment::LOG_MAX_SIZE,
        about: "size at which a log file is rotated",
        hidden: false,
        set: |settings, text| bytes::parse(text).map(|size| settings.log_max_size = size),
        show: |settings| bytes::show(settings.log_max_size),
    },
    Key {
        name: "log.max_file",
        variable: environment::LOG_MAX_FILE,
        about: "how many log files are kept",
        hidden: false,
        set: |settings, text| match u32::try_from(integer(text)?) {
            Ok(files) if files > 0 => {
                settings.log_max_file = files;
                Ok(())
            }
            _ => Err("write a number above 0".to_owned()),
        },
        show: |settings| settings.log_max_file.to_string(),
    },
    Key {
        name: "registry.mirrors",
        variable: environment::REGISTRY_MIRRORS,
        about: "where to pull from first: HOST, … for Docker Hub, or REGISTRY=HOST, …",
        hidden: false,
        set: |settings, text| {
            registries::parse_mirrors(text).map(|mirrors| settings.registry_mirrors = mirrors)
        },
        show: |settings| registries::show_mirrors(&settings.registry_mirrors),
    },
    Key {
        name: "registry.insecure",
        variable: environment::REGISTRY_INSECURE,
        about: "HOST, …: registries that may speak plain HTTP and whose certificates are not looked at",
        hidden: false,
        set: |settings, text| registries::parse_hosts(text).map(|hosts| settings.registry_insecure = hosts),
        show: |settings| settings.registry_insecure.join(", "),
    },
    Key {
        name: "store.budget",
        variable: environment::STORE_BUDGET,
        about: "what images may take before unused ones that can be pulled again are removed for others; 0 is no limit",
        hidden: false,
        set: |settings, text| bytes::parse(text).map(|bytes| settings.store_budget = bytes),
        show: |settings| bytes::show(settings.store_budget),
    },
    Key {
        name: "store.keep_blobs",
        variable: environment::STORE_KEEP_BLOBS,
        about: "never, or always to keep layers compressed as well, so that push and save need no registry for them",
        hidden: false,
        set: |settings, text| {
            settings.keep_blobs = match text {
                "never" => false,
                "always" => true,
                _ => return Err("write never or always".to_owned()),
            };
            Ok(())
        },
        show: |settings| if settings.keep_blobs { "always" } else { "never" }.to_owned(),
    },
    Key {
        name: "store.layer_limit",
        variable: environment::STORE_LAYER_LIMIT,
        about: "the most that a layer may grow to when it is decompressed; 0: what there is room for, but past 4 GiB at most 200 times what came",
        hidden: false,
        set: |settings, text| bytes::parse(text).map(|bytes| settings.layer_limit = bytes),
        show: |settings| bytes::show(settings.layer_limit),
    },
    Key {
        name: "store.layers",
        variable: environment::STORE_LAYERS,
        about: "auto, or directories to unpack layers where EROFS could be mounted",
        hidden: false,
        set: |settings, text| {
            settings.layers = match text {
                "auto" => Layers::Auto,
                "directories" => Layers::Directories,
                _ => return Err("write auto or directories".to_owned()),
            };
            Ok(())
        },
        show: |settings| match settings.layers {
            Layers::Auto => "auto".to_owned(),
            Layers::Directories => "directories".to_owned(),
        },
    },
    Key {
        name: "store.owner",
        variable: environment::STORE_OWNER,
        about: "whose images are that come or are named from now on: person, or what a program calls itself, whose collection then takes nobody else's",
        hidden: false,
        set: |settings, text| {
            text.clone_into(&mut settings.store_owner);
            Ok(())
        },
        show: |settings| settings.store_owner.clone(),
    },
    Key {
        name: "network.default",
        variable: environment::NETWORK_DEFAULT,
        about: "the network of a container that asks for none: bridge, none, host, or a name",
        hidden: false,
        set: |settings, text| {
            if text.is_empty() || text.contains([',', '=']) {
                return Err(format!("{text:?} names no network"));
            }
            text.clone_into(&mut settings.network_default);
            Ok(())
        },
        show: |settings| settings.network_default.clone(),
    },
    Key {
        name: "network.pools",
        variable: environment::NETWORK_POOLS,
        about: "ranges that new networks get their subnets from, each with the size of a network",
        hidden: false,
        set: |settings, text| {
            text.clone_into(&mut settings.network_pools);
            Ok(())
        },
        show: |settings| settings.network_pools.clone(),
    },
    Key {
        name: "monitor_program",
        variable: environment::MONITOR,
        about: "the monitor to run in place of the one beside onggi",
        hidden: true,
        set: |settings, text| path(text).map(|path| settings.monitor_program = Some(path)),
        show: |settings| {
            settings.monitor_program.as_ref().map_or(String::new(), |path| path.display().to_string())
        },
    },
];

/// A value as a source gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raw<'a> {
    /// A string or a whole number.
    Text(&'a str),
    /// Something that no setting is.
    Other(&'static str),
}

impl Key {
    pub(crate) fn set(&self, settings: &mut Settings, raw: Raw<'_>) -> Result<(), String> {
        match raw {
            Raw::Text(text) => (self.set)(settings, text),
            Raw::Other(what) => Err(format!("this is {what}; write a string or a whole number")),
        }
    }

    /// The value in force, as it would be written in a file.
    #[must_use]
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }
}

/// The place of a key that the code itself names.
pub(crate) fn position(name: &str) -> usize {
    KEYS.iter().position(|key| key.name == name).unwrap_or_default()
}

/// Whether the name is that of a table of keys.
pub(crate) fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(table, _)| table == name))
}

/// The key that a mistyped one is closest to, if any is close.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (distance(key.name, name), key.name))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, name)| name)
}

fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[right.len()]
}

fn integer(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no whole number"))
}

fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("write an absolute path".to_owned()) }
}

/// A cgroup path from the root of the hierarchy: one that climbs could name another's cgroup.
fn cgroup(text: &str) -> Result<String, String> {
    let sound = text.starts_with('/') && text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if sound { Ok(text.to_owned()) } else { Err("write a path like /onggi, without . or ..".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_keys_find_their_neighbour() {
        assert_eq!(nearest("rooot"), Some("root"));
        assert_eq!(nearest("log.maxsize"), Some("log.max_size"));
        assert_eq!(nearest("colour"), None);
    }

    #[test]
    fn cgroup_parents_do_not_climb() {
        for (text, sound) in [
            ("/onggi", true),
            ("/a/b", true),
            ("onggi", false),
            ("/a/../b", false),
            ("/", false),
            ("/a//b", false),
        ] {
            assert_eq!(cgroup(text).is_ok(), sound, "{text}");
        }
    }
}
