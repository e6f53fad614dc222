//! A registry of one image, which a test may have answer as it likes.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use onggi_testkit::http::{Request, Server, respond};
use onggi_testkit::{Compression, ImageArchive, TestEnv};
use serde_json::{Value, json};

/// The files of an OCI layout as a registry serves them, but for what `spoil` answers itself.
pub(crate) fn serve(
    layout: PathBuf,
    spoil: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> Server {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("the index")).expect("JSON");
    let manifest = index["manifests"][0].clone();
    let text = |key: &str| manifest[key].as_str().expect("a descriptor").to_owned();
    let (kind, first) = (text("mediaType"), text("digest"));
    Server::new(move |request, stream| {
        if !request.target.starts_with("/v2/") || spoil(request, stream) {
            return;
        }
        let last = request.target.rsplit('/').next().unwrap_or_default();
        let digest = if last.starts_with("sha256:") { last } else { &first };
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        let headers: &[(&str, &str)] = &[("Content-Type", &kind)];
        respond(stream, "200 OK", headers, &fs::read(path).expect("a blob"));
    })
}

/// An image of two layers, as a directory in OCI's layout; and the digests of its layers, the lowest first.
pub(crate) fn layout(onggi: &TestEnv) -> (PathBuf, Vec<String>) {
    let archive = ImageArchive::new("box:1", json!({ "Cmd": ["true"] }));
    let archive = archive.layer(fs::read(onggi_testkit::image("busybox")).expect("the image"));
    let top = onggi.file("top");
    fs::create_dir_all(&top).expect("a directory");
    fs::write(top.join("file"), "upper").expect("a file");
    let layout = archive.layer_of(&top).oci_directory(&onggi.file(""), Compression::Gzip, |_| {});
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON") };
    let manifest =
        read(&layout.join("index.json"))["manifests"][0]["digest"].as_str().expect("text").replace(':', "/");
    let layers = read(&layout.join("blobs").join(manifest))["layers"].as_array().expect("a list").clone();
    (layout, layers.iter().map(|layer| layer["digest"].as_str().expect("text").to_owned()).collect())
}
