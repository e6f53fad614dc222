//! Image archives as other programs write them: `docker save`'s and OCI layouts, compressed or not, and broken on purpose.
//!
//! Written here from the formats' texts, not with Onggi's own `save`: a reader tested with its own writer proves little. The tar
//! files come from the system's tar.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How layers (in OCI layouts) or the whole archive are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn apply(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes any bytes")
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).expect("memory takes any bytes"),
        }
    }

    fn layer_type(self) -> &'static str {
        match self {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// An image being put together.
#[derive(Debug)]
pub struct ImageArchive {
    name: String,
    layers: Vec<Vec<u8>>,
    config: Value,
}

impl ImageArchive {
    /// An image `name` (with its tag) without layers; `config` is the part that `docker run` reads: Cmd, Env, User …
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "callers write json!({…}) in place")]
    pub fn new(name: &str, config: Value) -> ImageArchive {
        let config = json!({"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", "config": config});
        ImageArchive { name: name.to_owned(), layers: Vec::new(), config }
    }

    /// Says that it is for another platform than linux/amd64.
    #[must_use]
    pub fn platform(mut self, os: &str, architecture: &str) -> ImageArchive {
        self.config["os"] = json!(os);
        self.config["architecture"] = json!(architecture);
        self
    }

    /// Adds a layer on top: the bytes of a tar file.
    #[must_use]
    pub fn layer(mut self, tar: Vec<u8>) -> ImageArchive {
        self.layers.push(tar);
        self
    }

    /// Adds a layer on top of the files in `directory`.
    #[must_use]
    pub fn layer_of(self, directory: &Path) -> ImageArchive {
        self.layer(tar(directory))
    }

    /// The configuration's bytes: their digest is the image's id.
    #[must_use]
    pub fn config(&self) -> Vec<u8> {
        let mut config = self.config.clone();
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| digest(layer)).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["history"] =
            json!(self.layers.iter().map(|_| json!({"created_by": "test"})).collect::<Vec<_>>());
        config.to_string().into_bytes()
    }

    /// The image's id, `sha256:…`.
    #[must_use]
    pub fn id(&self) -> String {
        digest(&self.config())
    }

    /// A docker-archive (manifest.json, one tar a layer), compressed as a whole; `spoil` may change the files before they are packed.
    pub fn docker_archive(
        &self,
        directory: &Path,
        compression: Compression,
        spoil: impl FnOnce(&Path),
    ) -> PathBuf {
        let tree = fresh(directory, "docker-archive");
        let config = self.config();
        let config_name = format!("{}.json", sha256_hex(&config));
        write(&tree.join(&config_name), &config);
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", sha256_hex(layer));
            write(&tree.join(&name), layer);
            names.push(name);
        }
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": names}]);
        write(&tree.join("manifest.json"), manifest.to_string().as_bytes());
        spoil(&tree);
        pack(&tree, directory, "docker.tar", compression)
    }

    /// An OCI image layout as a directory, its layers compressed; `spoil` as above.
    pub fn oci_directory(&self, directory: &Path, layers: Compression, spoil: impl FnOnce(&Path)) -> PathBuf {
        let tree = fresh(directory, "oci-layout");
        let blob = |bytes: &[u8]| {
            write(&tree.join("blobs/sha256").join(sha256_hex(bytes)), bytes);
            json!({"digest": digest(bytes), "size": bytes.len()})
        };
        let described = |bytes: &[u8], media_type: &str| {
            let mut descriptor = blob(bytes);
            descriptor["mediaType"] = json!(media_type);
            descriptor
        };
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| described(&layers.apply(layer), layers.layer_type())).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(&self.config(), "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        });
        let mut descriptor =
            described(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        descriptor["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        write(&tree.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor],
        });
        write(&tree.join("index.json"), index.to_string().as_bytes());
        spoil(&tree);
        tree
    }

    /// The same layout as one tar file.
    pub fn oci_archive(&self, directory: &Path, layers: Compression, spoil: impl FnOnce(&Path)) -> PathBuf {
        let tree = self.oci_directory(directory, layers, spoil);
        pack(&tree, directory, "oci.tar", Compression::None)
    }
}

/// The tar of a layer with nothing but hard links, each a name and its target: no tool writes one without the target in it.
pub fn hard_links(links: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, target) in links {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let numbers: [(usize, &[u8]); 5] = [
            (100, b"0000644"),
            (108, b"0000000"),
            (116, b"0000000"),
            (124, b"00000000000"),
            (136, b"00000000000"),
        ];
        for (at, number) in numbers {
            put(at, number);
        }
        put(0, name.as_bytes());
        put(148, b"        1");
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&block);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// The sha256 of `bytes` in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

fn fresh(directory: &Path, name: &str) -> PathBuf {
    let tree = directory.join(name);
    let _ = fs::remove_dir_all(&tree);
    tree
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory of the test's");
    fs::write(path, bytes).expect("a file of the test's");
}

fn pack(tree: &Path, directory: &Path, name: &str, compression: Compression) -> PathBuf {
    let path = directory.join(name);
    write(&path, &compression.apply(&tar(tree)));
    path
}

/// The directory's content as a tar, in a fixed order, without `./` before the names.
fn tar(directory: &Path) -> Vec<u8> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("a directory of the test's")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    let output = Command::new("tar")
        .args(["--create", "--sort=name", "--mtime=@0", "--numeric-owner", "--xattrs", "--directory"])
        .arg(directory)
        .arg("--")
        .args(&names)
        .output()
        .expect("tar is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tools_read_what_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path().join("tree");
        write(&tree.join("etc/file"), b"content");
        let image = ImageArchive::new("x:1", json!({"Cmd": ["true"]})).layer_of(&tree);
        let list = |path: &Path| {
            let output = Command::new("tar").arg("-tf").arg(path).output().expect("tar");
            assert!(output.status.success());
            String::from_utf8(output.stdout).expect("names")
        };
        assert!(
            list(&image.docker_archive(directory.path(), Compression::Zstd, |_| {}))
                .contains("manifest.json\n")
        );
        let names = list(&image.oci_archive(directory.path(), Compression::Gzip, |_| {}));
        assert!(names.contains("oci-layout\n") && names.contains(&image.id()[7..]), "{names}");
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
