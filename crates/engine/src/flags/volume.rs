//! The texts of `--volume` and `--volumes-from`, and what those of `--mount` have in common with them.

use std::collections::BTreeMap;

use onggi_runtime::plan::clean;

use crate::request::{MountRequest, Propagation, Relabel, VolumesFrom};

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
    let (mut access, mut copy, mut propagation, mut relabel) = (None, None, None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        // As in Docker, of each sort there is one: `ro,rw` has no meaning.
        let twice = match option {
            "ro" | "readonly" => access.replace(true).is_some(),
            "rw" => access.replace(false).is_some(),
            "nocopy" => copy.replace(false).is_some(),
            "copy" => copy.replace(true).is_some(),
            "z" => relabel.replace(Relabel::Shared).is_some(),
            "Z" => relabel.replace(Relabel::Private).is_some(),
            "U" | "O" | "idmap" => return Err(format!("the mount option {option} is not built yet")),
            "cached" | "delegated" | "consistent" => false, // macOS only; Docker on Linux takes and ignores them too.
            other => {
                let named = propagation_of(other).ok_or(format!("invalid mount option: {other}"))?;
                propagation.replace(named).is_some()
            }
        };
        if twice {
            return Err(format!("invalid mode: {options}"));
        }
    }
    let read_only = access.unwrap_or(false);
    match source.map(|source| from_here(source, here)).transpose()?.as_deref() {
        Some(source) if source.starts_with('/') => Ok(MountRequest::Bind {
            source: source.to_owned(),
            destination,
            read_only,
            propagation: propagation.unwrap_or_default(),
            recursive: true,
            create_source: true,
            relabel,
        }),
        Some("") => Err(format!("invalid volume specification: '{text}'")),
        Some(source) if source.contains('/') => Err(format!(
            "invalid volume specification: '{text}': write ./{source} for a directory from here, or an absolute path"
        )),
        // Nothing is mounted inside a volume that could show elsewhere.
        _ if propagation.is_some() => Err(format!("invalid mode: {options}: a volume has no propagation")),
        name => Ok(MountRequest::Volume {
            name: name.map(volume_name).transpose()?,
            destination,
            read_only,
            no_copy: copy == Some(false),
            labels: BTreeMap::new(),
            relabel,
            by_mount: false,
        }),
    }
}

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

/// As Docker's command line: `.`, `./…` and `../…` are paths of the caller's, all else is as it stands.
pub(super) fn from_here(source: &str, here: &dyn Fn() -> Result<String, String>) -> Result<String, String> {
    let relative = source == "." || source == ".." || source.starts_with("./") || source.starts_with("../");
    if !relative {
        return Ok(source.to_owned());
    }
    Ok(clean(&format!("{}/{source}", here()?)))
}

/// A path in a container, absolute and without `..`, made tidy.
pub(super) fn absolute(path: &str) -> Result<String, String> {
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

pub(super) fn volume_name(name: &str) -> Result<String, String> {
    if crate::names::is_valid(name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    ))
}

pub(super) fn propagation_of(name: &str) -> Option<Propagation> {
    use Propagation as P;
    [P::Rprivate, P::Private, P::Rshared, P::Shared, P::Rslave, P::Slave]
        .into_iter()
        .find(|known| known.name() == name)
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
        assert!(volume("box:/b", &gone).is_ok());
        assert_eq!(volume("./a:/b", &gone), Err("it is gone".to_owned()));
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
            "/a:/b:ro,rw",
            "/a:/b:z,Z",
            "/a:/b:rshared,rslave",
            "box:/b:copy,nocopy",
            "box:/b:rshared",
            "/b:ro:rslave",
        ] {
            assert!(volume(text, &here).is_err(), "{text}");
        }
    }
}
