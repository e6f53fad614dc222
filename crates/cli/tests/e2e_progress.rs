//! How far a pull, a push or a load is: as a person sees it on a terminal, and as a program reads it.

mod common;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use common::fresh;
use common::registry::{layout, serve};
use onggi_testkit::http::{Request, Server};
use onggi_testkit::{Registry, TestEnv};
use serde_json::Value;

/// A registry that gives the first half of the lower layer, and the rest only when it is told to. Also the image's name there.
fn halting(onggi: &TestEnv) -> (Server, String, Sender<()>) {
    let (layout, layers) = layout(onggi);
    let (blob, digest) = (layout.join("blobs").join(layers[0].replace(':', "/")), layers[0].clone());
    let ((go_on, may_go_on), blob) = (channel(), fs::read(blob).expect("the layer"));
    let may_go_on = Mutex::new(may_go_on);
    let server = serve(layout, move |request: &Request, stream: &mut TcpStream| {
        if !request.target.ends_with(&digest) {
            return false;
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
        let (first, rest) = blob.split_at(blob.len() / 2);
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(first)).expect("the pull reads");
        let _ = may_go_on.lock().expect("nobody panics with it").recv();
        stream.write_all(rest).expect("the pull reads on");
        true
    });
    let name = format!("{}/box:1", server.host());
    (server, name, go_on)
}

/// Each line an object.
fn objects(output: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    output.lines().map(parse).collect()
}

fn statuses(objects: &[Value]) -> Vec<&str> {
    objects.iter().filter_map(|object| object["status"].as_str()).collect()
}

#[test]
fn a_bar_shows_the_rate_and_the_time_that_is_left_on_80_columns() {
    let onggi = fresh();
    let (server, name, go_on) = halting(&onggi);
    let mut terminal = onggi.terminal(["pull", &name]);
    terminal.expect("Downloading");
    // What is left after so many bytes of so many at this rate: `12.3 KiB/s   9s`, still in the line.
    terminal.expect("iB/s ");
    let mut left = terminal.expect("s").trim().to_owned();
    while left.is_empty() || !left.bytes().all(|byte| byte.is_ascii_digit()) {
        terminal.expect("iB/s ");
        left = terminal.expect("s").trim().to_owned();
    }
    go_on.send(()).expect("the server waits");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains(": Pull complete"), "{screen}");
    drop(server);
}

#[test]
fn plain_lines_are_lines_on_a_terminal_too() {
    let onggi = fresh();
    let (layout, _) = layout(&onggi);
    let server = serve(layout, |_, _| false);
    let (code, screen) =
        onggi.terminal(["pull", "--progress", "plain", &format!("{}/box:1", server.host())]).wait();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains(": Pull complete") && !screen.contains('\x1b'), "{screen}");
}

#[test]
fn a_program_reads_how_far_a_pull_is() {
    let onggi = fresh();
    let (server, name, go_on) = halting(&onggi);
    let mut pull = onggi.spawn(["pull", "--progress", "json", &name]);
    let mut lines = Vec::new();
    let moved = loop {
        lines.push(pull.line().expect("a line"));
        let object: Value = serde_json::from_str(&lines[lines.len() - 1]).expect("JSON");
        if object["status"] == "Downloading" && object["progressDetail"]["current"].as_u64() > Some(0) {
            break object;
        }
    };
    assert!(
        moved["progressDetail"]["current"].as_u64() < moved["progressDetail"]["total"].as_u64(),
        "{moved}"
    );
    assert_eq!(moved["id"].as_str().map(str::len), Some(12), "{moved}");
    go_on.send(()).expect("the server waits");
    let output = pull.wait().code(0);
    let said = objects(&output.stdout);
    let told = statuses(&said);
    assert_eq!(told.iter().filter(|status| **status == "Pull complete").count(), 2, "{output}");
    assert!(told.iter().any(|status| status.starts_with("Status: Downloaded newer image")), "{output}");
    let last = &said[said.len() - 1]["aux"];
    assert_eq!(last["Name"], name);
    assert_eq!(last["ID"], onggi.inspect(&name, "{{.Id}}"));
    assert!(output.stdout.contains(&format!("Digest: {}", last["Digest"].as_str().expect("a digest"))));
    drop(server);
}

#[test]
fn a_program_reads_of_a_push_a_load_and_of_failures() {
    let onggi = fresh();
    let registry = Registry::plain();
    let (layout, _) = layout(&onggi);
    let name = format!("{}/box:1", registry.host());
    let path = |path: &Path| path.display().to_string();
    let said = objects(&onggi.ok(["load", "--progress", "json", "-i", &path(&layout), "-t", &name]));
    assert_eq!(said[said.len() - 1]["stream"], format!("Loaded image: {name}\n"));
    let layer = said.iter().rfind(|object| object["status"] == "Loading layer").expect("a layer");
    assert_eq!(layer["progressDetail"]["current"], layer["progressDetail"]["total"]);

    let said = objects(&onggi.ok(["push", "--progress", "json", &name]));
    assert_eq!(statuses(&said).iter().filter(|status| **status == "Pushed").count(), 2, "{said:?}");
    let last = &said[said.len() - 1]["aux"];
    assert_eq!((last["Tag"].as_str(), last["Size"].is_u64()), (Some("1"), true));
    assert_eq!(
        onggi.inspect(&name, "{{index .RepoDigests 0}}"),
        format!("{}/box@{}", registry.host(), last["Digest"].as_str().expect("a digest"))
    );

    for (words, reason) in [
        (["pull", "--progress", "json", &format!("{}/none:1", registry.host())], "none:1"),
        (["push", "--progress", "json", "none:1"], "none:1"),
        (
            ["load", "--progress", "json", &format!("-i{}", path(&onggi.write("junk", "junk")))],
            "is not a tar",
        ),
    ] {
        let output = onggi.run(words).code(1);
        let said = objects(&output.stdout);
        let message = said[said.len() - 1]["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(said[said.len() - 1]["errorDetail"]["message"], message);
        assert!(output.stderr.contains(&message) && message.contains(reason), "{output}");
    }
    onggi.run(["pull", "-q", "--progress", "json", &name]).says("cannot be given together");
    onggi.run(["pull", "--progress", "loud", &name]).says("loud");
}
