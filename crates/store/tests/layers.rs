//! What every form of presenting layers must do: the same tree, whiteouts, opaque directories, links, owners of implied directories.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::Entry::{Directory, File, HardLink, Link};
use common::{Overlay, Roots, docker_archive, layer, load, needs_root, tar};
use onggi_store::LayerForm;

fn image() -> Vec<Vec<u8>> {
    let base = layer(&[
        ("./", Directory(0o711)),
        ("bin", Link("usr/bin")),
        ("data/", Directory(0o750)),
        ("data/old", File(0o644, "old")),
        ("etc/", Directory(0o755)),
        ("etc/gone", File(0o644, "gone")),
        ("etc/kept", File(0o640, "kept")),
        ("tmp/", Directory(0o1777)),
        ("usr/", Directory(0o755)),
        ("usr/bin/", Directory(0o755)),
        ("usr/bin/su", File(0o4755, "su")),
    ]);
    let middle = layer(&[
        ("data/", Directory(0o700)),
        ("data/.wh..wh..opq", File(0o644, "")),
        ("data/new", File(0o644, "new")),
        ("etc/.wh.gone", File(0o644, "")),
        ("tmp/x", File(0o600, "x")),
    ]);
    let top = layer(&[("bin/y", File(0o755, "y")), ("data/z", File(0o644, "z"))]);
    vec![base, middle, top]
}

fn conforms(form: LayerForm) {
    if !needs_root() {
        return;
    }
    let roots = Roots::on_disk();
    let store = roots.open_with(form);
    load(&store, &tar(&docker_archive(&["image"], &image()))).unwrap();
    let image = store.resolve("image").unwrap();
    let lower = store.mount_layers(&image).unwrap();
    assert_eq!(lower.len(), 3);
    assert_eq!(store.mount_layers(&image).unwrap(), lower, "presenting twice is presenting once");
    let again = roots.open_with(form);
    assert_eq!(again.mount_layers(&image).unwrap(), lower, "another process sees the same");

    let merged = Overlay::new(&roots, &lower);
    assert_eq!(merged.read("etc/gone"), None, "a whiteout hides");
    assert_eq!(merged.read("etc/kept").as_deref(), Some("kept"));
    assert_eq!(merged.read("data/old"), None, "an opaque directory hides");
    assert_eq!(merged.read("data/new").as_deref(), Some("new"));
    assert_eq!(merged.read("tmp/x").as_deref(), Some("x"));
    assert_eq!(merged.mode("tmp"), 0o1777, "an implied directory keeps what lies below");
    assert_eq!(merged.mode("data"), 0o700, "of two that lie below, the upper one");
    assert_eq!(merged.mode("."), 0o711, "the root is implied as well");
    assert_eq!(
        merged.read("usr/bin/y").as_deref(),
        Some("y"),
        "a path through a lower link leads where it points"
    );
    assert_eq!(fs::read_link(merged.target.join("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(merged.mode("usr/bin/su"), 0o4755);

    // What is in use survives being taken back.
    store.unmount_all().unwrap();
    assert_eq!(merged.read("data/new").as_deref(), Some("new"));
    drop(merged);
    assert_eq!(
        Overlay::new(&roots, &store.mount_layers(&image).unwrap()).read("data/z").as_deref(),
        Some("z")
    );
    assert!(store.check(false).unwrap().findings.is_empty());
    store.remove("image", true, &|_| false).unwrap();
    assert!(!lower[0].exists(), "a removed layer is not presented");
}

#[test]
fn erofs_mounts_conform() {
    conforms(LayerForm::Erofs);
}

#[test]
fn unpacked_trees_conform() {
    conforms(LayerForm::Directories);
}

#[test]
fn the_kernel_shows_them_in_one_mount_namespace_only() {
    if !needs_root() {
        return;
    }
    let roots = Roots::on_disk();
    let store = roots.open_with(LayerForm::Erofs);
    load(&store, &tar(&docker_archive(&["image"], &image()))).unwrap();
    let lower = store.mount_layers(&store.resolve("image").unwrap()).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for path in &lower {
        let lines: Vec<_> = table.lines().filter(|line| line.split(' ').nth(4) == path.to_str()).collect();
        assert_eq!(lines.len(), 1, "{path:?} is mounted once: {lines:?}");
        assert!(!lines[0].contains("shared:") && lines[0].contains(" - erofs "), "{}", lines[0]);
    }
}

/// What is told of the store's size is what `du` finds, hard links and all, in both forms.
#[test]
fn sizes_are_those_that_du_finds() {
    if !needs_root() {
        return;
    }
    const SLACK: u64 = 256 << 10;
    let text: &'static str = "0123456789abcdef".repeat(1 << 16).leak();
    for (form, seed) in [
        (LayerForm::Directories, 1),
        (LayerForm::Erofs, 1),
        (LayerForm::Directories, 7),
        (LayerForm::Directories, 11),
    ] {
        let roots = Roots::on_disk();
        let store = roots.open_with(form);
        // Files of 1 MiB, each with as many names more as the number at its place says; the upper layer links to the lower one's, too.
        let numbers: Vec<u64> = (1..6).map(|place| (seed * place * place + seed) % 5).collect();
        let names: Vec<String> = (0..numbers.len()).map(|file| format!("file{file}")).collect();
        let links: Vec<(String, usize)> = (numbers.iter().enumerate())
            .flat_map(|(file, count)| (0..*count).map(move |link| (format!("link{file}.{link}"), file)))
            .collect();
        let targets: Vec<&'static str> = names.iter().map(|name| &*name.clone().leak()).collect();
        let mut lower: Vec<(&str, common::Entry)> =
            names.iter().map(|name| (name.as_str(), File(0o644, text))).collect();
        lower.extend(links.iter().map(|(link, file)| (link.as_str(), HardLink(targets[*file]))));
        let upper = [("own", File(0o644, text)), ("again", HardLink("own")), ("below", HardLink(targets[0]))];
        let layers = vec![layer(&lower), layer(&upper)];
        load(&store, &tar(&docker_archive(&["linked:1"], &layers))).unwrap();
        let image = store.resolve("linked:1").unwrap();
        store.mount_layers(&image).unwrap();
        let du = |path: &std::path::Path| -> u64 {
            let said =
                std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
            String::from_utf8(said.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
        };
        let usage = store.disk_usage().unwrap();
        let told: u64 = usage.layer_bytes.values().chain(usage.document_bytes.values()).sum();
        assert!(
            du(store.data()).abs_diff(told) <= SLACK,
            "{form:?}, {seed}: {told}, du {}",
            du(store.data())
        );
        for details in store.layer_details(&image).unwrap() {
            let found = du(&store.data().join("layers").join(details.diff_id.hex()));
            assert_eq!(
                (details.disk_bytes, usage.layer_bytes[&details.diff_id]),
                (found, found),
                "{form:?}, {seed}"
            );
        }
    }
}
