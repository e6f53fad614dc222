//! Damage done by hand to each kind of file: a check names it, a repair mends what can be mended and keeps what cannot.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{Roots, docker_archive, layers, load, oci_layout, tar};
use onggi_error::{Diagnose as _, Kind};
use onggi_image::Digest;
use onggi_store::{Done, Finding, Image, LayerForm, Severity, Store};
use serde_json::json;

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn prepared() -> (Roots, Store) {
    let roots = Roots::new();
    let store = roots.open();
    load(&store, &tar(&oci_layout("bad:1", &layers("bad")))).unwrap();
    load(&store, &tar(&docker_archive(&["good:1"], &layers("good")))).unwrap();
    (roots, store)
}

type Damage = fn(&Store) -> PathBuf;

fn layer_file(store: &Store, number: usize, file: &str) -> PathBuf {
    store.data().join("layers").join(store.resolve("bad:1").unwrap().layers[number].hex()).join(file)
}

#[test]
fn what_is_derived_is_made_again() {
    let damages: [(&str, Damage); 4] = [
        ("an index that is damaged", |store| {
            let path = layer_file(store, 0, "layer.erofs");
            flip(&path);
            path
        }),
        ("an index that is missing", |store| {
            let path = layer_file(store, 1, "layer.erofs");
            fs::remove_file(&path).unwrap();
            path
        }),
        ("a variant that is damaged", |store| {
            let path = variant(store);
            flip(&path);
            path
        }),
        ("a variant that is missing", |store| {
            let path = variant(store);
            fs::remove_file(&path).unwrap();
            path
        }),
    ];
    for (what, damage) in damages {
        let (_roots, store) = prepared();
        let path = damage(&store);
        let before = store.check(false).unwrap();
        assert!(
            before
                .findings
                .iter()
                .any(|finding| finding.path == path && finding.severity == Severity::Derived),
            "{what}: {before:#?}"
        );
        assert!(!before.is_sound(), "{what}");
        let repaired = store.check(true).unwrap();
        assert!(repaired.is_sound(), "{what}: {repaired:#?}");
        let after = store.check(false).unwrap();
        assert!(after.findings.is_empty(), "{what}: {after:#?}");
        store.mount_layers(&store.resolve("bad:1").unwrap()).unwrap();
    }
}

/// A backup that was restored without its empty directories, what is no file in a file's place, a file system that is read-only.
#[test]
fn missing_directories_are_made_again() {
    let (roots, store) = prepared();
    let id = store.resolve("good:1").unwrap().id;
    drop(store);
    for name in ["tmp", "events", "containers", "volumes"] {
        fs::remove_dir_all(roots.data().join(name)).unwrap();
    }
    let store = roots.open();
    assert!(store.check(false).unwrap().findings.is_empty());
    load(&store, &tar(&docker_archive(&["new:1"], &layers("new")))).unwrap();
    // Nothing that the lost records needed is taken for garbage.
    drop(store);
    fs::remove_dir_all(roots.data().join("images")).unwrap();
    let store = roots.open();
    let report = store.check(false).unwrap();
    assert!(!report.is_sound(), "{report:#?}");
    let report = store.check(true).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert!(roots.data().join("lost/1/blobs/sha256").join(id.hex()).exists());
    assert_eq!(fs::read_dir(roots.data().join("lost/1/layers")).unwrap().count(), 6);
    assert!(store.check(false).unwrap().findings.is_empty());
    load(&store, &tar(&docker_archive(&["good:1"], &layers("good")))).unwrap();
}

/// Containers say by themselves what they need. A version that is missing as well is no sign that the store is new.
#[test]
fn what_containers_stand_on_stays_without_the_records_of_images() {
    let (roots, store) = prepared();
    let (image, other) = (store.resolve("bad:1").unwrap(), store.resolve("good:1").unwrap());
    make_container(&store, &image);
    drop(store);
    fs::remove_dir_all(roots.data().join("images")).unwrap();
    fs::remove_file(roots.data().join("VERSION")).unwrap();
    let store = roots.open();
    assert!(!roots.data().join("images").exists() && roots.data().join("VERSION").exists());
    let record = roots.data().join("containers/aa/container.json");
    let whole = fs::read(&record).unwrap();
    flip(&record);
    let report = store.check(true).unwrap();
    assert!(!report.is_sound(), "{report:#?}");
    assert!(!roots.data().join("images").exists() && !roots.data().join("lost").exists());
    fs::write(&record, whole).unwrap();
    let report = store.check(true).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert!(store.check(false).unwrap().findings.is_empty());
    store.mount_layers(&store.image(&image.id).unwrap()).unwrap();
    for layer in other.layers.iter().filter(|layer| !image.layers.contains(layer)) {
        assert!(roots.data().join("lost/1/layers").join(layer.hex()).exists());
    }
}

/// Of the image's layers, by what the engine writes.
fn make_container(store: &Store, image: &Image) {
    let container = store.data().join("containers/aa");
    fs::create_dir_all(&container).unwrap();
    let layers: Vec<String> = image.layers.iter().map(ToString::to_string).collect();
    let record =
        json!({"id": "aa", "name": "aa", "image": image.id.to_string(), "resolved": {"layers": layers}});
    onggi_record::write(&container.join("container.json"), &record, onggi_record::Durability::Synced)
        .unwrap();
}

#[test]
fn what_is_no_file_is_neither_waited_for_nor_in_the_way() {
    let pipe = |path: &Path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
    };
    let files: [Damage; 4] = [
        |store| layer_file(store, 0, "layer.erofs"),
        |store| layer_file(store, 0, "layer.tar"),
        |store| layer_file(store, 0, "layer.json"),
        |store| store.data().join("blobs/sha256").join(store.resolve("bad:1").unwrap().id.hex()),
    ];
    for file in files {
        for directory in [false, true] {
            let (_roots, store) = prepared();
            let path = file(&store);
            fs::remove_file(&path).unwrap();
            if directory {
                fs::create_dir(&path).unwrap();
                fs::write(path.join("more"), "").unwrap();
            } else {
                pipe(&path);
            }
            assert!(!store.check(false).unwrap().is_sound(), "{}", path.display());
            let repaired = store.check(true).unwrap();
            assert!(repaired.is_sound(), "{}: {repaired:#?}", path.display());
            assert!(store.check(false).unwrap().findings.is_empty(), "{}", path.display());
        }
    }
    for directory in [false, true] {
        let (roots, store) = prepared();
        drop(store);
        let path = roots.run().join("index.sqlite");
        let _ = fs::remove_file(&path);
        if directory {
            fs::create_dir_all(path.join("more")).unwrap();
        } else {
            fs::create_dir_all(roots.run()).unwrap();
            pipe(&path);
        }
        let store = roots.open();
        assert!(!store.check(false).unwrap().is_sound());
        assert!(store.containers().unwrap().is_empty());
        assert!(store.check(true).unwrap().is_sound());
    }
}

#[test]
fn a_version_that_is_none_is_mended_before_anything_is_opened() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("empty", |path| fs::write(path, "").unwrap()),
        ("garbled", |path| fs::write(path, [0xff, 0, 1]).unwrap()),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a link", |path| {
            fs::remove_file(path).unwrap();
            symlink("elsewhere", path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let (roots, store) = prepared();
        drop(store);
        change(&roots.data().join("VERSION"));
        let refused = Store::open(&roots.data(), &roots.run()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt, "{what}: {refused}");
        assert!(Store::mend_version(&roots.data(), &roots.run()).unwrap().is_some(), "{what}");
        assert!(roots.open().check(false).unwrap().findings.is_empty(), "{what}");
        assert!(Store::mend_version(&roots.data(), &roots.run()).unwrap().is_none(), "{what}");
    }
    // One that is newer is not damaged.
    let (roots, store) = prepared();
    drop(store);
    fs::write(roots.data().join("VERSION"), "2\n").unwrap();
    assert!(Store::mend_version(&roots.data(), &roots.run()).is_err());
    fs::write(roots.data().join("VERSION"), "1\n").unwrap();
}

#[test]
fn several_checks_may_mend_at_once() {
    for _ in 0..3 {
        let (roots, store) = prepared();
        for number in 0..2 {
            flip(&layer_file(&store, number, "layer.tar"));
        }
        flip(&image_record(&store));
        std::thread::scope(|scope| {
            let checks: Vec<_> = (0..4).map(|_| scope.spawn(|| roots.open().check(true).unwrap())).collect();
            for check in checks {
                check.join().unwrap();
            }
        });
        assert!(store.check(false).unwrap().is_sound());
        assert_eq!(store.images().unwrap().len(), 1);
    }
}

#[test]
fn a_store_that_is_read_only_is_checked_and_saved_from() {
    let (roots, store) = prepared();
    drop(store);
    let (data, run) = (roots.data(), roots.run());
    let alone = std::thread::spawn(move || {
        onggi_sys::namespace::unshare(0x0002_0000).unwrap();
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        rustix::mount::mount_bind(&data, &data).unwrap();
        let flags = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(&data, flags, "").unwrap();
        let store = Store::open(&data, &run).unwrap();
        let report = store.check(false).unwrap();
        assert!(report.findings.is_empty(), "{report:#?}");
        let mut archive = Vec::new();
        store
            .save(
                &["good:1".to_owned()],
                onggi_store::Format::DockerArchive,
                None,
                &onggi_store::Silent,
                &mut archive,
            )
            .unwrap();
        assert!(archive.len() > 1024);
    });
    alone.join().unwrap();
}

/// The trees are made of the tars again, in the directories form and where one is left of it.
#[test]
fn an_unpacked_layer_is_compared_with_its_tar() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &str); 8] = [
        ("a content", |tree| flip(&tree.join("etc/name")), "another content"),
        (
            "a permission",
            |tree| fs::set_permissions(tree.join("etc/name"), Permissions::from_mode(0o666)).unwrap(),
            "has the mode",
        ),
        (
            "an owner",
            |tree| std::os::unix::fs::chown(tree.join("etc/name"), Some(7), None).unwrap(),
            "belongs to 7",
        ),
        ("an entry too many", |tree| fs::write(tree.join("etc/more"), "").unwrap(), "holds"),
        ("an entry that is missing", |tree| fs::remove_file(tree.join("etc/name")).unwrap(), "is missing"),
        (
            "a link in its place",
            |tree| {
                fs::remove_file(tree.join("etc/name")).unwrap();
                symlink("/etc/passwd", tree.join("etc/name")).unwrap();
            },
            "another kind",
        ),
        (
            "an attribute",
            |tree| {
                rustix::fs::setxattr(tree, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty())
                    .unwrap();
            },
            "attribute",
        ),
        (
            "a link for the tree",
            |tree| {
                fs::rename(tree, tree.with_file_name("other")).unwrap();
                symlink("other", tree).unwrap();
            },
            "no directory",
        ),
    ];
    let roots = Roots::new();
    let store = roots.open_with(LayerForm::Directories);
    load(&store, &tar(&oci_layout("bad:1", &layers("bad")))).unwrap();
    store.mount_layers(&store.resolve("bad:1").unwrap()).unwrap();
    assert!(store.check(false).unwrap().findings.is_empty(), "{:#?}", store.check(false).unwrap());
    for (number, variants) in [(0, false), (1, true)] {
        let layer = layer_file(&store, number, "");
        let names = fs::read_dir(&layer).unwrap().map(|entry| entry.unwrap().path());
        let tree = names.into_iter().find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            if variants { name.starts_with("tree-") } else { name == "tree" }
        });
        let tree = tree.unwrap();
        for (what, change, said) in changes {
            if variants
                && !tree.join("etc/name").exists()
                && !["an attribute", "a link for the tree"].contains(&what)
            {
                continue;
            }
            change(&tree);
            let before = store.check(false).unwrap();
            let found = before.findings.iter().find(|finding| finding.path == tree);
            assert!(found.is_some_and(|finding| finding.message.contains(said)), "{what}: {before:#?}");
            assert!(!before.is_sound(), "{what}");
            let repaired = store.check(true).unwrap();
            assert!(repaired.is_sound(), "{what}: {repaired:#?}");
            let _ = fs::remove_dir_all(layer.join("other"));
            assert!(store.check(false).unwrap().findings.is_empty(), "{what}");
            store.mount_layers(&store.resolve("bad:1").unwrap()).unwrap();
        }
    }
}

/// One that an older program has let in, with more padding than is allowed by now.
#[test]
fn a_layer_that_is_here_is_not_judged_by_its_padding() {
    let roots = Roots::new();
    let store = roots.open_with(LayerForm::Directories);
    load(&store, &tar(&oci_layout("bad:1", &layers("bad")))).unwrap();
    let layer = layer_file(&store, 0, "");
    let mut bytes = fs::read(layer.join("layer.tar")).unwrap();
    bytes.resize(bytes.len() + (65 << 20), 0);
    let padded = Digest::of(&bytes);
    let copy = store.data().join("layers").join(padded.hex());
    assert!(std::process::Command::new("cp").arg("-a").args([&layer, &copy]).status().unwrap().success());
    fs::write(copy.join("layer.tar"), &bytes).unwrap();
    let mut record: serde_json::Value = onggi_record::read(&copy.join("layer.json")).unwrap();
    (record["diff_id"], record["size"]) = (padded.to_string().into(), bytes.len().into());
    onggi_record::write(&copy.join("layer.json"), &record, onggi_record::Durability::Synced).unwrap();
    let found = store.check(false).unwrap().findings;
    assert!(found.iter().all(|finding| finding.message == "no image needs it"), "{found:#?}");
    fs::write(copy.join("tree/more"), "").unwrap();
    let mended = store.check(true).unwrap().findings;
    let mended = mended.iter().filter(|finding| finding.done == Some(Done::Mended));
    assert_eq!(mended.count(), 1);
}

/// The second layer holds `tmp/x` without `tmp/`, which is sticky below it.
fn variant(store: &Store) -> PathBuf {
    let directory = layer_file(store, 1, "");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .into_iter()
        .find(|path| {
            path.to_string_lossy().len() > 100
                && path.extension().is_some_and(|end| end == "erofs")
                && !path.ends_with("layer.erofs")
        })
        .unwrap()
}

#[test]
fn what_is_lost_is_named_and_set_aside_and_the_rest_works_on() {
    let damages: [(&str, Damage); 5] = [
        ("a tar", |store| {
            let path = layer_file(store, 0, "layer.tar");
            flip(&path);
            path.parent().unwrap().to_owned()
        }),
        ("a layer's record", |store| {
            let path = layer_file(store, 0, "layer.json");
            flip(&path);
            path.parent().unwrap().to_owned()
        }),
        ("a whole layer", |store| {
            let path = layer_file(store, 0, "");
            fs::remove_dir_all(path).unwrap();
            image_record(store)
        }),
        ("a config", |store| {
            let path = store.data().join("blobs/sha256").join(store.resolve("bad:1").unwrap().id.hex());
            flip(&path);
            path
        }),
        ("all of a name's record", |store| {
            let path = name_record(store);
            fs::write(&path, "").unwrap();
            path
        }),
    ];
    for (what, damage) in damages {
        let (_roots, store) = prepared();
        let path = damage(&store);
        let before = store.check(false).unwrap();
        assert!(
            before.findings.iter().any(|finding| finding.path == path && finding.severity == Severity::Lost),
            "{what}: {before:#?}"
        );
        assert!(store.resolve("good:1").is_ok(), "{what}");
        let repaired = store.check(true).unwrap();
        assert!(repaired.is_sound(), "{what}: {repaired:#?}");
        let after = store.check(true).unwrap();
        assert!(after.is_sound(), "{what}: {after:#?}");
        assert!(store.check(false).unwrap().findings.is_empty(), "{what}");
        assert!(store.resolve("bad:1").is_err(), "{what}");
        store.mount_layers(&store.resolve("good:1").unwrap()).unwrap();
        load(&store, &tar(&oci_layout("bad:1", &layers("bad")))).unwrap();
        store.mount_layers(&store.resolve("bad:1").unwrap()).unwrap();
        assert!(store.check(false).unwrap().findings.is_empty(), "{what}: loading again heals it");
    }
}

fn image_record(store: &Store) -> PathBuf {
    store.data().join("images").join(format!("{}.json", store.resolve("bad:1").unwrap().id.hex()))
}

fn name_record(store: &Store) -> PathBuf {
    let name = Digest::of(b"docker.io/library/bad:1");
    store.data().join("images").join(format!("{}.json", name.hex()))
}

fn manifest(store: &Store) -> PathBuf {
    store.data().join("blobs/sha256").join(store.resolve("bad:1").unwrap().manifest_digest.hex())
}

/// The seal, and nothing that it seals.
fn break_seal(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let (seal, body) = text.split_once('\n').unwrap();
    let seal = seal[..seal.len() - 4].to_owned() + "0000";
    fs::write(path, format!("{seal}\n{body}")).unwrap();
}

/// What a record says, the documents and the layers say as well: nothing that is whole is set aside with it, and one repair is enough.
#[test]
fn a_record_is_made_again_of_what_is_whole() {
    let damages: [(&str, bool, Damage); 7] = [
        ("an image's record", true, |store| {
            let path = image_record(store);
            flip(&path);
            path
        }),
        ("an image's record that is gone", true, |store| {
            let path = image_record(store);
            fs::remove_file(&path).unwrap();
            name_record(store)
        }),
        ("the record of an image without a name", true, |store| {
            let (path, name) = (image_record(store), name_record(store));
            fs::remove_file(name).unwrap();
            flip(&path);
            path
        }),
        ("a name's record", true, |store| {
            let path = name_record(store);
            break_seal(&path);
            path
        }),
        ("both records", true, |store| {
            let path = image_record(store);
            flip(&path);
            break_seal(&name_record(store));
            path
        }),
        // It goes on with plain layers: by another digest, but it goes on.
        ("its manifest", false, |store| {
            let path = manifest(store);
            flip(&path);
            path
        }),
        ("its manifest, and its record", false, |store| {
            let path = image_record(store);
            flip(&manifest(store));
            flip(&path);
            path
        }),
    ];
    for (what, same, damage) in damages {
        let (_roots, store) = prepared();
        let before = store.resolve("bad:1").unwrap();
        let path = damage(&store);
        let looked = store.check(false).unwrap();
        assert!(
            looked.findings.iter().any(|finding| finding.path == path) && !looked.is_sound(),
            "{what}: {looked:#?}"
        );
        let repaired = store.check(true).unwrap();
        assert!(repaired.is_sound() && repaired.lost.is_empty(), "{what}: {repaired:#?}");
        let after = store.check(false).unwrap();
        assert!(after.findings.is_empty(), "{what}: {after:#?}");
        let whole: Vec<_> = repaired.findings.iter().filter(|finding| is_set_aside(finding)).collect();
        assert!(
            whole.iter().all(|finding| !same && finding.path == manifest_path(&store, &before)),
            "{what}: {whole:#?}"
        );
        let by_name = !what.contains("without a name");
        let image = store.resolve(&if by_name { "bad:1".to_owned() } else { before.id.to_string() }).unwrap();
        assert_eq!((&image.id, &image.layers), (&before.id, &before.layers), "{what}");
        assert_eq!(image.manifest_digest == before.manifest_digest, same, "{what}");
        store.mount_layers(&image).unwrap();
    }
}

fn is_set_aside(finding: &Finding) -> bool {
    matches!(finding.done, Some(Done::SetAside(_)))
}

fn manifest_path(store: &Store, image: &Image) -> PathBuf {
    store.data().join("blobs/sha256").join(image.manifest_digest.hex())
}

/// A name, or a container, whose image has lost its record keeps what that can be made again of.
#[test]
fn what_a_lost_record_needed_is_no_garbage() {
    let (_roots, store) = prepared();
    let image = store.resolve("bad:1").unwrap();
    fs::remove_file(image_record(&store)).unwrap();
    store.remove("good:1", false, &|_| false).unwrap();
    assert!(store.check(true).unwrap().is_sound());
    assert!(!store.data().join("lost").exists());
    store.mount_layers(&store.resolve("bad:1").unwrap()).unwrap();
    // The same without a name, for a container.
    make_container(&store, &image);
    for path in [name_record(&store), image_record(&store)] {
        fs::remove_file(path).unwrap();
    }
    let report = store.check(true).unwrap();
    assert!(report.findings.iter().any(|finding| finding.done == Some(Done::Mended)), "{report:#?}");
    assert!(store.check(false).unwrap().is_sound());
    assert!(store.images().unwrap().is_empty(), "it stays for the container alone");
    store.mount_layers(&store.image(&image.id).unwrap()).unwrap();
    // Damaged, it goes by what it says still; and by its having no name if that is nothing.
    let path = store.data().join("images").join(format!("{}.json", image.id.hex()));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(",\"removed\":true"), "{text}");
    for (damaged, listed) in [
        (text.replacen("sha256:", "sha256:0", 1), 0),
        (text.replace(",\"removed\":true", ""), 1),
        ("rubbish".to_owned(), 0),
    ] {
        fs::write(&path, &damaged).unwrap();
        assert!(store.check(true).unwrap().is_sound(), "{damaged}");
        assert_eq!(store.images().unwrap().len(), listed, "{damaged}");
        store.mount_layers(&store.image(&image.id).unwrap()).unwrap();
    }
}

/// What is lost is told by the names that it had, and no name of it is left for a second repair.
#[test]
fn what_is_lost_is_told_by_its_names() {
    let (_roots, store) = prepared();
    store.tag("bad:1", &onggi_image::Reference::parse("team/app:2").unwrap()).unwrap();
    let config = store.data().join("blobs/sha256").join(store.resolve("bad:1").unwrap().id.hex());
    flip(&image_record(&store));
    fs::remove_file(config).unwrap();
    let report = store.check(true).unwrap();
    let names: Vec<&str> = report.lost.iter().map(|lost| lost.name.as_str()).collect();
    assert_eq!(names, ["bad:1", "team/app:2"], "{report:#?}");
    assert!(
        report.is_sound()
            && report.findings.iter().any(|finding| finding.message.contains("bad:1, team/app:2"))
    );
    assert!(store.check(false).unwrap().findings.is_empty());
}

#[test]
fn what_a_cut_short_act_has_left_is_removed() {
    let (_roots, store) = prepared();
    fs::create_dir(store.data().join("tmp/load-1-0")).unwrap();
    fs::write(store.data().join("tmp/load-1-0/lock"), "").unwrap();
    fs::write(store.data().join("images/.x.json.4294967295.1.tmp"), "half").unwrap();
    let orphan = store.data().join("blobs/sha256").join(Digest::of(b"orphan").hex());
    fs::write(&orphan, "orphan").unwrap();
    for _ in 0..2 {
        let report = store.check(false).unwrap();
        assert_eq!(report.findings.len(), 3, "a look changes nothing: {report:#?}");
        assert!(report.is_sound() && report.findings.iter().all(|finding| finding.done.is_none()));
    }
    let blobs = store.check(false).unwrap().blobs;
    let report = store.check(true).unwrap();
    assert!(report.findings.iter().all(|finding| finding.done == Some(Done::Removed)), "{report:#?}");
    assert_eq!((report.findings.len(), report.blobs), (3, blobs - 1), "what is now there is counted");
    assert!(store.check(false).unwrap().findings.is_empty());
    assert!(!orphan.exists());
}

/// What any command does in passing, not only a check. A container's start does not look at every image's name for it.
#[test]
fn what_a_killed_command_has_left_goes_with_the_next_one() {
    type Act = fn(&Store);
    let ordinary: [(Act, bool); 3] = [
        (|store| drop(store.images().unwrap()), true),
        (
            |store| {
                store.lease("aa", &store.resolve("good:1").unwrap().id).unwrap();
                store.release("aa").unwrap();
            },
            false,
        ),
        (|store| drop(load(store, &tar(&docker_archive(&["good:1"], &layers("good")))).unwrap()), true),
    ];
    for (act, sweeps_records) in ordinary {
        let (_roots, store) = prepared();
        let (dead, record) =
            (store.data().join("tmp/load-1-0"), store.data().join("images/.x.json.4294967295.1.tmp"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        fs::write(&record, "half").unwrap();
        let writing = store.data().join(format!("images/.x.json.{}.1.tmp", std::process::id()));
        fs::write(&writing, "half").unwrap();
        act(&store);
        assert!(!dead.exists(), "it is there still");
        assert_eq!(record.exists(), !sweeps_records);
        assert!(writing.exists(), "its writer lives");
    }
}

#[test]
fn what_is_of_use_only_with_what_is_damaged_is_set_aside_with_it() {
    let (_roots, store) = prepared();
    let image = store.resolve("bad:1").unwrap();
    let kept = |store: &Store| {
        let mut paths = Vec::new();
        walk(&store.data().join("layers"), &mut paths);
        walk(&store.data().join("blobs"), &mut paths);
        walk(&store.data().join("images"), &mut paths);
        paths.iter().map(|path| path.strip_prefix(store.data()).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = kept(&store);
    let tar_path = layer_file(&store, 0, "layer.tar");
    let whole = fs::read(&tar_path).unwrap();
    flip(&tar_path);
    let report = store.check(true).unwrap();
    assert!(report.is_sound() && !report.findings.is_empty(), "{report:#?}");
    assert!(
        report
            .findings
            .iter()
            .all(|finding| matches!(&finding.done, Some(Done::SetAside(to)) if to.exists()))
    );
    // Nothing is lost: put back by hand, with the byte mended, everything is as it was.
    let lost = store.data().join("lost/1");
    let restored = std::process::Command::new("cp").arg("-a").arg(lost.join(".")).arg(store.data()).status();
    assert!(restored.unwrap().success());
    fs::write(&tar_path, whole).unwrap();
    assert_eq!(kept(&store), before);
    assert!(store.check(false).unwrap().findings.is_empty());
    assert_eq!(store.resolve("bad:1").unwrap().id, image.id);
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, paths) } else { paths.push(path) }
    }
    paths.sort();
}

#[test]
fn a_newer_store_is_refused() {
    let roots = Roots::new();
    drop(roots.open());
    fs::write(roots.data().join("VERSION"), "2\n").unwrap();
    let error = Store::open(&roots.data(), &roots.run()).unwrap_err();
    assert!(error.to_string().contains("newer version of Onggi (2; this one knows 1)"), "{error}");
    fs::write(roots.data().join("VERSION"), "1\n").unwrap();
}

#[test]
fn what_a_living_process_is_making_is_left_alone() {
    let (_roots, store) = prepared();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    let gone = ended.id();
    ended.wait().unwrap();
    let tmp = store.data().join("tmp");
    let pid = std::process::id();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    // A tree that is being deleted: files in it have nothing to say.
    let deleted = tmp.join(format!("garbage-{pid}:{started}-1000"));
    let living = [
        tmp.join(format!("volume-a.b.{pid}")),
        tmp.join(format!("VERSION.{pid}")),
        deleted.join("keeps"),
        deleted.join("lock"),
    ];
    fs::create_dir(&deleted).unwrap();
    for pipe in &living[2..] {
        let status = std::process::Command::new("mkfifo").arg(pipe).status();
        assert!(status.unwrap().success());
    }
    // To be deleted it was moved there by a process whose number another has by now.
    let garbage = tmp.join(format!("garbage-{pid}:1-0"));
    let dead = [tmp.join(format!("volume-a.b.{gone}")), tmp.join("volume-a"), garbage];
    for directory in [&living[0], &dead[0], &dead[1], &dead[2]] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(&living[1], "1").unwrap();
    let report = store.check(true).unwrap();
    let mut found: Vec<_> = report.findings.iter().map(|finding| finding.path.clone()).collect();
    found.sort();
    assert_eq!(found, [dead[2].clone(), dead[1].clone(), dead[0].clone()]);
    // Removing looks at what all acts keep, and these keep nothing.
    store.remove("good:1", false, &|_| false).unwrap();
    assert!(living.iter().all(|path| path.exists()) && !dead.iter().any(|path| path.exists()));
}
