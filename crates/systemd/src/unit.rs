//! What a container's unit is called, and where its cgroup is. Pure.

use crate::Error;

/// A transient unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `prefix-name.scope`, or a slice's own name.
    pub name: String,
    /// The slice that it is in, by its own name alone.
    pub slice: String,
    /// Beneath where the manager's own tree begins, without a leading slash: `machine.slice/machine-pod.slice/x.scope`.
    pub path: String,
}

impl Unit {
    /// From `linux.cgroupsPath`, which for systemd is `slice:prefix:name`; without one a scope named after the container. Where no slice is
    /// given it is `system.slice`, and for the user's own manager `user.slice`.
    ///
    /// # Errors
    /// [`Error::BadPath`], [`Error::BadSlice`] or [`Error::BadUnit`].
    pub fn new(cgroups_path: Option<&str>, id: &str, of_user: bool) -> Result<Unit, Error> {
        let (slice, prefix, name) = match cgroups_path.filter(|path| !path.is_empty()) {
            None => ("", "runc", id),
            Some(path) => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                    _ => return Err(Error::BadPath { path: path.to_owned() }),
                }
            }
        };
        let standard = if of_user { "user.slice" } else { "system.slice" };
        let slice = if slice.is_empty() { standard } else { slice };
        let name = if name.ends_with(".slice") { name.to_owned() } else { format!("{prefix}-{name}.scope") };
        // systemd's own rule (`VALID_CHARS` of unit names), and a `+` that names of containers may have.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@+".contains(&byte);
        if name.len() > 255 || !name.bytes().all(is_plain) {
            return Err(Error::BadUnit { name });
        }
        let path = format!("{}/{name}", expand(slice)?);
        Ok(Unit { slice: slice.to_owned(), path: path.trim_start_matches('/').to_owned(), name })
    }

    /// Whether it is a slice: that has no processes of its own for systemd.
    #[must_use]
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }
}

/// A slice's name says which slices it is in: `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn expand(slice: &str) -> Result<String, Error> {
    let bad = || Error::BadSlice { name: slice.to_owned() };
    let name = slice.strip_suffix(".slice").ok_or_else(bad)?;
    if name == "-" {
        return Ok(String::new());
    }
    if name.contains('/') || name.split('-').any(str::is_empty) {
        return Err(bad());
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(ends.map(|end| format!("/{}.slice", &name[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slices_name_is_its_path() {
        assert_eq!(expand("system.slice").unwrap(), "/system.slice");
        assert_eq!(expand("test-a-b.slice").unwrap(), "/test.slice/test-a.slice/test-a-b.slice");
        assert_eq!(expand("-.slice").unwrap(), "");
        for bad in
            ["", ".slice", "a", "a.scope", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", "../x.slice"]
        {
            assert!(matches!(expand(bad), Err(Error::BadSlice { .. })), "{bad}");
        }
    }

    #[test]
    fn a_container_is_a_scope_unless_it_asks_for_a_slice() {
        for (path, of_user, name, slice, whole) in [
            (None, false, "runc-jar.scope", "system.slice", "system.slice/runc-jar.scope"),
            (Some(""), true, "runc-jar.scope", "user.slice", "user.slice/runc-jar.scope"),
            (
                Some("machine-pod.slice:libpod:1f"),
                false,
                "libpod-1f.scope",
                "machine-pod.slice",
                "machine.slice/machine-pod.slice/libpod-1f.scope",
            ),
            (Some(":docker:1f"), false, "docker-1f.scope", "system.slice", "system.slice/docker-1f.scope"),
            (Some("a.slice:x:a-b.slice"), false, "a-b.slice", "a.slice", "a.slice/a-b.slice"),
            (Some("-.slice:x:y"), false, "x-y.scope", "-.slice", "x-y.scope"),
        ] {
            let unit = Unit::new(path, "jar", of_user).unwrap();
            let got = (unit.name.as_str(), unit.slice.as_str(), unit.path.as_str());
            assert_eq!(got, (name, slice, whole), "{path:?}");
        }
        for bad in ["/a/b", "a.slice:b", "a.slice:b:c:d"] {
            assert!(matches!(Unit::new(Some(bad), "jar", false), Err(Error::BadPath { .. })), "{bad}");
        }
        assert!(matches!(Unit::new(Some("a.slice:../b:c"), "jar", false), Err(Error::BadUnit { .. })));
    }
}
