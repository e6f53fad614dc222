//! Layers with hard links to what only the layers below them have: what they look like in each place, and that each place has a form of its own, which is
//! made, checked, mended and removed with the images that need it.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::Entry::{self, Directory, File, HardLink, Link};
use common::{Overlay, Roots, docker_archive, layer, load, needs_root, tar};
use onggi_store::{Done, Format, LayerForm, LoadOptions, Severity, Silent, Store};

fn below(content: &'static str) -> Vec<u8> {
    layer(&[
        ("usr/", Directory(0o755)),
        ("usr/tool", File(0o4750, content)),
        ("usr/other", File(0o644, "other")),
        ("bin", Link("usr")),
    ])
}

/// Between: nothing that matters, or what the links lead to is gone.
fn between(gone: &[(&str, Entry)]) -> Vec<u8> {
    let mut entries = vec![("var/", Directory(0o755))];
    entries.extend(gone.iter().map(|(path, _)| (*path, File(0o644, ""))));
    layer(&entries)
}

fn links() -> Vec<u8> {
    layer(&[("link", HardLink("usr/tool")), ("again", HardLink("link")), ("usr/third", HardLink("bin/tool"))])
}

fn prepared(roots: &Roots, form: LayerForm) -> Store {
    let store = roots.open_with(form);
    for (name, content) in [("one", "first"), ("two", "second, and longer")] {
        load(&store, &tar(&docker_archive(&[name], &[below(content), between(&[]), links()]))).unwrap();
    }
    store
}

fn merged(roots: &Roots, store: &Store, name: &str) -> Overlay {
    Overlay::new(roots, &store.mount_layers(&store.resolve(name).unwrap()).unwrap())
}

fn is_right(roots: &Roots, store: &Store) {
    for (name, content) in [("one", "first"), ("two", "second, and longer")] {
        let merged = merged(roots, store, name);
        let target = merged.metadata("usr/tool");
        for path in ["usr/tool", "link", "again", "usr/third"] {
            assert_eq!(merged.read(path).as_deref(), Some(content), "{name}: {path}");
            let found = merged.metadata(path);
            assert_eq!((found.ino(), found.nlink()), (target.ino(), 4), "{name}: {path}");
            assert_eq!((found.mode(), found.mtime()), (0o104_750, 1_700_000_000), "{name}: {path}");
        }
        assert_eq!(merged.read("usr/other").as_deref(), Some("other"), "the directory is merged still");
    }
}

/// The indexes of the upper layer that are for one place, and the trees that are.
fn variants(store: &Store) -> Vec<PathBuf> {
    let directory = store.data().join("layers").join(onggi_image::Digest::of(&links()).hex());
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut variants: Vec<_> = files.filter(|path| path.file_name().unwrap().len() > 64).collect();
    variants.retain(|path| !path.to_string_lossy().ends_with(".blob"));
    variants.sort();
    variants
}

fn conforms(form: LayerForm) {
    if !needs_root() {
        return;
    }
    let roots = Roots::on_disk();
    let store = prepared(&roots, form);
    is_right(&roots, &store);
    let trees = if form == LayerForm::Directories { 2 } else { 0 };
    assert_eq!(variants(&store).len(), 2 + trees, "one layer, above two others: {:?}", variants(&store));
    assert!(store.check(false).unwrap().findings.is_empty());

    // What is given on is the tar as it came.
    let mut saved = Vec::new();
    store.save(&["one".to_owned()], Format::DockerArchive, None, &Silent, &mut saved).unwrap();
    let elsewhere = Roots::on_disk();
    let other = elsewhere.open_with(form);
    load(&other, &saved).unwrap();
    let (here, there) = (store.resolve("one").unwrap(), other.resolve("one").unwrap());
    assert_eq!((here.id, here.layers), (there.id, there.layers));

    // Each goes with its image; the layer, which the other has as well, stays.
    store.remove("two", false, &|_| false).unwrap();
    assert_eq!(variants(&store).len(), 1 + trees / 2);
    assert_eq!(merged(&roots, &store, "one").read("again").as_deref(), Some("first"));
    assert!(store.check(false).unwrap().findings.is_empty());
    store.remove("one", false, &|_| false).unwrap();
    assert!(fs::read_dir(store.data().join("layers")).unwrap().next().is_none());
}

#[test]
fn erofs_mounts_have_the_links() {
    conforms(LayerForm::Erofs);
}

#[test]
fn unpacked_trees_have_the_links() {
    conforms(LayerForm::Directories);
}

#[test]
fn what_is_damaged_or_missing_is_made_again_from_the_layers() {
    if !needs_root() {
        return;
    }
    let roots = Roots::on_disk();
    let store = prepared(&roots, LayerForm::Erofs);
    let [one, two] = variants(&store).try_into().unwrap();
    let wanted = [fs::read(&one).unwrap(), fs::read(&two).unwrap()];
    let mut damaged = wanted[0].clone();
    // In the copy of the file, which is the last block.
    *damaged.iter_mut().rfind(|byte| **byte != 0).unwrap() ^= 1;
    fs::write(&one, damaged).unwrap();
    fs::remove_file(&two).unwrap();
    let found = store.check(false).unwrap().findings;
    assert!(found.iter().all(|finding| finding.severity == Severity::Derived), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
    store.check(true).unwrap();
    assert!(store.check(false).unwrap().findings.is_empty());
    assert_eq!([fs::read(&one).unwrap(), fs::read(&two).unwrap()], wanted);
    is_right(&roots, &store);

    // Left by a command that was cut short before its image was there.
    let nobodys = one.with_file_name(format!("{}.erofs", "5".repeat(64)));
    fs::write(&nobodys, "").unwrap();
    let found = store.check(true).unwrap().findings;
    assert!(
        found.iter().all(|finding| finding.path == nobodys && finding.done == Some(Done::Removed)),
        "{found:#?}"
    );
    assert!(!nobodys.exists() && one.exists());
}

/// What a variant is made of may be damaged with it: that is told of what it stands on, and the check goes on.
#[test]
fn a_tree_above_one_that_is_damaged_is_compared_when_that_is_mended() {
    if !needs_root() {
        return;
    }
    let roots = Roots::on_disk();
    let store = prepared(&roots, LayerForm::Directories);
    is_right(&roots, &store);
    let lowest = store.resolve("one").unwrap().layers[0].hex().to_owned();
    let tree = store.data().join("layers").join(lowest).join("tree");
    fs::remove_file(tree.join("usr/tool")).unwrap();
    let found = store.check(false).unwrap().findings;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0].path, &found[0].done), (&tree, &None));
    let repaired = store.check(true).unwrap();
    assert!(repaired.is_sound() && repaired.findings.len() == 1, "{repaired:#?}");
    assert!(store.check(false).unwrap().findings.is_empty());
    is_right(&roots, &store);
}

#[test]
fn without_the_target_the_image_is_refused_and_leaves_nothing() {
    if !needs_root() {
        return;
    }
    let hidden: [&[(&str, Entry)]; 3] =
        [&[("usr/.wh.tool", File(0, ""))], &[(".wh.usr", File(0, ""))], &[("usr/.wh..wh..opq", File(0, ""))]];
    let mut images: Vec<Vec<Vec<u8>>> =
        hidden.iter().map(|gone| vec![below("x"), between(gone), links()]).collect();
    images.push(vec![links()]);
    images.push(vec![links(), below("x")]);
    for form in [LayerForm::Erofs, LayerForm::Directories] {
        let roots = Roots::on_disk();
        let store = roots.open_with(form);
        for layers in &images {
            let archive = tar(&docker_archive(&["image"], layers));
            let error = store.load(&mut archive.as_slice(), &LoadOptions::default(), &Silent).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("link: hard link to usr/tool, which is not in the archive and not"),
                "{text}"
            );
            assert!(store.images().unwrap().is_empty());
        }
        let directory = layer(&[("link", HardLink("usr"))]);
        let archive = tar(&docker_archive(&["image"], &[below("x"), directory]));
        let error = store.load(&mut archive.as_slice(), &LoadOptions::default(), &Silent).unwrap_err();
        assert!(error.to_string().contains("which is a directory"), "{error}");
        store.check(true).unwrap();
        assert!(fs::read_dir(store.data().join("layers")).unwrap().next().is_none());
    }
}
