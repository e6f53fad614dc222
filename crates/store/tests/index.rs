//! The index can be thrown away, torn or written by eight at once; names stay unique and rows come back from the files.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use common::{Roots, docker_archive, layers, load, tar};
use onggi_image::Digest;
use onggi_record::Durability;
use onggi_store::{ContainerRow, Error, NameKind, Store};
use serde_json::json;

fn row(id: &str) -> ContainerRow {
    let summary = json!({"image": "x"});
    ContainerRow {
        id: id.to_owned(),
        name: format!("name-{id}"),
        created: "2024-01-01T00:00:00Z".into(),
        summary,
    }
}

/// A container as its owner keeps it.
fn keep(store: &Store, id: &str, image: &Digest) {
    let directory = store.data().join("containers").join(id);
    fs::create_dir(&directory).unwrap();
    let body = json!({"version": 1, "id": id, "name": format!("name-{id}"), "created": "2024-01-01T00:00:00Z",
        "image": image.to_string(), "request": {}, "resolved": {"layers": []}});
    onggi_record::write(&directory.join("container.json"), &body, Durability::Volatile).unwrap();
}

#[test]
fn names_have_one_holder() {
    let roots = Roots::new();
    let store = roots.open();
    let image = Digest::of(b"");
    for id in ["aa", "bb"] {
        keep(&store, id, &image);
    }
    store.reserve_name(NameKind::Container, "web", "aa").unwrap();
    store.reserve_name(NameKind::Container, "web", "aa").unwrap();
    let taken = store.reserve_name(NameKind::Container, "web", "bb").unwrap_err();
    assert!(matches!(&taken, Error::NameTaken { holder, .. } if holder == "aa"), "{taken}");
    store.release_name(NameKind::Container, "web", "bb").unwrap();
    assert_eq!(store.find_name(NameKind::Container, "web").unwrap().as_deref(), Some("aa"));
    store.insert_container(&row("aa")).unwrap();
    store.rename(NameKind::Container, "new", "aa").unwrap();
    assert_eq!(store.find_name(NameKind::Container, "web").unwrap(), None);
    let name =
        |id: &str| store.containers().unwrap().into_iter().find(|row| row.id == id).map(|row| row.name);
    assert_eq!(name("aa").as_deref(), Some("new"));
    store.reserve_name(NameKind::Container, "web", "bb").unwrap();
    assert!(matches!(store.rename(NameKind::Container, "web", "aa"), Err(Error::NameTaken { .. })));
    store.remove_container("aa").unwrap();
    assert_eq!(store.find_name(NameKind::Container, "new").unwrap(), None);
    assert_eq!(name("aa"), None);
}

#[test]
fn prefixes_of_ids() {
    let roots = Roots::new();
    let store = roots.open();
    for id in ["a1ff", "a2", "b"] {
        store.insert_container(&row(id)).unwrap();
    }
    for (prefix, found) in
        [("a1", &["a1ff"][..]), ("a", &["a1ff", "a2"]), ("c", &[]), ("a1ff", &["a1ff"]), ("a1fff", &[])]
    {
        assert_eq!(store.containers_by_prefix(prefix).unwrap(), found, "{prefix}");
    }
}

#[test]
fn it_comes_back_from_the_files_however_it_is_lost() {
    let roots = Roots::new();
    let store = roots.open();
    load(&store, &tar(&docker_archive(&["a:1"], &layers("a")))).unwrap();
    let image = store.resolve("a:1").unwrap();
    keep(&store, "aa", &image.id);
    store.rebuild_index().unwrap();
    let index = store.run().join("index.sqlite");
    let write = |bytes: &[u8]| fs::write(&index, bytes).unwrap();
    type Damage<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let damages: [Damage<'_>; 6] = [
        ("deleted", Box::new(|| fs::remove_file(&index).unwrap())),
        ("emptied", Box::new(|| write(b""))),
        ("not a database", Box::new(|| write(&b"hello world ".repeat(1000)))),
        ("cut short", Box::new(|| write(&fs::read(&index).unwrap()[..5000]))),
        (
            "zeroes in the middle",
            Box::new(|| {
                let mut bytes = fs::read(&index).unwrap();
                bytes[4096..].fill(0);
                write(&bytes);
            }),
        ),
        (
            "of another boot",
            Box::new(|| {
                let bytes = fs::read(&index).unwrap();
                let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
                let at = bytes.windows(36).position(|window| window == boot.trim().as_bytes()).unwrap();
                let mut bytes = bytes;
                bytes[at] ^= 1;
                write(&bytes);
            }),
        ),
    ];
    for (what, damage) in damages {
        // With the same store open, as a server has it, and with a new one, as a command has.
        for reopen in [false, true] {
            let fresh = roots.open();
            let store = if reopen { &fresh } else { &store };
            if !reopen && what == "of another boot" {
                continue;
            }
            store.rebuild_index().unwrap();
            for file in ["index.sqlite-wal", "index.sqlite-shm"] {
                let _ = fs::remove_file(roots.data().join(file));
            }
            damage();
            let rows = store.containers().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(rows.len(), 1, "{what}");
            assert_eq!((rows[0].id.as_str(), &rows[0].summary), ("aa", &json!(null)), "{what}");
            assert_eq!(
                store.find_name(NameKind::Container, "name-aa").unwrap().as_deref(),
                Some("aa"),
                "{what}"
            );
            let error = store.remove("a:1", false, &|_| false).unwrap_err();
            assert!(matches!(error, Error::NameInUse { .. }), "{what}: the lease is back: {error}");
        }
    }
}

#[test]
fn volumes_are_none_of_its_business() {
    let roots = Roots::new();
    let store = roots.open();
    assert_eq!(store.containers().unwrap(), []);
    fs::create_dir(store.data().join("volumes/v")).unwrap();
    onggi_record::write(&store.data().join("volumes/v/volume.json"), &json!({}), Durability::Volatile)
        .unwrap();
    assert_eq!(store.check(false).unwrap().findings, []);
    store.rebuild_index().unwrap();
    fs::remove_dir_all(store.data().join("volumes/v")).unwrap();
    assert_eq!(store.check(false).unwrap().findings, []);
}

#[test]
fn a_check_leaves_rows_to_who_can_tell_whether_they_are_true() {
    let roots = Roots::new();
    let store = roots.open();
    // Like one that is being made beside the check: a new index would forget it.
    store.insert_container(&row("unborn")).unwrap();
    store.reserve_name(NameKind::Container, "name", "unborn").unwrap();
    keep(&store, "aa", &Digest::of(b""));
    assert_eq!(store.check(true).unwrap().findings, []);
    assert_eq!(store.find_name(NameKind::Container, "name").unwrap().as_deref(), Some("unborn"));
}

const CHILD: &str = "ONGGI_TEST_INDEX_CHILD";

/// Not a test of its own: reserves a name that many want, then says so and stays until it is killed.
#[test]
fn child() {
    let (Ok(directory), Ok(id)) = (std::env::var("ONGGI_TEST_ROOTS"), std::env::var(CHILD)) else { return };
    let directory = std::path::PathBuf::from(directory);
    let store = Store::open(&directory.join("data"), &directory.join("run")).unwrap();
    for number in 0..20 {
        store.insert_container(&row(&format!("{id}-{number}"))).unwrap();
    }
    let won = store.reserve_name(NameKind::Container, "wanted", &id).is_ok();
    // The harness shows nothing of a test's own output but what is written to the descriptor.
    let answer: &[u8] = if won { b"<won>" } else { b"<lost>" };
    rustix::io::write(rustix::stdio::stderr(), answer).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn eight_processes_agree_and_a_dead_one_s_reservation_is_free() {
    let roots = Roots::new();
    let store = roots.open();
    let spawn = |number: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture", "--quiet"]);
        command.env("ONGGI_TEST_ROOTS", roots.directory.path()).env(CHILD, format!("{number}"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..8).map(spawn).collect();
    let mut won = 0;
    for child in &mut children {
        let mut answer = Vec::new();
        let mut stderr = child.stderr.take().unwrap();
        let mut byte = [0];
        while !answer.ends_with(b">") {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.push(byte[0]);
        }
        won += usize::from(answer.ends_with(b"<won>"));
    }
    assert_eq!(won, 1);
    assert!(matches!(store.reserve_name(NameKind::Container, "wanted", "me"), Err(Error::NameTaken { .. })));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(store.containers().unwrap().len(), 160, "what a killed process had committed is there");
    store.reserve_name(NameKind::Container, "wanted", "me").unwrap();
}

/// Who may read a lock can share it, and so hold up every command.
#[test]
fn nobody_else_can_open_what_is_locked() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let widen = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let roots = Roots::new();
    for root in [roots.data(), roots.run()] {
        fs::create_dir(&root).unwrap();
        widen(&root, 0o755);
    }
    let closed = || {
        let mut seen = 0;
        for root in [roots.data(), roots.run()] {
            for entry in fs::read_dir(root).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if name != "VERSION" {
                    assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
                    seen += 1;
                }
            }
        }
        seen
    };
    let store = roots.open();
    load(&store, &tar(&docker_archive(&["app"], &layers("app")))).unwrap();
    keep(&store, "aa", &Digest::of(b""));
    store.reserve_name(NameKind::Container, "web", "aa").unwrap();
    assert_eq!((mode(&roots.data()), mode(&roots.run())), (0o700, 0o700), "they were empty");
    assert!(closed() >= 12, "{}", closed());
    // As an earlier version has left them, in roots that hold something.
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.sqlite.lock"] {
        widen(&roots.run().join(name), 0o644);
    }
    widen(&roots.data().join("lock"), 0o644);
    widen(&roots.run(), 0o755);
    drop(store);
    let store = roots.open();
    store.reserve_name(NameKind::Container, "db", "aa").unwrap();
    load(&store, &tar(&docker_archive(&["app"], &layers("app")))).unwrap();
    assert_eq!(mode(&roots.run()), 0o755, "it may be somebody else's too");
    closed();
}
