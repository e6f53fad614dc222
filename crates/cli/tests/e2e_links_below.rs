//! Layers with hard links to what only the layers below them have, as programs in a container see them: mounted by the kernel, as directories, and
//! for an ordinary user.

mod common;

use std::fs;

use common::{busybox, busybox_of_ordinary_user};
use onggi_testkit::{Compression, ImageArchive, TestEnv, hard_links};
use serde_json::json;

/// A file and a link to it in the middle, and names for both on top.
fn image(onggi: &TestEnv, name: &str, links: &[(&str, &str)]) -> String {
    let middle = onggi.file(&format!("middle-{}", name.replace(':', "-")));
    fs::create_dir_all(middle.join("shop")).expect("a directory");
    fs::write(middle.join("shop/jar"), "of the layer below\n").expect("a file");
    std::os::unix::fs::symlink("jar", middle.join("shop/pot")).expect("a link");
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    let image = ImageArchive::new(name, json!({})).layer(base).layer_of(&middle).layer(hard_links(links));
    image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {}).display().to_string()
}

fn has_the_links(onggi: &TestEnv) {
    let links = [("first", "shop/jar"), ("shop/second", "first"), ("symbolic", "shop/pot")];
    let path = image(onggi, "links:1", &links);
    onggi.ok(["load", "-q", "-i", &path]);
    let script = "cat first shop/jar shop/second; stat -c %h first; readlink symbolic; \
                  ls -i first shop/jar shop/second | awk '{ print $1 }' | sort -u | wc -l";
    let read = "of the layer below\nof the layer below\nof the layer below\n3\njar\n1";
    assert_eq!(onggi.ok(["run", "--rm", "--workdir", "/", "links:1", "sh", "-c", script]), read);
    assert!(onggi.ok(["system", "check"]).lines().count() == 1, "{}", onggi.ok(["system", "check"]));

    // What is given on are the layers as they came.
    let saved = onggi.file("saved").display().to_string();
    let layers = || onggi.ok(["image", "inspect", "--format", "{{json .RootFS.Layers}}", "links:1"]);
    let before = layers();
    onggi.ok(["save", "-o", &saved, "links:1"]);
    onggi.ok(["rmi", "links:1"]);
    assert!(onggi.ok(["system", "check"]).lines().count() == 1, "nothing is left of it");
    onggi.ok(["load", "-q", "-i", &saved]);
    assert_eq!(layers(), before);
    assert_eq!(onggi.ok(["run", "--rm", "--workdir", "/", "links:1", "sh", "-c", script]), read);
}

#[test]
fn where_the_kernel_mounts_layers() {
    has_the_links(&busybox());
}

#[test]
fn where_layers_are_directories() {
    // EROFS is mounted from no file of a tmpfs.
    has_the_links(&TestEnv::on_small_disk(env!("CARGO_BIN_EXE_onggi"), 48));
}

#[test]
fn for_an_ordinary_user() {
    has_the_links(&busybox_of_ordinary_user());
}

#[test]
fn without_what_it_links_to_the_image_is_refused() {
    let onggi = busybox();
    let path = image(&onggi, "links:2", &[("first", "shop/none")]);
    let refused = onggi.fails(["load", "-q", "-i", &path]);
    let reason = "first: hard link to shop/none, which is not in the archive and not in the layers below";
    assert!(refused.stderr.contains(reason), "{refused}");
    assert!(!onggi.ok(["images"]).contains("links"));
    assert!(onggi.ok(["system", "check"]).lines().count() == 1, "nothing is left of it");
}
