//! Files that outlive a container, or come from the host.

mod common;

use std::fs;

use common::{busybox, fresh};
use onggi_testkit::{Compression, ImageArchive};
use serde_json::json;

#[test]
fn a_named_volume_outlives_its_containers() {
    let onggi = busybox();
    onggi.ok(["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file"]);
    assert_eq!(
        onggi.ok(["run", "--rm", "-v", "data:/elsewhere:ro", "busybox", "cat", "/elsewhere/file"]),
        "kept"
    );
    let output = onggi.run(["run", "--rm", "-v", "data:/data:ro", "busybox", "touch", "/data/x"]).code(1);
    assert!(output.stderr.contains("Read-only"), "{output}");
}

#[test]
fn an_empty_volume_is_filled_from_the_image() {
    let onggi = busybox();
    assert_eq!(
        onggi.ok(["run", "--rm", "-v", "users:/etc", "busybox", "grep", "-c", ":", "/etc/passwd"]),
        "4"
    );
    onggi.ok([
        "run",
        "--rm",
        "-v",
        "users:/data",
        "busybox",
        "sh",
        "-c",
        "grep -q www-data /data/passwd && rm /data/passwd",
    ]);
    onggi.run(["run", "--rm", "-v", "users:/etc", "busybox", "test", "-e", "/etc/passwd"]).code(1);
    let none = "type=volume,source=other,target=/etc,volume-nocopy";
    onggi.run(["run", "--rm", "--mount", none, "busybox", "test", "-e", "/etc/passwd"]).code(1);
}

#[test]
fn directories_of_the_host() {
    let onggi = busybox();
    let directory = onggi.file("shared");
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("in"), "from the host\n").expect("a file");
    let bind = |options: &str| format!("{}:/shared{options}", directory.display());
    assert_eq!(
        onggi.ok([
            "run",
            "--rm",
            "-v",
            &bind(""),
            "busybox",
            "sh",
            "-c",
            "cat /shared/in; echo back > /shared/out"
        ]),
        "from the host"
    );
    assert_eq!(fs::read_to_string(directory.join("out")).expect("the file"), "back\n");
    onggi.run(["run", "--rm", "-v", &bind(":ro"), "busybox", "touch", "/shared/x"]).code(1);
    let file = format!("{}:/etc/passwd:ro", directory.join("in").display());
    assert_eq!(onggi.ok(["run", "--rm", "-v", &file, "busybox", "cat", "/etc/passwd"]), "from the host");
    let missing = format!("type=bind,source={},target=/x", directory.join("missing").display());
    onggi.run(["run", "--rm", "--mount", &missing, "busybox", "true"]).code(125).says("missing");
    let made = format!("{}:/x", directory.join("made").display());
    onggi.ok(["run", "--rm", "-v", &made, "busybox", "true"]);
    assert!(directory.join("made").is_dir(), "-v makes what is missing, as Docker's");
}

#[test]
fn a_volume_of_the_image_s_goes_with_its_container() {
    let onggi = fresh();
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    let image = ImageArchive::new("voluminous:1", json!({"Volumes": {"/data": {}}, "Env": ["PATH=/bin"]}))
        .layer(base);
    let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.ok(["load", "-i", &path.display().to_string()]);
    let volumes = || fs::read_dir(onggi.data().join("volumes")).map_or(0, Iterator::count);
    assert!(onggi.ok(["run", "--rm", "voluminous:1", "grep", " /data ", "/proc/mounts"]).contains("/data"));
    assert_eq!(volumes(), 0, "--rm takes what nobody named");
    onggi.ok(["create", "--name", "jar", "voluminous:1", "true"]);
    onggi.ok(["rm", "-v", "jar"]);
    assert_eq!(volumes(), 0);
    onggi.ok(["run", "--rm", "-v", "named:/data", "voluminous:1", "true"]);
    assert_eq!(volumes(), 1, "what has a name stays");
}

#[test]
fn what_a_container_writes_is_its_own_and_stays_until_it_goes() {
    let onggi = busybox();
    onggi.ok(["run", "--name", "writer", "busybox", "sh", "-c", "cat /count 2>/dev/null; echo x >> /count"]);
    assert_eq!(onggi.ok(["start", "-a", "writer"]), "x");
    assert_eq!(onggi.ok(["start", "-a", "writer"]), "x\nx");
    onggi.run(["run", "--rm", "busybox", "test", "-e", "/count"]).code(1);
}
