//! What the state costs: opening the index, a container's three writes alone and against seven others, making the index anew for 1,000 containers, and
//! whether it is whole after writers were killed. The figures of docs/decisions/0003-state.md are this program's.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use onggi_image::Digest;
use onggi_record::Durability;
use onggi_store::{ContainerRow, Finding, ImportOptions, NameKind, Silent, Store};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [root] => parent(Path::new(root)),
        [root, "open"] => {
            let store = open(Path::new(root));
            let begun = Instant::now();
            store.find_name(NameKind::Container, "x").unwrap();
            println!("{}", begun.elapsed().as_nanos());
        }
        [root, "write", prefix, count] => write(&open(Path::new(root)), prefix, count.parse().unwrap()),
        _ => println!("state_cost NEW-DIRECTORY"),
    }
}

fn parent(root: &Path) {
    std::fs::create_dir(root).unwrap();
    let store = open(root);
    let config = json!({"version": 1, "id": "", "name": "", "created": "2026-01-01T00:00:00Z", "request": {"env": vec!["A=b"; 200]}, "resolved": {}});
    println!(
        "a sealed record of 2 KiB, volatile: {}",
        figures(records(&store, &config, 1000, Durability::Volatile))
    );
    println!(
        "the same, synced:                   {}",
        figures(records(&store, &config, 100, Durability::Synced))
    );
    let anew = |_| timed(|| store.rebuild_index().unwrap());
    println!("the index anew, 1,000 containers:   {}", figures((0..9).map(anew).collect()));
    println!(
        "the list of 1,000 containers:       {}",
        figures((0..9).map(|_| timed(|| drop(store.containers().unwrap()))).collect())
    );
    println!("first query of a new process:       {}", figures(opens(root)));
    println!("one writer: three writes            {}", output(start(root, "alone", 1000)));
    println!("first query with a log of 1 MiB:    {}", figures(opens(root)));
    let eight: Vec<_> = (0..8).map(|number| start(root, &format!("w{number}-"), 500)).collect();
    for child in eight {
        println!("one of eight writers:               {}", output(child));
    }
    for round in 0..20 {
        let mut children: Vec<_> =
            (0..8).map(|number| start(root, &format!("k{round}-{number}-"), 100_000)).collect();
        std::thread::sleep(Duration::from_millis(20 + round * 7));
        children.iter_mut().for_each(|child| child.kill().unwrap());
        for child in &mut children {
            child.wait().unwrap();
        }
    }
    // A killed import may leave a directory, which the check removes.
    let is_fault = |finding: &&Finding| finding.done.is_none();
    let report = store.check(false).unwrap();
    println!(
        "after 160 killed writers: {} rows, {} faults",
        store.containers().unwrap().len(),
        report.findings.iter().filter(is_fault).count()
    );
    println!("first query after them:             {}", figures(opens(root)));
}

fn open(root: &Path) -> Store {
    Store::open(&root.join("data"), &root.join("run")).unwrap()
}

/// What `run` writes for a container: its name, its lease, its row.
fn write(store: &Store, prefix: &str, count: usize) {
    let options = ImportOptions { created: Some("2026-01-01T00:00:00Z".into()), ..ImportOptions::default() };
    let image: Digest = store.import(&mut [0_u8; 1024].as_slice(), &options, &Silent).unwrap();
    let summary = json!({"image": "debian:latest", "command": "sh -c 'sleep 1000'", "labels": {"a": "b"}});
    let one = |number| {
        let id = format!("{prefix}{number}");
        let row = ContainerRow {
            id: id.clone(),
            name: id.clone(),
            created: String::new(),
            summary: summary.clone(),
        };
        timed(|| {
            store.reserve_name(NameKind::Container, &id, &id).unwrap();
            store.lease(&id, &image).unwrap();
            store.insert_container(&row).unwrap();
        })
    };
    println!("{}", figures((0..count).map(one).collect()));
}

fn records(store: &Store, body: &serde_json::Value, count: u32, durability: Durability) -> Vec<Duration> {
    let one = |number| {
        let mut body = body.clone();
        let id = format!("{number:064x}");
        let directory: PathBuf = store.data().join("containers").join(&id);
        std::fs::create_dir_all(&directory).unwrap();
        body["name"] = format!("name{number}").into();
        body["id"] = id.into();
        timed(|| onggi_record::write(&directory.join("container.json"), &body, durability).unwrap())
    };
    (0..count).map(one).collect()
}

fn start(root: &Path, prefix: &str, count: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg(root)
        .arg("write")
        .arg(prefix)
        .arg(count.to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

fn output(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn opens(root: &Path) -> Vec<Duration> {
    let one = |_| {
        let output =
            Command::new(std::env::current_exe().unwrap()).arg(root).arg("open").output().unwrap().stdout;
        Duration::from_nanos(String::from_utf8(output).unwrap().trim().parse().unwrap())
    };
    (0..30).map(one).collect()
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

fn figures(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
    format!("median {} µs, p99 {} µs, worst {} µs", at(50), at(99), at(100))
}
