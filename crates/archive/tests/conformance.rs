//! One suite, two forms: what layers mean, edge case by edge case, for the index and for the directory alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::collections::BTreeMap;

use common::{Below, FORMS, Form, Header, Tar, USUAL_TIME, both_above, lines, make, refused_above};
use onggi_archive::{Error, LayerReport, Limits, LowerEntry, Metadata, NoLower, Timestamp};

#[track_caller]
fn both(tar: &[u8], expected: &[&str]) -> LayerReport {
    both_above(&mut NoLower, tar, expected)
}

/// Both forms refuse it as the lowest layer, with this in the message.
#[track_caller]
fn refused(tar: &[u8], message: &str) -> Error {
    refused_above(&mut Below(BTreeMap::new()), tar, message)
}

#[test]
fn kinds_owners_modes_and_times() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .directory("d/", "0041777")
        .add(Header {
            name: b"d/suid",
            mode: b"0104755",
            uid: b"0001750",
            gid: b"\x80\0\0\0\xff\xff\xff\xfe",
            data: b"x",
            ..Header::default()
        })
        .add(Header { name: b"char", typeflag: b'3', device: (1, 3), ..Header::default() })
        .add(Header { name: b"block", typeflag: b'4', device: (259, 1_000_000), ..Header::default() })
        .add(Header { name: b"pipe", typeflag: b'6', ..Header::default() })
        .symlink("absolute", "/etc/passwd")
        .symlink("up", "../../x")
        .add(Header { name: b"old", typeflag: 0, magic: &[0; 8], data: b"v7", ..Header::default() })
        .add(Header { name: b"olddir/", typeflag: 0, magic: &[0; 8], ..Header::default() })
        .add(Header { name: b"contiguous", typeflag: b'7', data: b"7", ..Header::default() })
        .add(Header { name: b"\xff\xfe\n", ..Header::default() })
        .add(Header { name: b"prefixed", prefix: b"d", data: b"p", ..Header::default() })
        .add(Header {
            name: b"starred",
            prefix: b"d",
            patch: vec![(476, b"14000000000 ".to_vec()), (508, b"tar\0".to_vec())],
            ..Header::default()
        })
        .add(Header {
            name: b"before",
            mtime: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
            ..Header::default()
        })
        .end();
    both(
        &tar,
        &[
            "absolute: -> /etc/passwd 777 0:0",
            "before: file \"\" 644 0:0 -2.000000000",
            "block: block 259:1000000 644 0:0",
            "char: char 1:3 644 0:0",
            "contiguous: file \"7\" 644 0:0",
            "d: dir 1777 0:0",
            "d/prefixed: file \"p\" 644 0:0",
            "d/starred: file \"\" 644 0:0",
            "d/suid: file \"x\" 4755 1000:4294967294",
            "old: file \"v7\" 644 0:0",
            "olddir: dir 644 0:0",
            "pipe: fifo 644 0:0",
            "up: -> ../../x 777 0:0",
            "\\xff\\xfe\\n: file \"\" 644 0:0",
        ],
    );
}

#[test]
fn extended_headers_win_over_the_plain_one() {
    if common::without_root() {
        return;
    }
    let long = "l".repeat(200);
    let longer = format!("{}/{}", "d".repeat(255), "e".repeat(255));
    let tar = Tar::default()
        .pax(&[
            ("path", long.as_bytes()),
            ("mtime", b"-1.5"),
            ("uid", b"3000000"),
            ("gid", b"4294967294"),
            ("SCHILY.xattr.user.b", b"\0\n=\xff"),
            ("SCHILY.xattr.user.a", b"1"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ])
        .add(Header { size: Some(b"00000000001"), data: b"1", ..Header::default() })
        .pax(&[("size", b"5")])
        .add(Header { name: b"sized", size: Some(b"00000000000"), data: b"12345", ..Header::default() })
        .pax(&[("linkpath", long.as_bytes())])
        .symlink("link", "short")
        .special(b'L', format!("{longer}\0").as_bytes())
        .special(b'K', format!("/{longer}\0").as_bytes())
        .add(Header { typeflag: b'2', magic: b"ustar  \0", link: b"short", ..Header::default() })
        .special(b'g', &common::record("mtime", b"5"))
        .pax(&[("SCHILY.xattr.user.no", b"on a link"), ("SCHILY.xattr.trusted.yes", b"1")])
        .symlink("attributes", "x")
        .end();
    let report = both(
        &tar,
        &[
            "attributes: -> x 777 0:0 trusted.yes=1",
            &format!("{}: dir 755 0:0 0.000000000", "d".repeat(255)),
            &format!("{longer}: -> /{longer} 777 0:0"),
            &format!("link: -> {long} 777 0:0"),
            &format!(
                "{long}: file \"1\" 644 3000000:4294967294 -2.500000000 security.capability=\\x01\\x00\\x00\\x02\
                 \\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00 \
                 user.a=1 user.b=\\x00\\n=\\xff"
            ),
            "sized: file \"12345\" 644 0:0",
        ],
    );
    assert_eq!(report.ignored_xattrs, 3);
}

#[test]
fn later_entries_win() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .file("twice", b"one")
        .file("twice", b"second")
        .directory("d", "0000755")
        .file("d/inner", b"1")
        .directory("d/", "0000700")
        .file("was-dir/inner", b"1")
        .file("was-dir", b"2")
        .file("was-file", b"1")
        .directory("was-file", "0000755")
        .file("was-file/inner", b"2")
        .symlink("link", "d")
        .file("link", b"not followed")
        .directory("./", "0000711")
        .end();
    let tree = both(
        &tar,
        &[
            "d: dir 700 0:0",
            "d/inner: file \"1\" 644 0:0",
            "link: file \"not followed\" 644 0:0",
            "twice: file \"second\" 644 0:0",
            "was-dir: file \"2\" 644 0:0",
            "was-file: dir 755 0:0",
            "was-file/inner: file \"2\" 644 0:0",
        ],
    );
    assert_eq!(tree.entries, 13);
    assert_eq!(tree.inodes, 8);
    assert_eq!(tree.file_bytes, 6 + 1 + 12 + 1 + 1);
    for form in FORMS {
        let made = make(form, &tar, &mut NoLower, 512).unwrap();
        assert_eq!(made.tree()[&b""[..]], format!("dir 711 0:0{USUAL_TIME}"), "{form:?}");
    }
}

#[test]
fn whiteouts_hide_what_lies_below_and_nothing_here() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .file(".wh.gone", b"")
        .file("a/.wh.b", b"")
        .directory("new", "0000755")
        .file("new/kept", b"")
        .file(".wh.new", b"")
        .file(".wh.back", b"")
        .file("back", b"again")
        .file("opaque/first", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/.wh.second", b"")
        .file(".wh..wh.aufs", b"")
        .file(".wh..wh.plnk/123.4", b"")
        .hard_link(".wh.linked", "gone")
        .end();
    let gone = "char 0:0 0 0:0 0.000000000";
    let report = both(
        &tar,
        &[
            "a: dir 755 0:0 0.000000000",
            &format!("a/b: {gone}"),
            "back: file \"again\" 644 0:0",
            &format!("gone: {gone}"),
            &format!("linked: {gone}"),
            "new: dir 755 0:0 trusted.overlay.opaque=y",
            "new/kept: file \"\" 644 0:0",
            "opaque: dir 755 0:0 0.000000000 trusted.overlay.opaque=y",
            "opaque/first: file \"\" 644 0:0",
            &format!("opaque/second: {gone}"),
        ],
    );
    assert_eq!(report.whiteouts, 8);
    assert_eq!(report.implied_dirs, [b"".to_vec(), b"a".to_vec(), b"opaque".to_vec()]);

    refused(&Tar::default().file("a/.wh.", b"").end(), "a whiteout of nothing");
    refused(&Tar::default().file(".wh..", b"").end(), "a whiteout of nothing");
    refused(&Tar::default().file(".wh...", b"").end(), "a whiteout of nothing");
    refused(&Tar::default().file(".wh.d/x", b"").end(), "below a whiteout");
    refused(&Tar::default().directory(".wh.d", "0000755").end(), "a directory");
}

#[test]
fn hard_links() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .hard_link("early", "late")
        .hard_link("earlier", "early")
        .file("a", b"1")
        .hard_link("d/b", "./a")
        .hard_link("c", "/d/b")
        .file("a", b"2")
        .symlink("link", "nowhere")
        .hard_link("link2", "link")
        .symlink("dir", "d")
        .hard_link("through", "dir/b")
        .add(Header { name: b"pipe", typeflag: b'6', ..Header::default() })
        .hard_link("pipe2", "pipe")
        .file("late", b"3")
        .hard_link("late", "late")
        .end();
    both(
        &tar,
        &[
            "a: file \"2\" 644 0:0",
            "c: file \"1\" 644 0:0 links 3 c",
            "d: dir 755 0:0 0.000000000",
            "d/b: file \"1\" 644 0:0 links 3 c",
            "dir: -> d 777 0:0",
            "earlier: file \"3\" 644 0:0 links 3 earlier",
            "early: file \"3\" 644 0:0 links 3 earlier",
            "late: file \"3\" 644 0:0 links 3 earlier",
            "link: -> nowhere 777 0:0 links 2 link",
            "link2: -> nowhere 777 0:0 links 2 link",
            "pipe: fifo 644 0:0 links 2 pipe",
            "pipe2: fifo 644 0:0 links 2 pipe",
            "through: file \"1\" 644 0:0 links 3 c",
        ],
    );
    refused(
        &Tar::default().hard_link("a", "missing").end(),
        "hard link to missing, which is not in the archive",
    );
    refused(&Tar::default().hard_link("a", "b").hard_link("b", "a").end(), "which is not in the archive");
    refused(&Tar::default().directory("d", "0000755").hard_link("a", "d").end(), "which is a directory");
    refused(&Tar::default().hard_link("a", "/").end(), "which is a directory");
}

fn below() -> Below {
    let directory = |mode| {
        let mtime = Timestamp { seconds: 7, nanoseconds: 8 };
        let xattrs = vec![(b"user.x".to_vec(), b"y".to_vec())];
        LowerEntry::Directory(Metadata { mode, uid: 5, gid: 6, mtime, xattrs })
    };
    let link = |target: &str| LowerEntry::Symlink(target.into(), Metadata::implied_directory());
    Below(BTreeMap::from([
        ("", directory(0o711)),
        ("tmp", directory(0o1777)),
        ("tmp/deep", directory(0o700)),
        ("usr", directory(0o755)),
        ("usr/bin", directory(0o750)),
        ("bin", link("usr/bin")),
        ("sbin", link("/../bin/./")),
        ("loop", link("loop")),
        ("file", LowerEntry::File { size: 1, metadata: Metadata::implied_directory() }),
    ]))
}

#[test]
fn implied_directories_are_as_the_layers_below_have_them() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .file("tmp/deep/new/x", b"")
        .file("bin/tool", b"1")
        .file("sbin/tool2", b"2")
        .file("file/x", b"")
        .hard_link("bin/tool3", "usr/bin/tool")
        .hard_link("bin/tool4", "bin/tool")
        .end();
    let attributes = "5:6 7.000000008 user.x=y";
    let report = both_above(
        &mut below(),
        &tar,
        &[
            "file: dir 755 0:0 0.000000000",
            "file/x: file \"\" 644 0:0",
            &format!("tmp: dir 1777 {attributes}"),
            &format!("tmp/deep: dir 700 {attributes}"),
            "tmp/deep/new: dir 755 0:0 0.000000000",
            "tmp/deep/new/x: file \"\" 644 0:0",
            &format!("usr: dir 755 {attributes}"),
            &format!("usr/bin: dir 750 {attributes}"),
            "usr/bin/tool: file \"1\" 644 0:0 links 3 usr/bin/tool",
            "usr/bin/tool2: file \"2\" 644 0:0",
            "usr/bin/tool3: file \"1\" 644 0:0 links 3 usr/bin/tool",
            "usr/bin/tool4: file \"1\" 644 0:0 links 3 usr/bin/tool",
        ],
    );
    let implied: Vec<_> = report.implied_dirs.iter().map(|path| path.escape_ascii().to_string()).collect();
    assert_eq!(implied, ["", "file", "tmp", "tmp/deep", "tmp/deep/new", "usr", "usr/bin"]);
    assert_eq!(report.lower_symlinks, [b"bin".to_vec(), b"sbin".to_vec()]);

    // Hidden by this layer: what lies below no longer says anything.
    let tar = Tar::default()
        .file("tmp/deep/x", b"")
        .file(".wh.tmp", b"")
        .file("usr/.wh..wh..opq", b"")
        .file("usr/bin/x", b"");
    let report = both_above(
        &mut below(),
        &tar.end(),
        &[
            "tmp: dir 755 0:0 0.000000000 trusted.overlay.opaque=y",
            "tmp/deep: dir 755 0:0 0.000000000",
            "tmp/deep/x: file \"\" 644 0:0",
            "usr: dir 755 5:6 7.000000008 trusted.overlay.opaque=y user.x=y",
            "usr/bin: dir 755 0:0 0.000000000",
            "usr/bin/x: file \"\" 644 0:0",
        ],
    );
    assert_eq!(report.implied_dirs, [b"".to_vec(), b"usr".to_vec()]);

    for form in FORMS {
        let tar = Tar::default().file("loop/x", b"").end();
        let error = make(form, &tar, &mut below(), 512).err().unwrap();
        assert!(matches!(error, Error::LinkLoop { .. }), "{form:?}: {error}");
    }
}

#[test]
fn paths_through_links_stay_inside() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default()
        .symlink("up", "../../..")
        .symlink("root", "/")
        .symlink("etc", "/../etc2/./")
        .file("up/one", b"1")
        .file("root/two", b"2")
        .file("etc/passwd", b"3")
        .symlink("a", "b")
        .symlink("b", "c/d")
        .file("a/four", b"4")
        .end();
    both(
        &tar,
        &[
            "a: -> b 777 0:0",
            "b: -> c/d 777 0:0",
            "c: dir 755 0:0 0.000000000",
            "c/d: dir 755 0:0 0.000000000",
            "c/d/four: file \"4\" 644 0:0",
            "etc: -> /../etc2/./ 777 0:0",
            "etc2: dir 755 0:0 0.000000000",
            "etc2/passwd: file \"3\" 644 0:0",
            "one: file \"1\" 644 0:0",
            "root: -> / 777 0:0",
            "two: file \"2\" 644 0:0",
            "up: -> ../../.. 777 0:0",
        ],
    );
}

#[test]
fn breakouts_are_refused_or_stay_inside() {
    if common::without_root() {
        return;
    }
    let t = Tar::default;
    refused(&t().file("../x", b"").end(), "climbs with '..'");
    refused(&t().file("a/../../x", b"").end(), "climbs with '..'");
    refused(&t().file("/../x", b"").end(), "climbs with '..'");
    refused(&t().hard_link("a", "../../etc/passwd").end(), "climbs with '..'");
    refused(&t().symlink(".", "/etc").end(), "the root entry is a symbolic link");
    refused(&t().symlink("./", "/etc").file("passwd", b"").end(), "the root entry is a symbolic link");
    refused(&t().file("/", b"x").end(), "slash");
    refused(&t().symlink("l", "l").file("l/x", b"").end(), "too many levels");
    refused(&t().symlink("l", "m").symlink("m", "l").file("l/x", b"").end(), "too many levels");
    refused(&t().file("f", b"").file("f/x", b"").end(), "its parent f is not a directory");
    refused(&t().hard_link("f", "etc/passwd").end(), "not in the archive");
    // A hard link to a link, then a write through it: replaces the link, does not follow it.
    both(
        &t().symlink("l", "/etc/passwd").hard_link("h", "l").file("h", b"mine").end(),
        &["h: file \"mine\" 644 0:0", "l: -> /etc/passwd 777 0:0"],
    );
    // Absolute names are the layer's own.
    both(
        &t().file("/etc/passwd", b"mine").hard_link("/h", "/etc/passwd").end(),
        &[
            "etc: dir 755 0:0 0.000000000",
            "etc/passwd: file \"mine\" 644 0:0 links 2 h",
            "h: file \"mine\" 644 0:0 links 2 h",
        ],
    );
    // A directory becomes a link in the middle of the archive.
    both(
        &t().file("d/a", b"1").symlink("d", "/e").file("d/b", b"2").end(),
        &["d: -> /e 777 0:0", "e: dir 755 0:0 0.000000000", "e/b: file \"2\" 644 0:0"],
    );
}

#[test]
fn archives_that_readers_read_differently_are_refused() {
    if common::without_root() {
        return;
    }
    let t = Tar::default;
    let header = |typeflag| Header { typeflag, data: b"data", link: b"x", ..Header::default() };
    // CVE-2025-62518: the header says 0, PAX says 1024, and the data is another tar.
    both(
        &t().pax(&[("size", b"1024")])
            .add(Header {
                name: b"outer",
                size: Some(b"0"),
                data: &t().file("smuggled", b"").end()[..1024],
                ..Header::default()
            })
            .end(),
        &["outer: file 1024 33f318ab 644 0:0"],
    );
    refused(&t().pax(&[("size", b"0")]).file("f", b"data").end(), "different sizes");
    refused(&t().pax(&[("size", b"512")]).file("f", b"data").end(), "different sizes");
    for typeflag in [b'1', b'2', b'5', b'6'] {
        refused(&t().add(header(typeflag)).end(), "with 4 bytes of data");
    }
    refused(&t().special(b'g', &common::record("size", b"0")).file("f", b"data").end(), "global header");
    refused(&t().special(b'g', &common::record("path", b"x")).file("f", b"data").end(), "global header");
    refused(
        &t().pax(&[("path", b"a")]).special(b'L', b"b\0").file("f", b"").end(),
        "name the entry differently",
    );
    refused(&t().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("f", b"").end(), "two extended headers");
    refused(&t().special(b'L', b"a\0").special(b'L', b"b\0").file("f", b"").end(), "two extended headers");
    refused(&t().pax(&[("path", b"a")]).end(), "no entry behind it");
    refused(&t().file("f/", b"").end(), "name ends in a slash");
    refused(&t().file("a", b"").raw(&[0; 512]).file("b", b"").end(), "a lone block of zeros");
    refused(&t().add(Header { typeflag: b'V', ..Header::default() }).end(), "type 'V'");
    refused(&t().add(Header { typeflag: b'X', ..Header::default() }).end(), "type 'X'");
    refused(&t().add(Header { typeflag: 0xff, ..Header::default() }).end(), "not supported");
    refused(&t().add(Header { uid: b"\x80\0\0\0\xff\xff\xff\xff", ..Header::default() }).end(), "uid");
    refused(&t().add(Header { gid: b"\xff\xff\xff\xff\xff\xff\xff\xff", ..Header::default() }).end(), "gid");
    refused(&t().add(Header { mode: b"0000x44", ..Header::default() }).end(), "field mode");
    refused(
        &t().add(Header {
            size: Some(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            ..Header::default()
        })
        .end(),
        "size",
    );
    refused(
        &t().add(Header { typeflag: b'3', device: (4096, 0), ..Header::default() }).end(),
        "device number",
    );
    refused(&t().symlink("l", "").end(), "a symbolic link to nothing");
    refused(&t().pax(&[("path", &[b'x'; 256])]).file("f", b"").end(), "more than 255 bytes");
    refused(&t().pax(&[("path", &b"/x".repeat(3000))]).file("f", b"").end(), "path bytes over the limit");
    refused(
        &t().pax(&[("SCHILY.xattr.user.x", &vec![0; 200 << 10])]).file("f", b"").end(),
        "extended attributes over",
    );
    refused(
        &t().add(Header { typeflag: b'x', size: Some(b"77777777777"), ..Header::default() }).end(),
        "over the limit",
    );
    refused(
        &t().add(Header { typeflag: b'L', size: Some(b"77777777777"), ..Header::default() }).end(),
        "over the limit",
    );
    let mut damaged = t().file("f", b"data").end();
    damaged[3] ^= 1;
    refused(&damaged, "wrong checksum");
    refused(b"not a tar at all", "this is not a tar: it ends after 16 bytes");
    let whole = t().file("f", b"data").end();
    refused(&whole[..511], "this is not a tar");
    refused(&whole[..514], "in the middle of an entry");
    refused(&whole[..1000], "in the middle of an entry");
}

#[test]
fn ends_of_archives() {
    if common::without_root() {
        return;
    }
    let whole = Tar::default().file("f", b"data").end();
    let one = &["f: file \"data\" 644 0:0"];
    both(&whole, one);
    both(&whole[..1024], one);
    both(&whole[..1536], one);
    both(&[&whole[..], &[0; 9000]].concat(), one);
    both(&[&whole[..], b"anything may follow the end mark"].concat(), one);
    both(&[], &[]);
    both(&[0; 1024], &[]);
    both(&[0; 10240], &[]);
}

#[test]
fn sparse_files_in_all_four_forms() {
    if common::without_root() {
        return;
    }
    let data = [vec![b'a'; 512], vec![b'b'; 1024], vec![b'c'; 100]].concat();
    // Data at 4096+512, 8192+1024 and 19968+100, the end of the file.
    let map = [(4096u64, 512u64), (8192, 1024), (19968, 100)];
    let slots = |pairs: &[(u64, u64)]| {
        pairs
            .iter()
            .map(|(offset, length)| format!("{offset:011o}\0{length:011o}\0"))
            .collect::<String>()
            .into_bytes()
    };
    let old = |pairs: &[(u64, u64)], more: &[u8], extended: bool| Header {
        name: b"f",
        typeflag: b'S',
        magic: b"ustar  \0",
        patch: vec![
            (345, vec![0; 41]),
            (386, slots(pairs)),
            (482, vec![u8::from(extended)]),
            (483, b"00000047144 ".to_vec()),
        ],
        size: Some(Box::leak(format!("{:011o}", data.len()).into_boxed_str()).as_bytes()),
        data: Box::leak(more.to_vec().into_boxed_slice()),
        ..Header::default()
    };
    let mut extension = slots(&map[2..]);
    extension.resize(512, 0);
    let list = "4096,512,8192,1024,19968,100";
    let repeated: Vec<(&str, Vec<u8>)> = map
        .iter()
        .flat_map(|(offset, length)| {
            [
                ("GNU.sparse.offset", offset.to_string().into_bytes()),
                ("GNU.sparse.numbytes", length.to_string().into_bytes()),
            ]
        })
        .collect();
    let mut zero: Vec<(&str, &[u8])> = vec![("GNU.sparse.size", b"20068"), ("GNU.sparse.numblocks", b"3")];
    zero.extend(repeated.iter().map(|(key, value)| (*key, value.as_slice())));
    let mut front = b"3\n4096\n512\n8192\n1024\n19968\n100\n".to_vec();
    front.resize(512, 0);
    front.extend_from_slice(&data);
    let t = Tar::default;
    let forms = [
        ("old", t().add(old(&map, &data, false))),
        ("old, extended", t().add(old(&map[..2], &[&extension[..], &data].concat(), true))),
        ("0.0", t().pax(&zero).file("f", &data)),
        (
            "0.1",
            t().pax(&[
                ("GNU.sparse.size", b"20068"),
                ("GNU.sparse.name", b"f"),
                ("GNU.sparse.map", list.as_bytes()),
            ])
            .file("GNUSparseFile.1/f", &data),
        ),
        (
            "1.0",
            t().pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"f"),
                ("GNU.sparse.realsize", b"20068"),
            ])
            .file("GNUSparseFile.1/f", &front),
        ),
    ];
    let mut content = vec![0; 20068];
    content[4096..4608].fill(b'a');
    content[8192..9216].fill(b'b');
    content[19968..].fill(b'c');
    let plain = t().file("f", &content).file("g", b"behind").end();
    let expected = lines(&make(Form::Directory, &plain, &mut NoLower, 4096).unwrap().tree());
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    for (name, tar) in forms {
        println!("{name}");
        both(&tar.file("g", b"behind").end(), &expected);
    }

    let bad = |map: &str, message: &str| {
        let records: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"20068"), ("GNU.sparse.map", map.as_bytes())];
        refused(&t().pax(&records).file("f", &data).end(), message);
    };
    bad("4096,512,4100,1024,19968,100", "overlap");
    bad("8192,1024,4096,512,19968,100", "overlap");
    bad("4096,512,8192,1024,19968,101", "behind the end");
    bad("4096,512,8192,1024,19968,99", "not as long as the data");
    bad("4096,512,8192,18446744073709551615,19968,100", "behind the end");
    // What the blocks of the index cannot say, the directory can.
    let records: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"20068"), ("GNU.sparse.map", b"5,1636")];
    let tar = t().pax(&records).file("f", &data).end();
    let error = make(Form::Index, &tar, &mut NoLower, 4096).err().unwrap();
    assert!(matches!(error, Error::SparseUnaligned { .. }), "{error}");
    assert!(make(Form::Directory, &tar, &mut NoLower, 4096).is_ok());
}

#[test]
fn large_directories_names_and_attributes() {
    if common::without_root() {
        return;
    }
    let mut tar = Tar::default();
    let mut names = Vec::new();
    for number in 0..700usize {
        let name = format!("big/{}-{number}", "n".repeat(number % 90));
        tar = tar.file(&name, number.to_string().as_bytes());
        names.push(name);
    }
    let value = vec![0xa5; 3_000];
    tar = tar
        .pax(&[("SCHILY.xattr.user.big", &value), ("SCHILY.xattr.user.small", b"s")])
        .file("attributes", b"");
    // Targets around the sizes at which a link's data moves out of its inode's block, and the first names of ASCII.
    let targets: Vec<String> =
        [1, 383, 384, 447, 448, 479, 480, 481, 511, 512, 513, 1024, 4000].map(|n| "t".repeat(n)).into();
    for target in &targets {
        let link = format!("links/!{}", target.len());
        tar = tar.special(b'K', format!("{target}\0").as_bytes()).symlink(&link, "");
    }
    let tar = tar.end();
    let made = make(Form::Index, &tar, &mut NoLower, 1 << 16).unwrap().tree();
    assert_eq!(made, make(Form::Directory, &tar, &mut NoLower, 1 << 16).unwrap().tree());
    for (number, name) in names.iter().enumerate() {
        assert_eq!(made[name.as_bytes()], format!("file \"{number}\" 644 0:0{USUAL_TIME}"));
    }
    for target in &targets {
        assert_eq!(
            made[format!("links/!{}", target.len()).as_bytes()],
            format!("-> {target} 777 0:0{USUAL_TIME}")
        );
    }
    assert!(made[&b"attributes"[..]].ends_with(" user.small=s"));

    // More than ext4 takes: the index alone.
    let (one, two) = (vec![1; 0xffff], vec![2; 100_000 - 0x1_0000]);
    let tar = Tar::default()
        .pax(&[("SCHILY.xattr.user.one", &one), ("SCHILY.xattr.user.two", &two)])
        .file("f", b"x");
    let made = make(Form::Index, &tar.end(), &mut NoLower, 1 << 16).unwrap().tree();
    assert_eq!(made[&b"f"[..]].matches("\\x01").count(), one.len());
    assert_eq!(made[&b"f"[..]].matches("\\x02").count(), two.len());
}

#[test]
fn the_index_is_a_function_of_the_tar() {
    if common::without_root() {
        return;
    }
    let tar = Tar::default().file("b", b"1").file("a", b"2").symlink("l", "a").end();
    let whole = make(Form::Index, &tar, &mut NoLower, 1 << 20).unwrap().image();
    assert_eq!(whole, make(Form::Index, &tar, &mut NoLower, 1).unwrap().image());
    assert_eq!(whole.len() % 512, 0);
}

#[test]
fn an_opaque_directory_below_is_not_repeated() {
    if common::without_root() {
        return;
    }
    let xattrs =
        vec![(b"trusted.overlay.opaque".to_vec(), b"y".to_vec()), (b"user.x".to_vec(), b"1".to_vec())];
    let metadata = Metadata { xattrs, ..Metadata::implied_directory() };
    let mut lower = Below(BTreeMap::from([("d", LowerEntry::Directory(metadata))]));
    let expected = &["d: dir 755 0:0 0.000000000 user.x=1", "d/f: file \"\" 644 0:0"];
    both_above(&mut lower, &Tar::default().file("d/f", b"").end(), expected);
}

#[test]
fn what_follows_the_end_has_an_end() {
    let mut tar = Tar::default().file("f", b"").end();
    tar.resize(tar.len() + 100, 0);
    for (most, fits) in [(100, true), (99, false)] {
        let limits = Limits { padding_bytes: most, ..Limits::default() };
        let read = onggi_archive::index(&mut &tar[..], None, &mut Vec::new(), &mut NoLower, limits);
        assert_eq!(read.is_ok(), fits, "{read:?}");
        assert!(fits || matches!(read, Err(Error::Padding { limit: 99 })));
    }
}

#[test]
fn every_limit_holds() {
    if common::without_root() {
        return;
    }
    let t = Tar::default;
    let usual = Limits::default;
    let many = (0..30).fold(t(), |tar, number| tar.file(&format!("f{number}"), b""));
    // Each of these links is four times the one before, and the forty links that a path may have allow the third.
    let chain = (0..9)
        .fold(t(), |tar, n| tar.symlink(&format!("l{}", n + 1), &format!("l{n}/../l{n}/../l{n}/../l{n}")));
    let chain = chain.symlink("l0", ".").file("l2/x", b"");
    let deep_through_links = t().symlink("a", "1/2/3").symlink("1/2/3/b", "4/5/6").file("a/b/f", b"");
    let table: Vec<(&str, Limits, Tar)> = vec![
        ("entries", Limits { entries: 29, ..usual() }, many.clone()),
        ("entries", Limits { entries: 5, ..usual() }, t().file("a/b/c/d/e/f", b"")),
        ("path bytes", Limits { path_bytes: 4, ..usual() }, t().file("12345", b"")),
        ("path depth", Limits { path_depth: 3, ..usual() }, t().file("1/2/3/4", b"")),
        ("path depth", Limits { path_depth: 5, ..usual() }, deep_through_links),
        (
            "bytes of extended attributes",
            Limits { xattr_bytes: 10, ..usual() },
            t().pax(&[("SCHILY.xattr.user.a", b"123456")]).file("f", b""),
        ),
        (
            "extended header bytes",
            Limits { extended_header_bytes: 20, ..usual() },
            t().pax(&[("comment", &[b'x'; 20])]).file("f", b""),
        ),
        ("bytes of names and attributes", Limits { metadata_bytes: 50, ..usual() }, many),
        (
            "bytes of names and attributes",
            Limits { metadata_bytes: 50, ..usual() },
            t().symlink("l", &"t".repeat(60)),
        ),
        ("steps through symbolic links", Limits { link_steps: 20, ..usual() }, chain),
        (
            "sparse segments",
            Limits { sparse_segments: 1, ..usual() },
            t().pax(&[("GNU.sparse.size", b"2560"), ("GNU.sparse.map", b"0,512,1024,512,2048,512")])
                .file("f", &[1; 1536]),
        ),
    ];
    for (what, limits, tar) in table {
        let (mut image, tar) = (Vec::new(), tar.end());
        let error = onggi_archive::index(&mut &tar[..], None, &mut image, &mut NoLower, limits).unwrap_err();
        assert!(matches!(&error, Error::Limit { what: found, .. } if *found == what), "{what}: {error}");
        onggi_archive::index(&mut &tar[..], None, &mut image, &mut NoLower, usual())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}
