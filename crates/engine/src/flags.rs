//! The texts that flags of `run` take, as Docker defines them, into the types of a request. Pure; each error is a sentence.
//!
//! The command line and, later, the other doors share these, so that a text means the same everywhere.

mod block;
mod device;
mod network;
mod restart;

use std::collections::BTreeMap;

use onggi_runtime::plan::clean;
use onggi_settings::bytes;

pub use block::{device_iops, device_rate, device_weight};
pub use device::{device, device_rule, sysctl};
pub use network::{HOST_GATEWAY, alias, exposed, mac_address, networks, publish};
pub use restart::restart;

use crate::request::{
    ExtraHost, IpcMode, MountRequest, PidMode, Propagation, Relabel, SeccompChoice, Security, Ulimit,
    UtsMode, VolumesFrom,
};

/// `-v [SOURCE:]DESTINATION[:OPTIONS]`. `here` finds the caller's directory, from which a source that begins with a dot is taken.
///
/// # Errors
/// A path that is not absolute or climbs, an option that is unknown or not built.
pub fn volume(text: &str, here: &dyn Fn() -> Result<String, String>) -> Result<MountRequest, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts.as_slice() {
        [destination] => (None, *destination, ""),
        [source, destination] => (Some(*source), *destination, ""),
        [source, destination, options] => (Some(*source), *destination, *options),
        _ => return Err(format!("invalid volume specification: '{text}'")),
    };
    let destination = absolute(destination)?;
    let mut read_only = false;
    let mut no_copy = false;
    let mut propagation = Propagation::default();
    let mut relabel = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => no_copy = true,
            "copy" => no_copy = false,
            "z" => relabel = Some(Relabel::Shared),
            "Z" => relabel = Some(Relabel::Private),
            "U" | "O" | "idmap" => return Err(format!("the mount option {option} is not built yet")),
            "cached" | "delegated" | "consistent" => {} // macOS only; Docker on Linux takes and ignores them too.
            other => propagation = propagation_of(other).ok_or(format!("invalid mount option: {other}"))?,
        }
    }
    match source.map(|source| from_here(source, here)).transpose()?.as_deref() {
        Some(source) if source.starts_with('/') => Ok(MountRequest::Bind {
            source: source.to_owned(),
            destination,
            read_only,
            propagation,
            recursive: true,
            create_source: true,
            relabel,
        }),
        Some("") => Err(format!("invalid volume specification: '{text}'")),
        Some(source) if source.contains('/') => Err(format!(
            "invalid volume specification: '{text}': write ./{source} for a directory from here, or an absolute path"
        )),
        name => Ok(MountRequest::Volume {
            name: name.map(volume_name).transpose()?,
            destination,
            read_only,
            no_copy,
            labels: BTreeMap::new(),
            relabel,
        }),
    }
}

/// As Docker's command line: `.`, `./…` and `../…` are paths of the caller's, all else is as it stands.
fn from_here(source: &str, here: &dyn Fn() -> Result<String, String>) -> Result<String, String> {
    let relative = source == "." || source == ".." || source.starts_with("./") || source.starts_with("../");
    if !relative {
        return Ok(source.to_owned());
    }
    Ok(clean(&format!("{}/{source}", here()?)))
}

/// `--mount type=…,source=…,destination=…`. `here` is as for [`volume`].
///
/// # Errors
/// As [`volume`], and keys that the type does not have.
pub fn mount(text: &str, here: &dyn Fn() -> Result<String, String>) -> Result<MountRequest, String> {
    let mut fields = BTreeMap::<&str, &str>::new();
    let mut kind = "volume";
    let mut labels = BTreeMap::new();
    for field in text.split(',') {
        let alone = || {
            let known = matches!(field, "readonly" | "ro" | "volume-nocopy" | "bind-create-src");
            known.then_some((field, "true")).ok_or_else(|| {
                format!(
                    "invalid mount: '{field}' must be KEY=VALUE, as in type=bind,source=/srv/data,destination=/data,readonly"
                )
            })
        };
        let (key, value) = field.split_once('=').map_or_else(alone, Ok)?;
        let key = match key {
            "type" => {
                kind = value;
                continue;
            }
            "volume-label" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                labels.insert(name.to_owned(), value.to_owned());
                continue;
            }
            "src" => "source",
            "dst" | "target" => "destination",
            "ro" => "readonly",
            "consistency" => continue, // macOS only, as in Docker.
            other => other,
        };
        if fields.insert(key, value).is_some() {
            return Err(format!("invalid mount: {key} is given twice"));
        }
    }
    if !labels.is_empty() && kind != "volume" {
        return Err(format!("invalid mount: volume-label does not go with type={kind}"));
    }
    if let Some(key) = fields.keys().find(|key| !MOUNT_KEYS.contains(key)) {
        return Err(format!("invalid mount: unexpected key '{key}' for type={kind}"));
    }
    let mut take = |key: &str| fields.remove(key);
    let destination = absolute(
        take("destination").ok_or("invalid mount: destination is missing, as in destination=/data")?,
    )?;
    let read_only = take("readonly").map(boolean).transpose()?.unwrap_or(false);
    let mount = match kind {
        "bind" => MountRequest::Bind {
            source: absolute(&from_here(
                take("source").ok_or("invalid mount: source is missing, as in source=/srv/data")?,
                here,
            )?)?,
            destination,
            read_only,
            propagation: match take("bind-propagation") {
                None => Propagation::default(),
                Some(name) => propagation_of(name).ok_or(format!("invalid propagation: {name}"))?,
            },
            recursive: match take("bind-recursive") {
                None | Some("enabled" | "writable") => true,
                Some("disabled") => false,
                Some(other) => return Err(format!("bind-recursive={other} is not built yet")),
            },
            create_source: take("bind-create-src").map(boolean).transpose()?.unwrap_or(false),
            relabel: None,
        },
        "volume" => MountRequest::Volume {
            name: take("source").filter(|name| !name.is_empty()).map(volume_name).transpose()?,
            destination,
            read_only,
            no_copy: take("volume-nocopy").map(boolean).transpose()?.unwrap_or(false),
            labels,
            relabel: None,
        },
        "tmpfs" => MountRequest::Tmpfs {
            destination,
            size: take("tmpfs-size").map(bytes::parse).transpose()?,
            mode: take("tmpfs-mode").map(octal).transpose()?,
            options: if read_only { vec!["ro".to_owned()] } else { Vec::new() },
        },
        "image" | "cluster" | "npipe" => return Err(format!("mounts of type {kind} are not built yet")),
        other => return Err(format!("invalid mount type: {other}")),
    };
    match fields.keys().next() {
        None => Ok(mount),
        Some(key) => Err(format!("invalid mount: unexpected key '{key}' for type={kind}")),
    }
}

/// Those of any type. One that none has is named before a key that is missing: it may be that key, misspelled.
const MOUNT_KEYS: [&str; 10] = [
    "source",
    "destination",
    "readonly",
    "bind-propagation",
    "bind-recursive",
    "bind-create-src",
    "volume-nocopy",
    "tmpfs-size",
    "tmpfs-mode",
    "volume-label",
];

/// `--tmpfs DESTINATION[:OPTIONS]`.
///
/// # Errors
/// As [`volume`].
pub fn tmpfs(text: &str) -> Result<MountRequest, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut rest) = (None, None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", text)) => size = Some(bytes::parse(text)?),
            Some(("mode", text)) => mode = Some(octal(text)?),
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks", _)) => rest.push(option.to_owned()),
            None if TMPFS_FLAGS.contains(&option) => rest.push(option.to_owned()),
            _ => return Err(format!("invalid tmpfs option: {option}")),
        }
    }
    Ok(MountRequest::Tmpfs { destination: absolute(destination)?, size, mode, options: rest })
}

const TMPFS_FLAGS: &[&str] = &[
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "remount",
];

/// `--volumes-from CONTAINER[:ro|rw]`.
///
/// # Errors
/// No container, an unknown mode.
pub fn volumes_from(text: &str) -> Result<VolumesFrom, String> {
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let read_only = match mode {
        "ro" => true,
        // A label of SELinux is the lender's already.
        "rw" | "z" | "Z" => false,
        _ => return Err(format!("invalid mode: {mode}: write {container}:ro or {container}:rw")),
    };
    if container.is_empty() {
        return Err(format!("invalid volumes-from specification: '{text}'"));
    }
    Ok(VolumesFrom { container: container.to_owned(), read_only })
}

/// `--cgroupns`: whether it is the host's.
///
/// # Errors
/// An unknown mode.
pub fn cgroup_namespace(text: &str) -> Result<bool, String> {
    match text {
        "" | "private" => Ok(false),
        "host" => Ok(true),
        _ => Err(format!("invalid cgroup namespace mode: {text}: write private or host")),
    }
}

/// `--pid`.
///
/// # Errors
/// An unknown mode.
pub fn pid_mode(text: &str) -> Result<PidMode, String> {
    match text {
        "" | "private" => Ok(PidMode::Private),
        "host" => Ok(PidMode::Host),
        _ => container_of(text)
            .map(PidMode::Container)
            .ok_or_else(|| format!("--pid: invalid PID mode: {text}")),
    }
}

/// `--ipc`.
///
/// # Errors
/// An unknown mode.
pub fn ipc_mode(text: &str) -> Result<IpcMode, String> {
    match text {
        "" | "private" => Ok(IpcMode::Private),
        "shareable" => Ok(IpcMode::Shareable),
        "none" => Ok(IpcMode::None),
        "host" => Ok(IpcMode::Host),
        _ => container_of(text)
            .map(IpcMode::Container)
            .ok_or_else(|| format!("--ipc: invalid IPC mode: {text}")),
    }
}

/// `--uts`.
///
/// # Errors
/// An unknown mode.
pub fn uts_mode(text: &str) -> Result<UtsMode, String> {
    match text {
        "" | "private" => Ok(UtsMode::Private),
        "host" => Ok(UtsMode::Host),
        _ => Err(format!("--uts: invalid UTS mode: {text}")),
    }
}

/// `--add-host NAME:ADDRESS` or `NAME=ADDRESS`.
///
/// # Errors
/// No separator, an address that is none.
pub fn add_host(text: &str) -> Result<ExtraHost, String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, address)| !name.is_empty() && !address.is_empty())
        .ok_or_else(|| format!("bad format for add-host: \"{text}\""))?;
    // The host's address in the container's network, which is known when it starts.
    if address == HOST_GATEWAY {
        return Ok(ExtraHost { name: name.to_owned(), address: address.to_owned() });
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse::<std::net::IpAddr>().map_err(|_| format!("invalid IP address in add-host: \"{address}\""))?;
    Ok(ExtraHost { name: name.to_owned(), address: bare.to_owned() })
}

/// `--ulimit NAME=SOFT[:HARD]`; −1 is "no limit".
///
/// # Errors
/// A limit that the kernel does not have, a soft one above the hard one.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse::<u64>().map_err(|_| format!("invalid ulimit value: {text}")),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    if soft > hard {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

const ULIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// One `--security-opt`, added to those before. `read_profile` gives the content of a file that `seccomp=FILE` names.
///
/// # Errors
/// What is unknown or not built; what reading the profile says.
pub fn security_option(
    text: &str,
    security: &mut Security,
    read_profile: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(), String> {
    let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", value) => security.no_new_privileges = value.map_or(Ok(true), boolean)?,
        ("seccomp", Some("unconfined")) => security.seccomp = SeccompChoice::Unconfined,
        ("seccomp", Some("default" | "builtin")) => security.seccomp = SeccompChoice::Default,
        ("seccomp", Some(file)) => {
            let content = read_profile(file)?;
            let profile =
                serde_json::from_str(&content).map_err(|error| format!("seccomp profile {file}: {error}"))?;
            security.seccomp = SeccompChoice::Profile(profile);
        }
        ("unmask", Some(paths)) => security.unmask.extend(paths.split(':').map(str::to_owned)),
        ("systempaths", Some("unconfined")) => security.unconfined_paths = true,
        // There is nothing to switch off: no label and no profile is applied.
        ("label", Some("disable")) | ("apparmor", Some("unconfined")) => {}
        ("label", _) => {
            return Err("SELinux labels are not built yet (label=disable is what holds)".to_owned());
        }
        ("apparmor", _) => {
            return Err("AppArmor profiles are not built yet (apparmor=unconfined is what holds)".to_owned());
        }
        _ => return Err(format!("invalid --security-opt: \"{text}\"")),
    }
    Ok(())
}

/// `--cpus 0.5` into billionths of a processor.
///
/// # Errors
/// No positive decimal number, or more than nine digits behind the point.
pub fn cpus(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid value for --cpus: {text}");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(invalid());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    whole.checked_mul(1_000_000_000).and_then(|nano| nano.checked_add(fraction)).ok_or_else(invalid)
}

/// A signal's number from `TERM`, `SIGTERM`, `sigterm`, `15` or `RTMIN+3`.
///
/// # Errors
/// No such signal on Linux.
pub fn signal(text: &str) -> Result<i32, String> {
    let invalid = || format!("Invalid signal: {text}");
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    // The C library keeps 32 and 33 for itself, so that RTMIN is 34, as in Docker's table.
    let real_time = name
        .strip_prefix("RTMIN+")
        .and_then(|offset| offset.parse().ok().map(|offset: i32| 34 + offset))
        .or_else(|| {
            name.strip_prefix("RTMAX-").and_then(|offset| offset.parse().ok().map(|offset: i32| 64 - offset))
        });
    real_time.filter(|number| (34..=64).contains(number)).ok_or_else(invalid)
}

/// `SIGTERM` for 15; the number itself for one without a name.
#[must_use]
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => number.to_string(),
    }
}

const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// A path in a container, absolute and without `..`, made tidy.
fn absolute(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("invalid mount path: '{path}' must be absolute"));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(format!("invalid mount path: '{path}' must not contain '..'")),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(format!("/{}", parts.join("/")))
}

fn volume_name(name: &str) -> Result<String, String> {
    if crate::names::is_valid(name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    ))
}

fn propagation_of(name: &str) -> Option<Propagation> {
    use Propagation as P;
    [P::Rprivate, P::Private, P::Rshared, P::Shared, P::Rslave, P::Slave]
        .into_iter()
        .find(|known| known.name() == name)
}

fn container_of(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("invalid value '{text}': write true or false")),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("invalid mode '{text}': write octal digits, 1777 say"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, destination: &str) -> MountRequest {
        MountRequest::Bind {
            source: source.to_owned(),
            destination: destination.to_owned(),
            read_only: false,
            propagation: Propagation::Rprivate,
            recursive: true,
            create_source: true,
            relabel: None,
        }
    }

    fn here() -> Result<String, String> {
        Ok("/home/me".to_owned())
    }

    #[test]
    fn a_directory_that_is_gone_matters_only_to_relative_paths() {
        let gone = || Err("it is gone".to_owned());
        assert_eq!(volume("/a:/b", &gone), Ok(bind("/a", "/b")));
        assert!(volume("box:/b", &gone).is_ok() && mount("dst=/b", &gone).is_ok());
        assert_eq!(volume("./a:/b", &gone), Err("it is gone".to_owned()));
        assert_eq!(mount("type=bind,src=.,dst=/b", &gone), Err("it is gone".to_owned()));
    }

    #[test]
    fn volumes() {
        assert_eq!(volume("/a:/b", &here), Ok(bind("/a", "/b")));
        assert_eq!(volume("/a:/b//c/.", &here), Ok(bind("/a", "/b/c")));
        for (source, path) in
            [(".", "/home/me"), ("./a", "/home/me/a"), ("..", "/home"), ("../../../a//b/", "/a/b")]
        {
            assert_eq!(volume(&format!("{source}:/b"), &here), Ok(bind(path, "/b")), "{source}");
        }
        let MountRequest::Bind { relabel: Some(Relabel::Private), .. } = volume("/a:/b:ro,Z", &here).unwrap()
        else {
            panic!("the label is lost")
        };
        let MountRequest::Bind { read_only: true, propagation: Propagation::Rslave, .. } =
            volume("/a:/b:ro,rslave", &here).unwrap()
        else {
            panic!("options are lost")
        };
        let MountRequest::Volume { name: None, .. } = volume("/data", &here).unwrap() else {
            panic!("anonymous")
        };
        let MountRequest::Volume { name: Some(name), no_copy: true, .. } =
            volume("box:/data:nocopy", &here).unwrap()
        else {
            panic!("named")
        };
        assert_eq!(name, "box");
        for text in [
            "",
            "a",
            "a:b",
            "/a:/b:zz",
            "/a:/b:ro:x",
            "a b:/c",
            ":/b",
            "/a:/",
            "/a:/b/../c",
            "a/b:/c",
            "~/a:/b",
        ] {
            assert!(volume(text, &here).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts() {
        let MountRequest::Bind {
            source,
            destination,
            read_only: true,
            create_source: false,
            recursive: false,
            ..
        } = mount("type=bind,src=/a,dst=/b,readonly,bind-recursive=disabled", &here).unwrap()
        else {
            panic!("bind")
        };
        assert_eq!((source.as_str(), destination.as_str()), ("/a", "/b"));
        let MountRequest::Volume { name: Some(_), labels, .. } =
            mount("source=box,target=/b,volume-label=a=b", &here).unwrap()
        else {
            panic!("volume")
        };
        assert_eq!(labels["a"], "b");
        assert_eq!(
            mount("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=700", &here),
            Ok(MountRequest::Tmpfs {
                destination: "/t".into(),
                size: Some(1 << 20),
                mode: Some(0o700),
                options: vec![]
            })
        );
        let MountRequest::Bind { source, .. } = mount("type=bind,src=../a,dst=/b", &here).unwrap() else {
            panic!("bind")
        };
        assert_eq!(source, "/home/a");
        assert_eq!(
            mount("garbage", &here).unwrap_err(),
            "invalid mount: 'garbage' must be KEY=VALUE, as in type=bind,source=/srv/data,destination=/data,readonly"
        );
        for text in [
            "type=bind,dst=/b",
            "type=bind,src=/a",
            "type=tmpfs,dst=/t,src=/a",
            "type=image,src=a,dst=/b",
            "type=bind,src=/a,dst=/b,tmpfs-size=1m",
            "type=bind,src=/a,src=/a,dst=/b",
            "type=bind,src=/a,dst=/b,volume-label=a=b",
        ] {
            assert!(mount(text, &here).is_err(), "{text}");
        }
    }

    #[test]
    fn a_misspelled_key_is_named_before_the_one_that_it_may_be() {
        let error = mount("type=bind,source=/a,destinaton=/b", &|| Ok("/".to_owned())).unwrap_err();
        assert_eq!(error, "invalid mount: unexpected key 'destinaton' for type=bind");
    }

    #[test]
    fn tmpfses() {
        assert_eq!(
            tmpfs("/run:size=64k,mode=755,noexec,uid=3"),
            Ok(MountRequest::Tmpfs {
                destination: "/run".into(),
                size: Some(64 << 10),
                mode: Some(0o755),
                options: vec!["noexec".into(), "uid=3".into()]
            })
        );
        assert!(tmpfs("/run:huge=always").is_err());
    }

    #[test]
    fn limits_signals_hosts_processors() {
        assert_eq!(ulimit("nofile=10:20"), Ok(Ulimit { name: "nofile".into(), soft: 10, hard: 20 }));
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for text in ["nofile", "nofile=x", "nofile=20:10", "colour=1"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
        for (text, number) in [("TERM", 15), ("sigkill", 9), ("SIGRTMIN+3", 37), ("9", 9), ("RTMAX-1", 63)] {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "SIGFOO", "RTMIN+31", "-9"] {
            assert!(signal(text).is_err(), "{text}");
        }
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(add_host("a:::1").unwrap().address, "::1");
        assert_eq!(add_host("a=[::1]").unwrap().address, "::1");
        assert_eq!(add_host("a:host-gateway").unwrap().address, HOST_GATEWAY);
        assert!(add_host("a:b").is_err() && add_host(":1.2.3.4").is_err());
        for (text, nano) in
            [("0.5", 500_000_000), ("2", 2_000_000_000), (".25", 250_000_000), ("1.", 1_000_000_000)]
        {
            assert_eq!(cpus(text), Ok(nano), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "0.1234567890"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn security_options_add_up() {
        let mut security = Security::default();
        let no_file = |_: &str| Err("no such file".to_owned());
        for text in
            ["no-new-privileges", "seccomp=unconfined", "unmask=/proc/acpi:/sys/firmware", "label=disable"]
        {
            security_option(text, &mut security, no_file).unwrap();
        }
        assert!(security.no_new_privileges && security.seccomp == SeccompChoice::Unconfined);
        assert_eq!(security.unmask, ["/proc/acpi", "/sys/firmware"]);
        for text in ["label=type:x", "apparmor=docker-default", "seccomp=/none", "colour"] {
            assert!(security_option(text, &mut security, no_file).is_err(), "{text}");
        }
        security_option("seccomp=f", &mut security, |_| Ok("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}".into()))
            .unwrap();
        assert!(matches!(security.seccomp, SeccompChoice::Profile(_)));
    }
}
