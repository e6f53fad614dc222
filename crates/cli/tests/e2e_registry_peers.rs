//! Images that other programs have pushed, pulled here and given on, and pulled by them again: the digest stays, and the tree is the same. What is not
//! installed is said and left out.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::fresh;
use onggi_testkit::{Compression, ImageArchive, Registry, TestEnv};
use serde_json::json;

/// Runs a peer's command line, and gives what it says.
fn peer(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{line}: {}", text(&output.stderr)))
    }
}

#[track_caller]
fn ok(line: &str) -> String {
    peer(line).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Whether a peer can be used; says so if it cannot.
fn is_here(probe: &str) -> bool {
    let answer = peer(probe);
    if let Err(problem) = &answer {
        // A test that has tested nothing must not look like one that has.
        let _ =
            std::io::Write::write_all(&mut std::io::stderr(), format!("not tested: {problem}\n").as_bytes());
    }
    answer.is_ok()
}

fn archive(onggi: &TestEnv, name: &str) -> String {
    let image = ImageArchive::new(name, json!({ "Cmd": ["cat", "/file"] }));
    let image = image.layer(fs::read(onggi_testkit::image("debian")).expect("the image"));
    let top = onggi.file("top");
    // The upper layer replaces a file, takes one and a directory away, and hides what a directory had.
    for directory in ["etc/apt", "usr/share", "var/lib/dpkg"] {
        fs::create_dir_all(top.join(directory)).expect("a directory");
    }
    for (file, content) in [
        ("file", "from the upper layer\n"),
        ("etc/issue", "another\n"),
        ("etc/.wh.debian_version", ""),
        ("usr/share/.wh.doc", ""),
        ("etc/apt/.wh..wh..opq", ""),
        ("etc/apt/only", "this\n"),
    ] {
        fs::write(top.join(file), content).expect("a file");
    }
    fs::hard_link(top.join("file"), top.join("link")).expect("a link");
    std::os::unix::fs::symlink("../file", top.join("etc/symbolic")).expect("a link");
    let path = image.layer_of(&top).docker_archive(&onggi.file(""), Compression::None, |_| {});
    path.display().to_string()
}

fn digest(said: &str) -> String {
    let word = said.split_whitespace().find(|word| word.starts_with("sha256:"));
    word.unwrap_or_else(|| panic!("no digest in {said}")).to_owned()
}

/// Pulls from the first registry, runs the image, pushes to the second; the digest of both.
fn through_here(onggi: &TestEnv, from: &str, to: &str) -> String {
    let pulled = digest(&onggi.ok(["pull", from]));
    assert_eq!(onggi.ok(["run", "--rm", "--network", "none", from]), "from the upper layer");
    onggi.ok(["tag", from, to]);
    let said = onggi.ok(["push", to]);
    assert_eq!(digest(said.lines().last().expect("a line")), pulled, "{said}");
    onggi.ok(["rmi", from, to]);
    pulled
}

/// Every name of an image's root file system as an engine exports it, with all that is to be seen of it; without what engines put there.
fn tree(onggi: &TestEnv, engine: &str, name: &str) -> Vec<String> {
    let place = onggi.file(&format!("tree-{}", engine.len()));
    fs::create_dir_all(&place).expect("a directory");
    let tar = place.with_extension("tar").display().to_string();
    if engine == "onggi" {
        onggi.ok(["create", "--name", "jar", name]);
        onggi.ok(["export", "-o", &tar, "jar"]);
        onggi.ok(["rm", "jar"]);
    } else {
        let id = ok(&format!("{engine} create --network none {name}"));
        ok(&format!("{engine} export -o {tar} {id}"));
        ok(&format!("{engine} rm {id}"));
    }
    let script = r"set -e
        tar --numeric-owner --same-owner --xattrs --xattrs-include='*' -xpf $1 -C $2; cd $2
        rm -rf dev proc sys run .dockerenv etc/hosts etc/hostname etc/resolv.conf etc/mtab
        find . -mindepth 1 -type d -printf '%P %y %m %U:%G\n' -o -printf '%P %y %m %U:%G %n %s %l %T@\n'
        find . -type f -exec sha256sum {} +";
    let output = Command::new("sh").args(["-c", script, "sh", &tar]).arg(&place).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert!(lines.len() > 1000, "{}", lines.len());
    lines
}

/// Both engines show the same of the image.
fn same_tree(onggi: &TestEnv, engine: &str, name: &str) {
    onggi.ok(["pull", name]);
    let (ours, theirs) = (tree(onggi, "onggi", name), tree(onggi, engine, name));
    onggi.ok(["rmi", name]);
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).take(20).cloned().collect()
    };
    let differs = (only(&ours, &theirs), only(&theirs, &ours));
    assert!(ours == theirs, "only here and only there: {differs:#?}");
}

#[test]
fn skopeo() {
    if !is_here("skopeo --version") {
        return;
    }
    let (onggi, first, second) = (fresh(), Registry::plain(), Registry::plain());
    let source = archive(&onggi, "onggi-test/skopeo:1");
    let layout = Path::new(&source).with_file_name("layout");
    for (number, options) in
        ["", "--dest-compress-format zstd", "--format oci", "--format v2s2"].iter().enumerate()
    {
        let (from, to) =
            (format!("{}/box:{number}", first.host()), format!("{}/box:{number}", second.host()));
        ok(&format!(
            "skopeo copy --quiet --dest-tls-verify=false {options} docker-archive:{source} docker://{from}"
        ));
        let digest = through_here(&onggi, &from, &to);
        let seen = ok(&format!("skopeo inspect --tls-verify=false --format {{{{.Digest}}}} docker://{to}"));
        assert_eq!(seen, digest, "{options}");
        // All of it is there, too.
        ok(&format!(
            "skopeo copy --quiet --src-tls-verify=false docker://{to} oci:{}:{number}",
            layout.display()
        ));
    }
}

#[test]
fn podman() {
    if !is_here("podman info --format json") {
        return;
    }
    let (onggi, first, second) = (fresh(), Registry::plain(), Registry::plain());
    let name = "localhost/onggi-test/podman:1";
    let source = archive(&onggi, name);
    let (from, to) = (format!("{}/box:1", first.host()), format!("{}/box:1", second.host()));
    ok(&format!("podman load --quiet -i {source}"));
    ok(&format!("podman push --quiet --tls-verify=false {name} {from}"));
    ok(&format!("podman rmi {name}"));
    let digest = through_here(&onggi, &from, &to);
    ok(&format!("podman pull --quiet --tls-verify=false {to}"));
    assert_eq!(ok(&format!("podman image inspect --format {{{{.Digest}}}} {to}")), digest);
    same_tree(&onggi, "podman", &to);
    ok(&format!("podman rmi {to}"));
}

#[test]
fn docker() {
    if !is_here("docker version --format {{.Server.Version}}") {
        return;
    }
    let (onggi, first, second) = (fresh(), Registry::plain(), Registry::plain());
    let name = "onggi-test/docker:1";
    let source = archive(&onggi, name);
    let (from, to) = (format!("{}/box:1", first.host()), format!("{}/box:1", second.host()));
    ok(&format!("docker load --quiet -i {source}"));
    ok(&format!("docker tag {name} {from}"));
    ok(&format!("docker push {from}"));
    ok(&format!("docker rmi {name} {from}"));
    let pulled = through_here(&onggi, &from, &to);
    assert_eq!(digest(&ok(&format!("docker pull {to}"))), pulled);
    same_tree(&onggi, "docker", &to);
    ok(&format!("docker rmi {to}"));
}
