//! Names from archives as lists of plain components. What cannot mean a place below the root is refused here,
//! so that nothing further in ever sees `..`, an empty name or a NUL.

use crate::{Error, Limits};

/// The longest name of one directory entry on Linux and in EROFS.
const NAME_BYTES: usize = 255;

/// Splits a path from a tar into its components; the root itself (`/`, `./`, `.`) has none.
///
/// A leading slash counts as the layer's root, as GNU tar and Docker read it. `..` is refused even where it would
/// stay inside: no tool that makes layers writes it, and readers disagree on what it means after a symbolic link.
pub(crate) fn components<'a>(path: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, Error> {
    let refuse = |what| Err(Error::Path { path: path.to_vec(), what });
    if path.is_empty() {
        return refuse("an empty path");
    }
    if path.len() > limits.path_bytes {
        return Err(Error::Limit {
            path: path.to_vec(),
            what: "path bytes",
            limit: limits.path_bytes as u64,
        });
    }
    if path.contains(&0) {
        return refuse("a NUL in the path");
    }
    let mut components = Vec::with_capacity(8);
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return refuse("the path climbs with '..'"),
            long if long.len() > NAME_BYTES => return refuse("a name of more than 255 bytes"),
            name => components.push(name),
        }
    }
    if components.len() > limits.path_depth {
        return Err(Error::Limit {
            path: path.to_vec(),
            what: "path depth",
            limit: limits.path_depth as u64,
        });
    }
    Ok(components)
}

/// `parent` and `name` with a slash between, or `name` alone below the root.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    push(&mut path, name);
    path
}

/// Lengthens `path` by a component.
pub(crate) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_components_or_are_refused() {
        let limits = Limits { path_bytes: 300, path_depth: 4, ..Limits::default() };
        let long = [b'x'; 256];
        type Row<'a> = (&'a [u8], Option<&'a [&'a [u8]]>);
        let table: &[Row<'_>] = &[
            (b"a", Some(&[b"a"])),
            (b"./a//b/", Some(&[b"a", b"b"])),
            (b"/etc/passwd", Some(&[b"etc", b"passwd"])),
            (b"./", Some(&[])),
            (b"/", Some(&[])),
            (b".", Some(&[])),
            (b"...", Some(&[b"..."])),
            (b"\xff\xfe/\n", Some(&[b"\xff\xfe", b"\n"])),
            (b"", None),
            (b"..", None),
            (b"../a", None),
            (b"a/../b", None),
            (b"/../a", None),
            (b"a/..", None),
            (b"a\0b", None),
            (b"1/2/3/4/5", None),
            (&long, None),
            (&[b'/'; 301], None),
        ];
        for (path, expected) in table {
            let found = components(path, &limits).ok();
            assert_eq!(found.as_deref(), *expected, "{}", path.escape_ascii());
        }
    }
}
