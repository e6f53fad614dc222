//! Images to and from registries: a real one, with TLS, passwords and tokens; and ones that lie to the store.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use common::registry::{layout, serve};
use common::{busybox, fresh};
use onggi_testkit::http::{Request, Server, respond};
use onggi_testkit::{Compression, ImageArchive, PATIENCE, Registry, RegistryAccess, TestEnv};
use serde_json::{Value, json};

/// What `pull` and `push` say the digest is.
fn digest(said: &str) -> String {
    let word = said.split_whitespace().find(|word| word.starts_with("sha256:"));
    word.unwrap_or_else(|| panic!("no digest in {said}")).to_owned()
}

#[test]
fn a_push_gives_back_the_digest_that_was_pulled() {
    let (onggi, first, second) = (busybox(), Registry::plain(), Registry::plain());
    let here = format!("{}/team/box:1", first.host());
    onggi.ok(["tag", "busybox", &here]);
    let pushed = digest(&onggi.ok(["push", &here]));
    assert_eq!(
        onggi.inspect(&here, "{{index .RepoDigests 0}}"),
        format!("{}/team/box@{pushed}", first.host())
    );
    assert!(onggi.ok(["push", &here]).contains("Layer already exists"));

    onggi.ok(["rmi", "-f", "busybox", &here]);
    let said = onggi.ok(["pull", &here]);
    assert_eq!(digest(&said), pushed);
    assert!(said.contains("1: Pulling from team/box\n") && said.contains(": Pull complete\n"), "{said}");
    assert!(said.ends_with(&format!("Status: Downloaded newer image for {here}\n{here}")), "{said}");
    assert!(onggi.ok(["pull", &here]).contains("Status: Image is up to date for"));
    assert_eq!(onggi.ok(["pull", "-q", &here]), here);

    let mounted = format!("{}/other:x", first.host());
    onggi.ok(["tag", &here, &mounted]);
    let said = onggi.ok(["push", &mounted]);
    assert!(said.contains("Mounted from team/box") && digest(&said) == pushed, "{said}");

    // The blobs are not kept: they are fetched from where the image came, and given on.
    let there = format!("{}/copied:1", second.host());
    onggi.ok(["tag", &here, &there]);
    let said = onggi.ok(["push", &there]);
    assert!(said.contains(": Pushed\n") && digest(&said) == pushed, "{said}");
    onggi.ok(["rmi", &here, &mounted, &there]);

    let by_digest = format!("{}/copied@{pushed}", second.host());
    assert_eq!(digest(&onggi.ok(["pull", &by_digest])), pushed);
    assert_eq!(onggi.ok(["run", "--rm", "--network", "none", &by_digest, "echo", "hello"]), "hello");
    assert_eq!(onggi.ok(["images", "--format", "{{.Tag}}"]), "<none>");
    onggi.ok(["rmi", &by_digest]);
    assert_eq!(onggi.ok(["images", "-q"]), "");
}

#[test]
fn a_push_whose_blobs_are_nowhere_says_so() {
    let (onggi, second) = (busybox(), Registry::plain());
    let (here, there) = {
        let first = Registry::plain();
        let here = format!("{}/box:1", first.host());
        onggi.ok(["tag", "busybox", &here]);
        // Compressed by another gzip than ours, so that it cannot come out the same again.
        let archive = ImageArchive::new("zstd:1", json!({ "Cmd": ["true"] }));
        let archive = archive.layer(fs::read(onggi_testkit::image("busybox")).expect("the image"));
        let path = archive.oci_archive(&onggi.file(""), Compression::Zstd, |_| {});
        onggi.ok(["load", "-i", &path.display().to_string()]);
        onggi.ok(["push", &here]);
        (here, format!("{}/box:1", second.host()))
    };
    onggi.ok(["tag", "zstd:1", &there]);
    let before = onggi.inspect("zstd:1", "{{.Descriptor.digest}}");
    let said = onggi.ok(["push", &there]);
    assert!(said.contains("The digest is another than before: the layers are kept uncompressed"), "{said}");
    assert_ne!(digest(said.lines().last().expect("a line")), before);
    // The image came from a registry that is gone now; our own gzip gives the same bytes all the same.
    onggi.ok(["tag", &here, &format!("{}/again:1", second.host())]);
    let said = onggi.ok(["push", &format!("{}/again:1", second.host())]);
    assert!(
        said.contains("cannot be asked for its layers") && !said.contains("another than before"),
        "{said}"
    );
    let again = format!("{}/again", second.host());
    onggi.ok(["rmi", &format!("{again}:1"), &there]);
    onggi.ok(["pull", "-a", &again]);
    assert_eq!(
        onggi.ok(["run", "--rm", "--network", "none", &format!("{again}:1"), "echo", "hello"]),
        "hello"
    );
}

#[test]
fn a_run_pulls_what_is_not_here() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/box:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    onggi.ok(["push", "-q", &name]);
    onggi.ok(["rmi", "-f", "busybox", &name]);
    let run =
        |pull: &str| onggi.run(["run", "--rm", "--network", "none", "--pull", pull, &name, "echo", "hello"]);
    assert!(run("never").code(125).stderr.contains(&format!("Unable to find image '{name}' locally")));
    let output = run("missing").code(0);
    assert_eq!(output.stdout, "hello\n");
    assert!(
        output.stderr.starts_with(&format!("Unable to find image '{name}' locally\n1: Pulling from box\n")),
        "{output}"
    );
    assert_eq!(run("missing").code(0).stderr, "");
    assert!(run("always").code(0).stderr.contains("Status: Image is up to date"));
    let id = onggi.ok(["create", "--network", "none", "--quiet", "--pull", "always", &name, "true"]);
    onggi.ok(["rm", &id]);
    let missing = format!("{}/box:2", registry.host());
    let output = onggi.run(["run", "--rm", "--network", "none", &missing]).code(125);
    assert!(
        output.stderr.contains(&format!("manifest for {missing} not found: manifest unknown")),
        "{output}"
    );
}

/// A command with settings of its own: certificates beside them, credentials in a file of the test's.
fn as_person(onggi: &TestEnv, arguments: &[&str]) -> onggi_testkit::Run {
    onggi
        .command(arguments)
        .env("ONGGI_CONFIG", onggi.file("etc"))
        .env("REGISTRY_AUTH_FILE", onggi.file("auth.json"))
}

#[test]
fn registries_ask_who_one_is() {
    for access in [RegistryAccess::Password, RegistryAccess::Token] {
        let with_tls = access == RegistryAccess::Password;
        let registry = if with_tls { Registry::with_tls(access) } else { Registry::with_tokens() };
        let onggi = busybox();
        let host = registry.host().to_owned();
        let name = format!("{host}/team/box:1");
        let run = |arguments: &[&str]| as_person(&onggi, arguments).output();
        onggi.ok(["tag", "busybox", &name]);

        if with_tls {
            let output = run(&["push", &name]).code(1);
            assert!(output.stderr.contains("x509: certificate signed by unknown authority"), "{output}");
            assert!(output.stderr.contains(&format!("/etc/onggi/certs.d/{host}/ca.crt")), "{output}");
            // The very certificate, in a file that somebody names; not for another name than its own.
            let named = |name: &str| {
                as_person(&onggi, &["pull", name])
                    .env("SSL_CERT_FILE", registry.certificate())
                    .output()
                    .code(1)
            };
            let output = named(&name);
            assert!(output.stderr.contains(&format!("hint: `onggi login {host}`")), "{output}");
            let output = named(&name.replace("127.0.0.1", "localhost"));
            assert!(output.stderr.contains("not valid for this name"), "{output}");
            registry.trust_in(&onggi.file("etc"));
        }
        let output = run(&["push", &name]).code(1);
        assert!(output.stderr.contains(&format!("hint: `onggi login {host}`")), "{output}");
        let output = run(&["pull", &name]).code(1);
        assert!(output.stderr.contains("onggi login"), "{output}");

        let log_in = |password: &str| {
            as_person(&onggi, &["login", "-u", "me", "--password-stdin", &host]).input(password).output()
        };
        let output = log_in("wrong\n").code(1);
        assert!(!output.stderr.contains("wrong"), "{output}");
        assert!(!onggi.file("auth.json").exists());
        let output = log_in("s3cret\n").code(0);
        assert_eq!(output.stdout, "Login Succeeded\n");
        assert!(output.stderr.contains("stored unencrypted in"), "{output}");

        let pushed = digest(&run(&["push", &name]).code(0).stdout);
        let other = format!("{host}/other:1");
        onggi.ok(["tag", &name, &other]);
        let said = run(&["push", &other]).code(0).stdout;
        assert!(said.contains("Mounted from team/box"), "{access:?}: {said}");
        onggi.ok(["rmi", "-f", "busybox", &name, &other]);
        assert_eq!(digest(&run(&["pull", &name]).code(0).stdout), pushed);

        assert_eq!(
            run(&["logout", &host]).code(0).stdout,
            format!("Removing login credentials for {host}\n")
        );
        assert_eq!(run(&["logout", &host]).code(0).stdout, format!("Not logged in to {host}\n"));
        run(&["pull", &name]).code(1);
    }
}

#[test]
fn credential_helpers_keep_secrets() {
    let (onggi, registry) = (busybox(), Registry::with_tls(RegistryAccess::Password));
    registry.trust_in(&onggi.file("etc"));
    let helper = onggi.write(
        "docker-credential-test",
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat > secret ;;\nget) cat > asked; printf '\\033[2Jtouch the key\\n' >&2; [ -e secret ] && cat secret || { echo credentials not found in native keychain; exit 1; } ;;\nerase) rm secret ;;\nesac\n",
    );
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    let auth = onggi.write("auth.json", r#"{"credsStore":"test","other":true}"#);
    let path = format!("{}:/usr/bin:/bin", helper.parent().expect("a directory").display());
    let host = registry.host();
    let run = |arguments: &[&str], input: &str| {
        as_person(&onggi, arguments).env("PATH", &path).input(input).output()
    };
    let output = run(&["login", "-u", "me", "--password-stdin", host], "s3cret").code(0);
    assert_eq!(output.stderr, "");
    let kept: Value = serde_json::from_str(&fs::read_to_string(&auth).expect("the file")).expect("JSON");
    assert_eq!(kept, json!({ "credsStore": "test", "other": true, "auths": { host: {} } }));
    let name = format!("{host}/box:1");
    onggi.ok(["tag", "busybox", &name]);
    let output = run(&["push", &name], "").code(0);
    assert_eq!(
        output.stderr, "docker-credential-test: \\x1b[2Jtouch the key\n",
        "nothing of it moves a cursor"
    );
    assert_eq!(fs::read_to_string(onggi.file("asked")).expect("it was asked"), host);
    run(&["logout", host], "").code(0);
    assert!(!onggi.file("secret").exists());
    run(&["pull", &name], "").code(1);
}

#[test]
fn a_layer_grows_no_further_than_the_settings_say() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/box:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    onggi.ok(["push", &name]);
    onggi.ok(["rmi", "-f", "busybox", &name]);
    let output = onggi.command(["pull", &name]).env("ONGGI_STORE_LAYER_LIMIT", "100k").output().code(1);
    assert!(output.stderr.contains("the data grows to more than 102400 bytes"), "{output}");
    assert!(output.stderr.contains("hint: ") && output.stderr.contains("`layer_limit`"), "{output}");
    onggi.command(["pull", &name]).env("ONGGI_STORE_LAYER_LIMIT", "100m").output().code(0);
}

#[test]
fn mirrors_are_asked_first_and_passed_over_when_they_fail() {
    let (onggi, registry) = (busybox(), Registry::plain());
    let name = format!("{}/library/box:1", registry.host());
    onggi.ok(["tag", "busybox", &name]);
    let pushed = digest(&onggi.ok(["push", &name]));
    onggi.ok(["rmi", "-f", "busybox", &name]);
    let broken = Server::new(|_, stream| respond(stream, "500 Internal Server Error", &[], b""));
    let mirrors = format!("http://{}, http://{}", broken.host(), registry.host());
    let output = onggi.command(["pull", "box:1"]).env("ONGGI_REGISTRY_MIRRORS", &mirrors).output().code(0);
    assert_eq!(digest(&output.stdout), pushed);
    assert!(
        output.stdout.contains(&format!("the mirror {}/library/box was passed over", broken.host())),
        "{output}"
    );
    assert_eq!(onggi.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]), "box:1");
    // One of this machine needs no scheme, as a registry of this machine needs none.
    onggi.ok(["rmi", "-f", "box:1"]);
    onggi.command(["pull", "box:1"]).env("ONGGI_REGISTRY_MIRRORS", registry.host()).output().code(0);
    // The last one's failure is the one that counts; nobody outside is asked by tests.
    let output =
        onggi.command(["pull", "box:2"]).env("ONGGI_REGISTRY_MIRRORS", registry.host()).output().code(1);
    assert!(output.stderr.contains("connect to the proxy 127.0.0.1:1"), "{output}");
}

/// Nothing of an image is in the store.
fn assert_empty(onggi: &TestEnv) {
    assert_eq!(onggi.ok(["images", "-aq"]), "");
    for directory in ["layers", "blobs/sha256", "images", "tmp"] {
        let entries = fs::read_dir(onggi.data().join(directory)).expect("a directory of the store");
        let left: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
    onggi.ok(["system", "check"]);
}

#[test]
fn what_is_not_as_it_is_said_to_be_leaves_nothing() {
    let onggi = fresh();
    let (layout, layers) = layout(&onggi);
    let other = fs::read(layout.join("blobs").join(layers[1].replace(':', "/"))).expect("a layer");
    let good = fs::read(layout.join("blobs").join(layers[0].replace(':', "/"))).expect("a layer");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let spoiled: Vec<(&str, Vec<u8>, &str)> = vec![
        ("another layer", other, "bytes, not"),
        ("a flipped bit", flipped, "the layer sha256:"),
        ("zeros", vec![0; good.len()], "has the digest"),
        ("a page of a proxy", b"<html>".to_vec(), "is 6 bytes, not"),
    ];
    // In the second form a process has unpacked what came by the time that it is found to be something else.
    let forms =
        ["auto", "directories"].into_iter().flat_map(|form| spoiled.iter().map(move |row| (form, row)));
    for (form, (what, bytes, expected)) in forms {
        let bytes = bytes.clone();
        let target = format!("/blobs/{}", layers[0]);
        let server = serve(layout.clone(), move |request, stream| {
            let spoils = request.target.ends_with(&target);
            if spoils {
                respond(stream, "200 OK", &[], &bytes);
            }
            spoils
        });
        let pull = onggi.command(["pull", &format!("{}/box:1", server.host())]);
        let output = pull.env("ONGGI_STORE_LAYERS", form).output().code(1);
        assert!(output.stderr.contains(expected), "{what}, {form}: {output}");
        assert_empty(&onggi);
    }
    let server = serve(layout, |_, _| false);
    let name = format!("{}/box:1", server.host());
    onggi.ok(["pull", &name]);
    assert_eq!(onggi.ok(["run", "--rm", "--network", "none", &name, "cat", "/file"]), "upper");
}

/// Holds the answer to the first request for a blob back until it is told to go on.
fn held(
    digest: String,
) -> (Receiver<()>, Sender<()>, impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static) {
    let ((asked, is_asked), (go_on, may_go_on)) = (channel(), channel());
    let (first, hold) = (AtomicBool::new(true), Mutex::new((asked, may_go_on)));
    let spoil = move |request: &Request, _: &mut TcpStream| {
        if request.target.ends_with(&digest) && first.swap(false, Ordering::SeqCst) {
            let hold = hold.lock().expect("nobody panics with it");
            // Whoever waits may have ended by now.
            let _ = hold.0.send(());
            let _ = hold.1.recv();
        }
        false
    };
    (is_asked, go_on, spoil)
}

#[test]
fn ctrl_c_leaves_nothing() {
    let onggi = fresh();
    let (layout, layers) = layout(&onggi);
    let (asked, go_on, spoil) = held(layers[0].clone());
    let server = serve(layout, spoil);
    let pull = onggi.command(["pull", &format!("{}/box:1", server.host())]).spawn();
    asked.recv().expect("the layer is asked for");
    pull.process.signal(rustix::process::Signal::INT);
    let output = pull.wait().code(130);
    assert!(output.stderr.contains("interrupted; nothing is left behind"), "{output}");
    // The server may end.
    drop(go_on);
    assert_empty(&onggi);
}

/// Each answer waits until all layers have been asked for.
#[test]
fn layers_come_side_by_side() {
    let onggi = fresh();
    let (layout, layers) = layout(&onggi);
    let asked = Arc::new((Mutex::new(BTreeSet::new()), Condvar::new(), AtomicBool::new(true)));
    let seen = Arc::clone(&asked);
    let server = serve(layout, move |request, _| {
        let (waiting, another, together) = &*seen;
        let Some(layer) = layers.iter().find(|layer| request.target.ends_with(*layer)) else { return false };
        let mut waiting = waiting.lock().expect("nobody panics with it");
        waiting.insert(layer.clone());
        another.notify_all();
        let all = another.wait_timeout_while(waiting, PATIENCE, |waiting| waiting.len() < layers.len());
        if all.expect("nobody panics with it").1.timed_out() {
            together.store(false, Ordering::SeqCst);
        }
        false
    });
    onggi.ok(["pull", &format!("{}/box:1", server.host())]);
    assert_eq!(asked.0.lock().expect("nobody panics with it").len(), 2);
    assert!(asked.2.load(Ordering::SeqCst), "one layer waits for another");
}

#[test]
fn two_pulls_of_one_layer_share_a_download() {
    let onggi = fresh();
    let (layout, layers) = layout(&onggi);
    let (asked, go_on, spoil) = held(layers[0].clone());
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, wanted) = (Arc::clone(&count), layers[0].clone());
    let server = serve(layout, move |request, stream| {
        if request.target.ends_with(&wanted) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        spoil(request, stream)
    });
    let pull =
        |repository: &str| onggi.command(["pull", &format!("{}/{repository}:1", server.host())]).spawn();
    let first = pull("one");
    asked.recv().expect("the layer is asked for");
    let mut second = pull("two");
    second.expect("Waiting");
    go_on.send(()).expect("the server waits");
    let second = second.wait().code(0);
    assert!(second.stdout.contains("Already exists"), "{second}");
    first.wait().code(0);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(onggi.ok(["images", "-q"]).lines().count(), 1);
}

#[test]
fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let onggi = fresh();
    let (layout, _) = layout(&onggi);
    let entry = |architecture: &str| {
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{:064}", 1), "size": 2,
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("arm64"), entry("riscv64")] });
    let server = serve(layout, move |request, stream| {
        if request.target.ends_with("/manifests/1") {
            let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
            respond(stream, "200 OK", &headers, index.to_string().as_bytes());
            return true;
        }
        if request.target.ends_with("/manifests/drop") {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            return true;
        }
        false
    });
    let output = onggi.fails(["pull", &format!("{}/box:1", server.host())]);
    assert!(output.stderr.contains("no matching manifest for linux/amd64"), "{output}");
    assert!(output.stderr.contains("it has linux/arm64, linux/riscv64"), "{output}");
    let output = onggi.fails(["pull", "--platform", "linux/s390x", &format!("{}/box:2", server.host())]);
    assert!(output.stderr.contains("no matching manifest for linux/s390x"), "{output}");
    assert_empty(&onggi);
}

/// What a layer is kept compressed by has steps of its own.
const KEEPING_BLOBS: (&str, &str) = ("ONGGI_STORE_KEEP_BLOBS", "always");
/// So has its tree.
const AS_DIRECTORIES: (&str, &str) = ("ONGGI_STORE_LAYERS", "directories");

/// Kills the program at each step that the command passes, each time in an Onggi of its own, and sees that all is sound afterwards and that
/// the command does its work when it is run again.
fn is_killed_at_each_step<S>(
    least: usize,
    (key, value): (&str, &str),
    prepare: impl Fn() -> (TestEnv, S, Vec<String>),
) {
    let command = |onggi: &TestEnv, words: &[String]| onggi.command(words).env(key, value);
    let points = {
        let (onggi, server, words) = prepare();
        let trace = onggi.write("trace", "");
        command(&onggi, &words).env("ONGGI_FAULT_TRACE", &trace).output().code(0);
        drop(server);
        let text = fs::read_to_string(trace).expect("the trace");
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert!(points.len() >= least, "{points:?}");
    for point in points {
        let (onggi, server, words) = prepare();
        let output = command(&onggi, &words).env("ONGGI_FAULT", format!("{point}:1")).output();
        assert!(output.code != 0 && !output.stderr.contains("panicked"), "{point}: {output}");
        onggi.ok(["system", "check"]);
        command(&onggi, &words).output().code(0);
        let run = ["run", "--rm", "--network", "none", words.last().expect("a name"), "true"];
        onggi.command(run).env(key, value).output().code(0);
        onggi.ok(["system", "check"]);
        drop(server);
    }
}

#[test]
fn a_pull_may_end_at_any_step() {
    for (least, setting) in [(15, KEEPING_BLOBS), (15, AS_DIRECTORIES)] {
        is_killed_at_each_step(least, setting, || {
            let onggi = fresh();
            let server = serve(layout(&onggi).0, |_, _| false);
            let words = vec!["pull".to_owned(), format!("{}/box:1", server.host())];
            (onggi, server, words)
        });
    }
}

#[test]
fn a_push_may_end_at_any_step() {
    is_killed_at_each_step(6, KEEPING_BLOBS, || {
        let (onggi, registry) = (busybox(), Registry::plain());
        let name = format!("{}/box:1", registry.host());
        onggi.ok(["tag", "busybox", &name]);
        (onggi, registry, vec!["push".to_owned(), name])
    });
}

/// The archive has its name when it is whole, and not before.
#[test]
fn a_save_may_end_at_any_step() {
    let saved = |onggi: &TestEnv| onggi.file("saved.tar");
    is_killed_at_each_step(2, KEEPING_BLOBS, || {
        let onggi = fresh();
        let server = serve(layout(&onggi).0, |_, _| false);
        let name = format!("{}/box:1", server.host());
        onggi.ok(["pull", &name]);
        assert!(!saved(&onggi).exists());
        let path = saved(&onggi).display().to_string();
        (onggi, server, ["save", "-o", &path, &name].map(str::to_owned).to_vec())
    });
}

/// A disk that is full at one write after the other: what has failed says so and leaves nothing, and what is left works.
fn meets_a_full_disk_at_each_write(
    least: u32,
    (key, value): (&str, &str),
    act: impl Fn(&TestEnv, &str) -> Vec<String>,
    undo: impl Fn(&TestEnv, &str),
) {
    let onggi = TestEnv::on_small_disk(env!("CARGO_BIN_EXE_onggi"), 24);
    let image = ImageArchive::new("box:1", json!({ "Cmd": ["true"] }));
    let top = onggi.file("top");
    fs::create_dir_all(&top).expect("a directory");
    // Of some blocks, compressed, too.
    let content: Vec<u8> = (0..40_000u64).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect();
    fs::write(top.join("file"), content).expect("a file");
    let layout = image.layer_of(&top).oci_directory(&onggi.file(""), Compression::Gzip, |_| {});
    let server = serve(layout, |_, _| false);
    let name = format!("{}/box:1", server.host());
    let words = act(&onggi, &name);
    let (mut room, mut failures) = (0, 0);
    loop {
        onggi.fill_disk_but(room);
        let output = onggi.command(&words).env(key, value).output();
        onggi.empty_disk();
        assert_eq!(onggi.run(["system", "check"]).code, 0, "{room} bytes: {output}");
        assert_eq!(fs::read_dir(onggi.data().join("tmp")).expect("a directory").count(), 0, "{room} bytes");
        if output.code == 0 {
            break;
        }
        assert!(output.stderr.contains("No space left on device"), "{room} bytes: {output}");
        failures += 1;
        room += 4096;
    }
    assert!(failures >= least, "{failures}");
    undo(&onggi, &name);
    onggi.command(&words).output().code(0);
}

#[test]
fn a_pull_stands_a_full_disk_at_each_write() {
    for setting in [KEEPING_BLOBS, AS_DIRECTORIES] {
        let remove = |onggi: &TestEnv, name: &str| drop(onggi.ok(["rmi", name]));
        let pull = |_: &TestEnv, name: &str| ["pull", name].map(str::to_owned).to_vec();
        meets_a_full_disk_at_each_write(10, setting, pull, remove);
    }
}

#[test]
fn a_save_stands_a_full_disk_at_each_write() {
    let path = |onggi: &TestEnv| onggi.data().join("saved.tar");
    let save = |onggi: &TestEnv, name: &str| {
        onggi.ok(["pull", name]);
        ["save", "-o", &path(onggi).display().to_string(), name].map(str::to_owned).to_vec()
    };
    let remove = |onggi: &TestEnv, _: &str| fs::remove_file(path(onggi)).expect("it was saved");
    meets_a_full_disk_at_each_write(4, KEEPING_BLOBS, save, remove);
}

#[test]
fn a_push_stands_a_full_disk_at_each_write() {
    let registry = Registry::plain();
    let target = format!("{}/pushed:1", registry.host());
    let push = |onggi: &TestEnv, name: &str| {
        onggi.ok(["pull", name]);
        onggi.ok(["tag", name, &target]);
        ["push", &target].map(str::to_owned).to_vec()
    };
    meets_a_full_disk_at_each_write(2, KEEPING_BLOBS, push, |_, _| {});
}

#[test]
fn a_load_stands_a_full_disk_at_each_write() {
    for setting in [KEEPING_BLOBS, AS_DIRECTORIES] {
        let remove = |onggi: &TestEnv, name: &str| drop(onggi.ok(["rmi", name]));
        let load = |onggi: &TestEnv, name: &str| {
            let saved = onggi.file("saved.tar").display().to_string();
            onggi.ok(["pull", name]);
            onggi.ok(["save", "-o", &saved, name]);
            onggi.ok(["rmi", name]);
            ["load", "-i", &saved].map(str::to_owned).to_vec()
        };
        meets_a_full_disk_at_each_write(8, setting, load, remove);
    }
}

#[test]
fn an_import_and_a_name_stand_a_full_disk_at_each_write() {
    let import = |onggi: &TestEnv, _: &str| {
        // The tree that the served layer has.
        let (tar, top) =
            (onggi.file("tree.tar").display().to_string(), onggi.file("top").display().to_string());
        let made = std::process::Command::new("tar").args(["-cf", &tar, "-C", &top, "."]).status();
        assert!(made.expect("tar").success());
        ["import", &tar, "imported:1"].map(str::to_owned).to_vec()
    };
    let remove = |onggi: &TestEnv, _: &str| drop(onggi.ok(["rmi", "imported:1"]));
    meets_a_full_disk_at_each_write(8, KEEPING_BLOBS, import, remove);
    let tag = |_: &TestEnv, _: &str| ["tag", "busybox", "other:1"].map(str::to_owned).to_vec();
    meets_a_full_disk_at_each_write(1, KEEPING_BLOBS, tag, |_, _| {});
}

/// The digest of the only manifest in an archive.
fn saved_digest(archive: &Path) -> String {
    let index = std::process::Command::new("tar").arg("-xOf").arg(archive).arg("index.json").output();
    let index: Value = serde_json::from_slice(&index.expect("tar").stdout).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
    assert!(fresh().ok(["load", "-i", &archive.display().to_string()]).contains("Loaded image"));
    index["manifests"][0]["digest"].as_str().expect("text").to_owned()
}

#[test]
fn a_save_gives_back_the_digest_that_was_pulled() {
    let onggi = fresh();
    let server = serve(layout(&onggi).0, |_, _| false);
    let name = format!("{}/box:1", server.host());
    let pulled = digest(&onggi.ok(["pull", &name]));
    let archive = onggi.file("saved.tar");
    let path = archive.display().to_string();
    let save = |options: &[&str]| onggi.run([&["save", "-o", &path], options, &[&name]].concat()).code(0);
    for format in ["docker-archive", "oci-archive"] {
        assert_eq!(save(&["--format", format]).stderr, "");
        assert_eq!(saved_digest(&archive), pulled, "{format}");
    }
    assert_eq!(save(&["--uncompressed"]).stderr, "");
    assert_ne!(saved_digest(&archive), pulled);
    // By its id it is the same image, from the same registry.
    let id = onggi.inspect(&name, "{{.Id}}");
    for id in [&id, &id["sha256:".len()..][..12]] {
        assert_eq!(onggi.run(["save", "-o", &path, id]).code(0).stderr, "");
        assert_eq!(saved_digest(&archive), pulled);
    }
    drop(server);
    let said = save(&[]).stderr;
    assert!(said.lines().all(|line| line.starts_with("warning: ")), "{said}");
    assert!(
        said.contains("cannot be asked for its layers") && said.contains("by another digest than"),
        "{said}"
    );
    assert_ne!(saved_digest(&archive), pulled);
}

#[test]
fn a_tag_that_is_broken_keeps_no_other_out() {
    let onggi = fresh();
    let server = serve(layout(&onggi).0, |request: &Request, stream: &mut TcpStream| {
        let (status, body) = match request.target.split('?').next().unwrap_or_default() {
            "/v2/box/tags/list" => ("200 OK", r#"{"tags":["broken","good"]}"#),
            "/v2/none/tags/list" => (
                "404 Not Found",
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}"#,
            ),
            "/v2/box/manifests/broken" => ("404 Not Found", ""),
            _ => return false,
        };
        respond(stream, status, &[], body.as_bytes());
        true
    });
    let output = onggi.run(["pull", "-a", &format!("{}/box", server.host())]).code(1);
    assert!(
        output.stdout.contains("Downloaded newer image") && output.stdout.contains("/box:good"),
        "{output}"
    );
    assert!(
        output.stderr.contains("1 of the 2 tags of") && output.stderr.contains("pulled: broken"),
        "{output}"
    );
    assert!(output.stderr.contains("warning: manifest for"), "{output}");
    let none = format!("{}/none", server.host());
    let output = onggi.run(["pull", "-a", &none]).code(1);
    assert!(output.stderr.contains(&format!("repository {none} not found: name unknown")), "{output}");
}

/// Docker and Podman refuse an archive in which a digest stands where a tag should.
#[test]
fn a_saved_repository_has_tags_alone() {
    let onggi = fresh();
    let server = serve(layout(&onggi).0, |_, _| false);
    let repository = format!("{}/box", server.host());
    let pulled = digest(&onggi.ok(["pull", &format!("{repository}:1")]));
    onggi.ok(["pull", &format!("{repository}@{pulled}")]);
    let archive = onggi.file("saved.tar");
    let path = archive.display().to_string();
    for (name, tags) in [
        (repository.clone(), json!([format!("{repository}:1")])),
        (format!("{repository}@{pulled}"), json!([])),
    ] {
        onggi.ok(["save", "-o", &path, &name]);
        let manifest = std::process::Command::new("tar").args(["-xOf", &path, "manifest.json"]).output();
        let manifest: Value = serde_json::from_slice(&manifest.expect("tar").stdout).expect("JSON");
        assert_eq!(manifest[0]["RepoTags"], tags);
        assert_eq!(saved_digest(&archive), pulled);
    }
}

#[test]
fn blobs_that_are_kept_need_no_registry() {
    let onggi = fresh();
    let server = serve(layout(&onggi).0, |_, _| false);
    let name = format!("{}/box:1", server.host());
    let pull = onggi.command(["pull", &name]).env("ONGGI_STORE_KEEP_BLOBS", "always").output().code(0);
    let pulled = digest(&pull.stdout);
    drop(server);
    onggi.ok(["system", "check"]);
    let archive = onggi.file("saved.tar");
    onggi.ok(["save", "-o", &archive.display().to_string(), &name]);
    assert_eq!(saved_digest(&archive), pulled);
    let registry = Registry::plain();
    let target = format!("{}/box:1", registry.host());
    onggi.ok(["tag", &name, &target]);
    let said = onggi.ok(["push", &target]);
    assert_eq!(digest(said.lines().last().expect("a line")), pulled, "{said}");

    // What is damaged is not sent, and is of no more use than what was never kept.
    let layers = fs::read_dir(onggi.data().join("layers")).expect("a directory").flatten();
    let files = layers.flat_map(|layer| fs::read_dir(layer.path()).expect("a layer").flatten());
    let kept: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "blob"))
        .collect();
    assert_eq!(kept.len(), 2);
    for path in &kept {
        let mut bytes = fs::read(path).expect("a blob");
        *bytes.last_mut().expect("a byte") ^= 1;
        fs::write(path, bytes).expect("damage");
    }
    let second = Registry::plain();
    let again = format!("{}/box:1", second.host());
    onggi.ok(["tag", &name, &again]);
    let said = onggi.ok(["push", &again]);
    assert!(
        said.contains("what was kept of it cannot be used") && said.contains("another than before"),
        "{said}"
    );
    let found = onggi.fails(["system", "check"]);
    assert!(format!("{found}").contains("a layer that was kept compressed is damaged"), "{found}");
    onggi.ok(["system", "check", "--repair"]);
    assert!(kept.iter().all(|path| !path.exists()));
    onggi.ok(["system", "check"]);
}

#[test]
fn a_password_is_not_shown() {
    let onggi = fresh();
    for (keys, code, end) in [("s3cret\r", 1, "Connection refused"), ("s3cr\x03", 130, "interrupted")] {
        let mut window = onggi.terminal(["login", "-u", "me", "127.0.0.1:1"]);
        window.expect("Password: ");
        window.press(keys);
        let (ended, screen) = window.wait();
        assert_eq!(ended, code, "{screen}");
        assert!(screen.contains(end) && !screen.contains("s3cr"), "{screen}");
    }
}
