//! Images from other programs' archives, and back: the formats, what must be verified, names.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{busybox, fresh};
use onggi_testkit::{Compression, ImageArchive, TestEnv};
use serde_json::json;

/// Busybox, and on top of it a layer that removes, replaces and adds.
fn two_layers(onggi: &TestEnv) -> ImageArchive {
    let top = onggi.file("top");
    fs::create_dir_all(top.join("etc")).expect("a directory");
    fs::create_dir_all(top.join("var/www")).expect("a directory");
    fs::create_dir_all(top.join("home")).expect("a directory");
    fs::write(top.join("etc/motd"), "from the upper layer\n").expect("a file");
    fs::write(top.join("etc/.wh.group"), "").expect("a file");
    fs::write(top.join("var/www/.wh..wh..opq"), "").expect("a file");
    symlink("motd", top.join("etc/link")).expect("a link");
    fs::hard_link(top.join("etc/motd"), top.join("etc/twin")).expect("a link");
    let config = json!({
        "Entrypoint": ["cat"], "Cmd": ["/etc/motd"], "Env": ["PATH=/bin", "WHAT=image"], "User": "www-data", "WorkingDir": "/home",
        "Labels": {"made.by": "test"}, "StopSignal": "SIGUSR1", "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000_u64, "Retries": 2},
    });
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    ImageArchive::new("docker.io/library/layered:1", config).layer(base).layer_of(&top)
}

fn archives(onggi: &TestEnv, image: &ImageArchive) -> Vec<PathBuf> {
    let made = |name: &str| {
        let directory = onggi.file(name);
        fs::create_dir_all(&directory).expect("a directory");
        directory
    };
    vec![
        image.docker_archive(&made("d0"), Compression::None, |_| {}),
        image.docker_archive(&made("d1"), Compression::Gzip, |_| {}),
        image.docker_archive(&made("d2"), Compression::Zstd, |_| {}),
        image.oci_archive(&made("o0"), Compression::None, |_| {}),
        image.oci_archive(&made("o1"), Compression::Gzip, |_| {}),
        image.oci_archive(&made("o2"), Compression::Zstd, |_| {}),
        image.oci_directory(&made("o3"), Compression::Gzip, |_| {}),
    ]
}

#[test]
fn every_form_is_the_same_image() {
    let onggi = fresh();
    let image = two_layers(&onggi);
    for path in archives(&onggi, &image) {
        let said = onggi.ok(["load", "-i", &path.display().to_string()]);
        assert!(said.contains("layered:1"), "{}: {said}", path.display());
        assert_eq!(onggi.ok(["images", "-q", "--no-trunc"]), image.id(), "{}", path.display());
        assert_eq!(onggi.ok(["run", "--rm", "layered:1"]), "from the upper layer", "{}", path.display());
        onggi.ok(["rmi", "layered:1"]);
        assert_eq!(onggi.ok(["images", "-q"]), "");
    }
}

#[test]
fn an_archive_can_come_through_a_pipe() {
    let onggi = fresh();
    let image = two_layers(&onggi);
    for path in archives(&onggi, &image).iter().take(6) {
        let file = fs::File::open(path).expect("the archive");
        onggi.command(["load"]).stdin(file).success();
        assert_eq!(onggi.ok(["images", "-q", "--no-trunc"]), image.id());
        onggi.ok(["rmi", "layered:1"]);
    }
}

#[test]
fn an_image_without_layers_has_an_empty_root() {
    let onggi = fresh();
    let image = ImageArchive::new("bare:1", json!({"Cmd": ["/program"]}));
    let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.ok(["load", "-i", &path.display().to_string()]);
    onggi.fails(["run", "--name", "jar", "bare:1"]).code(127).says("no such file or directory");
    // What is put into it is there.
    let program = fs::read(onggi_testkit::image("busybox")).expect("the image");
    fs::write(onggi.file("file"), &program[..512]).expect("a file");
    onggi.ok(["cp", &onggi.file("file").display().to_string(), "jar:/file"]);
    assert!(onggi.ok(["diff", "jar"]).lines().any(|line| line == "A /file"));
    onggi.ok(["rm", "jar"]);
    onggi.ok(["system", "check"]);
}

#[test]
fn a_port_that_is_none_is_the_images_fault() {
    let onggi = fresh();
    let image = ImageArchive::new("wrong:1", json!({"Cmd": ["true"], "ExposedPorts": {"99999/tcp": {}}}));
    let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.ok(["load", "-i", &path.display().to_string()]);
    let refused = onggi.fails(["run", "wrong:1"]).code(125);
    assert!(!refused.stderr.contains("--expose"), "{refused}");
    refused.says("the image exposes \"99999/tcp\", which is no port");
}

#[test]
fn layers_cover_one_another() {
    let onggi = fresh();
    let path = two_layers(&onggi).docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.ok(["load", "-i", &path.display().to_string()]);
    let sh = |script: &str| onggi.run(["run", "--rm", "--entrypoint", "sh", "layered:1", "-c", script]);
    assert_eq!(sh("cat /etc/link /etc/twin").code(0).stdout, "from the upper layer\n".repeat(2));
    sh("test ! -e /etc/group && test -e /etc/passwd && test -x /bin/busybox").code(0);
    assert_eq!(sh("ls -A /etc /var/www").code(0).stdout.matches(".wh.").count(), 0);
    assert_eq!(sh("stat -c %h /etc/motd").code(0).stdout, "2\n");
}

#[test]
fn the_configuration_is_obeyed_and_shown() {
    let onggi = fresh();
    let path = two_layers(&onggi).oci_archive(&onggi.file(""), Compression::Zstd, |_| {});
    onggi.ok(["load", "-i", &path.display().to_string()]);
    let script = "id -un; pwd; echo $WHAT; echo $PATH";
    assert_eq!(
        onggi.ok(["run", "--rm", "--entrypoint", "sh", "layered:1", "-c", script]),
        "www-data\n/home\nimage\n/bin"
    );
    assert_eq!(
        onggi.ok(["run", "--rm", "layered:1", "/etc/passwd"]).lines().count(),
        4,
        "words replace CMD, not ENTRYPOINT"
    );
    assert_eq!(
        onggi.inspect("layered:1", "{{json .Config.Healthcheck.Test}} {{.Config.StopSignal}}"),
        "[\"CMD\",\"true\"] SIGUSR1"
    );
    assert_eq!(onggi.inspect("layered:1", "{{index .Config.Labels \"made.by\"}}"), "test");
    assert_eq!(onggi.inspect("layered:1", "{{len .RootFS.Layers}}"), "2");
    onggi.ok(["create", "--name", "jar", "layered:1"]);
    assert_eq!(
        onggi.inspect("jar", "{{.Config.StopSignal}} {{.Config.User}} {{json .Config.Healthcheck.Test}}"),
        "SIGUSR1 www-data [\"CMD\",\"true\"]"
    );
}

#[test]
fn what_is_saved_loads_elsewhere_as_the_same_image() {
    let here = fresh();
    let image = two_layers(&here);
    let path = image.oci_archive(&here.file(""), Compression::Gzip, |_| {});
    here.ok(["load", "-i", &path.display().to_string()]);
    let saved = here.file("saved.tar").display().to_string();
    here.ok(["save", "-o", &saved, "layered:1"]);
    let there = fresh();
    there.ok(["load", "-i", &saved]);
    assert_eq!(there.ok(["images", "-q", "--no-trunc"]), image.id());
    assert_eq!(there.ok(["run", "--rm", "layered:1"]), "from the upper layer");
    let piped = here.run(["save", "layered:1"]).code(0).bytes;
    there.ok(["rmi", "layered:1"]);
    there.command(["load"]).input(piped).success();
    assert_eq!(there.ok(["images", "-q", "--no-trunc"]), image.id());
}

#[test]
fn raw_documents_are_kept_byte_for_byte() {
    let onggi = fresh();
    let image = two_layers(&onggi);
    let layout = image.oci_directory(&onggi.file(""), Compression::Gzip, |_| {});
    onggi.ok(["load", "-i", &layout.display().to_string()]);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("index.json")).expect("JSON");
    let manifest =
        index["manifests"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    for hex in [manifest.as_str(), image.id().trim_start_matches("sha256:")] {
        let kept = fs::read(onggi.data().join("blobs/sha256").join(hex)).expect("the blob is kept");
        assert_eq!(kept, fs::read(layout.join("blobs/sha256").join(hex)).expect("the blob"));
    }
}

#[test]
fn what_is_damaged_never_becomes_an_image() {
    let onggi = fresh();
    let image = two_layers(&onggi);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("a file");
    };
    let largest = |directory: &Path| {
        let files =
            fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
        files
            .filter(|path| path.is_file())
            .max_by_key(|path| path.metadata().map_or(0, |data| data.len()))
            .expect("a file")
    };
    let config = image.id().trim_start_matches("sha256:").to_owned();
    let directory = onggi.file("");
    let mut broken: Vec<(&str, PathBuf)> = Vec::new();
    let mut add = |what, path: PathBuf| {
        let kept = path.with_file_name(format!("broken-{}", broken.len()));
        fs::rename(path, &kept).expect("renamed");
        broken.push((what, kept));
    };
    let layer_of = |tree: &Path| {
        let names = fs::read_dir(tree).expect("a directory").map(|entry| entry.expect("an entry").path());
        names
            .filter(|path| path.is_dir())
            .map(|path| path.join("layer.tar"))
            .max_by_key(|path| path.metadata().map_or(0, |data| data.len()))
            .expect("a layer")
    };
    add(
        "a byte of a docker-archive's layer",
        image.docker_archive(&directory, Compression::None, |tree| flip(&layer_of(tree))),
    );
    add(
        "a layer is missing",
        image.docker_archive(&directory, Compression::None, |tree| {
            fs::remove_file(layer_of(tree)).expect("removed");
        }),
    );
    add(
        "a byte of a layer's blob",
        image.oci_archive(&directory, Compression::None, |tree| flip(&largest(&tree.join("blobs/sha256")))),
    );
    add(
        "a byte of a compressed blob",
        image.oci_archive(&directory, Compression::Zstd, |tree| flip(&largest(&tree.join("blobs/sha256")))),
    );
    add(
        "the config's blob",
        image.oci_directory(&directory, Compression::None, |tree| {
            flip(&tree.join("blobs/sha256").join(&config));
        }),
    );
    add(
        "the config is missing",
        image.oci_archive(&directory, Compression::None, |tree| {
            fs::remove_file(tree.join("blobs/sha256").join(&config)).expect("removed");
        }),
    );
    add(
        "a size that is not true",
        image.oci_archive(&directory, Compression::None, |tree| {
            let index = tree.join("index.json");
            let mut document: serde_json::Value =
                serde_json::from_slice(&fs::read(&index).expect("index.json")).expect("JSON");
            document["manifests"][0]["size"] = json!(17);
            fs::write(&index, document.to_string()).expect("index.json");
        }),
    );
    add(
        "an index that is not JSON",
        image.oci_archive(&directory, Compression::None, |tree| {
            fs::write(tree.join("index.json"), "{").expect("index.json");
        }),
    );
    let whole = image.docker_archive(&directory, Compression::Gzip, |_| {});
    let bytes = fs::read(&whole).expect("the archive");
    fs::write(&whole, &bytes[..bytes.len() - bytes.len() / 4]).expect("the archive");
    add("an archive cut off", whole);
    let nonsense = onggi.write("nonsense", "not an archive at all, but long enough to be looked at\n");
    add("no archive at all", nonsense);
    for (what, path) in &broken {
        let output = onggi.fails(["load", "-i", &path.display().to_string()]);
        assert!(!output.stderr.is_empty() && !output.stderr.contains("panicked"), "{what}: {output}");
        assert_eq!(onggi.ok(["images", "-aq"]), "", "{what}");
    }
    onggi.ok(["system", "check"]);
    onggi.ok([
        "load",
        "-i",
        &image.docker_archive(&directory, Compression::None, |_| {}).display().to_string(),
    ]);
    assert_eq!(onggi.ok(["run", "--rm", "layered:1"]), "from the upper layer", "and a sound one still loads");
}

#[test]
fn a_layer_cannot_reach_outside() {
    let onggi = fresh();
    let victim = onggi.file("victim");
    let tar = |names: &[&str]| {
        let tree = onggi.file("tree");
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(&tree).expect("a directory");
        fs::write(tree.join("file"), "evil").expect("a file");
        let mut command = std::process::Command::new("tar");
        command.arg("-cP").arg("-C").arg(&tree);
        names.iter().for_each(|name| {
            command.arg(format!("--transform=s,^file$,{name},"));
        });
        let output = command.arg("file").output().expect("tar");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    for name in ["../../../../../../../../../../../tmp/onggi-evil", &victim.display().to_string()] {
        let image =
            ImageArchive::new("evil:1", json!({"Cmd": ["true"]})).layer(base.clone()).layer(tar(&[name]));
        let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
        let loaded = onggi.run(["load", "-i", &path.display().to_string()]);
        if loaded.code == 0 {
            // An absolute name is the container's own root, and harmless; running it must not reach out either.
            onggi.ok(["run", "--rm", "evil:1"]);
        }
        assert!(!victim.exists() && !Path::new("/tmp/onggi-evil").exists(), "{name}");
    }
}

#[test]
fn mounts_follow_no_link_of_the_image_s() {
    let onggi = fresh();
    let top = onggi.file("top");
    fs::create_dir_all(&top).expect("a directory");
    let outside = onggi.file("outside");
    fs::create_dir_all(&outside).expect("a directory");
    // /etc leads out of the image: the hosts file, a working directory and a volume must not be made over there.
    symlink(&outside, top.join("etc")).expect("a link");
    symlink("/../../../../../..", top.join("up")).expect("a link");
    let tree = onggi.file("base");
    fs::create_dir_all(tree.join("bin")).expect("a directory");
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static is installed");
    let image = ImageArchive::new("evil:1", json!({"WorkingDir": "/etc/made", "Env": ["PATH=/bin"]}))
        .layer_of(&tree)
        .layer_of(&top);
    let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.ok(["load", "-i", &path.display().to_string()]);
    let inside = format!("/up{}/volume", outside.display());
    onggi.run([
        "run",
        "--rm",
        "-v",
        "data:/etc/volume",
        "-v",
        &format!("more:{inside}"),
        "evil:1",
        "busybox",
        "true",
    ]);
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0);
}

#[test]
fn names_come_and_go() {
    let onggi = busybox();
    let id = onggi.ok(["images", "-q", "--no-trunc"]);
    onggi.ok(["tag", "busybox", "second:v2"]);
    onggi.ok(["tag", &id[7..19], "example.org:5000/team/third"]);
    let listed = onggi.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["busybox:latest", "example.org:5000/team/third:latest", "second:v2"]);
    assert!(onggi.ok(["rmi", "busybox"]).contains("Untagged"));
    onggi.ok(["run", "--rm", "second:v2", "true"]);
    onggi.ok(["create", "--name", "jar", "second:v2", "true"]);
    onggi.fails(["rmi", "example.org:5000/team/third", "second:v2"]).says("is using");
    onggi.ok(["rm", "jar"]);
    onggi.run(["rmi", "second:v2", "example.org:5000/team/third"]);
    assert_eq!(onggi.ok(["images", "-aq"]), "");
    assert!(onggi.fails(["rmi", "second:v2"]).stderr.contains("second:v2"));
    onggi.fails(["tag", "nosuch", "x"]);
    onggi.fails(["inspect", "nosuch"]).says("nosuch");
    let layers = fs::read_dir(onggi.data().join("layers")).map_or(0, Iterator::count);
    assert_eq!(layers, 0, "the last name takes the layers");
}

#[test]
fn import_takes_changes_and_pipes() {
    let onggi = fresh();
    let tar = onggi_testkit::image("busybox");
    let id = onggi
        .command(["import", "-c", "CMD [\"echo\", \"changed\"]", "-c", "ENV A=b", "-", "piped:1"])
        .stdin(fs::File::open(&tar).expect("the image"))
        .success();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(onggi.ok(["run", "--rm", "piped:1"]), "changed");
    assert_eq!(onggi.inspect("piped:1", "{{.Id}}"), id);
    assert_eq!(onggi.ok(["run", "--rm", "piped:1", "sh", "-c", "echo $A"]), "b");
    onggi.fails(["import", "/no/such.tar", "x"]);
    assert_eq!(onggi.ok(["images", "-q"]).lines().count(), 1);
}

#[test]
fn an_archive_that_is_cut_short_leaves_no_file() {
    let onggi = busybox();
    std::fs::create_dir(onggi.file("kept")).expect("a directory");
    let path = onggi.write("kept/image.tar", "an earlier one");
    let path = path.to_str().expect("text");
    // Killed where the archive is half written, which no handler sees.
    let killed =
        onggi.command(["save", "-o", path, "busybox"]).env("ONGGI_FAULT", "store.save.member-written:2");
    assert_ne!(killed.output().code, 0);
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(onggi.file("kept")).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    };
    assert_eq!(names(), ["image.tar"]);
    assert_eq!(std::fs::read_to_string(path).expect("a file"), "an earlier one");
    onggi.ok(["save", "-o", path, "busybox"]);
    assert_eq!(names(), ["image.tar"]);
    assert!(std::fs::metadata(path).expect("a file").len() > 1 << 20);
}
