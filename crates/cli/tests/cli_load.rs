//! Loading that is broken off: by Ctrl-C, by an input that is none. Needs no root: no layer gets as far as a mount.

mod cli;

use std::io::Write as _;
use std::process::Stdio;

use cli::Place;
use onggi_testkit::{Compression, ImageArchive};

fn left_in_tmp(place: &Place) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(place.directory().join("data/tmp")) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let place = Place::new();
    for words in [&["load"][..], &["import", "-"]] {
        let mut command = place.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // The input stays open: without the signal it would wait for ever.
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&[0; 1024]).expect("it reads");
        // The program keeps its signals from before it touches the store.
        while left_in_tmp(&place).is_empty() {
            assert!(child.try_wait().expect("a state").is_none(), "it must wait for its input");
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        drop(stdin);
        assert_eq!(output.status.code(), Some(130), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "onggi: interrupted; nothing is left behind\n");
        assert_eq!(left_in_tmp(&place), Vec::<String>::new(), "{words:?}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    let place = Place::new();
    std::fs::write(place.directory().join("no.tar"), "this is not a tar").expect("a file");
    let (out, err, code) = place.run(&["load", "-i", "no.tar"]);
    assert_eq!((out.as_str(), code), ("", 1));
    assert_eq!(
        err,
        "onggi: the archive: this is not a tar: it ends after 17 bytes, which is less than the header of a first entry\n"
    );
    assert_eq!(left_in_tmp(&place), Vec::<String>::new());
    assert_eq!(place.run(&["images", "-q"]), (String::new(), String::new(), 0));
}

#[test]
fn an_image_for_another_machine_is_kept_and_said_to_be_one() {
    let place = Place::new();
    let load = |name: &str, os: &str, architecture: &str| {
        let archive = ImageArchive::new(name, serde_json::json!({"Cmd": ["/x"]})).platform(os, architecture);
        let path = archive.docker_archive(place.directory(), Compression::None, |_| {});
        let (out, err, code) = place.run(&["load", "-q", "-i", &path.display().to_string()]);
        assert_eq!((out, code), (format!("Loaded image: {name}\n"), 0), "{err}");
        err
    };
    let foreign = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let warning = load("far:1", "linux", foreign);
    assert!(
        warning.starts_with(&format!("warning: image far:1 is for linux/{foreign}, this host is linux/")),
        "{warning}"
    );
    let warning = load("window:1", "windows", "amd64");
    assert!(warning.contains("image window:1 is for windows/"), "{warning}");
    let warning = load("old:1", "", "");
    assert_eq!(warning, "");

    let (_, errors, _) = place.run(&["create", "far:1"]);
    let wanted =
        format!("The requested image's platform (linux/{foreign}) does not match the detected host platform");
    assert!(errors.contains(&wanted), "{errors}");
    for verb in ["create", "run"] {
        let (out, errors, code) = place.run(&[verb, "window:1"]);
        assert_eq!((out.as_str(), code), ("", 125), "{errors}");
        assert!(errors.starts_with("onggi: image operating system \"windows\" cannot be used"), "{errors}");
    }
}

#[test]
fn an_image_tells_its_history() {
    let place = Place::new();
    let files = place.directory().join("files");
    std::fs::create_dir(&files).expect("a directory");
    std::fs::write(files.join("x"), "x").expect("a file");
    let archive = ImageArchive::new("told:1", serde_json::json!({"Cmd": ["/x"]})).layer_of(&files);
    let path = archive.docker_archive(place.directory(), Compression::None, |_| {});
    place.run(&["load", "-q", "-i", &path.display().to_string()]);
    let id = archive.id();
    let (out, err, code) = place.run(&["history", "told:1"]);
    assert_eq!((err.as_str(), code), ("", 0));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "IMAGE          CREATED   CREATED BY   SIZE      COMMENT");
    assert!(lines[1].starts_with(&format!("{}   N/A       test         ", &id[7..19])), "{out}");
    let (out, _, _) = place.run(&[
        "history",
        "--no-trunc",
        "--human=false",
        "--format",
        "{{.ID}} {{.CreatedBy}} {{.Size}}",
        "told",
    ]);
    assert_eq!(out, "", "without its tag it is another image");
    let (out, _, _) = place.run(&[
        "history",
        "--no-trunc",
        "--human=false",
        "--format",
        "{{.ID}} {{.CreatedBy}}",
        "told:1",
    ]);
    assert_eq!(out, format!("{id} test\n"));
}

#[test]
fn containers_that_do_not_run_are_pruned() {
    let place = Place::new();
    let archive = ImageArchive::new("empty:1", serde_json::json!({"Cmd": ["/x"]}));
    let path = archive.docker_archive(place.directory(), Compression::None, |_| {});
    place.run(&["load", "-q", "-i", &path.display().to_string()]);
    let (id, err, code) = place.run(&["create", "empty:1"]);
    assert_eq!((err.as_str(), code), ("", 0));
    // The end of the input is no "yes".
    let (out, _, code) = place.run(&["container", "prune"]);
    assert_eq!((out.as_str(), code), ("", 0));
    assert_eq!(place.run(&["ps", "-aq", "--no-trunc"]).0, id);
    let (out, err, code) = place.run(&["container", "prune", "--force"]);
    assert_eq!((err.as_str(), code), ("", 0));
    assert!(out.starts_with(&format!("Deleted Containers:\n{id}\nTotal reclaimed space: ")), "{out}");
    assert_eq!(place.run(&["ps", "-aq"]).0, "");
}
