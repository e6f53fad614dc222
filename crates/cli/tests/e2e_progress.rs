//! How far a pull, a push or a load is: as a person sees it on a terminal, and as a program reads it.

mod common;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use common::fresh;
use common::registry::{layout, serve};
use onggi_testkit::http::{Request, Server, respond};
use onggi_testkit::{Registry, TestEnv};
use serde_json::Value;

/// How much of the second half comes how often.
const DROP: usize = 512;
const TRICKLE: Duration = Duration::from_millis(50);

/// A registry that gives the first half of the lower layer, and the rest drop by drop until it is told to go on. Also the image's name there.
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
        let (may_go_on, mut rest) = (may_go_on.lock().expect("nobody panics with it"), rest);
        while may_go_on.recv_timeout(TRICKLE) == Err(RecvTimeoutError::Timeout) && rest.len() > DROP {
            let (drop, others) = rest.split_at(DROP);
            rest = others;
            if stream.write_all(drop).is_err() {
                return true;
            }
        }
        // It may have been interrupted.
        let _ = stream.write_all(rest);
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

/// What was drawn, line by line, without what moves the cursor. The last one may not be whole.
fn drawn(output: &str) -> Vec<String> {
    let lines = output.split("\r\n").flat_map(|line| line.split('\r'));
    let without = |line: &str| {
        let mut parts = line.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        let after = |part: &str| {
            part[part.find(|c: char| c.is_ascii_alphabetic()).map_or(0, |at| at + 1)..].to_owned()
        };
        first + &parts.map(after).collect::<String>()
    };
    lines.map(without).collect()
}

#[test]
fn a_bar_with_rate_and_time_left_fits_into_any_window_from_40_columns_on() {
    let onggi = fresh();
    let (server, name, go_on) = halting(&onggi);
    let mut terminal = onggi.terminal(["pull", &name]);
    terminal.expect(": Downloading [");
    // What is left after so many bytes of so many at this rate: `12.3kB/s    9s`, still in the line.
    for (columns, shape) in
        [(132, ": Downloading ["), (40, "% "), (60, ": ["), (50, ": 6"), (80, ": Downloading [")]
    {
        terminal.resize(24, columns);
        terminal.expect(shape);
        terminal.expect("B/s ");
        let mut left = terminal.expect("\r");
        while !left.contains('s') {
            terminal.expect("B/s ");
            left = terminal.expect("\r");
        }
        // Of this window alone, by now.
        terminal.expect("\r");
        let frames = terminal.expect("B/s ");
        let longest = drawn(&frames).iter().map(|line| line.chars().count()).max();
        assert!(longest < Some(usize::from(columns)), "{columns}: {frames:?}");
    }
    go_on.send(()).expect("the server waits");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains(": Pull complete"), "{screen}");
    drop(server);
}

#[test]
fn ctrl_c_leaves_no_bar() {
    let onggi = fresh();
    let (server, name, go_on) = halting(&onggi);
    let mut terminal = onggi.terminal(["pull", &name]);
    terminal.expect(": Downloading [");
    terminal.press("\x03");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 130, "{screen}");
    // What is below the cursor is erased, and what is drawn afterwards begins where the bars began.
    let (_, last) = screen.rsplit_once("\r\x1b[J").expect("the bars are taken off");
    assert!(last.contains("interrupted") && !last.contains("Downloading"), "{screen:?}");
    assert_eq!(last.matches('\n').count(), 1, "{screen:?}");
    let _ = go_on.send(());
    drop(server);
}

#[test]
fn what_is_tried_again_is_told_once() {
    let onggi = fresh();
    let (layout, layers) = layout(&onggi);
    let (digest, failures) = (layers[1].clone(), Mutex::new(2));
    let server = serve(layout, move |request: &Request, stream: &mut TcpStream| {
        let mut left = failures.lock().expect("nobody panics with it");
        let fails = request.target.ends_with(&digest) && *left > 0;
        if fails {
            *left -= 1;
            respond(stream, "503 Service Unavailable", &[], b"");
        }
        fails
    });
    let said = onggi.ok(["pull", &format!("{}/box:1", server.host())]);
    assert_eq!(said.matches("trying again").count(), 1, "{said}");
    assert_eq!(said.matches("Pull complete").count(), 2, "{said}");
}

#[test]
fn layers_and_files_go_by_names_that_tell_them_apart() {
    let onggi = fresh();
    let (layout, layers) = layout(&onggi);
    let path = layout.display().to_string();
    let (code, screen) = onggi.terminal(["load", "-i", &path]).wait();
    assert_eq!(code, 0, "{screen}");
    for layer in &layers {
        assert!(screen.contains(&format!("{}: Load", &layer["sha256:".len()..][..12])), "{screen}");
    }
    let said = onggi.ok(["load", "--progress", "plain", "-i", &path]);
    let tar = onggi_testkit::image("busybox").display().to_string();
    let (code, screen) = onggi.terminal(["import", &tar, "mine"]).wait();
    assert_eq!(code, 0, "{said}{screen}");
    assert!(screen.contains("busybox.tar: Import"), "{screen}");
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
        let (current, total) = (&object["progressDetail"]["current"], &object["progressDetail"]["total"]);
        // The other layer is small, and comes at once.
        if object["status"] == "Downloading" && current.as_u64() > Some(0) && current != total {
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
    let layer = said.iter().rfind(|object| object["status"] == "Loading").expect("a layer");
    assert_eq!(layer["progressDetail"]["current"], layer["progressDetail"]["total"]);

    let said = objects(&onggi.ok(["push", "--progress", "json", &name]));
    assert_eq!(statuses(&said).iter().filter(|status| **status == "Pushed").count(), 2, "{said:?}");
    let last = &said[said.len() - 1]["aux"];
    assert_eq!((last["Tag"].as_str(), last["Size"].is_u64()), (Some("1"), true));
    assert_eq!(
        onggi.inspect(&name, "{{index .RepoDigests 0}}"),
        format!("{}/box@{}", registry.host(), last["Digest"].as_str().expect("a digest"))
    );

    let archive = onggi.file("box.tar").display().to_string();
    let said = objects(&onggi.ok(["save", "--progress", "json", "-o", &archive, &name]));
    assert_eq!(statuses(&said).iter().filter(|status| **status == "Saved").count(), 2, "{said:?}");
    assert_eq!(said[said.len() - 1]["aux"]["File"], archive);
    onggi.run(["save", "--progress", "json", &name]).code(1).says("needs -o");

    let tar = path(&onggi_testkit::image("busybox"));
    let said = objects(&onggi.ok(["import", "--progress", "json", &tar, "mine"]));
    let (first, last) = (&said[0], &said[said.len() - 1]);
    assert_eq!((first["id"].as_str(), first["status"].as_str()), (Some("busybox.tar"), Some("Importing")));
    assert_eq!(first["progressDetail"]["total"], fs::metadata(&tar).expect("the tar").len());
    assert_eq!(last["aux"]["ID"], onggi.inspect("mine", "{{.Id}}"));
    for words in [&["pull", &name][..], &["push", &name], &["load", "-i", &archive]] {
        let output = onggi.run(words.iter().chain(&["--progress", "none"])).code(0);
        assert!(!output.stdout.contains("layer") && !output.stdout.contains("Push"), "{output}");
    }

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
