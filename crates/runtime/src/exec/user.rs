//! Who a process runs as, by the container's own /etc/passwd and /etc/group.
//!
//! The meaning of `USER` is Docker's. A number is never looked up as a name (CVE-2026-30892: `-u 1` became root), never wraps
//! (CVE-2024-40635: 4294967296 became root), and the files are read only if they are regular and of a sane size (CVE-2024-9676).

use std::io::Read;

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::is;
use crate::plan::User;

/// Far above any real one.
const LARGEST_FILE: u64 = 4 << 20;
/// Docker's, and what every tool can handle: ids are signed in too many places.
const LARGEST_ID: u32 = i32::MAX as u32;

/// Numbers, and the home directory if the container's passwd has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: Option<String>,
}

pub(super) fn resolve(child: &Child<'_>, user: &User) -> Outcome<Resolved> {
    let passwd = read(child, "/etc/passwd")?;
    match user {
        User::Ids { uid, gid, groups } => {
            let home =
                accounts(&passwd).find(|account| account.uid == *uid).map(|account| account.home.to_owned());
            Ok(Resolved { uid: *uid, gid: *gid, groups: groups.clone(), home })
        }
        User::Named { user, group_add } => {
            let group = read(child, "/etc/group")?;
            look_up(user, group_add, &passwd, &group)
        }
    }
}

/// Pure: `user` is `name|uid[:group|gid]`, empty for root.
fn look_up(user: &str, group_add: &[String], passwd: &str, group: &str) -> Outcome<Resolved> {
    let (user, group_given) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let number = if user.is_empty() { Some(0) } else { parse_id(user)? };
    let account = match number {
        Some(uid) => accounts(passwd).find(|account| account.uid == uid),
        None => accounts(passwd).find(|account| account.name == user),
    };
    let (uid, mut gid) = match (&account, number) {
        (Some(account), _) => (account.uid, account.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) => {
            return Err(Problem::new(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let mut extra = Vec::new();
    if let Some(given) = group_given {
        gid = find_group(given, group)?;
    } else if let Some(account) = &account {
        extra.extend(groups(group).filter(|group| group.has(account.name)).map(|group| group.gid));
    }
    for name in group_add {
        extra.push(find_group(name, group)?);
    }
    // With the main group among them, a set-group-id program cannot lose it, and with it what a file denies that group
    // (CVE-2022-36109).
    extra.push(gid);
    extra.sort_unstable();
    extra.dedup();
    Ok(Resolved { uid, gid, groups: extra, home: account.map(|account| account.home.to_owned()) })
}

fn find_group(name: &str, group: &str) -> Outcome<u32> {
    if let Some(gid) = parse_id(name)? {
        return Ok(gid);
    }
    groups(group).find(|group| group.name == name).map(|group| group.gid).ok_or_else(|| {
        Problem::new(format!("unable to find group {name}: no matching entries in group file"))
    })
}

/// `None` if it is a name. What begins like a number is one, or an error: never a name.
fn parse_id(text: &str) -> Outcome<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        // "-1" and "+1" are neither.
        let signed = text.strip_prefix(['-', '+']);
        if signed.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(out_of_range(text));
        }
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => Err(out_of_range(text)),
    }
}

fn out_of_range(text: &str) -> Problem {
    Problem::new(format!("{text}: uids and gids must be in range 0-{LARGEST_ID}"))
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Group<'_> {
    fn has(&self, name: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == name)
    }
}

/// passwd(5): `name:password:uid:gid:comment:home:shell`. A line that is not that is passed over.
fn accounts(text: &str) -> impl Iterator<Item = Account<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let uid = id_field(fields.nth(1)?)?;
        let gid = id_field(fields.next()?)?;
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// group(5): `name:password:gid:member,member`.
fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = id_field(fields.nth(1)?)?;
        Some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

/// An empty field is no root.
fn id_field(text: &str) -> Option<u32> {
    parse_id(text).ok().flatten()
}

/// The file's text; empty if there is none, and if something else than a file is there: who masks it, or mounts /dev/null on it, means
/// that.
fn read(child: &Child<'_>, path: &str) -> Outcome<String> {
    let held = match child.root()?.open(path, OFlags::PATH) {
        Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NOTDIR) => return Ok(String::new()),
        other => other.doing(|| format!("open {path}"))?,
    };
    let stat = rustix::fs::statat(&held, "", AtFlags::EMPTY_PATH).doing(|| format!("fstat {path}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    if stat.st_size as u64 > LARGEST_FILE {
        return Err(Problem::new(format!("{path} is larger than {LARGEST_FILE} bytes")));
    }
    // Opened only now: opening a device or a FIFO would already do something.
    let file =
        child.procfs.reopen(&held, OFlags::RDONLY | OFlags::NONBLOCK).doing(|| format!("open {path}"))?;
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    std::fs::File::from(file).take(LARGEST_FILE).read_to_end(&mut bytes).doing(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nempty::::::\nwww:x:33:34::/srv:/bin/false\n\
        1:x:0:0:a name that is a number:/evil:/bin/sh\n# comment:x:5:5::/:\nbig:x:4294967296:0::/:\nlast:x:7:8";
    const GROUP: &str =
        "root:x:0:\nbin:x:1:root,daemon\nwww:x:34:\nextra:x:50:www, root\nvideo:x:44:\n33:x:0:\n";

    fn resolved(user: &str) -> (u32, u32, Vec<u32>, Option<String>) {
        let it = look_up(user, &[], PASSWD, GROUP).unwrap();
        (it.uid, it.gid, it.groups, it.home)
    }

    #[test]
    fn users_are_dockers() {
        let home = |path: &str| Some(path.to_owned());
        for (user, expected) in [
            ("", (0, 0, vec![0, 1, 50], home("/root"))),
            ("root", (0, 0, vec![0, 1, 50], home("/root"))),
            ("0", (0, 0, vec![0, 1, 50], home("/root"))),
            ("www", (33, 34, vec![34, 50], home("/srv"))),
            ("33", (33, 34, vec![34, 50], home("/srv"))),
            ("www:0", (33, 0, vec![0], home("/srv"))),
            ("www:video", (33, 44, vec![44], home("/srv"))),
            ("1000", (1000, 0, vec![0], None)),
            ("1000:1001", (1000, 1001, vec![1001], None)),
            ("last", (7, 8, vec![8], home(""))),
            (":video", (0, 44, vec![44], home("/root"))),
        ] {
            assert_eq!(resolved(user), expected, "{user:?}");
        }
    }

    #[test]
    fn a_number_is_never_a_name() {
        // CVE-2026-30892: the image has a user called "1" that is root, and a group called "33" that is root's.
        assert_eq!(resolved("1").0, 1);
        assert_eq!(resolved("5:33").1, 33);
    }

    #[test]
    fn numbers_do_not_wrap() {
        // CVE-2024-40635.
        for user in [
            "4294967296",
            "4294967295",
            "2147483648",
            "99999999999999999999",
            "-1",
            "+0",
            "0:4294967296",
            "0:-1",
        ] {
            let problem = look_up(user, &[], PASSWD, GROUP).unwrap_err();
            assert!(
                problem.message.ends_with("must be in range 0-2147483647"),
                "{user}: {}",
                problem.message
            );
        }
        assert!(look_up("big", &[], PASSWD, GROUP).is_err());
        assert_eq!(resolved("2147483647").0, 2_147_483_647);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let message = |user: &str, add: &[String]| look_up(user, add, PASSWD, GROUP).unwrap_err().message;
        assert_eq!(message("nobody", &[]), "unable to find user nobody: no matching entries in passwd file");
        assert_eq!(message("0:none", &[]), "unable to find group none: no matching entries in group file");
        assert_eq!(
            message("0", &["none".into()]),
            "unable to find group none: no matching entries in group file"
        );
        assert_eq!(message("empty", &[]), "unable to find user empty: no matching entries in passwd file");
        assert_eq!(message("0x10", &[]), "unable to find user 0x10: no matching entries in passwd file");
    }

    #[test]
    fn groups_are_added() {
        let it = look_up("www", &["video".into(), "99".into(), "50".into()], PASSWD, GROUP).unwrap();
        assert_eq!(it.groups, [34, 44, 50, 99]);
    }
}
