//! What a file system keeps about a file besides its content, and which extended attributes of an image it may
//! bring with it.

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970, rounded down, so negative before it.
    pub seconds: i64,
    /// 0 to 999,999,999, added to the seconds.
    pub nanoseconds: u32,
}

/// Extended attributes: full name and value of each.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Owner, permissions, time and attributes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes with their full names, sorted by name, each name once.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// What a directory gets that no layer describes: root's, 0755, 1970.
    #[must_use]
    pub fn implied_directory() -> Self {
        Metadata { mode: 0o755, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() }
    }
}

/// Sorts attributes, keeps the last of each name, and leaves out what a layer may not or cannot carry.
///
/// Left out: SELinux labels, which the host's policy decides; overlayfs' own names, by which an image could
/// redirect a lookup into other places of the layers below; `user.*` on what is neither file nor directory, which
/// the kernel refuses (xattr(7)); name spaces that EROFS has no index for. The second value counts them.
pub(crate) fn allowed_xattrs(mut xattrs: Xattrs, file_or_directory: bool) -> (Xattrs, u64) {
    let before = xattrs.len();
    xattrs.retain(|(name, value)| allowed(name, value, file_or_directory));
    let left_out = before - xattrs.len();
    // Stable, and then backwards: of one name the last in the archive counts, as PAX says of all its records.
    xattrs.sort_by(|one, other| one.0.cmp(&other.0));
    xattrs.reverse();
    xattrs.dedup_by(|one, other| one.0 == other.0);
    xattrs.reverse();
    (xattrs, left_out as u64)
}

fn allowed(name: &[u8], value: &[u8], file_or_directory: bool) -> bool {
    // Linux: 255 bytes of name (XATTR_NAME_MAX); EROFS: 16 bits for the value's length.
    if name.len() > 255 || value.len() > 0xffff || name.contains(&0) {
        return false;
    }
    if name == b"system.posix_acl_access" || name == b"system.posix_acl_default" {
        return file_or_directory;
    }
    let below = |prefix: &[u8]| name.len() > prefix.len() && name.starts_with(prefix);
    if name == b"security.selinux"
        || name.starts_with(b"trusted.overlay.")
        || name.starts_with(b"user.overlay.")
    {
        return false;
    }
    below(b"security.") || below(b"trusted.") || (below(b"user.") && file_or_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_filtered_and_the_last_of_a_name_counts() {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let given = vec![
            pair("user.z", "1"),
            pair("user.a", "1"),
            pair("user.a", "2"),
            pair("user.", "empty"),
            pair("security.selinux", "label"),
            pair("security.capability", "cap"),
            pair("trusted.overlay.redirect", "/etc"),
            pair("user.overlay.opaque", "y"),
            pair("trusted.x", "1"),
            pair("btrfs.compression", "zstd"),
            pair("system.posix_acl_access", "acl"),
        ];
        let names = |xattrs: &[(Vec<u8>, Vec<u8>)]| {
            xattrs
                .iter()
                .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
                .collect::<Vec<_>>()
        };
        let (kept, left_out) = allowed_xattrs(given.clone(), true);
        assert_eq!(
            names(&kept),
            ["security.capability=cap", "system.posix_acl_access=acl", "trusted.x=1", "user.a=2", "user.z=1"]
        );
        assert_eq!(left_out, 5);
        let (kept, _) = allowed_xattrs(given, false);
        assert_eq!(names(&kept), ["security.capability=cap", "trusted.x=1"]);
    }
}
