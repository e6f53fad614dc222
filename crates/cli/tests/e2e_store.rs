//! The store as its owner meets it: a layer that is damaged, images that are in use, a disk that is full.

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::{busybox, fresh};
use onggi_testkit::{Compression, ImageArchive, Output, TestEnv};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

/// What a command printed, without what differs from run to run: the test's directory and all ids.
fn shown(onggi: &TestEnv, output: &Output) -> String {
    let replace_ids = |line: &str| {
        let word = |word: &str| match word.bytes().filter(u8::is_ascii_hexdigit).count() {
            64 if word.len() == 64 => "<digest>".to_owned(),
            12 if word.len() == 12 => "<id>".to_owned(),
            _ => word.to_owned(),
        };
        let mut shown = String::new();
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
            shown.push_str(&word(&rest[..end]));
            let next = rest[end..].chars().next().map_or(0, char::len_utf8);
            shown.push_str(&rest[end..end + next]);
            rest = &rest[end + next..];
        }
        shown
    };
    let data = onggi.data().display().to_string();
    let lines = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().map(|line| replace_ids(&line.replace(&data, "DATA"))).collect();
        // Findings come in the order of their digests.
        let findings = lines.len().saturating_sub(1);
        lines[..findings].sort();
        lines.join("\n")
    };
    format!("exit {}\n{}\n---\n{}", output.code, lines(&output.stdout), lines(&output.stderr))
}

fn archive(onggi: &TestEnv, name: &str) -> PathBuf {
    let top = onggi.file("top");
    fs::create_dir_all(&top).expect("a directory");
    fs::write(top.join("file"), name).expect("a file");
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    ImageArchive::new(name, json!({"Cmd": ["cat", "/file"]})).layer(base).layer_of(&top).docker_archive(
        &onggi.file(""),
        Compression::None,
        |_| {},
    )
}

#[test]
fn a_damaged_layer_is_set_aside_with_its_image_and_comes_back_with_a_load() {
    let onggi = fresh();
    let archive = archive(&onggi, "hurt:1").display().to_string();
    onggi.ok(["load", "-i", &archive]);
    let layer = onggi.inspect("hurt:1", "{{index .RootFS.Layers 1}}");
    let tar = onggi.data().join("layers").join(layer.trim_start_matches("sha256:")).join("layer.tar");
    let mut bytes = fs::read(&tar).expect("the layer");
    bytes[600] ^= 1;
    fs::write(&tar, bytes).expect("the layer");
    let check = |arguments: &[&str]| shown(&onggi, &onggi.run(arguments));
    insta::assert_snapshot!("damaged_look", check(&["system", "check"]));
    insta::assert_snapshot!("damaged_repair", check(&["system", "check", "--repair"]));
    insta::assert_snapshot!("damaged_after", check(&["system", "check"]));
    assert!(
        onggi
            .ok(["system", "df"])
            .lines()
            .last()
            .expect("a line")
            .starts_with("Set aside by `system check --repair`")
    );
    assert!(!onggi.ok(["system", "df", "--format", "{{.Type}}"]).contains("Set aside"));
    onggi.fails(["run", "--rm", "hurt:1"]).says("Unable to find image");
    onggi.ok(["load", "-i", &archive]);
    assert_eq!(onggi.ok(["run", "--rm", "hurt:1"]), "hurt:1");
    insta::assert_snapshot!("damaged_loaded_again", check(&["system", "check"]));
    assert!(onggi.data().join("lost/1/layers").is_dir(), "what was set aside stays");
}

#[test]
fn a_check_only_looks_and_a_repair_removes() {
    let onggi = busybox();
    let orphan = onggi.data().join("blobs/sha256").join(onggi_testkit::sha256_hex(b"orphan"));
    fs::write(&orphan, "orphan").expect("a blob");
    insta::assert_snapshot!("left_over_look", shown(&onggi, &onggi.run(["system", "check"])));
    assert!(orphan.exists());
    insta::assert_snapshot!("left_over_repair", shown(&onggi, &onggi.run(["system", "check", "--repair"])));
    assert!(!orphan.exists());
}

#[test]
fn an_image_that_is_in_use_is_removed_by_docker_s_rules() {
    let onggi = busybox();
    let id = onggi.ok(["images", "-q"]);
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    insta::assert_snapshot!("rmi_running", shown(&onggi, &onggi.run(["rmi", "busybox"])));
    insta::assert_snapshot!("rmi_running_force_id", shown(&onggi, &onggi.run(["rmi", "-f", &id])));
    insta::assert_snapshot!("rmi_running_force_name", shown(&onggi, &onggi.run(["rmi", "-f", "busybox"])));
    assert_eq!(onggi.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]), "<none>:<none>");
    assert_eq!(onggi.ok(["exec", "jar", "echo", "it runs"]), "it runs");
    onggi.ok(["stop", "-t", "0", "jar"]);
    insta::assert_snapshot!("rmi_stopped_force", shown(&onggi, &onggi.run(["rmi", "-f", &id])));
    assert_eq!(onggi.ok(["images", "-q"]), "");
    onggi.ok(["start", "jar"]);
    assert_eq!(onggi.ok(["exec", "jar", "echo", "it starts"]), "it starts");
    onggi.ok(["rm", "-f", "jar"]);
    let layers = fs::read_dir(onggi.data().join("layers")).expect("the layers").count();
    assert_eq!(layers, 0, "the data goes with the last container");
}

/// A small file system under the data root, gone before the test's directory.
struct Disk(PathBuf);

impl Disk {
    fn under(path: &Path) -> Disk {
        fs::create_dir_all(path).expect("a directory");
        mount("onggi-test", path, "tmpfs", MountFlags::empty(), Some(c"size=16m")).expect("a mount");
        Disk(path.to_owned())
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filling")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn on_a_full_disk_everything_can_be_seen_and_images_can_go_also_right_after_a_boot() {
    let onggi = fresh();
    let disk = Disk::under(&onggi.data());
    onggi.import("busybox");
    onggi.ok(["tag", "busybox", "second"]);
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    disk.fill();
    // As after a boot: nothing of the run root is there.
    let run = onggi.run_root();
    for entry in fs::read_dir(&run).expect("the run root") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::remove_file(path).expect("removed");
        }
    }
    assert_eq!(onggi.ok(["ps", "-a", "--format", "{{.Names}}"]), "jar");
    assert_eq!(onggi.ok(["images", "--format", "{{.Repository}}"]), "busybox\nsecond");
    assert_eq!(onggi.inspect("jar", "{{.Name}}"), "/jar");
    onggi.ok(["system", "check"]);
    onggi.fails(["create", "busybox", "true"]);
    onggi.ok(["rmi", "second"]);
    onggi.ok(["rm", "jar"]);
    onggi.ok(["image", "prune", "-af"]);
    assert_eq!(onggi.ok(["images", "-q"]), "");
    onggi.import("busybox");
}

/// What a prune printed, without ids and sizes.
fn pruned(output: &str) -> String {
    let word = |word: &str| match word.trim_start_matches("sha256:") {
        id if id.len() == 64 => "<id>".to_owned(),
        _ if word.ends_with('B') && word.starts_with(|first: char| first.is_ascii_digit()) => {
            if word == "0B" { word.to_owned() } else { "<size>".to_owned() }
        }
        word => word.to_owned(),
    };
    let lines = output.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn prune_removes_what_nobody_uses_and_says_what() {
    let onggi = busybox();
    onggi.ok(["tag", "busybox", "kept:1"]);
    let other = archive(&onggi, "other:1").display().to_string();
    onggi.ok(["load", "-i", &other]);
    onggi.ok(["create", "--name", "labelled", "--label", "keep=me", "busybox", "true"]);
    onggi.ok(["create", "--name", "jar", "-v", "/anonymous", "-v", "named:/d", "busybox", "true"]);
    let prune = |arguments: &[&str]| pruned(&onggi.ok(arguments));
    let nothing = "Total reclaimed space: 0B";
    assert_eq!(prune(&["container", "prune", "-f", "--filter", "until=1h"]), nothing);
    assert_eq!(prune(&["image", "prune", "-f"]), nothing);
    onggi.run(["system", "prune"]).code(0).says("nothing is removed: nobody answered");
    onggi.ok(["create", "--name", "asked", "--label", "asked", "busybox", "true"]);
    for (answer, left) in [("n\n", "asked"), ("\n", "asked"), ("y\n", "")] {
        onggi.command(["container", "prune", "--filter", "label=asked"]).input(answer).output().code(0);
        assert_eq!(onggi.ok(["ps", "-a", "--filter", "label=asked", "--format", "{{.Names}}"]), left);
    }
    onggi.fails(["system", "prune", "-f", "--volumes", "--filter", "until=1h"]).says("not supported");
    onggi.fails(["image", "prune", "-f", "--filter", "colour=red"]).says("there is no filter colour");
    insta::assert_snapshot!(
        "prune_system",
        prune(&["system", "prune", "-af", "--volumes", "--filter", "label!=keep=me"])
    );
    assert_eq!(onggi.ok(["ps", "-aq"]).lines().count(), 1);
    assert_eq!(onggi.ok(["volume", "ls", "-q"]), "named");
    assert_eq!(onggi.ok(["images", "--format", "{{.Repository}}"]), "busybox\nkept");
    assert!(prune(&["system", "prune", "-af"]).contains("Deleted Containers:"));
    assert_eq!(onggi.ok(["images", "-aq"]), "");
    insta::assert_snapshot!("prune_volumes", prune(&["volume", "prune", "-af"]));
}

#[test]
fn a_collection_takes_nothing_of_another_s() {
    let onggi = busybox();
    let other = archive(&onggi, "pod:1").display().to_string();
    let kubernetes =
        |arguments: &[&str]| onggi.command(arguments).env("ONGGI_STORE_OWNER", "kubernetes").output();
    kubernetes(&["load", "-q", "-i", &other]).code(0);
    let list = ["images", "--format", "{{.Repository}} {{.Owner}}"];
    assert_eq!(onggi.ok(list), "busybox person\npod kubernetes");
    assert_eq!(onggi.ok(["images", "-q", "--filter", "owner=kubernetes"]).lines().count(), 1);
    kubernetes(&["rmi", "-f", "busybox"])
        .code(1)
        .says("busybox:latest is person's, and is not removed for kubernetes");
    assert!(!kubernetes(&["image", "prune", "-af"]).code(0).stdout.contains("busybox"));
    assert_eq!(onggi.ok(list), "busybox person");

    kubernetes(&["load", "-q", "-i", &other]).code(0);
    onggi.ok(["tag", "pod:1", "mine:1"]);
    // What both have named stays for both.
    for words in [
        ["image", "prune", "-af", "--filter", "owner=kubernetes"],
        ["image", "prune", "-af", "--filter", "owner=person"],
    ] {
        onggi.ok(words);
        assert_eq!(onggi.ok(["images", "-q", "mine"]).lines().count(), 1);
        assert_eq!(onggi.ok(["images", "-q", "pod"]).lines().count(), 1);
    }
    assert_eq!(onggi.ok(["images", "-q", "busybox"]), "");
    onggi.ok(["rmi", "mine:1"]);
    onggi.ok(["image", "prune", "-af", "--filter", "owner=kubernetes"]);
    assert_eq!(onggi.ok(["images", "-aq"]), "");
    onggi.command(["images"]).env("ONGGI_STORE_OWNER", "A b").output().code(1).says("store.owner");
}

#[test]
fn df_measures_what_prune_would_free() {
    let onggi = busybox();
    let field = |kind: &str, field: &str| {
        let format = format!("{{{{if eq .Type \"{kind}\"}}}}{{{{.{field}}}}}{{{{end}}}}");
        onggi.ok(["system", "df", "--format", &format]).trim().to_owned()
    };
    let other = archive(&onggi, "other:1").display().to_string();
    onggi.ok(["load", "-i", &other]);
    onggi.ok(["run", "-d", "--name", "jar", "-v", "data:/d", "busybox", "sleep", "1000"]);
    onggi.ok(["create", "--name", "cold", "busybox", "true"]);
    for (kind, total, active) in [("Images", "2", "1"), ("Containers", "2", "1"), ("Local Volumes", "1", "1")]
    {
        assert_eq!(
            (field(kind, "TotalCount"), field(kind, "Active")),
            (total.into(), active.into()),
            "{kind}"
        );
    }
    assert!(field("Containers", "Reclaimable").ends_with("%)"));
    assert!(field("Local Volumes", "Reclaimable").ends_with("(0%)"));
    assert_eq!(onggi.ok(["system", "df"]).lines().count(), 4);
    let verbose = onggi.ok(["system", "df", "-v"]);
    for wanted in ["Images space usage:", "UNIQUE SIZE", "other", "jar", "VOLUME NAME", "data"] {
        assert!(verbose.contains(wanted), "{verbose}");
    }
    let all = onggi.ok(["system", "df", "-v", "--format", "{{json .}}"]);
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all["Containers"].as_array().map(Vec::len), Some(2));
    assert_eq!(all["Volumes"][0]["Links"], "1");
    // What is said to be reclaimable is what a prune gives back.
    let reclaimable = field("Images", "Reclaimable");
    let said = onggi.ok(["image", "prune", "-af"]);
    let freed = said.lines().last().and_then(|line| line.rsplit(' ').next()).expect("a size").to_owned();
    assert!(reclaimable.starts_with(&format!("{freed} (")), "{reclaimable} were promised, {freed} came");
}

#[test]
fn a_reset_says_what_it_removed() {
    let onggi = busybox();
    onggi.ok(["create", "-v", "data:/d", "busybox", "true"]);
    let said = pruned(&onggi.ok(["system", "reset", "-f"]));
    assert_eq!(said, "Removed 1 container, 1 image and 1 volume\nTotal reclaimed space: <size>");
}

#[test]
fn a_reset_leaves_what_is_not_onggis() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "-v", "kept:/d", "busybox", "sleep", "1000"]);
    let id = onggi.inspect("jar", "{{.Id}}");
    // A neighbour whose roots are in ours.
    let (data, run) = (onggi.data().join("inner"), onggi.run_root().join("inner"));
    let inner = |words: &[&str]| {
        let command = onggi.command(words).env("ONGGI_ROOT", &data).env("ONGGI_RUN_ROOT", &run);
        command.output().code(0).stdout
    };
    inner(&["import", &onggi_testkit::image("busybox").display().to_string(), "busybox"]);
    inner(&["run", "-d", "--name", "neighbour", "--network", "none", "busybox", "sleep", "1000"]);
    let host = onggi.file("host");
    fs::create_dir(&host).expect("a directory");
    fs::write(host.join("kept"), "the host's").expect("a file");
    let places = [
        onggi.run_root().join("mnt"),
        onggi.run_root().join("sandboxes/mnt"),
        onggi.run_root().join("layers/mnt"),
        onggi.data().join("volumes/kept/_data/mnt"),
        onggi.data().join(format!("containers/{id}/upper/mnt")),
        onggi.data().join("lost"),
    ];
    for place in &places {
        fs::create_dir_all(place).expect("a directory");
        rustix::mount::mount_bind(&host, place).expect("a bind mount");
    }
    let stray = onggi.data().join("stray");
    fs::write(&stray, "").expect("a file");

    let output = onggi.run(["system", "reset", "-f"]);

    assert_eq!(fs::read_to_string(host.join("kept")).expect("the host's file"), "the host's");
    assert_eq!(inner(&["ps", "--format", "{{.Names}} {{.State}}"]), "neighbour running\n");
    assert_eq!(inner(&["exec", "neighbour", "echo", "alive"]), "alive\n");
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    for foreign in [&places[0], &places[1], &data, &run, &stray] {
        assert!(output.stderr.contains(&format!("{} stays: it is not", foreign.display())), "{output}");
    }
    let passing = fs::read_dir(onggi.data().join("tmp")).expect("a directory").flatten();
    let moved = passing
        .map(|entry| entry.path())
        .find(|path| path.display().to_string().contains(&format!("/container-{id}.")));
    let moved = moved.expect("the container's directory").join("upper/mnt");
    for mounted in [&onggi.run_root().join("layers"), &places[3], &moved, &places[5]] {
        let stays = format!("{} stays: something is mounted there", mounted.display());
        assert!(output.stderr.contains(&stays), "{output}");
    }
    // When they are gone, so is everything else.
    inner(&["rm", "-f", "neighbour"]);
    inner(&["system", "reset", "-f"]);
    for place in places.iter().map(|place| if place.exists() { place } else { &moved }) {
        unmount(place, UnmountFlags::DETACH).expect("it is still mounted");
    }
    fs::remove_dir(&places[0]).expect("an empty directory");
    fs::remove_dir(&places[1]).expect("an empty directory");
    fs::remove_dir(&places[2]).expect("an empty directory");
    fs::remove_file(&stray).expect("the file");
    for directory in [&data, &run] {
        fs::remove_dir(directory).expect("an empty directory");
    }
    assert_eq!(onggi.run(["system", "reset", "-f"]).code(0).stderr, "");
    for root in [onggi.data(), onggi.run_root()] {
        assert_eq!(fs::read_dir(root).expect("the root").count(), 0);
    }
}

#[test]
fn a_reset_that_is_cut_short_is_finished_by_the_next() {
    for fault in ["engine.reset.run-root:1", "engine.reset.unrecorded:1", "engine.reset.unrecorded:2"] {
        let onggi = busybox();
        onggi.ok(["create", "-v", "data:/d", "busybox", "true"]);
        onggi.command(["system", "reset", "-f"]).env("ONGGI_FAULT", fault).output();
        // What it had come to is sound, and can be used.
        onggi.ok(["images"]);
        onggi.ok(["system", "check", "--repair"]);
        onggi.ok(["system", "check"]);
        onggi.ok(["import", &onggi_testkit::image("busybox").display().to_string(), "busybox"]);
        assert_eq!(onggi.run(["system", "reset", "-f"]).code(0).stderr, "", "after {fault}");
        for root in [onggi.data(), onggi.run_root()] {
            assert_eq!(fs::read_dir(root).expect("the root").count(), 0, "after {fault}");
        }
    }
}

#[test]
fn while_containers_live_no_other_run_root_is_taken() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let other = onggi.file("other");
    let elsewhere = |words: &[&str]| onggi.command(words).env("ONGGI_RUN_ROOT", &other).output();
    let said = format!("live in the run root {}, not in {}", onggi.run_root().display(), other.display());
    for words in
        [&["ps", "-a"][..], &["info"], &["system", "reset", "-f"], &["run", "--rm", "busybox", "true"]]
    {
        elsewhere(words).says(&said).says("another run root can be taken when none of them runs");
    }
    assert!(!other.exists());
    // Who says none is led to where they live.
    let unsaid =
        onggi.command(["ps", "--format", "{{.Names}} {{.State}}"]).env("ONGGI_RUN_ROOT", "").output();
    assert_eq!(unsaid.code(0).stdout, "jar running\n");
    let shown = onggi.command(["config", "show", "--origin"]).env("ONGGI_RUN_ROOT", "").output().code(0);
    assert!(shown.stdout.contains("where containers of the data root live"), "{shown}");
    assert_eq!(onggi.ok(["exec", "jar", "echo", "alive"]), "alive");
    onggi.ok(["rm", "-f", "jar"]);
    // Nobody lives there any more.
    assert_eq!(elsewhere(&["ps", "-aq"]).code(0).stdout, "");
}

#[test]
fn images_have_events() {
    let onggi = busybox();
    let other = archive(&onggi, "other:1").display().to_string();
    onggi.ok(["load", "-i", &other]);
    onggi.ok(["tag", "busybox", "second:1"]);
    let saved = onggi.file("saved.tar").display().to_string();
    onggi.ok(["save", "-o", &saved, "second:1"]);
    onggi.ok(["rmi", "second:1"]);
    onggi.ok(["image", "prune", "-af"]);
    let format = "{{.Action}} {{.Actor.Attributes.name}}";
    let events =
        onggi.ok(["events", "--since", "1", "--until", "0s", "--filter", "type=image", "--format", format]);
    let events: Vec<String> = events
        .lines()
        .map(
            |line| {
                if line.contains("sha256:") { line[..line.len() - 65].to_owned() } else { line.to_owned() }
            },
        )
        .collect();
    insta::assert_snapshot!("image_events", events.join("\n"));
}

#[test]
fn images_are_listed_by_pattern_and_filter() {
    let onggi = busybox();
    onggi.ok(["load", "-i", &archive(&onggi, "team/one:1.0").display().to_string()]);
    onggi.ok(["load", "-i", &archive(&onggi, "two:2").display().to_string(), "-t", "third:3"]);
    onggi.ok(["tag", "busybox", "busybox:old"]);
    let list = |arguments: &[&str]| {
        let format = ["--format", "{{.Repository}}:{{.Tag}}"];
        let said = onggi.ok(["images"].iter().chain(&format).chain(arguments));
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines.join(" ")
    };
    for (arguments, wanted) in [
        (&["busy*"][..], "busybox:latest busybox:old"),
        (&["busybox:old"], "busybox:old"),
        (&["team/*"], "team/one:1.0"),
        (&["t*"], "third:3"),
        (&["nothing"], ""),
        (&["--filter", "reference=*:[0-9]"], "third:3"),
        (&["--filter", "dangling=true"], ""),
        (&["--filter", "label=none"], ""),
        (&["--filter", "until=1h"], "team/one:1.0 third:3"),
        (&["--filter", "since=third:3"], "busybox:latest busybox:old"),
        (&["--filter", "before=busybox"], "team/one:1.0 third:3"),
    ] {
        assert_eq!(list(arguments), wanted, "{arguments:?}");
    }
    let ids = onggi.ok(["images", "--no-trunc", "-q", "team/one"]);
    assert_eq!(ids, onggi.inspect("team/one:1.0", "{{.Id}}"));
    let digest = onggi.ok(["images", "--digests", "--format", "{{.Digest}}", "team/one"]);
    assert!(onggi.inspect("team/one:1.0", "{{.RepoDigests}}").contains(&digest), "{digest}");
    onggi.fails(["images", "--filter", "colour=red"]).says("there is no filter colour");
    assert_eq!(onggi.inspect("busybox", "{{.Config.Entrypoint}} {{.Config.Volumes}}"), "[] map[]");
}

#[test]
fn an_image_that_says_1970_has_no_known_age() {
    let onggi = fresh();
    onggi.ok(["hello"]);
    assert_eq!(onggi.ok(["images", "--format", "{{.CreatedSince}}"]), "N/A");
}

#[test]
fn the_root_of_a_running_container_has_a_path() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let merged = onggi.inspect("jar", "{{.GraphDriver.Data.MergedDir}}");
    onggi.ok(["exec", "jar", "touch", "/made-inside"]);
    assert!(Path::new(&merged).join("made-inside").exists(), "{merged}");
    onggi.ok(["stop", "-t", "0", "jar"]);
    assert_eq!(onggi.inspect("jar", "{{.GraphDriver.Data.MergedDir}}"), "");
}
