//! Where a copy lands: Docker's rules (`docs/reference/commandline/cp.md`), pure.

/// What a path was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Missing,
    Directory,
    /// Anything else.
    File,
}

/// The directory in which entries are made, and what the first is called there; `None`: what is in the source goes straight into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Landing<'a> {
    pub directory: &'a str,
    pub name: Option<&'a str>,
}

/// Whether the path says that it is a directory, whose link is followed then.
pub(super) fn names_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

/// Whether the path means what is in the directory, and not the directory.
pub(super) fn means_content(path: &str) -> bool {
    path.ends_with("/.") || path == "."
}

/// The directory above and the last name. `/` has no name, and `..` is none.
pub(super) fn split(path: &str) -> (&str, Option<&str>) {
    let path = path.trim_end_matches("/.").trim_end_matches('/');
    match path.rsplit_once('/') {
        _ if path.is_empty() || path == "." => ("/", None),
        Some((_, "..")) => (path, None),
        Some(("", name)) => ("/", Some(name)),
        Some((parent, name)) => (parent, Some(name)),
        None => ("/", Some(path)),
    }
}

/// # Errors
/// Docker's sentence, which goes on with the target.
pub(super) fn landing<'a>(
    source: &'a str,
    is_directory: bool,
    target: &'a str,
    found: Found,
) -> Result<Landing<'a>, &'static str> {
    let (parent, name) = split(target);
    match found {
        Found::Directory => {
            let name = if is_directory && means_content(source) { None } else { split(source).1 };
            Ok(Landing { directory: target, name })
        }
        Found::File if is_directory => Err("cannot copy directory onto"),
        Found::File | Found::Missing if !is_directory && names_directory(target) => Err("no such directory:"),
        Found::File | Found::Missing => match name {
            Some(_) => Ok(Landing { directory: parent, name }),
            None => Err("no such directory:"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_land_as_dockers() {
        use Found::{Directory, File, Missing};
        for (source, is_directory, target, found, wanted) in [
            ("/f", false, "/tmp/", Directory, Ok(("/tmp/", Some("f")))),
            ("/f", false, "/tmp/g", Missing, Ok(("/tmp", Some("g")))),
            ("/f", false, "/g", File, Ok(("/", Some("g")))),
            ("/f", false, "/tmp/g/", Missing, Err("no such directory:")),
            ("/f", false, "/g/", File, Err("no such directory:")),
            ("/d", true, "/g", File, Err("cannot copy directory onto")),
            ("/d", true, "/tmp", Directory, Ok(("/tmp", Some("d")))),
            ("/a/d/", true, "/tmp", Directory, Ok(("/tmp", Some("d")))),
            ("/d/.", true, "/tmp", Directory, Ok(("/tmp", None))),
            ("/d/.", true, "/tmp/new", Missing, Ok(("/tmp", Some("new")))),
            ("/d", true, "/tmp/new/", Missing, Ok(("/tmp", Some("new")))),
            ("/", true, "/tmp", Directory, Ok(("/tmp", None))),
        ] {
            let got = landing(source, is_directory, target, found);
            let got = got.map(|landing| (landing.directory, landing.name));
            assert_eq!(got, wanted, "{source} to {target}");
        }
    }
}
