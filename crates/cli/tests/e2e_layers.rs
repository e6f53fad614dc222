//! Looking into images: their layers, what they share, how two of them differ, and that what they take adds up.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::busybox;
use onggi_testkit::{Compression, ImageArchive, TestEnv};
use serde_json::{Value, json};

/// Loads `shop:1`, busybox with a layer on top, and `shop:2`, the same with another layer above.
fn shops() -> TestEnv {
    let onggi = busybox();
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    let (first, second) = (onggi.file("first"), onggi.file("second"));
    files(&first, &[("same", "same"), ("changed", "one"), ("gone", "gone"), ("moded", "moded")]);
    files(&first.join("shop"), &[("shelf", ""), ("jar", "jar")]);
    symlink("same", first.join("shop/link")).expect("a link");
    // Once for both: GNU tar writes its process id into the archive.
    let lower = tar(&first);
    let image = ImageArchive::new("shop:1", json!({})).layer(base.clone()).layer(lower.clone());
    load(&onggi, &image);

    files(&second, &[("same", "same"), ("changed", "two"), ("moded", "moded"), (".wh.gone", "")]);
    files(&second.join("shop"), &[(".wh..wh..opq", ""), ("pot", "pot")]);
    fs::set_permissions(second.join("shop/moded"), fs::Permissions::from_mode(0o600)).expect("its mode");
    symlink("changed", second.join("shop/link")).expect("a link");
    let image = ImageArchive::new("shop:2", json!({})).layer(base).layer(lower).layer(tar(&second));
    load(&onggi, &image);
    onggi
}

fn files(root: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(root.join("shop")).expect("a directory");
    for (name, content) in files {
        fs::write(root.join("shop").join(name), content).expect("a file");
    }
}

fn tar(directory: &Path) -> Vec<u8> {
    let output = Command::new("tar").args(["-c", "--mtime=@0", "-C"]).arg(directory).arg("shop").output();
    output.expect("tar is installed").stdout
}

fn load(onggi: &TestEnv, image: &ImageArchive) {
    let path = image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {}).display().to_string();
    onggi.ok(["load", "-q", "-i", &path]);
}

#[test]
fn a_tree_shows_layers_and_who_stands_on_them() {
    let onggi = shops();
    let tree = onggi.ok(["image", "tree", "shop:2"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines[1], "Tags:     [shop:2]");
    assert_eq!(lines[3], "Image Layers");
    for (line, top) in [(4, "├── ID: "), (5, "├── ID: "), (6, "└── ID: ")] {
        assert!(lines[line].starts_with(top), "{tree}");
    }
    assert!(lines[4].ends_with("Top Layer of: [busybox:latest]"), "{tree}");
    assert!(lines[5].ends_with("Top Layer of: [shop:1]"), "{tree}");
    assert!(lines[6].ends_with("Top Layer of: [shop:2]"), "{tree}");
    let upon = onggi.ok(["image", "tree", "--whatrequires", "busybox"]);
    assert!(upon.contains("1 layer above: [shop:1]") && upon.contains("2 layers above: [shop:2]"), "{upon}");
    onggi.run(["image", "tree", "nothing"]).code(1).says("No such image");
}

#[test]
fn a_difference_names_what_was_added_changed_and_deleted() {
    let onggi = shops();
    assert_eq!(
        onggi.ok(["image", "diff", "shop:1", "shop:2"]),
        "C /shop\nC /shop/changed\nD /shop/gone\nC /shop/link\nC /shop/moded\nC /shop/shop\nD /shop/shop/jar\n\
         A /shop/shop/pot\nD /shop/shop/shelf"
    );
    assert_eq!(
        onggi.ok(["image", "diff", "shop:2", "shop:1"]),
        "C /shop\nC /shop/changed\nA /shop/gone\nC /shop/link\nC /shop/moded\nC /shop/shop\nA /shop/shop/jar\n\
         D /shop/shop/pot\nA /shop/shop/shelf"
    );
    assert_eq!(onggi.ok(["image", "diff", "shop:2", "shop:2"]), "");
    assert!(onggi.ok(["image", "diff", "busybox", "shop:1"]).starts_with("A /shop\n"));
}

#[test]
fn inspect_tells_of_each_layer() {
    let onggi = shops();
    let layers = onggi.ok(["image", "inspect", "--layers", "-f", "{{json .Layers}}", "shop:1"]);
    let layers: Value = serde_json::from_str(&layers).expect("JSON");
    let layers = layers.as_array().expect("an array");
    assert_eq!(layers.len(), 2);
    let ids = ["busybox", "shop:2"].map(|name| onggi.inspect(name, "{{.Id}}"));
    for (layer, sharing) in layers.iter().zip([&ids[..], &ids[1..]]) {
        let mut shared: Vec<_> = layer["SharedWith"].as_array().expect("ids").clone();
        let mut expected: Vec<_> = sharing.iter().map(|id| json!(id)).collect();
        shared.sort_by_key(ToString::to_string);
        expected.sort_by_key(ToString::to_string);
        assert_eq!(shared, expected, "{layer}");
        assert_eq!(layer["CreatedBy"], "test");
        assert_eq!(layer["Blob"]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        assert!(layer["DiskUsage"].as_u64() >= layer["Size"].as_u64(), "{layer}");
    }
    assert!(!onggi.ok(["image", "inspect", "shop:1"]).contains("SharedWith"));
}

/// What `system df` shows for images is what is freed when they go.
#[test]
fn what_images_take_adds_up() {
    let onggi = shops();
    let shown = || {
        let shown = onggi.ok(["system", "df", "--format", "{{json .}}"]);
        let images = shown.lines().next().expect("a line").to_owned();
        serde_json::from_str::<Value>(&images).expect("JSON")["Size"].as_str().expect("text").to_owned()
    };
    let kept = ["layers", "blobs/sha256", "images"];
    // Below the store's own directories, which keep the size that they have come to.
    let taken = || kept.iter().map(|place| below(&onggi.data().join(place))).sum::<u64>();
    let before = size(taken());
    assert_eq!(shown(), before);
    let said = onggi.ok(["image", "prune", "-af"]);
    assert!(said.ends_with(&format!("Total reclaimed space: {before}")), "{said}");
    assert_eq!((shown().as_str(), taken()), ("0B", 0));
}

/// As the program shows sizes, with four digits.
fn size(bytes: u64) -> String {
    let (value, unit) =
        if bytes >= 1_000_000 { (bytes as f64 / 1e6, "MB") } else { (bytes as f64 / 1e3, "kB") };
    let decimals = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{}{unit}", format!("{value:.decimals$}").trim_end_matches('0').trim_end_matches('.'))
}

fn below(path: &Path) -> u64 {
    fs::read_dir(path).expect("a directory").map(|entry| bytes(&entry.expect("an entry").path())).sum()
}

fn bytes(path: &Path) -> u64 {
    let metadata = path.symlink_metadata().expect("it is there");
    let inside = if metadata.is_dir() { below(path) } else { 0 };
    metadata.blocks() * 512 + inside
}
