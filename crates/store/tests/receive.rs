//! Bringing an image in layer by layer, as a pull does: what is here need not come again, and nothing is believed that nobody has looked into.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Roots, config, descriptor, docker_archive, gzip, layers, load, tar, zstd};
use onggi_error::{Diagnose, Kind};
use onggi_image::{Digest, Reference, media_type};
use onggi_store::{Error, Received, Receiving, Removed, Silent, Store};
use serde_json::json;

/// The manifest of an image whose layers come as these blobs.
fn manifest(config: &[u8], blobs: &[Vec<u8>]) -> Vec<u8> {
    let layers: Vec<_> = blobs.iter().map(|blob| descriptor(media_type::OCI_LAYER_GZIP, blob)).collect();
    let config = descriptor(media_type::OCI_CONFIG, config);
    json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string().into_bytes()
}

fn has(receiving: &Receiving<'_>, tar: &[u8], blob: &[u8]) -> bool {
    receiving.has_layer(&Digest::of(tar), (&Digest::of(blob), blob.len() as u64)).unwrap()
}

/// As a pull: fetches what is not here, and answers how many blobs that were.
fn pull(store: &Store, name: &str, tars: &[Vec<u8>], blobs: &[Vec<u8>]) -> Result<usize, Error> {
    let receiving = store.receive()?;
    let mut fetched = 0;
    for (tar, blob) in tars.iter().zip(blobs) {
        if !has(&receiving, tar, blob) {
            let named = (&Digest::of(blob), blob.len() as u64);
            receiving.layer(&mut blob.as_slice(), named, &Digest::of(tar), &Silent)?;
            fetched += 1;
        }
    }
    commit(receiving, name, tars, blobs).map(|()| fetched)
}

fn commit(receiving: Receiving<'_>, name: &str, tars: &[Vec<u8>], blobs: &[Vec<u8>]) -> Result<(), Error> {
    let (raw_config, name) = (config(tars), Reference::parse(name).unwrap());
    let raw_manifest = manifest(&raw_config, blobs);
    let received = Received {
        raw_config: &raw_config,
        raw_manifest: &raw_manifest,
        raw_index: None,
        name: &name,
        origin: &name,
    };
    receiving.documents(&received)?;
    receiving.commit(&received).map(drop)
}

fn each(tars: &[Vec<u8>], compress: fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    tars.iter().map(|tar| compress(tar)).collect()
}

#[test]
fn what_was_looked_into_once_is_not_fetched_again() {
    let roots = Roots::new();
    let store = roots.open();
    let tars = layers("once");
    let (gzipped, zstandard) = (each(&tars, gzip), each(&tars, zstd));
    for (blobs, fetched) in
        [(&gzipped, 2), (&gzipped, 0), (&zstandard, 2), (&gzipped, 0), (&zstandard, 0), (&tars, 0)]
    {
        assert_eq!(pull(&store, "once:1", &tars, blobs).unwrap(), fetched);
    }
    // It is the layer that knows, not an image: it stays known while the layer stays.
    let more: Vec<Vec<u8>> = tars.iter().cloned().chain(layers("more").pop()).collect();
    assert_eq!(pull(&store, "more:1", &more, &each(&more, gzip)).unwrap(), 1);
    store.remove("once:1", false, &|_| false).unwrap();
    assert_eq!(pull(&store, "once:2", &tars, &zstandard).unwrap(), 0);
    // Of a layer that came by itself no blob is known.
    let roots = Roots::new();
    let store = roots.open();
    load(&store, &tar(&docker_archive(&["once:1"], &tars))).unwrap();
    assert_eq!(pull(&store, "once:2", &tars, &gzipped).unwrap(), 2);
    assert_eq!(pull(&store, "once:3", &tars, &gzipped).unwrap(), 0);
    assert!(store.check(false).unwrap().findings.is_empty());
}

/// Whoever pulls an image again while a repair asks for its layers in vain has brought it: nothing of it is set aside.
#[test]
fn what_comes_during_a_repair_stays() {
    struct Meanwhile<'a>(&'a dyn Fn());
    impl onggi_store::Refetch for Meanwhile<'_> {
        fn blob(
            &self,
            _: &Reference,
            _: &onggi_image::Descriptor,
            _: &mut dyn FnMut(&mut dyn std::io::Read) -> Result<(), Error>,
        ) -> Result<(), String> {
            (self.0)();
            Err("no network".to_owned())
        }

        fn manifest(&self, _: &Reference, _: &Digest) -> Result<Vec<u8>, String> {
            (self.0)();
            Err("no network".to_owned())
        }
    }
    let tars = layers("once");
    let blobs = each(&tars, gzip);
    let raw_config = config(&tars);
    let layer = format!("layers/{}/layer.tar", Digest::of(&tars[0]).hex());
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    for path in [layer, blob(&raw_config), blob(&manifest(&raw_config, &blobs))] {
        let roots = Roots::new();
        let store = roots.open();
        pull(&store, "once:1", &tars, &blobs).unwrap();
        std::fs::write(store.data().join(&path), "damaged").unwrap();
        let again = || {
            pull(&roots.open(), "once:1", &tars, &blobs).unwrap();
        };
        let report = store.repair_from(&Meanwhile(&again)).unwrap();
        assert!(report.is_sound() && report.lost.is_empty(), "{path}: {report:#?}");
        store.mount_layers(&store.resolve("once:1").unwrap()).unwrap();
        assert!(store.check(false).unwrap().findings.is_empty(), "{path}");
    }
}

/// A manifest that names other blobs than those of its config's layers is refused, also where the layers are here.
#[test]
fn another_layer_s_blob_is_not_believed() {
    let roots = Roots::new();
    let store = roots.open();
    let tars = layers("right");
    let blobs = each(&tars, gzip);
    pull(&store, "right:1", &tars, &blobs).unwrap();
    let swapped: Vec<_> = blobs.iter().rev().cloned().collect();
    let strange = each(&layers("strange"), gzip);
    for wrong in [&swapped, &strange, &vec![blobs[0].clone(), strange[1].clone()]] {
        let error = pull(&store, "wrong:1", &tars, wrong).unwrap_err();
        assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
        // Nor is it by who forgets to ask.
        let error = commit(store.receive().unwrap(), "wrong:1", &tars, wrong).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(store.resolve("wrong:1").is_err());
    }
    let receiving = store.receive().unwrap();
    let (layer, blob) = (Digest::of(&tars[0]), Digest::of(&blobs[0]));
    let size = blobs[0].len() as u64;
    assert!(receiving.has_layer(&layer, (&blob, size)).unwrap());
    assert!(!receiving.has_layer(&layer, (&blob, size + 1)).unwrap(), "a wrong size is a lie as well");
    assert!(!receiving.has_layer(&layer, (&layer, size)).unwrap());
    drop(receiving);
    assert!(store.check(false).unwrap().findings.is_empty());
}

/// As Docker does it: a reference by digest goes alone, and with a repository's last tag all of that repository's.
#[test]
fn a_reference_by_digest_is_one_of_its_own() {
    let roots = Roots::new();
    let store = roots.open();
    let tars = layers("digest");
    let blobs = each(&tars, gzip);
    let digest = Digest::of(&manifest(&config(&tars), &blobs));
    let by_digest = format!("box@{digest}");
    let bring = |names: &[&str]| {
        for name in names {
            pull(&store, name, &tars, &blobs).unwrap();
        }
        store.resolve(names[0]).unwrap().id
    };
    let remove = |name: &str| -> Vec<String> {
        let removed = store.remove(name, false, &|_| false).unwrap();
        let untagged = removed.iter().filter(|removed| matches!(removed, Removed::Untagged(_)));
        untagged.map(ToString::to_string).collect()
    };
    let digests = |id: &Digest| -> Vec<String> {
        store.repo_digests(id).unwrap().iter().map(Reference::familiar).collect()
    };
    let untagged = format!("Untagged: {by_digest}");
    for names in [&["box:1", "box:2"][..], &["box:1", "box:2", &by_digest]] {
        let id = bring(names);
        assert_eq!(digests(&id).join(" "), by_digest);
        assert_eq!(remove(&format!("box:2@{digest}")).join(" "), untagged, "{names:?}");
        // The tags stay, and stand for it no more.
        assert_eq!(store.names(&id).unwrap().len(), 2, "{names:?}");
        assert!(digests(&id).is_empty() && store.resolve(&by_digest).is_err());
        assert!(store.check(false).unwrap().findings.is_empty());
        // Until one of them is pulled again.
        bring(&["box:1"]);
        assert_eq!(digests(&id).join(" "), by_digest);
        assert_eq!(remove("box:2"), ["Untagged: box:2"]);
        assert_eq!(remove("box:1"), ["Untagged: box:1"]);
        assert!(store.images().unwrap().is_empty());
    }
    // The last reference takes the image along.
    bring(&[&by_digest]);
    assert_eq!(remove(&by_digest).join(" "), untagged);
    assert!(store.images().unwrap().is_empty());
    // The last tag takes the references by digest of its repository along, not another's.
    bring(&["box:1", &by_digest]);
    assert_eq!(remove("box:1"), ["Untagged: box:1", &untagged]);
    assert!(store.images().unwrap().is_empty());
    let other = format!("other@{digest}");
    let id = bring(&["box:1", &by_digest, &other]);
    assert_eq!(remove("box:1"), ["Untagged: box:1", &untagged]);
    assert_eq!(digests(&id), [other]);
}
