//! The attacks that containerd's and umoci's tests know by name, on both forms of a layer: each stays inside, or is refused.
//!
//! Names are those of `archive/tar_test.go` (TestBreakouts) and `oci/layer/tar_extract_test.go`, so that whoever knows a case there finds it here. Where
//! those two give the archive the benefit of the doubt (`..` in a name), Onggi refuses it; the tables say which.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::collections::BTreeMap;

use common::{Below, FORMS, Form, Tar, make};

/// What becomes of an attack.
enum End {
    /// The tree has this line for a path (as `common::tree` describes it, without the time).
    Line(&'static str, &'static str),
    /// Two paths are one file.
    Same(&'static str, &'static str),
    /// The layer is refused, with this in the message.
    Refused(&'static str),
}
use End::{Line, Refused, Same};

const TIME: &str = " 1610612736.000000000";

#[track_caller]
fn holds(name: &str, tar: &[u8], ends: &[End]) {
    for form in FORMS {
        let made = make(form, tar, &mut Below(BTreeMap::new()), 1 << 20);
        for end in ends {
            match (end, &made) {
                (Refused(message), Err(error)) => {
                    assert!(error.to_string().contains(message), "{name}, {form:?}: {error}");
                }
                (Refused(message), Ok(_)) => panic!("{name}, {form:?}: taken, in place of {message:?}"),
                (_, Err(error)) => panic!("{name}, {form:?}: {error}"),
                (Line(path, line), Ok(made)) => {
                    let tree = made.tree();
                    let found = tree.get(path.as_bytes()).map(|line| line.replace(TIME, ""));
                    assert_eq!(found.as_deref(), Some(*line), "{name}, {form:?}: {tree:?}");
                }
                (Same(one, other), Ok(made)) => {
                    let tree = made.tree();
                    let of =
                        |path: &str| tree.get(path.as_bytes()).unwrap_or_else(|| panic!("{name}: {path}"));
                    assert_eq!(of(one), of(other), "{name}, {form:?}");
                    assert!(of(one).contains(" links "), "{name}, {form:?}: {tree:?}");
                }
            }
        }
        if let (Ok(made), Form::Directory) = (&made, form) {
            // Nothing beside the tree, whatever the archive says.
            let beside: Vec<_> = std::fs::read_dir(made.path()).unwrap().collect();
            assert_eq!(beside.len(), 2, "{name}: {beside:?}");
        }
    }
}

/// `/etc/passwd` with "inside" in it.
fn inside() -> Tar {
    Tar::default().directory("etc", "0000770").file("/etc/passwd", b"inside")
}

#[test]
fn breakouts_of_containerd() {
    if common::without_root() {
        return;
    }
    let breakouts = || inside().directory("breakouts", "0000755");
    let taken = "file \"taken\" 644 0:0";
    let table: Vec<(&str, Tar, Vec<End>)> = vec![
        (
            "HardlinkRelative",
            breakouts()
                .symlink("breakouts/d1", "../../etc")
                .hard_link("breakouts/mypasswd", "/breakouts/d1/passwd"),
            vec![Same("breakouts/mypasswd", "etc/passwd")],
        ),
        (
            "HardlinkDownAndOut",
            breakouts()
                .directory("downandout", "0000755")
                .symlink("breakouts/d1", "../downandout/../../etc")
                .hard_link("breakouts/mypasswd", "/breakouts/d1/passwd"),
            vec![Same("breakouts/mypasswd", "etc/passwd")],
        ),
        (
            "HardlinkAbsolute",
            inside().symlink("localetc", "/etc").hard_link("localpasswd", "/localetc/passwd"),
            vec![Same("localpasswd", "etc/passwd")],
        ),
        (
            "HardlinkRelativeLong",
            inside()
                .symlink("localetc", "../../../../../../../etc")
                .hard_link("localpasswd", "/localetc/passwd"),
            vec![Same("localpasswd", "etc/passwd")],
        ),
        // There is no `upandout`: the kernel finds nothing behind it, where containerd shortens the text.
        (
            "HardlinkRelativeUpAndOut",
            inside()
                .symlink("localetc", "upandout/../../../etc")
                .hard_link("localpasswd", "/localetc/passwd"),
            vec![Refused("which is not in the archive")],
        ),
        // containerd takes it for /etc/passwd.
        (
            "HardlinkDirectRelative",
            inside().hard_link("localpasswd", "../../../../../etc/passwd"),
            vec![Refused("climbs with '..'")],
        ),
        (
            "HardlinkDirectAbsolute",
            inside().hard_link("localpasswd", "/etc/passwd"),
            vec![Same("localpasswd", "etc/passwd")],
        ),
        (
            "HardlinkSymlinkRelative",
            inside()
                .symlink("passwdlink", "../../../../../etc/passwd")
                .hard_link("localpasswd", "/passwdlink"),
            vec![Same("localpasswd", "passwdlink"), Line("etc/passwd", "file \"inside\" 644 0:0")],
        ),
        (
            "HardlinkSymlinkAbsolute",
            inside().symlink("passwdlink", "/etc/passwd").hard_link("localpasswd", "/passwdlink"),
            vec![Same("localpasswd", "passwdlink"), Line("etc/passwd", "file \"inside\" 644 0:0")],
        ),
        (
            "SymlinkAbsolute",
            inside().symlink("localetc", "/etc").file("localetc/new", b"taken"),
            vec![Line("etc/new", taken)],
        ),
        (
            "SymlinkUpAndOut",
            inside().symlink("localetc", "../../../etc").file("localetc/new", b"taken"),
            vec![Line("etc/new", taken)],
        ),
        (
            "SymlinkMultipleAbsolute",
            inside().symlink("one", "/two").symlink("two", "/etc").file("one/new", b"taken"),
            vec![Line("etc/new", taken)],
        ),
        (
            "SymlinkMultipleRelative",
            inside().symlink("one", "../two").symlink("two", "./../etc").file("one/new", b"taken"),
            vec![Line("etc/new", taken)],
        ),
        (
            "SymlinkReplacedByFile",
            inside().symlink("passwdlink", "/etc/passwd").file("passwdlink", b"taken"),
            vec![Line("passwdlink", taken), Line("etc/passwd", "file \"inside\" 644 0:0")],
        ),
        ("WhiteoutAbove", inside().file("../.wh.etc", b""), vec![Refused("climbs with '..'")]),
        ("WhiteoutOfParent", inside().file("etc/.wh...", b""), vec![Refused("a whiteout of nothing")]),
        (
            "WhiteoutThroughLink",
            inside().symlink("localetc", "/etc").file("localetc/.wh.shadow", b""),
            vec![Line("etc/shadow", "char 0:0 0 0:0 0.000000000")],
        ),
    ];
    for (name, tar, ends) in table {
        holds(name, &tar.end(), &ends);
    }
}

#[test]
fn sanitising_and_scoping_of_umoci() {
    if common::without_root() {
        return;
    }
    // TestUnpackEntrySanitiseScoping: umoci drops the climb, Onggi refuses the name.
    for (name, prefix) in [("GarbagePrefix", "/.."), ("DotDotPrefix", "..")] {
        let tar = Tar::default().file(&format!("{prefix}/file"), b"container content").end();
        holds(name, &tar, &[Refused("climbs with '..'")]);
    }
    // TestUnpackEntrySymlinkScoping: through a link the root is as far as it goes.
    for (name, target) in [
        ("RootPrefix", "/"),
        ("GarbagePrefix1", "/../"),
        ("GarbagePrefix2", "/../../../../../../../../../../../../../../../"),
        ("GarbagePrefix3", "/./.././.././.././.././.././.././.././.././../"),
        ("DotDotPrefix", ".."),
    ] {
        let tar = Tar::default().symlink("link", target).file("link/file", b"container content").end();
        holds(name, &tar, &[Line("file", "file \"container content\" 644 0:0")]);
    }
    let tar = Tar::default().file("a/b/c/file", b"creating parentdirs").end();
    holds("ParentDir", &tar, &[Line("a/b/c/file", "file \"creating parentdirs\" 644 0:0")]);
}

#[test]
fn whiteouts_of_umoci() {
    if common::without_root() {
        return;
    }
    for (name, path) in [
        ("FileInRoot", "rootpath"),
        ("HiddenFileInRoot", ".hiddenroot"),
        ("FileInSubdir", "some/path/file"),
        ("HiddenFileInSubdir", "another/path/.hiddenfile"),
        ("DirInRoot", "rootpath"),
        ("HiddenDirInRoot", ".hiddenroot"),
        ("DirInSubdir", "some/path/dir"),
        ("HiddenDirInSubdir", "another/path/.hiddendir"),
    ] {
        let (parent, file) = path.rsplit_once('/').unwrap_or(("", path));
        let whiteout = format!("{parent}/.wh.{file}");
        // The parent is named, so that what is said of it must hold after the whiteout is made.
        let tar = match parent {
            "" => Tar::default(),
            parent => Tar::default().directory(parent, "0000750"),
        };
        let tar = tar.file(whiteout.trim_start_matches('/'), b"").end();
        for form in FORMS {
            let tree = make(form, &tar, &mut Below(BTreeMap::new()), 512).unwrap().tree();
            assert!(tree[path.as_bytes()].starts_with("char 0:0 "), "{name}, {form:?}: {tree:?}");
            if !parent.is_empty() {
                assert_eq!(tree[parent.as_bytes()], format!("dir 750 0:0{TIME}"), "{name}, {form:?}");
            }
        }
    }
}

#[test]
fn hard_links_of_umoci() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .file("regular", b"some content")
        .hard_link("hard link", "/regular")
        .symlink("link", "../../../regular")
        .hard_link("hard link to symlink", "/link")
        .end();
    holds(
        "TestUnpackHardlink",
        &tar,
        &[
            Same("regular", "hard link"),
            Same("link", "hard link to symlink"),
            Line("link", "-> ../../../regular 777 0:0 links 2 hard link to symlink"),
        ],
    );
}
