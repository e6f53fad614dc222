//! Where things are kept and what holds when a flag says nothing: `onggi.toml`, the environment, flags.
//!
//! Later sources win: built-in defaults, `/etc/onggi/onggi.toml`, `/etc/onggi/conf.d/*.toml` by name, the user's
//! `$XDG_CONFIG_HOME/onggi/onggi.toml`, `ONGGI_*`, flags. Each value remembers where it came from. This crate knows
//! nothing of what the values are used for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub mod bytes;
pub mod detach_keys;
pub mod environment;
mod error;
mod file;
mod keys;
mod registries;
pub mod run_root;

pub use error::Error;
pub use keys::{Compat, KEYS, Key, Layers, LogDriver};

/// 2048 networks of 1021 containers each, which is about what a bridge has ports for (1023), far from what Docker takes by default
/// (172.17.0.0/16 and what follows, 192.168.0.0/16) and what Kubernetes' tools do.
const DEFAULT_POOLS: &str = "10.192.0.0/11:22";

/// Everything that can be set, with its value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data root: images, layers, records. Survives a reboot.
    pub root: PathBuf,
    /// The run root: sockets, mounts, live files. On a tmpfs.
    pub run_root: PathBuf,
    /// Whose defaults a container gets where Docker's and ours differ.
    pub compat: Compat,
    /// Most processes in a container when `--pids-limit` says nothing; −1 is no limit.
    pub pids_limit: i64,
    /// Bytes of `/dev/shm`.
    pub shm_size: u64,
    /// Seconds between the stop signal and SIGKILL; −1 waits for ever.
    pub stop_timeout: i64,
    /// The cgroup under which each container gets its own.
    pub cgroup_parent: String,
    /// The keys that detach, as `ctrl-p,ctrl-q`; [`detach_keys::parse`] gives their bytes.
    pub detach_keys: String,
    /// What keeps a container's output.
    pub log_driver: LogDriver,
    /// Bytes after which a log file is rotated.
    pub log_max_size: u64,
    /// How many log files are kept, the current one included; at least 1.
    pub log_max_file: u32,
    /// Where else to pull from, by registry: hosts, with or without `https://` or `http://`.
    pub registry_mirrors: Vec<(String, Vec<String>)>,
    /// Registries that may speak plain HTTP, and whose certificates are not looked at.
    pub registry_insecure: Vec<String>,
    /// Keep layers compressed as they come, too.
    pub keep_blobs: bool,
    /// The most bytes of a layer once it is decompressed; 0: what there is room for, unless it grows beyond all measure.
    pub layer_limit: u64,
    /// What layers are presented as.
    pub layers: Layers,
    /// Directories with a directory for each registry's certificates, the one that wins first. No key of its own.
    pub certificate_directories: Vec<PathBuf>,
    /// Bytes that images may take on disk; 0 is no limit.
    pub store_budget: u64,
    /// For whom images are brought and named: `person`, or a program's name for itself.
    pub store_owner: String,
    /// Of a container that asks for none.
    pub network_default: String,
    /// Where new networks get their subnets from, as `10.192.0.0/11:22`, with commas between.
    pub network_pools: String,
    /// The monitor to run in place of the one beside this program; for tests and development.
    pub monitor_program: Option<PathBuf>,
    /// What unpacks layers, in a process of its own. No key of its own.
    pub unpack_program: Option<PathBuf>,
    /// In the order of [`KEYS`].
    origins: Vec<Origin>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        line: usize,
    },
    Environment {
        variable: &'static str,
    },
    Flag {
        flag: &'static str,
    },
    /// What `root` remembers, since containers live there.
    DataRoot,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File { path, line } => write!(out, "{}:{line}", path.display()),
            Origin::Environment { variable } => write!(out, "environment {variable}"),
            Origin::Flag { flag } => write!(out, "flag {flag}"),
            Origin::DataRoot => out.write_str("where containers of the data root live"),
        }
    }
}

/// One line of `onggi config show --origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: &'static Key,
    pub value: String,
    pub origin: Origin,
}

/// What the global flags said.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub root: Option<PathBuf>,
    pub run_root: Option<PathBuf>,
}

impl Settings {
    /// Reads the files and the environment of this process. Costs three failed `open`s when there is no file.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key, a value that means nothing: each names its place.
    pub fn load(flags: &Flags) -> Result<Settings, Error> {
        let effective_user = rustix::process::geteuid().as_raw();
        Self::load_from(&Sources::of_process(), effective_user, flags)
    }

    /// As [`Settings::load`], with everything that it looks at given.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(sources: &Sources<'_>, user: u32, flags: &Flags) -> Result<Settings, Error> {
        let mut settings = Settings::defaults(sources, user);
        file::read(&sources.system.join("onggi.toml"), &mut settings)?;
        file::read_directory(&sources.system.join("conf.d"), &mut settings)?;
        if let Some(directory) = sources.user_configuration() {
            file::read(&directory.join("onggi/onggi.toml"), &mut settings)?;
        }
        for (index, key) in KEYS.iter().enumerate() {
            let Some(text) = (sources.variable)(key.variable).filter(|text| !text.is_empty()) else {
                continue;
            };
            let text = text.into_string().map_err(|_| Error::NotText { variable: key.variable })?;
            key.set(&mut settings, keys::Raw::Text(&text)).map_err(|reason| Error::Variable {
                variable: key.variable,
                value: text.clone(),
                reason,
            })?;
            settings.origins[index] = Origin::Environment { variable: key.variable };
        }
        for (flag, key, path) in
            [("--root", "root", &flags.root), ("--run-root", "run_root", &flags.run_root)]
        {
            let Some(path) = path else { continue };
            // A relative path on the command line means the caller's directory; in a file it would mean nobody's.
            let path =
                std::path::absolute(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            let index = keys::position(key);
            let text = path.to_string_lossy();
            KEYS[index].set(&mut settings, keys::Raw::Text(&text)).map_err(|reason| Error::Flag {
                flag,
                value: text.to_string(),
                reason,
            })?;
            settings.origins[index] = Origin::Flag { flag };
        }
        settings.follow_containers(user);
        Ok(settings)
    }

    /// Where nobody says which run root, it is the one in which the containers of the data root live: a session without
    /// `XDG_RUNTIME_DIR` (after `su`, from cron) has another default.
    fn follow_containers(&mut self, user: u32) {
        use std::os::unix::fs::MetadataExt;
        let index = keys::position("run_root");
        // Nobody is led to a place that somebody else has chosen.
        let own = |path: &Path| std::fs::metadata(path).is_ok_and(|data| data.uid() == user);
        if self.origins[index] == Origin::Default
            && own(&self.root)
            && let Some(known) = run_root::known(&self.root)
            && known != self.run_root
            && own(&known)
            && run_root::is_inhabited(&known)
        {
            self.run_root = known;
            self.origins[index] = Origin::DataRoot;
        }
    }

    /// Every setting with its value as it would be written in a file, and its origin.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        KEYS.iter()
            .zip(&self.origins)
            .filter(|(key, origin)| !key.hidden || **origin != Origin::Default)
            .map(|(key, origin)| Entry { key, value: key.show(self), origin: origin.clone() })
            .collect()
    }

    fn defaults(sources: &Sources<'_>, user: u32) -> Settings {
        let (root, run_root) = if user == 0 {
            (PathBuf::from("/var/lib/onggi"), PathBuf::from("/run/onggi"))
        } else {
            let variable = |name| (sources.variable)(name).filter(|text| !text.is_empty()).map(PathBuf::from);
            // "If an implementation encounters a relative path in any of these variables it should consider the path invalid and ignore it."
            let directory = |name| variable(name).filter(|path| path.is_absolute());
            let home = variable("HOME").unwrap_or_else(|| PathBuf::from("/"));
            let data = directory("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
            let session = PathBuf::from(format!("/run/user/{user}"));
            let run = match directory("XDG_RUNTIME_DIR") {
                Some(directory) => directory.join("onggi"),
                None if session.is_dir() => session.join("onggi"),
                // No login session, as after `su` or where there is no systemd: as Podman's.
                None => PathBuf::from(format!("/tmp/onggi-run-{user}")),
            };
            (data.join("onggi"), run)
        };
        Settings {
            root,
            run_root,
            compat: Compat::Onggi,
            pids_limit: 2048,
            shm_size: 64 << 20,
            stop_timeout: 10,
            cgroup_parent: "/onggi".to_owned(),
            detach_keys: "ctrl-p,ctrl-q".to_owned(),
            log_driver: LogDriver::JsonFile,
            log_max_size: 10 << 20,
            log_max_file: 3,
            registry_mirrors: Vec::new(),
            registry_insecure: Vec::new(),
            store_budget: 0,
            store_owner: "person".to_owned(),
            keep_blobs: false,
            layer_limit: 0,
            layers: Layers::Auto,
            unpack_program: None,
            // Ours, then where Podman and Docker have theirs: what works with them works here.
            certificate_directories: vec![
                sources.system.join("certs.d"),
                PathBuf::from("/etc/containers/certs.d"),
                PathBuf::from("/etc/docker/certs.d"),
            ],
            network_default: "bridge".to_owned(),
            network_pools: DEFAULT_POOLS.to_owned(),
            monitor_program: None,
            origins: vec![Origin::Default; KEYS.len()],
        }
    }
}

/// What [`Settings::load_from`] looks at.
pub struct Sources<'a> {
    /// `/etc/onggi`, or `$ONGGI_CONFIG` in its place.
    pub system: PathBuf,
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl std::fmt::Debug for Sources<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sources").field("system", &self.system).finish_non_exhaustive()
    }
}

impl Sources<'static> {
    fn of_process() -> Sources<'static> {
        let system = std::env::var_os(environment::CONFIG).filter(|path| !path.is_empty());
        Sources {
            system: system.map_or_else(|| PathBuf::from("/etc/onggi"), PathBuf::from),
            variable: &|name| std::env::var_os(name),
        }
    }
}

impl Sources<'_> {
    fn user_configuration(&self) -> Option<PathBuf> {
        let variable = |name| (self.variable)(name).filter(|text| !text.is_empty()).map(PathBuf::from);
        variable("XDG_CONFIG_HOME")
            .filter(|path| Path::is_absolute(path))
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(directory: &Path, variables: &[(&str, &str)], flags: &Flags) -> Result<Settings, Error> {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let sources = Sources { system: directory.join("etc"), variable: &lookup };
        Settings::load_from(&sources, 0, flags)
    }

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn without_any_file_the_defaults_hold() {
        let directory = tempfile::tempdir().unwrap();
        let settings = load(directory.path(), &[], &Flags::default()).unwrap();
        assert_eq!(settings.root, Path::new("/var/lib/onggi"));
        assert_eq!((settings.pids_limit, settings.shm_size, settings.stop_timeout), (2048, 64 << 20, 10));
        assert!(settings.entries().iter().all(|entry| entry.origin == Origin::Default));
        assert!(!settings.entries().iter().any(|entry| entry.key.name == "monitor_program"));
    }

    #[test]
    fn an_ordinary_user_s_directories_are_absolute_ones() {
        let directory = tempfile::tempdir().unwrap();
        // Nobody has a session under this number.
        let user = 4_000_000_000;
        for (runtime, data, expected) in [
            ("/run/mine", "/data", ("/run/mine/onggi".to_owned(), "/data/onggi")),
            ("rel", "rel", (format!("/tmp/onggi-run-{user}"), "/home/me/.local/share/onggi")),
            ("", "", (format!("/tmp/onggi-run-{user}"), "/home/me/.local/share/onggi")),
        ] {
            let lookup = |name: &str| match name {
                "XDG_RUNTIME_DIR" => Some(OsString::from(runtime)),
                "XDG_DATA_HOME" => Some(OsString::from(data)),
                "HOME" => Some(OsString::from("/home/me")),
                _ => None,
            };
            let sources = Sources { system: directory.path().join("etc"), variable: &lookup };
            let settings = Settings::load_from(&sources, user, &Flags::default()).unwrap();
            assert_eq!(settings.run_root, Path::new(&expected.0), "{runtime}");
            assert_eq!(settings.root, Path::new(expected.1), "{data}");
        }
    }

    #[test]
    fn later_sources_win_and_say_so() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        write(
            at("etc/onggi.toml"),
            "root = \"/a\"\nrun_root = \"/a\"\npids_limit = 1\nshm_size = \"1m\"\n\n[log]\nmax_file = 2\n",
        );
        write(at("etc/conf.d/20-b.toml"), "run_root = \"/b20\"\npids_limit = 20\n");
        write(at("etc/conf.d/10-a.toml"), "pids_limit = 10\n");
        write(at("etc/conf.d/ignored.txt"), "no toml");
        write(at("home/onggi/onggi.toml"), "shm_size = \"3m\"\nstop_timeout = 3\n");
        let home = at("home").to_string_lossy().into_owned();
        let variables =
            [("XDG_CONFIG_HOME", home.as_str()), ("ONGGI_STOP_TIMEOUT", "4"), ("ONGGI_ROOT", "/env")];
        let flags = Flags { root: Some("/flag".into()), run_root: None };
        let settings = load(directory.path(), &variables, &flags).unwrap();
        let shown: Vec<_> = settings
            .entries()
            .into_iter()
            .filter(|entry| entry.origin != Origin::Default)
            .map(|entry| format!("{}={} {}", entry.key.name, entry.value, entry.origin))
            .map(|line| line.replace(&directory.path().display().to_string(), ""))
            .collect();
        assert_eq!(
            shown,
            [
                "root=/flag flag --root",
                "run_root=/b20 /etc/conf.d/20-b.toml:1",
                "pids_limit=20 /etc/conf.d/20-b.toml:2",
                "shm_size=3m /home/onggi/onggi.toml:1",
                "stop_timeout=4 environment ONGGI_STOP_TIMEOUT",
                "log.max_file=2 /etc/onggi.toml:7",
            ]
        );
    }

    #[test]
    fn mistakes_name_their_file_and_line() {
        let directory = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("root = \"/a\"\n\nrooot = \"/b\"\n", "onggi.toml:3: unknown key `rooot`"),
            ("[log]\ncolour = 1\n", "onggi.toml:2: unknown key `log.colour`"),
            ("[logs]\ndriver = \"none\"\n", "onggi.toml:1: unknown key `logs`"),
            ("log = 3\n", "onggi.toml:1: `log` is a table"),
            ("pids_limit = \"many\"\n", "onggi.toml:1: pids_limit = \"many\": "),
            ("\nshm_size = true\n", "onggi.toml:2: shm_size = true: "),
            ("root = \"relative\"\n", "onggi.toml:1: root = \"relative\": "),
            ("compat = \"podman\"\n", "onggi.toml:1: compat = \"podman\": "),
            ("a = \n", "onggi.toml:1: "),
        ] {
            write(directory.path().join("etc/onggi.toml"), text);
            let message = load(directory.path(), &[], &Flags::default()).unwrap_err().to_string();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_bad_variable_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let message =
            load(directory.path(), &[("ONGGI_SHM_SIZE", "x")], &Flags::default()).unwrap_err().to_string();
        assert!(message.starts_with("ONGGI_SHM_SIZE=x: "), "{message}");
    }

    #[test]
    fn every_key_shows_what_it_was_set_to() {
        let directory = tempfile::tempdir().unwrap();
        let settings = load(directory.path(), &[], &Flags::default()).unwrap();
        for key in KEYS.iter().filter(|key| !key.hidden) {
            let mut copy = settings.clone();
            key.set(&mut copy, keys::Raw::Text(&key.show(&settings))).unwrap();
            assert_eq!(copy, settings, "{}", key.name);
        }
    }
}
