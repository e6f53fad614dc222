//! What is done with knowing where an image came from: what is lost of it is fetched again, and what can be pulled again goes first.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::busybox;
use onggi_testkit::{Compression, ImageArchive, Registry};
use serde_json::json;

/// What an image has lost, and the registry that it came from still has, comes back by itself.
#[test]
fn a_repair_fetches_lost_layers_and_configs_again() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/box:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    onggi.ok(["push", "-q", &name]);
    onggi.ok(["rmi", "busybox", &name]);
    onggi.ok(["pull", "-q", &name]);
    let layer = only(&onggi.data().join("layers"));
    let config = onggi.data().join("blobs/sha256").join(&onggi.inspect(&name, "{{.Id}}")["sha256:".len()..]);
    let blob = |digest: &str| onggi.data().join("blobs/sha256").join(&digest["sha256:".len()..]);
    let manifest =
        blob(onggi.inspect(&name, "{{index .RepoDigests 0}}").split_once('@').expect("a digest").1);
    let record = onggi.data().join("images").join(config.file_name().expect("a name")).with_extension("json");
    let harms: [(&str, &dyn Fn()); 7] = [
        ("a damaged layer", &|| spoil(&layer.join("layer.tar"))),
        ("a layer that is gone", &|| fs::remove_dir_all(&layer).expect("a layer")),
        ("a layer without its record", &|| fs::remove_file(layer.join("layer.json")).expect("a record")),
        ("a damaged config", &|| spoil(&config)),
        ("a damaged manifest", &|| spoil(&manifest)),
        ("a damaged manifest and no record", &|| {
            spoil(&manifest);
            spoil(&record);
        }),
        ("nothing but its name", &|| {
            fs::remove_dir_all(&layer).expect("a layer");
            for path in [&manifest, &config, &record] {
                fs::remove_file(path).expect("a file");
            }
        }),
    ];
    for (what, harm) in harms {
        harm();
        onggi.run(["system", "check"]).code(1);
        let said = onggi.ok(["system", "check", "--repair"]);
        assert!(said.contains(&format!("fetched again from {name}")), "{what}: {said}");
        assert_eq!(onggi.ok(["system", "check"]).lines().count(), 1, "{what}");
        let digest = onggi.inspect(&name, "{{index .RepoDigests 0}}");
        assert_eq!(manifest, blob(digest.split_once('@').expect("a digest").1), "{what}");
        assert_eq!(onggi.ok(["run", "--rm", "--network", "none", &name, "echo", what]), what);
    }
    // Where the registry is gone, the image is set aside, and the repair says so.
    drop(registry);
    spoil(&layer.join("layer.tar"));
    let said = onggi.run(["system", "check", "--repair"]).code(0);
    let (lost, how) =
        (format!("{name}: it has lost its layer"), format!("hint: `onggi pull {name}` brings it again"));
    assert!(said.stdout.contains(&lost) && said.stdout.contains("could not be fetched again"), "{said}");
    assert!(!said.stdout.contains("left over") && said.stderr.contains(&how), "{said}");
    assert_eq!(onggi.ok(["images", "-q"]), "");
    assert_eq!(onggi.ok(["system", "check"]).lines().count(), 1);
}

/// A record that is damaged costs nothing that is whole, also where no registry answers; and one repair is enough.
#[test]
fn one_repair_is_enough_for_a_record() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/team/app:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    onggi.ok(["push", "-q", &name]);
    onggi.ok(["rmi", "busybox", &name]);
    onggi.ok(["pull", "-q", &name]);
    drop(registry);
    let id = onggi.inspect(&name, "{{.Id}}");
    spoil(&onggi.data().join("images").join(&id["sha256:".len()..]).with_extension("json"));
    let looked = onggi.run(["system", "check"]).code(1).stdout;
    assert!(looked.contains(&format!("the record of {name}")), "{looked}");
    onggi.ok(["system", "check", "--repair"]);
    assert_eq!(onggi.ok(["system", "check"]).lines().count(), 1);
    assert!(!onggi.data().join("lost").exists());
    assert_eq!(onggi.inspect(&name, "{{.Id}}"), id);
}

/// As `docker rmi` with a digest: the tag stays, and stands for the digest again once it is pulled.
#[test]
fn a_reference_by_digest_goes_alone_and_comes_back_with_a_pull() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/box:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    onggi.ok(["push", "-q", &name]);
    onggi.ok(["rmi", "busybox", &name]);
    onggi.ok(["pull", "-q", &name]);
    let by_digest = onggi.inspect(&name, "{{index .RepoDigests 0}}");
    assert_eq!(onggi.ok(["rmi", &by_digest]), format!("Untagged: {by_digest}"));
    assert_eq!(onggi.inspect(&name, "{{len .RepoDigests}} {{len .RepoTags}}"), "0 1");
    onggi.fails(["rmi", &by_digest]).says("No such image");
    assert!(onggi.ok(["pull", &name]).contains("Image is up to date"));
    assert_eq!(onggi.inspect(&name, "{{index .RepoDigests 0}}"), by_digest);
    onggi.ok(["rmi", &name]);
    assert_eq!(onggi.ok(["images", "-q"]), "");
}

/// Also where there is nothing to fetch: the pull is what makes it a person's.
#[test]
fn a_pull_of_what_is_up_to_date_makes_it_a_person_s() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/box:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    onggi.ok(["push", "-q", &name]);
    onggi.ok(["rmi", "busybox", &name]);
    let kubernetes =
        |arguments: &[&str]| onggi.command(arguments).env("ONGGI_STORE_OWNER", "kubernetes").output().code(0);
    kubernetes(&["pull", "-q", &name]);
    assert_eq!(onggi.ok(["images", "--format", "{{.Owner}}"]), "kubernetes");
    assert!(onggi.ok(["pull", &name]).contains("Image is up to date"));
    assert!(kubernetes(&["pull", &name]).stdout.contains("Image is up to date"));
    assert_eq!(onggi.ok(["images", "--format", "{{.Owner}}"]), "person");
    kubernetes(&["image", "prune", "-af"]);
    assert_eq!(onggi.ok(["images", "-q"]).lines().count(), 1);
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("a file");
}

/// The only thing in a directory.
fn only(directory: &Path) -> PathBuf {
    let mut entries = fs::read_dir(directory).expect("a directory");
    let path = entries.next().expect("an entry").expect("an entry").path();
    assert!(entries.next().is_none(), "more than one in {}", directory.display());
    path
}

/// Above the budget the least recently used go that a pull brings back; never what is in use, only here, or has just come.
#[test]
fn a_budget_is_kept_by_what_can_be_pulled_again() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let names: Vec<String> =
        ["old", "used", "young", "new"].map(|name| format!("{}/{name}:1", registry.host())).into();
    for name in &names {
        let tree = onggi.file(name.rsplit('/').next().expect("a name"));
        fs::create_dir_all(&tree).expect("a directory");
        let noise: Vec<u8> = (0..1_000_000_u32).flat_map(|n| (n ^ name.len() as u32).to_le_bytes()).collect();
        fs::write(tree.join("noise"), [name.as_bytes(), &noise].concat()).expect("a file");
        let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
        let image = ImageArchive::new(name, json!({"Cmd": ["true"]})).layer(base).layer_of(&tree);
        let path = image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {});
        onggi.ok(["load", "-q", "-i", &path.display().to_string()]);
        onggi.ok(["push", "-q", name]);
        onggi.ok(["rmi", name]);
    }
    for name in &names[..3] {
        onggi.ok(["pull", "-q", name]);
    }
    let id = onggi.ok(["create", "--network", "none", &names[1], "true"]);
    let pull = |budget: &str| {
        // Also a quiet pull says what went for it.
        let command = onggi.command(["pull", "-q", &names[3]]).env("ONGGI_STORE_BUDGET", budget);
        let said = command.output().code(0).stderr;
        let left = onggi.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        (said, left.lines().map(str::to_owned).collect::<BTreeSet<_>>())
    };
    let all: BTreeSet<_> = names.iter().cloned().chain(["busybox:latest".to_owned()]).collect();
    let without =
        |gone: &[&String]| all.iter().filter(|name| !gone.contains(name)).cloned().collect::<BTreeSet<_>>();
    assert_eq!(pull("0").1, all);
    let (said, left) = pull("15m");
    assert!(said.contains(&format!("warning: removed {}", names[0])), "{said}");
    assert_eq!(left, without(&[&names[0]]));
    let (said, left) = pull("1m");
    assert!(
        said.contains(&format!("warning: removed {}", names[2]))
            && said.contains("MiB, more than store.budget (1MiB)"),
        "{said}"
    );
    assert_eq!(left, without(&[&names[0], &names[2]]));
    onggi.ok(["rm", &id]);
}
