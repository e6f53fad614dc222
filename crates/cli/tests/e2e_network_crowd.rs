//! Many containers with ports on one network, and what can befall all of them at once: nothing is lost, and nothing stays.

mod common;

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::busybox;
use common::network::{fetch, watcher};
use onggi_testkit::{PATIENCE, TestEnv, full, leave_network};
use rustix::process::Signal;

/// Lanes in which containers are started.
const LANES: usize = 4;

/// Containers that answer with their own name, started several at a time; each with a port that the kernel chooses.
fn crowd(onggi: &TestEnv, count: usize) -> Vec<(String, String)> {
    let start = |number: usize| {
        let name = format!("jar-{number}");
        let script = format!("mkdir /w; echo {name} > /w/index.html; exec httpd -f -p 80 -h /w");
        let words =
            ["run", "-d", "--name", &name, "--network", "shelf", "-p", "80", "busybox", "sh", "-c", &script];
        onggi.ok(words);
        let place = onggi.ok(["port", &name, "80"]);
        let place = place.lines().find(|place| place.starts_with("0.0.0.0:")).expect("of IPv4").to_owned();
        (name, place.replace("0.0.0.0", "127.0.0.1"))
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| scope.spawn(move || (lane..count).step_by(LANES).map(start).collect::<Vec<_>>()))
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("no panic")).collect()
    })
}

fn all_answer(crowd: &[(String, String)]) {
    for (name, place) in crowd {
        assert_eq!(fetch(place), *name);
    }
}

/// The elements of a map of the one table of ours.
fn elements(map: &str) -> usize {
    let nft = |arguments: &[&str]| {
        let output = Command::new("nft").args(arguments).output().expect("nft is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let tables = nft(&["list", "tables", "inet"]);
    let table = tables.lines().find_map(|line| line.strip_prefix("table inet ")).expect("a table").to_owned();
    // One more stands in the map's type.
    nft(&["list", "map", "inet", &table, map]).matches(" : ").count() - 1
}

/// Flushes the firewall; within a second the last of them is reached again.
fn flush(crowd: &[(String, String)]) {
    assert!(Command::new("nft").args(["flush", "ruleset"]).status().expect("nft is installed").success());
    let began = Instant::now();
    let place = crowd.last().expect("a crowd").1.parse().expect("an address");
    while TcpStream::connect_timeout(&place, Duration::from_millis(20)).is_err() {
        assert!(began.elapsed() < PATIENCE, "gone for good");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn ports_of_many_at_a_time_outlive_the_firewall_and_their_monitors() {
    leave_network();
    let onggi = busybox();
    let count = if full() { 300 } else { 12 };
    onggi.ok(["network", "create", "shelf"]);
    let crowd = crowd(&onggi, count);
    let mut addresses: Vec<String> =
        crowd.iter().map(|(name, _)| common::network::address(&onggi, name)).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!((addresses.len(), elements("ports4")), (count, count), "one each");
    all_answer(&crowd);

    flush(&crowd);
    assert_eq!(elements("ports4"), count);
    all_answer(&crowd);

    // All monitors at once.
    let monitors: Vec<_> = crowd.iter().map(|(name, _)| watcher(&onggi, name)).collect();
    for monitor in &monitors {
        monitor.signal(Signal::KILL);
    }
    for monitor in &monitors {
        assert!(monitor.ends_within(PATIENCE));
    }
    all_answer(&crowd);
    // The next command puts another behind each, which holds its port again.
    assert_eq!(onggi.ok(["ps", "-q"]).lines().count(), count);
    for (name, place) in crowd.iter().step_by(count / 4) {
        let port = place.rsplit_once(':').expect("a port").1;
        let taken = format!("{port}:80");
        onggi
            .run(["run", "--rm", "-p", &taken, "busybox", "true"])
            .code(125)
            .says(&format!("container {name} has it"));
    }
    flush(&crowd);
    all_answer(&crowd);
    assert_eq!(elements("ports4"), count);

    // Monitors and containers, all at once: nobody gives anything back, until somebody looks.
    let doomed: Vec<_> =
        crowd.iter().flat_map(|(name, _)| [watcher(&onggi, name), onggi.first_process(name)]).collect();
    for process in &doomed {
        process.signal(Signal::KILL);
    }
    for process in &doomed {
        assert!(process.ends_within(PATIENCE));
    }
    assert_eq!(onggi.ok(["ps", "-q"]), "");
    assert_eq!(elements("ports4"), 0);
    let names: Vec<&str> = crowd.iter().map(|(name, _)| name.as_str()).collect();
    onggi.ok([&["rm"][..], &names].concat());
    onggi.ok(["network", "rm", "shelf"]);
    onggi.ok(["network", "prune", "-f"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn a_full_disk_keeps_no_port_and_no_address() {
    leave_network();
    let onggi = TestEnv::on_small_disk(env!("CARGO_BIN_EXE_onggi"), 48);
    onggi.ok(["network", "create", "shelf"]);
    let crowd = crowd(&onggi, 4);
    onggi.fill_disk();
    flush(&crowd);
    all_answer(&crowd);
    let names: Vec<&str> = crowd.iter().map(|(name, _)| name.as_str()).collect();
    onggi.ok([&["stop", "-t", "0"][..], &names].concat());
    assert_eq!(elements("ports4"), 0);
    onggi.ok([&["rm", "-f"][..], &names].concat());
    onggi.empty_disk();
    onggi.ok(["network", "rm", "shelf"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}
