//! Loading, finding, naming, saving and removing images, with sound archives and with hostile ones.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{
    Roots, add_blob, descriptor, docker_archive, gzip, layers, load, oci_image, oci_index, oci_layout, tar,
    zstd,
};
use onggi_archive::tar::Kind;
use onggi_archive::write::Writer;
use onggi_archive::{Metadata, Timestamp};
use onggi_error::{Diagnose, Kind as ErrorKind};
use onggi_image::{Digest, Reference, media_type};
use onggi_store::{Error, Format, ImportOptions, LoadOptions, Removed, Silent, Store};
use serde_json::json;

fn save(store: &Store, names: &[&str], format: Format) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut bytes = Vec::new();
    store.save(&names, format, None, &Silent, &mut bytes).unwrap();
    bytes
}

fn sound(store: &Store) {
    let report = store.check(false).unwrap();
    assert!(report.findings.is_empty(), "{report:#?}");
}

fn names(store: &Store) -> Vec<String> {
    let images = store.images().unwrap();
    let mut names: Vec<_> =
        images.iter().flat_map(|image| image.names.iter().map(Reference::familiar)).collect();
    names.sort();
    names
}

#[test]
fn every_form_of_an_archive_brings_the_same_image() {
    let layers = layers("same");
    let docker = tar(&docker_archive(&["same:1"], &layers));
    let oci = tar(&oci_layout("docker.io/library/same:1", &layers));
    let id = Digest::of(&common::config(&layers));
    for (what, archive) in [
        ("docker", docker.clone()),
        ("docker gzip", gzip(&docker)),
        ("docker zstd", zstd(&docker)),
        ("oci", oci.clone()),
        ("oci gzip", gzip(&oci)),
        ("oci zstd", zstd(&oci)),
    ] {
        let roots = Roots::new();
        let store = roots.open();
        let loaded = load(&store, &archive).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((loaded.len(), &loaded[0].id), (1, &id), "{what}");
        assert_eq!(loaded[0].names[0].familiar(), "same:1", "{what}");
        assert_eq!(store.resolve("same:1").unwrap().raw_config, common::config(&layers), "{what}");
        sound(&store);
    }
    // From a file that is read in place, and from a directory.
    let roots = Roots::new();
    let store = roots.open();
    let path = roots.directory.path().join("archive");
    fs::write(&path, &docker).unwrap();
    assert_eq!(
        store.load_file(fs::File::open(&path).unwrap(), &LoadOptions::default(), &Silent).unwrap()[0].id,
        id
    );
    let directory = roots.directory.path().join("layout");
    for (name, bytes) in oci_layout("same:2", &layers) {
        fs::create_dir_all(directory.join(&name).parent().unwrap()).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
    }
    assert_eq!(store.load_directory(&directory, &LoadOptions::default(), &Silent).unwrap()[0].id, id);
    assert_eq!(names(&store), ["same:1", "same:2"]);
    sound(&store);
}

#[test]
fn documents_are_kept_byte_for_byte() {
    let roots = Roots::new();
    let store = roots.open();
    let mut members = BTreeMap::new();
    let manifest = oci_image(&mut members, &layers("raw"));
    oci_index(&mut members, &[descriptor(media_type::OCI_MANIFEST, &manifest)]);
    let loaded = load(&store, &tar(&members)).unwrap();
    assert!(loaded[0].names.is_empty());
    let image = store.resolve(&loaded[0].id.to_string()).unwrap();
    assert_eq!(image.raw_manifest, manifest);
    assert_eq!(image.manifest_digest, Digest::of(&manifest));
}

#[test]
fn the_hosts_platform_is_taken_from_an_index() {
    let roots = Roots::new();
    let store = roots.open();
    let mut members = BTreeMap::new();
    let host = onggi_image::Platform::host();
    let mut entries = Vec::new();
    for (architecture, tag) in [("s390x", "foreign"), (host.architecture.as_str(), "native")] {
        let manifest = oci_image(&mut members, &layers(tag));
        let mut entry = descriptor(media_type::OCI_MANIFEST, &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries})
        .to_string()
        .into_bytes();
    let mut entry = descriptor(media_type::OCI_INDEX, &index);
    entry["annotations"] = json!({"io.containerd.image.name": "ghcr.io/o/n:1"});
    add_blob(&mut members, index.clone());
    oci_index(&mut members, &[entry]);
    let loaded = load(&store, &tar(&members)).unwrap();
    assert_eq!(loaded[0].id, Digest::of(&common::config(&layers("native"))));
    assert_eq!(
        loaded[0].other_platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["linux/s390x"]
    );
    let image = store.resolve(&format!("ghcr.io/o/n@{}", Digest::of(&index))).unwrap();
    assert_eq!(image.index_digest, Some(Digest::of(&index)));
    sound(&store);

    oci_index(&mut members, &[entries[0].clone()]);
    let error = load(&store, &tar(&members)).unwrap_err();
    assert!(
        matches!(error, Error::NoPlatform { .. }) && error.to_string().contains("linux/s390x"),
        "{error}"
    );
}

#[test]
fn a_legacy_archive_gets_a_config() {
    let roots = Roots::new();
    let store = roots.open();
    let layers = layers("legacy");
    let mut members = BTreeMap::from([("repositories".to_owned(), br#"{"old":{"1":"bb"}}"#.to_vec())]);
    members.insert("aa/json".into(), br#"{"id":"aa","created":"2013-01-01T00:00:00Z"}"#.to_vec());
    members.insert("aa/layer.tar".into(), layers[0].clone());
    members.insert(
        "bb/json".into(),
        br#"{"id":"bb","parent":"aa","os":"linux","architecture":"amd64","config":{"Cmd":["x"]}}"#.to_vec(),
    );
    members.insert("bb/layer.tar".into(), layers[1].clone());
    let loaded = load(&store, &tar(&members)).unwrap();
    let image = store.resolve("old:1").unwrap();
    assert_eq!(image.id, loaded[0].id);
    assert_eq!(image.layers, layers.iter().map(|layer| Digest::of(layer)).collect::<Vec<_>>());
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["x".to_owned()][..]));
    members.insert("aa/json".into(), br#"{"id":"aa","parent":"bb"}"#.to_vec());
    assert!(load(&store, &tar(&members)).unwrap_err().to_string().contains("has no end"));
}

#[test]
fn what_is_not_what_it_says_is_refused_and_leaves_nothing() {
    let roots = Roots::new();
    let store = roots.open();
    let layers = layers("bad");
    let docker = || docker_archive(&["bad:1"], &layers);
    let oci = || oci_layout("bad:1", &layers);
    let blob = |members: &BTreeMap<String, Vec<u8>>, start: &[u8]| {
        members.iter().find(|(_, bytes)| bytes.starts_with(start)).map(|(name, _)| name.clone()).unwrap()
    };
    let changed = |mut members: BTreeMap<String, Vec<u8>>, name: &str, bytes: Vec<u8>| {
        members.insert(name.to_owned(), bytes);
        tar(&members)
    };
    let gzip_blob = blob(&oci(), &[0x1f, 0x8b]);
    let manifest_blob = blob(&oci(), b"{ \"schema");
    let without = |name: &str| {
        let mut members = oci();
        members.remove(name);
        tar(&members)
    };
    let long = [oci()[&gzip_blob].clone(), b"more".to_vec()].concat();
    let mut same_length = oci()[&gzip_blob].clone();
    let last = same_length.len() - 6;
    same_length[last] ^= 1;
    let confused = |kind: &str| {
        let manifest = oci()[&manifest_blob].clone();
        let mut members = oci();
        oci_index(&mut members, &[descriptor(kind, &manifest)]);
        tar(&members)
    };
    let cases = [
        ("another layer", changed(docker(), "layer0/layer.tar", layers[1].clone())),
        ("a layer that is no tar", changed(docker(), "layer0/layer.tar", vec![1; 2048])),
        ("fewer layers", changed(docker(), "manifest.json", br#"[{"Config":"x","Layers":[]}]"#.to_vec())),
        ("a huge manifest.json", changed(docker(), "manifest.json", vec![b' '; 5 << 20])),
        ("a config of another name", {
            let config = docker()
                .keys()
                .find(|name| name.ends_with(".json") && *name != "manifest.json")
                .unwrap()
                .clone();
            changed(docker(), &config, b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}".to_vec())
        }),
        ("a longer blob", changed(oci(), &gzip_blob, long)),
        ("a changed blob", changed(oci(), &gzip_blob, same_length)),
        ("a missing blob", without(&gzip_blob)),
        ("a missing manifest", without(&manifest_blob)),
        ("no oci-layout", without("oci-layout")),
        ("a manifest announced as an index", confused(media_type::OCI_INDEX)),
        ("nothing at all", tar(&BTreeMap::from([("etc/passwd".to_owned(), b"root".to_vec())]))),
        ("no archive", b"hello".repeat(1000)),
        ("an archive cut short", tar(&docker())[..3000].to_vec()),
    ];
    for (what, archive) in cases {
        let error = load(&store, &archive).expect_err(what);
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Corrupt | ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::Internal
            ),
            "{what}: {error} is {:?}",
            error.kind()
        );
        assert!(store.images().unwrap().is_empty(), "{what}");
    }
    // Layers that were whole before the fault was met are nobody's, and go.
    sound(&store);
    assert_eq!(store.disk_usage().unwrap().layers, 0);
}

#[test]
fn nothing_leads_out_of_an_archive() {
    let roots = Roots::new();
    let store = roots.open();
    let secret = roots.directory.path().join("secret");
    fs::write(&secret, common::config(&[])).unwrap();
    let metadata = Metadata { mode: 0o777, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() };
    let with_link = |target: &str, layers: &str| {
        let mut writer = Writer::new(Vec::new());
        let manifest = json!([{"Config": "config.json", "Layers": serde_json::from_str::<serde_json::Value>(layers).unwrap()}]).to_string();
        writer.file(b"manifest.json", &metadata, manifest.len() as u64, &mut manifest.as_bytes()).unwrap();
        writer.entry(b"config.json", &metadata, &Kind::Symlink(target.as_bytes().to_vec())).unwrap();
        writer.finish().unwrap()
    };
    let climb = format!("../../../../../../../..{}", secret.display());
    for target in [secret.to_str().unwrap(), &climb, "config.json", "./x/../config.json"] {
        assert!(
            matches!(load(&store, &with_link(target, "[]")).unwrap_err(), Error::MissingMember { .. }),
            "{target}"
        );
    }
    let members = BTreeMap::from([("../../evil".to_owned(), b"x".to_vec())]);
    assert!(matches!(load(&store, &tar(&members)).unwrap_err(), Error::BadArchive { .. }));
    let mut members = docker_archive(&["a"], &[]);
    members.insert("manifest.json".into(), json!([{"Config": climb, "Layers": []}]).to_string().into_bytes());
    assert!(matches!(load(&store, &tar(&members)).unwrap_err(), Error::MissingMember { .. }));
    // A directory's links lead nowhere else either.
    let directory = roots.directory.path().join("layout");
    fs::create_dir_all(&directory).unwrap();
    std::os::unix::fs::symlink(&secret, directory.join("index.json")).unwrap();
    assert!(matches!(
        store.load_directory(&directory, &LoadOptions::default(), &Silent).unwrap_err(),
        Error::NoImageInArchive
    ));
}

#[test]
fn an_old_archives_shared_layers_are_links_inside_it() {
    let roots = Roots::new();
    let store = roots.open();
    let layers = layers("links");
    let members = docker_archive(&["links:1"], &layers);
    let metadata = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() };
    let mut writer = Writer::new(Vec::new());
    for (name, bytes) in &members {
        let name = name.replace("layer1/", "other/");
        writer.file(name.as_bytes(), &metadata, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    }
    writer.entry(b"layer1/layer.tar", &metadata, &Kind::Symlink(b"../other/layer.tar".to_vec())).unwrap();
    assert_eq!(load(&store, &writer.finish().unwrap()).unwrap().len(), 1);
}

#[test]
fn what_is_saved_loads_again_and_is_always_the_same() {
    let (first, second) = (Roots::new(), Roots::new());
    let (one, two) = (first.open(), second.open());
    load(&one, &tar(&oci_layout("a:1", &layers("a")))).unwrap();
    load(&one, &tar(&docker_archive(&["b:1", "b:2"], &layers("b")))).unwrap();
    for format in [Format::DockerArchive, Format::OciArchive] {
        let saved = save(&one, &["a:1", "b"], format);
        assert_eq!(saved, save(&one, &["b:2", "b:1", "a:1"], format), "the order asked for changes nothing");
        load(&two, &saved).unwrap();
        assert_eq!(names(&two), ["a:1", "b:1", "b:2"]);
        for name in ["a:1", "b:1"] {
            assert_eq!(one.resolve(name).unwrap().id, two.resolve(name).unwrap().id);
        }
        assert_eq!(
            save(&two, &["a:1", "b"], format),
            saved,
            "a saved image saves to the same bytes elsewhere"
        );
        sound(&two);
    }
    // The docker side of the archive alone is read too.
    let by_id = save(&one, &[one.resolve("a:1").unwrap().id.short()], Format::DockerArchive);
    assert!(load(&two, &by_id).unwrap()[0].names.is_empty());
    assert!(matches!(
        one.save(&["no:1".into()], Format::OciArchive, None, &Silent, &mut Vec::new()),
        Err(Error::NoSuchImage { .. })
    ));
}

#[test]
fn an_imported_tree_is_an_image() {
    let roots = Roots::new();
    let store = roots.open();
    let options = ImportOptions {
        name: Some(Reference::parse("tree").unwrap()),
        changes: vec!["CMD [\"sh\"]".into(), "ENV A=b".into()],
        message: "by hand".into(),
        created: Some("2024-01-01T00:00:00Z".into()),
        platform: None,
        total: None,
    };
    let id = store.import(&mut gzip(&layers("tree")[0]).as_slice(), &options, &Silent).unwrap();
    let image = store.resolve("tree").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.config.config.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(image.layers, [Digest::of(&layers("tree")[0])]);
    assert_eq!(
        store.import(&mut layers("tree")[0].as_slice(), &options, &Silent).unwrap(),
        id,
        "the same tree, the same image"
    );
    sound(&store);
    let wrong = ImportOptions { changes: vec!["RUN true".into()], ..ImportOptions::default() };
    assert_eq!(
        store.import(&mut std::io::empty(), &wrong, &Silent).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn images_are_found_by_docker_s_rules() {
    let roots = Roots::new();
    let store = roots.open();
    load(&store, &tar(&docker_archive(&["a:1", "h.io:5/b:2"], &layers("a")))).unwrap();
    let image = store.resolve("a:1").unwrap();
    let repo_digest = store.repo_digests(&image.id).unwrap();
    for text in [
        "docker.io/library/a:1",
        "h.io:5/b:2",
        image.id.hex(),
        &image.id.to_string(),
        &image.id.hex()[..4],
        image.id.short(),
        &format!("sha256:{}", image.id.short()),
        &repo_digest[0].to_string(),
    ] {
        assert_eq!(store.resolve(text).unwrap().id, image.id, "{text}");
    }
    for (text, message) in [
        ("a", "No such image: a:latest"),
        ("none:3", "No such image: none:3"),
        (&"0".repeat(64), &format!("No such image: {}", "0".repeat(64))[..]),
    ] {
        assert_eq!(store.resolve(text).unwrap_err().to_string(), message);
    }
    assert_eq!(store.resolve("A:b").unwrap_err().kind(), ErrorKind::InvalidInput);
    store.tag("a:1", &Reference::parse("c").unwrap()).unwrap();
    assert_eq!(names(&store), ["a:1", "c:latest", "h.io:5/b:2"]);
    // A name can move; the image that it leaves stays, without it.
    load(&store, &tar(&docker_archive(&["c"], &layers("c")))).unwrap();
    assert_ne!(store.resolve("c").unwrap().id, image.id);
    assert_eq!(store.names(&image.id).unwrap().len(), 2);
}

#[test]
fn removal_follows_docker_s_rules() {
    let roots = Roots::new();
    let store = roots.open();
    let stopped = |_: &str| false;
    let lines = |removed: Vec<Removed>| removed.iter().map(ToString::to_string).collect::<Vec<_>>();
    let archive = tar(&docker_archive(&["a:1", "a:2", "b:1"], &layers("a")));
    load(&store, &archive).unwrap();
    let image = store.resolve("a:1").unwrap();
    let deleted: Vec<String> =
        std::iter::once(&image.id).chain(&image.layers).map(|digest| format!("Deleted: {digest}")).collect();

    assert_eq!(lines(store.remove("a:1", false, &stopped).unwrap()), ["Untagged: a:1"]);
    let error = store.remove(image.id.short(), false, &stopped).unwrap_err().to_string();
    let short = image.id.short();
    assert_eq!(
        error,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let mut all = lines(store.remove(image.id.short(), true, &stopped).unwrap());
    assert_eq!(all.drain(..2).collect::<Vec<_>>(), ["Untagged: a:2", "Untagged: b:1"]);
    assert_eq!(all.len(), 3);
    assert!(deleted.iter().all(|line| all.contains(line)), "{all:?}");
    assert_eq!(store.remove("a:2", false, &stopped).unwrap_err().to_string(), "No such image: a:2");
    sound(&store);
    assert_eq!(store.disk_usage().unwrap().layers, 0);

    load(&store, &archive).unwrap();
    let container = "c".repeat(64);
    store.lease(&container, &image.id).unwrap();
    assert_eq!(lines(store.remove("a:1", false, &stopped).unwrap()), ["Untagged: a:1"]);
    store.remove("b:1", false, &stopped).unwrap();
    let error = store.remove("a:2", false, &stopped).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "conflict: unable to remove repository reference \"a:2\" (must force) - container cccccccccccc is using its referenced image {short}"
        )
    );
    let error = store.remove(short, false, &stopped).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
        )
    );
    let error = store.remove(short, true, &|_| true).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
        )
    );
    // By its name it loses the name and nothing else.
    assert_eq!(
        lines(store.remove("a:2", true, &|_| true).unwrap()),
        [
            "Untagged: a:2",
            &format!("the image {short} stays without a name: the container cccccccccccc runs from it")
        ]
    );
    assert_eq!(store.images().unwrap()[0].names, []);
    assert_eq!(store.resolve(short).unwrap().layers, image.layers);
    store.tag(short, &Reference::parse("a:2").unwrap()).unwrap();
    assert_eq!(
        lines(store.remove(short, true, &stopped).unwrap()),
        [
            "Untagged: a:2",
            &deleted[0],
            &format!(
                "the data of the image {short} stays until the container cccccccccccc, made from it, is removed"
            )
        ]
    );
    assert!(store.images().unwrap().is_empty() && store.resolve(short).is_err());
    assert_eq!(store.image(&image.id).unwrap().layers, image.layers, "the container's layers stay under it");
    assert_eq!(store.resolve(&image.id.to_string()).unwrap().id, image.id, "it can start again");
    assert!(store.resolve(image.id.hex()).is_err());
    assert!(store.lease("another", &image.id).is_err());
    store.release(&container).unwrap();
    assert!(store.image(&image.id).is_err());
    assert_eq!(store.disk_usage().unwrap().layers, 0);
    sound(&store);
}

#[test]
fn a_container_s_record_alone_keeps_its_layers() {
    let roots = Roots::new();
    let store = roots.open();
    load(&store, &tar(&docker_archive(&["a:1"], &layers("a")))).unwrap();
    let image = store.resolve("a:1").unwrap();
    let directory = store.data().join("containers/cc");
    fs::create_dir(&directory).unwrap();
    // Without an `image` no lease can be made from it: as if the index had been lost, and the field with it.
    let record = json!({"id": "cc", "name": "n", "resolved": {"layers": image.layers}});
    onggi_record::write(&directory.join("container.json"), &record, onggi_record::Durability::Volatile)
        .unwrap();
    // Whoever is asked whether a container runs may look into the store.
    store.lease("dd", &image.id).unwrap();
    store
        .remove("a:1", true, &|id| store.find_name(onggi_store::NameKind::Container, id).unwrap().is_some())
        .unwrap();
    store.release("dd").unwrap();
    assert!(store.images().unwrap().is_empty());
    assert_eq!(store.disk_usage().unwrap().layers, 2);
    fs::remove_dir_all(directory).unwrap();
    store.check(true).unwrap();
    assert_eq!(store.disk_usage().unwrap().layers, 0);
}

#[test]
fn shared_layers_stay_with_the_last_image() {
    let roots = Roots::new();
    let store = roots.open();
    let (first, mut second) = (layers("shared"), layers("shared"));
    second.push(layers("extra")[1].clone());
    load(&store, &tar(&docker_archive(&["first"], &first))).unwrap();
    load(&store, &tar(&docker_archive(&["second"], &second))).unwrap();
    assert_eq!(store.disk_usage().unwrap().layers, 3);
    store.remove("first", false, &|_| false).unwrap();
    assert_eq!(store.disk_usage().unwrap().layers, 3);
    let image = store.resolve("second").unwrap();
    assert_eq!(store.mount_layers(&image).unwrap().len(), 3);
    store.remove("second", false, &|_| false).unwrap();
    assert_eq!(store.disk_usage().unwrap().layers, 0);
    sound(&store);
}

/// Two manifests of one image (the same config): the record keeps the first, a name its own, and what neither keeps goes.
#[test]
fn no_manifest_is_left_that_nobody_names() {
    let roots = Roots::new();
    let store = roots.open();
    let blobs = || fs::read_dir(store.data().join("blobs/sha256")).unwrap().count();
    let plain = tar(&docker_archive(&["a:1"], &layers("a")));
    load(&store, &plain).unwrap();
    assert_eq!(blobs(), 2);
    let second = tar(&oci_layout("a:1", &layers("a")));
    load(&store, &second).unwrap();
    sound(&store);
    let with_second = blobs();
    assert!(with_second > 2, "the layouts are of one image and two manifests");
    // Back to the first: the second one is nobody's.
    load(&store, &plain).unwrap();
    sound(&store);
    assert_eq!(blobs(), 2);
    // The same by a tag, and by removing the name.
    load(&store, &second).unwrap();
    load(&store, &tar(&docker_archive(&["b:1"], &layers("b")))).unwrap();
    store.tag("b:1", &Reference::parse("a:1").unwrap()).unwrap();
    sound(&store);
    load(&store, &second).unwrap();
    store.tag("a:1", &Reference::parse("c:1").unwrap()).unwrap();
    load(&store, &plain).unwrap();
    store.remove("c:1", false, &|_| false).unwrap();
    sound(&store);
}

#[test]
fn a_bare_tag_names_nothing_and_is_told() {
    let roots = Roots::new();
    let store = roots.open();
    let layout = tar(&oci_layout("1.0", &layers("bare")));
    let loaded = load(&store, &layout).unwrap();
    assert_eq!((loaded.len(), loaded[0].names.len(), &loaded[0].bare_tags), (1, 0, &vec!["1.0".to_owned()]));
    assert!(names(&store).is_empty());
    let name = Reference::parse("given:2").unwrap();
    let options = LoadOptions { name: Some(name.clone()), ..LoadOptions::default() };
    let loaded = store.load(&mut layout.as_slice(), &options, &Silent).unwrap();
    assert_eq!((&loaded[0].names, loaded[0].bare_tags.len()), (&vec![name], 0));
    assert_eq!(store.resolve("given:2").unwrap().id, loaded[0].id);
    // A name is in place of the archive's, and for one image.
    let other = tar(&docker_archive(&["theirs:1"], &layers("other")));
    store.load(&mut other.as_slice(), &options, &Silent).unwrap();
    assert_eq!(names(&store), ["given:2"]);
    sound(&store);
}

/// As an archive has it that was saved of an image that was pulled by digest.
#[test]
fn a_name_by_digest_in_docker_s_archive_is_left_out() {
    let roots = Roots::new();
    let store = roots.open();
    let by_digest = format!("pulled@sha256:{}", "5".repeat(64));
    let loaded = load(&store, &tar(&docker_archive(&["kept:1", &by_digest], &layers("some")))).unwrap();
    assert_eq!(loaded[0].bare_tags, std::slice::from_ref(&by_digest));
    assert_eq!(names(&store), ["kept:1"]);
    let alone = load(&store, &tar(&docker_archive(&[&by_digest], &layers("alone")))).unwrap();
    assert!(alone[0].names.is_empty());
    store.resolve(&alone[0].id.to_string()).unwrap();
    sound(&store);
}

#[test]
fn podman_s_directory_is_named_as_what_it_is() {
    let roots = Roots::new();
    let store = roots.open();
    let mut members = oci_layout("a:1", &layers("a"));
    let manifest =
        members.iter().find(|(name, bytes)| name.starts_with("blobs/") && bytes.starts_with(b"{ \"schema"));
    let manifest = manifest.unwrap().1.clone();
    members.clear();
    let directory = roots.directory.path().join("docker-dir");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("manifest.json"), manifest).unwrap();
    fs::write(directory.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    let error = store.load_directory(&directory, &LoadOptions::default(), &Silent).unwrap_err();
    assert!(matches!(error, Error::DockerDirectory), "{error}");
    assert!(error.hint().unwrap().contains("--format oci-dir"));
}
