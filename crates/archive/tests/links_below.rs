//! Hard links to what only the layers below have: both names are one inode of this layer, as they are after link(2) where containerd unpacks onto
//! the layers below, and whatever hides the target before or after counts as it does there.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::collections::BTreeMap;

use common::{Below, FORMS, Tar, both_above, lines, make, refused_above};
use onggi_archive::tar::Kind;
use onggi_archive::{Error, Limits, LowerEntry, Metadata, NoLower, Timestamp};

fn metadata(mode: u32) -> Metadata {
    let mtime = Timestamp { seconds: 7, nanoseconds: 8 };
    Metadata { mode, uid: 5, gid: 6, mtime, xattrs: vec![(b"user.x".to_vec(), b"y".to_vec())] }
}

fn below() -> Below {
    let link = |target: &str| {
        LowerEntry::Symlink(target.into(), Metadata { mode: 0o777, xattrs: Vec::new(), ..metadata(0) })
    };
    let file = |size| LowerEntry::File { size, metadata: metadata(0o640) };
    let xattrs = vec![(b"security.selinux".to_vec(), b"label".to_vec())];
    Below(BTreeMap::from([
        ("", LowerEntry::Directory(metadata(0o711))),
        ("d", LowerEntry::Directory(metadata(0o750))),
        ("d/file", file(3)),
        ("d/empty", file(0)),
        ("d/big", file(1300)),
        ("d/link", link("file")),
        (
            "d/null",
            LowerEntry::Special(
                Kind::CharDevice { major: 1, minor: 3 },
                Metadata { xattrs, ..metadata(0o666) },
            ),
        ),
        ("d/pipe", LowerEntry::Special(Kind::Fifo, Metadata { xattrs: Vec::new(), ..metadata(0o600) })),
        ("d/up", link("..")),
        ("top", file(3)),
        ("alias", link("/../d/.")),
        ("alias/file", LowerEntry::Missing),
        ("huge", file(5 << 30)),
        ("loop", link("loop")),
    ]))
}

const DIRECTORY: &str = "d: dir 750 5:6 7.000000008 user.x=y";
const FILE: &str = "file \"xxx\" 640 5:6 7.000000008";

#[track_caller]
fn is(tar: Tar, expected: &[&str]) {
    let report = both_above(&mut below(), &tar.end(), expected);
    assert!(!report.links_below);
}

#[test]
fn the_target_and_its_links_are_one_inode() {
    if common::without_root() {
        return;
    }
    // To a file, to that link, to the target once more, through a link of the layers below and through one of this layer.
    let tar = Tar::default()
        .symlink("mine", "alias")
        .hard_link("one", "d/file")
        .hard_link("two", "/one")
        .hard_link("e/three", "./d/file")
        .hard_link("four", "alias/file")
        .hard_link("five", "mine/file");
    let one = format!("{FILE} links 6 five user.x=y");
    is(
        tar,
        &[
            DIRECTORY,
            &format!("d/file: {one}"),
            "e: dir 755 0:0 0.000000000",
            &format!("e/three: {one}"),
            &format!("five: {one}"),
            &format!("four: {one}"),
            "mine: -> alias 777 0:0",
            &format!("one: {one}"),
            &format!("two: {one}"),
        ],
    );

    let tar = Tar::default()
        .file("data", b"of this layer")
        .hard_link("empty", "d/empty")
        .hard_link("big", "d/big")
        .hard_link("file", "d/file")
        .hard_link("link", "d/link")
        .hard_link("null", "d/null")
        .hard_link("pipe", "d/pipe");
    let (owner, two) = ("5:6 7.000000008 links 2", "user.x=y");
    is(
        tar,
        &[
            &format!("big: file 1300 0036e131 640 {owner} big {two}"),
            DIRECTORY,
            &format!("d/big: file 1300 0036e131 640 {owner} big {two}"),
            &format!("d/empty: file \"\" 640 {owner} empty {two}"),
            &format!("d/file: {FILE} links 2 file {two}"),
            &format!("d/link: -> file 777 {owner} link"),
            &format!("d/null: char 1:3 666 {owner} null"),
            &format!("d/pipe: fifo 600 {owner} pipe"),
            "data: file \"of this layer\" 644 0:0",
            &format!("empty: file \"\" 640 {owner} empty {two}"),
            &format!("file: {FILE} links 2 file {two}"),
            &format!("link: -> file 777 {owner} link"),
            &format!("null: char 1:3 666 {owner} null"),
            &format!("pipe: fifo 600 {owner} pipe"),
        ],
    );
}

/// Entries count in their order, as if each were carried out on a mount of the layers below.
#[test]
fn what_hides_the_target_hides_it_from_then_on() {
    if common::without_root() {
        return;
    }
    let t = Tar::default;
    let alone = format!("x: {FILE} user.x=y");
    let gone = "char 0:0 0 0:0 0.000000000";
    // The target's whiteout, its directory's, that directory being opaque: the link alone is left.
    is(
        t().hard_link("x", "d/file").file("d/.wh.file", b""),
        &[DIRECTORY, &format!("d/file: {gone}"), &alone],
    );
    is(t().hard_link("x", "d/file").file(".wh.d", b""), &[&format!("d: {gone}"), &alone]);
    let opaque = "d: dir 750 5:6 7.000000008 trusted.overlay.opaque=y user.x=y";
    is(t().hard_link("x", "d/file").file("d/.wh..wh..opq", b""), &[opaque, &alone]);
    is(
        t().hard_link("x", "d/file").file(".wh.d", b"").file("d/new", b""),
        &["d: dir 755 0:0 0.000000000 trusted.overlay.opaque=y", "d/new: file \"\" 644 0:0", &alone],
    );
    is(
        t().hard_link("x", "d/up/top"),
        &[
            DIRECTORY,
            &format!("top: {FILE} links 2 top user.x=y"),
            &format!("x: {FILE} links 2 top user.x=y"),
        ],
    );
    // Replaced: the link keeps what was there when it came.
    is(
        t().hard_link("x", "d/file").file("d/file", b"new"),
        &[DIRECTORY, "d/file: file \"new\" 644 0:0", &alone],
    );
    is(
        t().file("d/file", b"new").hard_link("x", "d/file"),
        &[DIRECTORY, "d/file: file \"new\" 644 0:0 links 2 x", "x: file \"new\" 644 0:0 links 2 x"],
    );

    let missing = "which is not in the archive and not in the layers below";
    for tar in [
        t().file("d/.wh.file", b"").hard_link("x", "d/file"),
        t().file(".wh.d", b"").hard_link("x", "d/file"),
        t().file("d/.wh..wh..opq", b"").hard_link("x", "d/file"),
        t().file(".wh..wh..opq", b"").hard_link("x", "alias/file"),
        t().file(".wh.alias", b"").hard_link("x", "alias/file"),
        t().file(".wh.d", b"").directory("d", "0000755").hard_link("x", "d/file"),
        t().file(".wh.d", b"").directory("d", "0000755").hard_link("x", "d/up/top"),
        t().file("d", b"").hard_link("x", "d/file"),
        t().hard_link("x", "d/file/deeper"),
        t().hard_link("x", "d/none"),
        t().hard_link("x", "none/file"),
        t().hard_link("x", "y").hard_link("y", "x"),
    ] {
        refused_above(&mut below(), &tar.end(), missing);
    }
}

#[test]
fn what_is_no_file_or_leads_out_is_refused() {
    if common::without_root() {
        return;
    }
    let refused = |target: &str, message: &str| {
        refused_above(&mut below(), &Tar::default().hard_link("x", target).end(), message)
    };
    refused("d", "which is a directory");
    refused("alias/..", "climbs with '..'");
    refused("../d/file", "climbs with '..'");
    refused("d/../../etc/passwd", "climbs with '..'");
    refused("/", "which is a directory");
    refused("loop/x", "too many levels of symbolic links");
    // Five gigabytes of a file with one hole would take them on this disk.
    let error = refused("huge", "over the limit of 4294967296");
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    let limits = Limits { copied_bytes: 5, ..Limits::default() };
    let tar = Tar::default().hard_link("x", "d/file").hard_link("y", "d/file").hard_link("z", "d/big").end();
    let error = onggi_archive::index(&mut &tar[..], None, &mut Vec::new(), &mut below(), limits).unwrap_err();
    assert!(
        error.to_string().starts_with("z: bytes of files that links copy up over the limit of 5"),
        "{error}"
    );
}

/// A layer that arrives does not know yet what it will lie above.
#[test]
fn looked_at_alone_they_are_left_out_and_said() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .hard_link("early", "late")
        .hard_link("x", "d/file")
        .hard_link("y", "x")
        .file("late", b"1")
        .end();
    for form in FORMS {
        let made = make(form, &tar, &mut NoLower, 512).unwrap();
        let late = "file \"1\" 644 0:0 links 2 early";
        assert_eq!(lines(&made.tree()), [format!("early: {late}"), format!("late: {late}")], "{form:?}");
        assert!(made.report.links_below);
        assert!(made.report.implied_dirs == [b"".to_vec()], "{:?}", made.report.implied_dirs);
    }
    let whole = Tar::default().file("a", b"").hard_link("b", "a").end();
    assert!(!make(FORMS[0], &whole, &mut NoLower, 512).unwrap().report.links_below);
}
