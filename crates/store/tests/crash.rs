//! Every step of every act that writes may be its last: the process is killed at each fault point in turn, and the store must be sound for the
//! next command, which must then be able to do the act.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use common::{Roots, docker_archive, layers, load, needs_root, oci_layout, tar};
use onggi_image::Reference;
use onggi_store::{ContainerRow, Format, ImportOptions, LayerForm, NameKind, Severity, Silent, Store};

const ACT: &str = "ONGGI_TEST_ACT";
const ROOTS: &str = "ONGGI_TEST_ROOTS";

/// What a store is like before the act.
fn prepare(act: &str, store: &Store) {
    if matches!(act, "tag" | "remove" | "remove-by-force" | "save" | "load-again" | "names" | "remove-digest")
    {
        load(store, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
        load(store, &tar(&docker_archive(&["two:1"], &layers("two")))).unwrap();
    }
    if matches!(act, "adopt" | "ask-for" | "leave") {
        let kubernetes =
            Store::open(store.data(), store.run()).unwrap().owned_by("kubernetes".parse().unwrap());
        load(&kubernetes, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
        if act == "leave" {
            store.tag("one:1", &Reference::parse("other:1").unwrap()).unwrap();
        }
    }
    if act == "load-other-blobs" {
        load(store, &tar(&docker_archive(&["one:1"], &layers("one")))).unwrap();
    }
    if act == "repair-records" {
        load(store, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
        damage_records(store);
    }
    if act == "repair" {
        load(store, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
        load(store, &tar(&docker_archive(&["two:1"], &layers("two")))).unwrap();
        damage(store);
    }
    if act == "repair-trees" {
        load(store, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
        for tree in store.mount_layers(&store.resolve("one:1").unwrap()).unwrap() {
            std::fs::write(tree.join("more"), "").unwrap();
        }
    }
    if act == "remove-by-force" {
        store.lease("container", &store.resolve("one:1").unwrap().id).unwrap();
    }
}

fn act(act: &str, store: &Store, directory: &Path) {
    match act {
        "load" | "load-again" | "load-as-directories" | "load-other-blobs" => {
            load(store, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
        }
        "load-docker" => {
            load(store, &common::gzip(&tar(&docker_archive(&["two:1", "two:2"], &layers("two"))))).unwrap();
        }
        "import" => {
            let options =
                ImportOptions { name: Some(Reference::parse("three").unwrap()), ..ImportOptions::default() };
            store.import(&mut layers("three")[0].as_slice(), &options, &Silent).unwrap();
        }
        "tag" | "adopt" => drop(store.tag("one:1", &Reference::parse("other:1").unwrap()).unwrap()),
        "ask-for" => {
            let id = store.resolve("one:1").unwrap().id;
            assert!(store.ask_for(&Reference::parse("one:1").unwrap(), &id).unwrap());
        }
        // The second time the name is gone.
        "leave" => drop(store.remove("other:1", false, &|_| false)),
        "repair" | "repair-records" | "repair-trees" => drop(store.check(true).unwrap()),
        // The second time there is none.
        "remove-digest" => {
            let digest = store.resolve("one:1").unwrap().manifest_digest;
            drop(store.remove(&format!("one@{digest}"), false, &|_| false));
        }
        // Killed after its name has gone, what is left of the image has no name.
        "remove" => drop(store.remove("one:1", false, &|_| false)),
        "remove-by-force" => {
            drop(store.remove("one:1", true, &|_| false));
            store.release("container").unwrap();
        }
        "save" => {
            let file = std::fs::File::create(directory.join("saved")).unwrap();
            store
                .save(&["one:1".into(), "two:1".into()], Format::DockerArchive, None, &Silent, &mut { file })
                .unwrap();
        }
        "names" => {
            store.reserve_name(NameKind::Container, "name", "id").unwrap();
            let row = ContainerRow {
                id: "id".into(),
                name: "name".into(),
                created: String::new(),
                summary: 1.into(),
            };
            store.insert_container(&row).unwrap();
            store.remove_container("id").unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Something to set aside (a layer's content is another), something to make again (an index is gone), and something to remove (a blob that nobody needs).
fn damage(store: &Store) {
    let layer = |name: &str| {
        let image = store.resolve(name).unwrap();
        store.data().join("layers").join(image.layers[0].hex())
    };
    let tar = layer("one:1").join("layer.tar");
    let mut bytes = std::fs::read(&tar).unwrap();
    bytes[600] ^= 1;
    std::fs::write(tar, bytes).unwrap();
    std::fs::remove_file(layer("two:1").join("layer.erofs")).unwrap();
    let blobs = store.data().join("blobs/sha256");
    std::fs::write(blobs.join(onggi_image::Digest::of(b"rubbish").hex()), "rubbish").unwrap();
}

/// The records of an image and of its name lose their seals.
fn damage_records(store: &Store) {
    for record in std::fs::read_dir(store.data().join("images")).unwrap().flatten() {
        let text = std::fs::read_to_string(record.path()).unwrap();
        std::fs::write(record.path(), text.replacen("sha256:", "sha256:0", 1)).unwrap();
    }
}

/// Not a test of its own: what the others run in a process that may be killed.
#[test]
fn child() {
    let (Ok(name), Ok(directory)) = (std::env::var(ACT), std::env::var(ROOTS)) else { return };
    let directory = PathBuf::from(directory);
    let form = if ["load-as-directories", "repair-trees"].contains(&name.as_str()) {
        LayerForm::Directories
    } else {
        LayerForm::Auto
    };
    let store = Store::open_with(&directory.join("data"), &directory.join("run"), form).unwrap();
    act(&name, &store, &directory);
}

fn run_child(act: &str, roots: &Roots, variable: &str, value: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--test-threads=1", "--quiet"]);
    command.env(ACT, act).env(ROOTS, roots.directory.path()).env(variable, value);
    command.output().unwrap().status
}

/// The points that an act passes, each with how often.
fn points(act: &str) -> BTreeMap<String, usize> {
    let roots = Roots::new();
    prepare(act, &roots.open());
    let trace = roots.directory.path().join("trace");
    assert!(
        run_child(act, &roots, "ONGGI_FAULT_TRACE", trace.to_str().unwrap()).success(),
        "{act} fails by itself"
    );
    let mut points = BTreeMap::new();
    for name in std::fs::read_to_string(trace).unwrap().lines() {
        *points.entry(name.to_owned()).or_insert(0) += 1;
    }
    points
}

fn killed_at_every_point(name: &str, at_least: usize) {
    if !needs_root() {
        return;
    }
    let points = points(name);
    assert!(points.values().sum::<usize>() >= at_least, "{name} passes only {points:?}");
    for (point, count) in points {
        // The first and the last passage differ in what lies before them; those between do not.
        for passage in [1, count] {
            let roots = Roots::new();
            prepare(name, &roots.open());
            let status = run_child(name, &roots, "ONGGI_FAULT", &format!("{point}:{passage}"));
            assert_eq!(status.signal(), Some(9), "{name} was not killed at {point}:{passage}");

            let store = roots.open();
            let report = store.check(true).unwrap();
            let bad: Vec<_> =
                report.findings.iter().filter(|finding| finding.severity != Severity::Leftover).collect();
            assert!(bad.is_empty(), "{name} killed at {point}:{passage}: {bad:#?}");
            for image in store.images().unwrap() {
                let image = store.image(&image.id).unwrap();
                store.mount_layers(&image).unwrap();
            }
            act(name, &store, roots.directory.path());
            let report = store.check(false).unwrap();
            assert!(
                report.findings.is_empty(),
                "after {name} killed at {point}:{passage} and repeated: {report:#?}"
            );
        }
    }
}

#[test]
fn load_an_oci_layout() {
    killed_at_every_point("load", 20);
}

#[test]
fn load_an_oci_layout_as_directories() {
    killed_at_every_point("load-as-directories", 24);
}

#[test]
fn load_what_is_there() {
    killed_at_every_point("load-again", 5);
}

#[test]
fn load_a_compressed_docker_archive() {
    killed_at_every_point("load-docker", 20);
}

#[test]
fn import() {
    killed_at_every_point("import", 10);
}

#[test]
fn tag() {
    killed_at_every_point("tag", 2);
}

#[test]
fn tag_what_becomes_a_person_s_by_it() {
    killed_at_every_point("adopt", 3);
}

/// A repair that is killed is finished by the next; what it has set aside by then is there, and the sound image too.
#[test]
fn repair() {
    if !needs_root() {
        return;
    }
    let points = points("repair");
    assert!(points.contains_key("store.check.set-aside") && points.len() >= 3, "{points:?}");
    for (point, count) in points {
        for passage in 1..=count {
            let roots = Roots::new();
            prepare("repair", &roots.open());
            let damaged = roots.open().resolve("one:1").unwrap().layers[0].hex().to_owned();
            let status = run_child("repair", &roots, "ONGGI_FAULT", &format!("{point}:{passage}"));
            assert_eq!(status.signal(), Some(9), "it was not killed at {point}:{passage}");
            let store = roots.open();
            store.check(true).unwrap();
            let report = store.check(false).unwrap();
            assert!(report.findings.is_empty(), "killed at {point}:{passage}: {report:#?}");
            store.mount_layers(&store.resolve("two:1").unwrap()).unwrap();
            assert!(store.resolve("one:1").is_err(), "{point}:{passage}");
            let lost = std::fs::read_dir(store.data().join("lost")).unwrap();
            let aside =
                lost.flatten().filter(|place| place.path().join("layers").join(&damaged).is_dir()).count();
            assert_eq!(aside, 1, "the layer's content is kept: {point}:{passage}");
            load(&store, &tar(&oci_layout("one:1", &layers("one")))).unwrap();
            store.mount_layers(&store.resolve("one:1").unwrap()).unwrap();
        }
    }
}

/// A tree is where it belongs as a whole or not at all, whenever the repair that makes it again is killed.
#[test]
fn repair_of_trees() {
    if !needs_root() {
        return;
    }
    let points = points("repair-trees");
    assert!(points["store.check.tree-moved-away"] == 2, "{points:?}");
    for (point, count) in points {
        for passage in 1..=count {
            let roots = Roots::new();
            prepare("repair-trees", &roots.open());
            let damaged = trees(&roots);
            let status = run_child("repair-trees", &roots, "ONGGI_FAULT", &format!("{point}:{passage}"));
            assert_eq!(status.signal(), Some(9), "it was not killed at {point}:{passage}");
            for (tree, files) in trees(&roots) {
                let whole: Vec<_> = damaged[&tree].iter().filter(|path| !path.ends_with("more")).collect();
                let is_whole = files.iter().eq(whole);
                assert!(is_whole || files == damaged[&tree], "{point}:{passage}: {files:?}");
            }
            let store = roots.open_with(LayerForm::Directories);
            assert!(store.check(true).unwrap().is_sound(), "{point}:{passage}");
            assert!(store.check(false).unwrap().findings.is_empty(), "{point}:{passage}");
            store.mount_layers(&store.resolve("one:1").unwrap()).unwrap();
            assert!(!store.data().join("lost").exists(), "{point}:{passage}");
        }
    }
}

/// The unpacked trees of a store, each with its files.
fn trees(roots: &Roots) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let layers = std::fs::read_dir(roots.data().join("layers")).unwrap().flatten();
    let inside = layers.flat_map(|layer| std::fs::read_dir(layer.path()).unwrap().flatten());
    let trees = inside.map(|entry| entry.path()).filter(|path| path.is_dir());
    trees.map(|tree| (tree.clone(), common::snapshot(&tree).into_keys().collect())).collect()
}

/// Records that are being made again when the repair is killed are made by the next, and nothing is set aside.
#[test]
fn repair_of_records() {
    if !needs_root() {
        return;
    }
    let points = points("repair-records");
    assert!(points["store.check.record-renamed"] == 2, "{points:?}");
    for (point, count) in points {
        for passage in 1..=count {
            let roots = Roots::new();
            prepare("repair-records", &roots.open());
            let status = run_child("repair-records", &roots, "ONGGI_FAULT", &format!("{point}:{passage}"));
            assert_eq!(status.signal(), Some(9), "it was not killed at {point}:{passage}");
            let store = roots.open();
            assert!(store.check(true).unwrap().is_sound(), "{point}:{passage}");
            assert!(store.check(false).unwrap().findings.is_empty(), "{point}:{passage}");
            assert!(!store.data().join("lost").exists(), "{point}:{passage}");
            store.mount_layers(&store.resolve("one:1").unwrap()).unwrap();
        }
    }
}

#[test]
fn load_other_blobs_of_what_is_there() {
    killed_at_every_point("load-other-blobs", 8);
}

#[test]
fn remove_a_digest_alone() {
    killed_at_every_point("remove-digest", 1);
}

#[test]
fn remove() {
    killed_at_every_point("remove", 5);
}

#[test]
fn remove_by_force_what_a_container_uses() {
    killed_at_every_point("remove-by-force", 5);
}

#[test]
fn save() {
    killed_at_every_point("save", 8);
}

#[test]
fn names_and_rows() {
    killed_at_every_point("names", 1);
}

#[test]
fn ask_for_what_another_has_brought() {
    killed_at_every_point("ask-for", 2);
}

#[test]
fn leave_an_image_to_another() {
    killed_at_every_point("leave", 2);
}
