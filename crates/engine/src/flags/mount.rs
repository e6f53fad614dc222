//! The texts of `--mount` and `--tmpfs`.

use std::collections::BTreeMap;

use onggi_settings::bytes;

use super::boolean;
use super::volume::{absolute, from_here, propagation_of, volume_name};
use crate::request::{MountRequest, Propagation};

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
    match kind {
        "bind" | "volume" | "tmpfs" => {}
        "image" | "cluster" | "npipe" => return Err(format!("mounts of type {kind} are not built yet")),
        other => return Err(format!("invalid mount type: {other} (bind, volume and tmpfs are known)")),
    }
    if !labels.is_empty() && kind != "volume" {
        return Err(format!("invalid mount: volume-label does not go with type={kind}"));
    }
    if let Some(key) = fields.keys().find(|key| UNBUILT_MOUNT_KEYS.contains(key)) {
        return Err(format!("the mount option {key} is not built yet"));
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
            by_mount: true,
        },
        _ => MountRequest::Tmpfs {
            destination,
            size: take("tmpfs-size").map(bytes::parse).transpose()?,
            mode: take("tmpfs-mode").map(octal).transpose()?,
            options: if read_only { vec!["ro".to_owned()] } else { Vec::new() },
            text: None,
        },
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

/// Those that Docker has beyond them.
const UNBUILT_MOUNT_KEYS: [&str; 5] =
    ["volume-subpath", "volume-driver", "volume-opt", "image-subpath", "bind-nonrecursive"];

/// `--tmpfs DESTINATION[:OPTIONS]`.
///
/// # Errors
/// As [`volume`].
pub fn tmpfs(text: &str) -> Result<MountRequest, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut rest) = (None, None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            // Of the memory, which the kernel works out.
            Some(("size", text)) if text.ends_with('%') => rest.push(option.to_owned()),
            Some(("size", text)) => size = Some(bytes::parse(text)?),
            Some(("mode", text)) => mode = Some(octal(text)?),
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks", _)) => rest.push(option.to_owned()),
            None if TMPFS_FLAGS.contains(&option) => rest.push(option.to_owned()),
            _ => return Err(format!("invalid tmpfs option: {option}")),
        }
    }
    let text = Some(options.to_owned());
    Ok(MountRequest::Tmpfs { destination: absolute(destination)?, size, mode, options: rest, text })
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

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("invalid mode '{text}': write octal digits, 1777 say"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Result<String, String> {
        Ok("/home/me".to_owned())
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
                options: vec![],
                text: None
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
            "type=volume,dst=/t,volume-subpath=x",
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
    fn a_directory_that_is_gone_matters_only_to_relative_paths() {
        let gone = || Err("it is gone".to_owned());
        assert!(mount("dst=/b", &gone).is_ok());
        assert_eq!(mount("type=bind,src=.,dst=/b", &gone), Err("it is gone".to_owned()));
    }

    #[test]
    fn tmpfses() {
        assert_eq!(
            tmpfs("/run:size=64k,mode=755,noexec,uid=3"),
            Ok(MountRequest::Tmpfs {
                destination: "/run".into(),
                size: Some(64 << 10),
                mode: Some(0o755),
                options: vec!["noexec".into(), "uid=3".into()],
                text: Some("size=64k,mode=755,noexec,uid=3".into())
            })
        );
        let Ok(MountRequest::Tmpfs { size: None, options, .. }) = tmpfs("/run:size=50%") else {
            panic!("half of the memory")
        };
        assert_eq!(options, ["size=50%"]);
        assert!(tmpfs("/run:huge=always").is_err());
    }
}
