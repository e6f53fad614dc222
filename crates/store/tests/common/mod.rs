//! What the store's tests share: a store of their own, and archives made on the spot.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use onggi_archive::tar::Kind;
use onggi_archive::write::Writer;
use onggi_archive::{Metadata, Timestamp};
use onggi_image::{Digest, media_type};
use onggi_store::{LayerForm, LoadOptions, Loaded, Silent, Store};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};

/// A data root and a run root that go with it, mounts included.
pub(crate) struct Roots {
    pub(crate) directory: tempfile::TempDir,
}

impl Roots {
    /// In memory, so that nothing waits for a disk; layers are unpacked there, since EROFS cannot be mounted from files of tmpfs.
    pub(crate) fn new() -> Roots {
        let mut builder = tempfile::Builder::new();
        builder.prefix("onggi-store-");
        Roots { directory: builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap() }
    }

    /// On the disk, where EROFS can be mounted.
    pub(crate) fn on_disk() -> Roots {
        Roots { directory: tempfile::Builder::new().prefix("onggi-store-").tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(LayerForm::Auto)
    }

    pub(crate) fn open_with(&self, form: LayerForm) -> Store {
        Store::open_with(&self.data(), &self.run(), form).unwrap()
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        let left = Store::open(&self.data(), &self.run()).and_then(|store| store.unmount_all());
        if !std::thread::panicking() {
            left.unwrap();
        }
    }
}

/// Tests that mount need root; without it they must fail rather than pass for nothing.
pub(crate) fn needs_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_some(),
        "run this test as root, or set ONGGI_TEST_UNPRIVILEGED=1"
    );
    false
}

/// One entry of a layer.
pub(crate) enum Entry {
    Directory(u32),
    File(u32, &'static str),
    Link(&'static str),
    HardLink(&'static str),
}

/// The tar of a layer.
pub(crate) fn layer(entries: &[(&str, Entry)]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (path, entry) in entries {
        let (path, mode) = (
            path.as_bytes(),
            match entry {
                Entry::Directory(mode) | Entry::File(mode, _) => *mode,
                Entry::Link(_) | Entry::HardLink(_) => 0o777,
            },
        );
        let metadata = metadata(mode);
        match entry {
            Entry::Directory(_) => tar.entry(path, &metadata, &Kind::Directory).unwrap(),
            Entry::File(_, text) => {
                tar.file(path, &metadata, text.len() as u64, &mut text.as_bytes()).unwrap();
            }
            Entry::Link(target) => {
                tar.entry(path, &metadata, &Kind::Symlink(target.as_bytes().to_vec())).unwrap();
            }
            Entry::HardLink(target) => {
                tar.entry(path, &metadata, &Kind::HardLink(target.as_bytes().to_vec())).unwrap();
            }
        }
    }
    tar.finish().unwrap()
}

/// A read-only overlay over some layers, unmounted at the end.
pub(crate) struct Overlay {
    pub(crate) target: PathBuf,
}

impl Overlay {
    pub(crate) fn new(roots: &Roots, lower: &[PathBuf]) -> Overlay {
        let target = roots.directory.path().join("merged");
        fs::create_dir_all(&target).unwrap();
        // A lower directory more, since overlayfs wants two for a mount without an upper one.
        let empty = roots.directory.path().join("empty");
        fs::create_dir_all(&empty).unwrap();
        let lower: Vec<_> = lower.iter().chain([&empty]).map(|path| path.to_str().unwrap()).collect();
        let options = format!("lowerdir={}", lower.join(":"));
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("overlay", &target, "overlay", MountFlags::RDONLY, options.as_c_str()).unwrap();
        Overlay { target }
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        self.metadata(path).mode() & 0o7777
    }

    pub(crate) fn metadata(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.target.join(path)).unwrap()
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.target.join(path)).ok()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.target, UnmountFlags::DETACH).unwrap();
    }
}

pub(crate) fn metadata(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 0 },
        xattrs: Vec::new(),
    }
}

/// A tar of named members.
pub(crate) fn tar(members: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (name, bytes) in members {
        tar.file(name.as_bytes(), &metadata(0o644), bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    }
    tar.finish().unwrap()
}

/// A small image of two layers, with something in its config that tells it from others.
pub(crate) fn layers(tag: &'static str) -> Vec<Vec<u8>> {
    let base = layer(&[
        ("etc/", Entry::Directory(0o755)),
        ("etc/name", Entry::File(0o644, tag)),
        ("tmp/", Entry::Directory(0o1777)),
    ]);
    vec![base, layer(&[("tmp/x", Entry::File(0o600, tag))])]
}

pub(crate) fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Labels": {"a": "b"}}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    serde_json::to_vec_pretty(&config).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The members of what `docker save` wrote before version 25.
pub(crate) fn docker_archive(names: &[&str], layers: &[Vec<u8>]) -> BTreeMap<String, Vec<u8>> {
    let config = config(layers);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut members = BTreeMap::new();
    let mut layer_names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("layer{number}/layer.tar");
        members.insert(name.clone(), layer.clone());
        layer_names.push(name);
    }
    let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": layer_names}]);
    members.insert("manifest.json".into(), manifest.to_string().into_bytes());
    members.insert(config_name, config);
    members
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// Adds a blob to an OCI layout.
pub(crate) fn add_blob(members: &mut BTreeMap<String, Vec<u8>>, bytes: Vec<u8>) {
    members.insert(format!("blobs/sha256/{}", Digest::of(&bytes).hex()), bytes);
}

/// The members of an OCI layout with one image of compressed layers under one name.
pub(crate) fn oci_layout(name: &str, layers: &[Vec<u8>]) -> BTreeMap<String, Vec<u8>> {
    let mut members = BTreeMap::new();
    let manifest = oci_image(&mut members, layers);
    let mut entry = descriptor(media_type::OCI_MANIFEST, &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    oci_index(&mut members, &[entry]);
    members
}

/// Adds an image's blobs: the first layer gzip, the others zstd. Returns the manifest.
pub(crate) fn oci_image(members: &mut BTreeMap<String, Vec<u8>>, layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config(layers);
    let mut descriptors = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let (kind, blob) = match number {
            0 => (media_type::OCI_LAYER_GZIP, gzip(layer)),
            _ => (media_type::OCI_LAYER_ZSTD, zstd(layer)),
        };
        descriptors.push(descriptor(kind, &blob));
        add_blob(members, blob);
    }
    // Odd spacing: the bytes must be kept as they are.
    let manifest = format!(
        "{{ \"schemaVersion\": 2,\n \"config\": {},\n\"layers\": {} }}\n",
        descriptor(media_type::OCI_CONFIG, &config),
        Value::Array(descriptors)
    );
    add_blob(members, config);
    add_blob(members, manifest.clone().into_bytes());
    manifest.into_bytes()
}

pub(crate) fn oci_index(members: &mut BTreeMap<String, Vec<u8>>, entries: &[Value]) {
    let index = json!({"schemaVersion": 2, "manifests": entries});
    members.insert("index.json".into(), index.to_string().into_bytes());
    members.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
}

pub(crate) fn load(store: &Store, archive: &[u8]) -> Result<Vec<Loaded>, onggi_store::Error> {
    store.load(&mut { archive }, &LoadOptions::default(), &Silent)
}

/// All files below a directory with their contents, for comparing.
pub(crate) fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false => {
                    files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
                }
            }
        }
    }
    files
}
