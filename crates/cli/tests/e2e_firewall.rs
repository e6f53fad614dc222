//! What others do to the firewall while containers run: flushing it, loading it again. Each test has a network namespace of its own.

mod common;

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use common::busybox;
use common::network::{fetch, port, serve};
use onggi_testkit::{PATIENCE, TestEnv, leave_network};

/// Runs nft, which has to succeed.
fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft is installed");
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The name of the one table of ours.
fn table() -> Option<String> {
    let tables = nft(&["list", "tables", "inet"]);
    tables
        .lines()
        .find_map(|line| line.strip_prefix("table inet ").filter(|name| name.starts_with("onggi")))
        .map(str::to_owned)
}

/// How long until connections that are made now come through, one after the other.
fn back(place: &str) -> Duration {
    let (began, place) = (Instant::now(), place.parse().expect("an address"));
    while TcpStream::connect_timeout(&place, Duration::from_millis(20)).is_err() {
        assert!(began.elapsed() < PATIENCE, "{place} is gone for good");
    }
    began.elapsed()
}

fn places(onggi: &TestEnv, names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| (format!("127.0.0.1:{}", port(onggi, name, "80")), (*name).to_owned())).collect()
}

#[test]
fn a_flushed_firewall_is_made_again_with_nobody_typing() {
    leave_network();
    let onggi = busybox();
    serve(&onggi, "one", &["-p", "80"]);
    serve(&onggi, "two", &["-p", "80"]);
    let places = places(&onggi, &["one", "two"]);
    let name = table().expect("a table");
    let whole = nft(&["list", "table", "inet", &name]);
    for damage in
        [&["flush", "ruleset"][..], &["delete", "table", "inet", &name], &["flush", "table", "inet", &name]]
    {
        nft(damage);
        let began = Instant::now();
        std::thread::scope(|scope| {
            // One that was begun in between is only late: its first packet is sent again after a second.
            let early: Vec<_> =
                places.iter().map(|(place, word)| (scope.spawn(|| fetch(place)), word)).collect();
            for (place, _) in &places {
                let took = back(place);
                assert!(took < Duration::from_secs(1), "{took:?} after {damage:?}");
            }
            for (fetched, word) in early {
                assert_eq!(&fetched.join().expect("no panic"), word);
            }
        });
        assert!(began.elapsed() < Duration::from_secs(4), "an early connection is lost");
        assert_eq!(nft(&["list", "table", "inet", &name]), whole, "after {damage:?}");
    }
    // What others add and delete leaves it alone.
    nft(&["add", "table", "inet", "other"]);
    nft(&["delete", "table", "inet", "other"]);
    assert_eq!(nft(&["list", "table", "inet", &name]), whole);
    onggi.ok(["rm", "-f", "one", "two"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}
