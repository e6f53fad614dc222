//! Which user and group ids an ordinary user may give to containers: `/etc/subuid` and `/etc/subgid` (subuid(5)).
//!
//! Pure but for [`Ranges::of_user`], which reads the two files. Id 0 inside is the user; the ids after it are the ranges, in the
//! files' order, as Podman maps them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// As many ids as an image may use without anything special: 0 to 65535 (`nobody` is 65534).
pub(crate) const WANTED: u32 = 65_536;

/// Ids on the host, `count` from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub first: u32,
    pub count: u32,
}

/// What a user may map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges {
    pub(crate) users: Vec<Range>,
    pub(crate) groups: Vec<Range>,
}

impl Ranges {
    /// What the host grants to the user of this id and name.
    ///
    /// # Errors
    /// [`Error::NoRanges`] if a file is missing or grants fewer than 65535 ids.
    pub(crate) fn of_user(etc: &Path, id: u32, name: Option<&str>) -> Result<Ranges, Error> {
        let read = |file: &str| {
            let path = etc.join(file);
            let text = fs::read_to_string(&path).unwrap_or_default();
            let found = parse(&text, id, name);
            let count: u64 = found.iter().map(|range| u64::from(range.count)).sum();
            if count + 1 < u64::from(WANTED) {
                return Err(Error::NoRanges { path, user: display(id, name), count });
            }
            Ok(found)
        };
        Ok(Ranges { users: read("subuid")?, groups: read("subgid")? })
    }
}

fn display(id: u32, name: Option<&str>) -> String {
    name.map_or_else(|| id.to_string(), str::to_owned)
}

/// The lines `NAME:FIRST:COUNT` and `ID:FIRST:COUNT` of one user. A line that means nothing is passed over, as newuidmap(1) does.
fn parse(text: &str, id: u32, name: Option<&str>) -> Vec<Range> {
    let number = id.to_string();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let first = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.trim_end().parse().ok()?;
        let is_own = owner == number || name.is_some_and(|name| !name.is_empty() && owner == name);
        (is_own && count > 0 && fields.next().is_none()).then_some(Range { first, count })
    };
    text.lines().filter_map(line).collect()
}

/// The arguments of newuidmap(1) or newgidmap(1) behind the process id: inside, outside, count, for each range.
pub(crate) fn arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside: u64 = 1;
    for range in ranges {
        words.extend([inside.to_string(), range.first.to_string(), range.count.to_string()]);
        inside += u64::from(range.count);
    }
    words
}

/// The name of a user in a text in the form of passwd(5).
pub(crate) fn name_of(passwd: &str, id: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

/// Where the files are.
pub(crate) fn etc() -> PathBuf {
    PathBuf::from("/etc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_name_and_by_number() {
        let text =
            "other:1:2\nkim:100000:65536\n# comment\n1000:300000:5\nkim:bad:1\nkim:7:0\nkim:9:1:9\n:5:5\n";
        let found = parse(text, 1000, Some("kim"));
        assert_eq!(found, [Range { first: 100_000, count: 65_536 }, Range { first: 300_000, count: 5 }]);
        assert_eq!(parse(text, 1001, None), []);
        assert_eq!(parse(text, 1001, Some("")), []);
    }

    #[test]
    fn the_user_is_root_inside_and_the_ranges_follow() {
        let ranges = [Range { first: 100_000, count: 65_536 }, Range { first: 300_000, count: 5 }];
        let words = arguments(1000, &ranges).join(" ");
        assert_eq!(words, "0 1000 1 1 100000 65536 65537 300000 5");
    }

    #[test]
    fn too_few_ids_are_refused_by_the_files_name() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(etc.path().join("subuid"), "kim:100000:65536\n").unwrap();
        std::fs::write(etc.path().join("subgid"), "kim:100000:1000\n").unwrap();
        let error = Ranges::of_user(etc.path(), 1000, Some("kim")).unwrap_err();
        assert!(
            matches!(&error, Error::NoRanges { path, count: 1000, .. } if path.ends_with("subgid")),
            "{error}"
        );
    }

    #[test]
    fn names_come_from_passwd() {
        let text = "root:x:0:0::/root:/bin/sh\nkim:x:1000:1000::/home/kim:/bin/sh\n";
        assert_eq!(name_of(text, 1000).as_deref(), Some("kim"));
        assert_eq!(name_of(text, 1), None);
    }
}
