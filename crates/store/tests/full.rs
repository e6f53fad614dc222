//! On a disk that is full to the last block and inode: what is there can still be removed, and a check still says what it sees.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Roots, docker_archive, layers, load, needs_root, tar};
use onggi_error::{Diagnose, Kind};
use onggi_store::{ContainerRow, Store};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A small file system of its own, gone afterwards.
struct Disk(PathBuf);

impl Disk {
    fn mounted_on(path: &Path) -> Disk {
        fs::create_dir_all(path).unwrap();
        mount("onggi-test", path, "tmpfs", MountFlags::empty(), Some(c"size=4m,nr_inodes=300")).unwrap();
        Disk(path.to_owned())
    }

    /// Fills it: first the bytes, then the inodes.
    fn fill(&self) {
        let filling = self.0.join("filling");
        fs::create_dir(&filling).unwrap();
        let mut file = File::create(filling.join("bytes")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while File::create(filling.join(fs::read_dir(&filling).unwrap().count().to_string())).is_ok() {}
        assert!(fs::create_dir(self.0.join("one-more")).is_err(), "the disk is not full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn full() -> (Roots, Disk, Store) {
    let roots = Roots::new();
    let disk = Disk::mounted_on(&roots.data());
    let store = roots.open();
    for name in ["one:1", "two:1"] {
        let content: &'static str = if name == "one:1" { "one" } else { "two" };
        load(&store, &tar(&docker_archive(&[name], &layers(content)))).unwrap();
    }
    // The index is there, as after any command that has looked for a container.
    store.containers().unwrap();
    disk.fill();
    (roots, disk, store)
}

#[test]
fn images_can_be_removed() {
    if !needs_root() {
        return;
    }
    let (_roots, _disk, store) = full();
    let refused = load(&store, &tar(&docker_archive(&["three:1"], &layers("three")))).unwrap_err();
    assert_eq!(refused.kind(), Kind::Exhausted, "{refused}");
    for name in ["one:1", "two:1"] {
        store.remove(name, false, &|_| false).unwrap();
    }
    for left in ["layers", "images", "blobs/sha256", "tmp"] {
        assert_eq!(fs::read_dir(store.data().join(left)).unwrap().count(), 0, "{left}");
    }
    load(&store, &tar(&docker_archive(&["three:1"], &layers("three")))).unwrap();
}

#[test]
fn containers_leave_the_index() {
    if !needs_root() {
        return;
    }
    let (_roots, disk, store) = full();
    fs::remove_dir_all(disk.0.join("filling")).unwrap();
    let image = store.resolve("one:1").unwrap().id;
    for id in ["aa", "bb", "cc"] {
        store.lease(id, &image).unwrap();
        let (name, created, summary) = (id.to_owned(), String::new(), "x".repeat(1000).into());
        store.insert_container(&ContainerRow { id: id.to_owned(), name, created, summary }).unwrap();
    }
    disk.fill();
    for id in ["aa", "bb", "cc"] {
        store.remove_container(id).unwrap();
    }
    assert_eq!(store.containers().unwrap(), []);
    store.remove("one:1", false, &|_| true).unwrap();
}

/// After a boot there is no index, and the first command must make one.
#[test]
fn what_is_there_is_listed_and_removed_right_after_a_boot() {
    if !needs_root() {
        return;
    }
    let (roots, _disk, store) = full();
    store.unmount_all().unwrap();
    drop(store);
    fs::remove_dir_all(roots.run()).unwrap();
    let store = roots.open();
    assert_eq!(store.images().unwrap().len(), 2);
    assert_eq!(store.containers().unwrap(), []);
    store.resolve("one:1").unwrap();
    store.lease("aa", &store.resolve("two:1").unwrap().id).unwrap();
    store.remove("two:1", false, &|_| false).unwrap_err();
    store.release("aa").unwrap();
    for name in ["one:1", "two:1"] {
        store.remove(name, false, &|_| false).unwrap();
    }
    assert_eq!(fs::read_dir(store.data().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_check_goes_on() {
    if !needs_root() {
        return;
    }
    let (_roots, _disk, store) = full();
    let report = store.check(false).unwrap();
    assert!(report.is_sound() && report.findings.is_empty(), "{report:?}");
    assert_eq!((report.blobs, report.layers), (4, 4));
    let damaged = store.data().join("layers").join(store.resolve("one:1").unwrap().layers[0].hex());
    fs::remove_file(damaged.join("layer.erofs")).unwrap();
    // One inode is free now, and an act needs three.
    for repair in [false, true] {
        let report = store.check(repair).unwrap();
        assert!(!report.is_sound(), "{report:?}");
        assert!(report.findings.iter().any(|finding| finding.path.starts_with(&damaged)), "{report:?}");
        let told = report.findings.iter().any(|finding| finding.message.starts_with("nothing can be mended"));
        assert_eq!(told, repair, "{report:?}");
    }
    store.remove("one:1", false, &|_| false).unwrap();
    assert!(store.check(true).unwrap().is_sound());
}
