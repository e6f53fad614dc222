//! How much of the disk what comes may take: never the last of it, and no more than somebody has said.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Read as _;

use common::{Roots, metadata, needs_root};
use onggi_archive::write::Writer;
use onggi_error::{Diagnose, Kind};
use onggi_store::{Error, ImportOptions, Silent, Store};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A tar of one file of so many zeros, compressed to a thousandth.
fn zeros(size: u64) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = Writer::new(encoder);
    tar.file(b"zeros", &metadata(0o644), size, &mut std::io::repeat(0).take(size)).unwrap();
    tar.finish().unwrap().finish().unwrap()
}

fn import(store: &Store, tar: &[u8]) -> Result<(), Error> {
    store.import(&mut { tar }, &ImportOptions::default(), &Silent).map(|_| ())
}

fn is_empty(store: &Store) -> bool {
    ["layers", "tmp"].iter().all(|left| fs::read_dir(store.data().join(left)).unwrap().count() == 0)
}

#[test]
fn the_last_of_a_disk_is_left_to_others() {
    if !needs_root() {
        return;
    }
    let roots = Roots::new();
    fs::create_dir_all(roots.data()).unwrap();
    mount("onggi-test", roots.data(), "tmpfs", MountFlags::empty(), Some(c"size=112m")).unwrap();
    let store = roots.open();
    let bomb = zeros(300 << 20);
    // As a layer, and as an archive that is spooled first.
    for error in [
        import(&store, &bomb).unwrap_err(),
        store.load(&mut bomb.as_slice(), &Default::default(), &Silent).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
        assert!(
            matches!(error, Error::NoRoom { left, kept: 5_872_010..=5_872_030, .. } if left > 0),
            "{error:?}"
        );
        assert!(is_empty(&store));
    }
    import(&store, &zeros(64 << 20)).unwrap();
    drop(store);
    unmount(roots.data(), UnmountFlags::DETACH).unwrap();
}

#[test]
fn no_more_than_somebody_has_said() {
    let roots = Roots::new();
    let (store, tar) = (roots.open().limiting_layers(1 << 20), zeros(1 << 20));
    let error = import(&store, &tar).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("layer_limit")), "{:?}", error.hint());
    assert!(is_empty(&store));
    import(&roots.open().limiting_layers(2 << 20), &tar).unwrap();
}
