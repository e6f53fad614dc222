//! What others do to the firewall while containers run: flushing it, loading it again. Each test has a network namespace of its own.

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use common::busybox;
use common::network::{address, fetch, port, reaches, serve, watcher};
use onggi_testkit::{Beyond, PATIENCE, TestEnv, leave_network};

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
    let handles = nft(&["--handle", "list", "chain", "inet", &name, "forward"]);
    let rule = handles.lines().find_map(|line| line.split_once("oifname @bridges drop # handle "));
    let handle = rule.expect("the last rule").1;
    for damage in [
        &["replace", "rule", "inet", &name, "forward", "handle", handle, "counter", "accept"][..],
        &["flush", "ruleset"],
        &["delete", "table", "inet", &name],
        &["flush", "table", "inet", &name],
    ] {
        nft(damage);
        while damage[0] == "replace" && nft(&["list", "table", "inet", &name]) != whole {
            std::thread::yield_now();
        }
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

#[test]
fn elements_that_somebody_takes_out_come_back() {
    leave_network();
    let onggi = busybox();
    onggi.ok(["network", "create", "--internal", "inner"]);
    serve(&onggi, "one", &["-p", "80"]);
    serve(&onggi, "two", &["-p", "127.0.0.1::80"]);
    onggi.ok(["run", "-d", "--name", "near", "--network", "inner", "busybox", "sleep", "1000"]);
    let name = table().expect("a table");
    // In whatever order the kernel has the elements.
    let content = || {
        let text = nft(&["list", "table", "inet", &name]);
        let words = text.split([',', '\n', '{', '}']).map(str::trim).filter(|word| !word.is_empty());
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort();
        words
    };
    let whole = content();
    let at = format!("{{ 127.0.0.1 . tcp . {} }}", port(&onggi, "two", "80"));
    for (number, damage) in [
        &["flush", "map", "inet", &name, "ports4"][..],
        &["delete", "element", "inet", &name, "ports4_at", &at],
        &["flush", "set", "inet", &name, "internal"],
    ]
    .into_iter()
    .enumerate()
    {
        nft(damage);
        let began = Instant::now();
        while content() != whole {
            assert!(began.elapsed() < PATIENCE, "nobody mends it after {damage:?}");
        }
        // The next ones come at a slower pace, since they follow so soon.
        assert!(number > 0 || began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    // What is taken out of others' tables wakes nobody, and what Onggi takes out itself neither: nothing is made anew.
    nft(&[
        "add table inet other; add set inet other some { type mark; }; add element inet other some { 1, 2 }",
    ]);
    let handle = nft(&["-a", "list", "table", "inet", &name]);
    nft(&["flush", "set", "inet", "other", "some"]);
    onggi.ok(["rm", "-f", "one"]);
    serve(&onggi, "one", &["-p", "80"]);
    assert_eq!(fetch(&format!("127.0.0.1:{}", port(&onggi, "one", "80"))), "one");
    let first = |text: &str| text.lines().next().map(str::to_owned);
    assert_eq!(first(&nft(&["-a", "list", "table", "inet", &name])), first(&handle));
    nft(&["delete", "table", "inet", "other"]);
    onggi.ok(["rm", "-f", "one", "two", "near"]);
    onggi.ok(["network", "rm", "inner"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn a_check_names_ports_of_nobody_and_places_that_are_not_taken() {
    leave_network();
    let onggi = busybox();
    onggi.ok(["network", "create", "shop"]);
    // While nobody runs, nobody watches either.
    onggi.ok(["run", "--rm", "--network", "shop", "busybox", "true"]);
    let name = table().expect("a table");
    nft(&["insert", "rule", "inet", &name, "forward", "accept"]);
    let changed =
        format!("table inet {name}: is missing from the firewall, or its rules are not as Onggi made them");
    for (words, code) in [(&["system", "check"][..], 1), (&["system", "check", "--repair"], 0)] {
        let said = onggi.run(words).code(code).stdout;
        assert!(said.contains(&changed), "{said}");
    }
    onggi.ok(["run", "-d", "--name", "jar", "--network", "shop", "-p", "80", "busybox", "sleep", "1000"]);
    onggi.ok(["system", "check"]);
    let whole = nft(&["list", "table", "inet", &name]);
    nft(&["add", "element", "inet", &name, "ports4", "{ udp . 4242 : 10.9.9.9 . 53 }"]);
    let stray = "4242/udp: is a port in the table of the firewall and of no container";
    let said = |words: &[&str], code| onggi.run(words).code(code).stdout;
    let found = said(&["system", "check"], 1);
    assert!(found.contains(stray), "{found}");
    let mended = said(&["system", "check", "--repair"], 0);
    assert!(mended.contains(stray) && mended.contains("the table was made anew"), "{mended}");
    onggi.ok(["system", "check"]);
    assert_eq!(nft(&["list", "table", "inet", &name]), whole);

    let id = onggi.inspect("jar", "{{.Id}}");
    let networks = std::fs::read_dir(onggi.run_root().join("networks")).expect("live files").flatten();
    let endpoint = networks.map(|network| network.path().join("endpoints").join(&id));
    let endpoint = endpoint.into_iter().find(|path| path.exists()).expect("the container's");
    let kept = std::fs::read(&endpoint).expect("a file");
    std::fs::remove_file(&endpoint).expect("root may");
    let found = said(&["system", "check"], 1);
    let wanted = "should be on network shop and is not: onggi network connect shop jar";
    assert!(found.contains(wanted), "{found}");
    std::fs::write(&endpoint, kept).expect("root may");
    onggi.ok(["system", "check"]);
    onggi.ok(["rm", "-f", "jar"]);
    onggi.ok(["network", "rm", "shop"]);
    onggi.ok(["system", "check", "--repair"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn ports_are_reached_from_everywhere_they_are_published_and_from_nowhere_else() {
    leave_network();
    let beyond = Beyond::new();
    let onggi = busybox();
    onggi.ok(["network", "create", "shop"]);
    onggi.ok(["network", "create", "--ipv6", "both"]);
    let ports = ["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "[::1]:8082:80", "-p", "9000-9002:80-82"];
    serve(&onggi, "web", &[&["--network", "shop"][..], &ports].concat());
    serve(&onggi, "six", &["--network", "both", "-p", "8090:80"]);
    onggi.ok(["run", "-d", "--name", "near", "--network", "shop", "busybox", "sleep", "1000"]);
    onggi.ok(["run", "-d", "--name", "far", "busybox", "sleep", "1000"]);
    for place in
        ["127.0.0.1:8080", "[::1]:8080", "192.0.2.1:8080", "127.0.0.1:8081", "[::1]:8082", "127.0.0.1:9000"]
    {
        assert_eq!(fetch(place), "web", "{place}");
    }
    for place in ["127.0.0.1:8090", "[::1]:8090"] {
        assert_eq!(fetch(place), "six", "{place}");
    }
    assert_eq!(beyond.run(|| fetch("192.0.2.1:8080")), "web");
    let open = |place: &str| {
        TcpStream::connect_timeout(&place.parse().expect("an address"), Duration::from_millis(300)).is_ok()
    };
    assert!(!open("127.0.0.1:8082"), "published on ::1");
    assert!(!open("[::1]:8081"), "published on 127.0.0.1");
    assert!(!beyond.run(|| open("192.0.2.1:8081")), "published on 127.0.0.1");
    let web = address(&onggi, "web");
    assert!(reaches(&onggi, "near", "web") && reaches(&onggi, "near", &web), "one network");
    assert!(!reaches(&onggi, "far", &web), "another network");
    assert!(!beyond.run(|| open(&format!("{web}:80"))), "no port of the host's");
    onggi.ok(["network", "create", "--ipv6", "--internal", "inner"]);
    onggi.ok(["run", "-d", "--name", "deep", "--network", "inner", "busybox", "sleep", "1000"]);
    let gateways =
        onggi.ok(["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}} {{end}}", "inner"]);
    for gateway in gateways.split_whitespace() {
        let asks = |from: &str, address: &str| {
            let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 8080");
            onggi.run(["exec", from, "sh", "-c", &script]).stdout
        };
        assert_eq!(asks("deep", gateway), "", "{gateway}: from an internal network");
    }
    onggi.ok(["rm", "-f", "deep"]);
    onggi.ok(["network", "rm", "inner"]);

    // The relay's connections go with the container, and its ports are free.
    onggi.ok(["rm", "-f", "web"]);
    assert!(!open("[::1]:8080"));
    serve(&onggi, "new", &["-p", "8080:80"]);
    assert_eq!(fetch("[::1]:8080"), "new");
    watcher(&onggi, "new").kill();
    onggi.ok(["ps"]);
    assert_eq!(fetch("[::1]:8080"), "new", "adopted");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn datagrams_come_and_go_by_both_families() {
    const ECHO: &str = "import socket\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.bind(('', 53))\n\
        while True: s.sendto(*s.recvfrom(99))";
    leave_network();
    let onggi = TestEnv::new(env!("CARGO_BIN_EXE_onggi"));
    onggi.import("python");
    onggi.ok(["run", "-d", "--name", "echo", "-p", "5353:53/udp", "python", "python3", "-c", ECHO]);
    for (from, to) in [("127.0.0.1:0", "127.0.0.1:5353"), ("[::1]:0", "[::1]:5353")] {
        let socket = UdpSocket::bind(from).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
        let (began, mut heard) = (Instant::now(), [0; 9]);
        // Until somebody listens there, they are lost.
        while socket.send_to(b"hello", to).and_then(|_| socket.recv(&mut heard)).is_err() {
            assert!(began.elapsed() < PATIENCE, "{to} does not answer");
        }
        assert_eq!(&heard[..5], b"hello");
    }
    onggi.ok(["rm", "-f", "echo"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

/// Docker's table as it makes it, without what is for its own bridges.
const DOCKER: &str = "table ip filter {
    chain DOCKER-USER {}
    chain DOCKER-FORWARD { iifname docker0 counter accept; }
    chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; jump DOCKER-FORWARD; }
}";

/// Whether a container reaches the machine beyond.
fn goes_out(onggi: &TestEnv) -> bool {
    let words = ["run", "--rm", "busybox", "nc", "-w", "1", "192.0.2.9", "80"];
    onggi.run(words).stdout.contains("hello")
}

/// Answers everybody with a word.
fn greet(beyond: &Beyond) {
    let listener = beyond.run(|| TcpListener::bind("192.0.2.9:80").expect("a listener"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello\n");
        }
    });
}

#[test]
fn docker_s_place_for_rules_is_used_and_left_as_it_was() {
    leave_network();
    let beyond = Beyond::new();
    greet(&beyond);
    let onggi = busybox();
    nft(&[DOCKER]);
    let before = nft(&["list", "table", "ip", "filter"]);
    assert!(goes_out(&onggi));
    serve(&onggi, "web", &["-p", "80"]);
    let place = format!("192.0.2.1:{}", port(&onggi, "web", "80"));
    assert_eq!(beyond.run(|| fetch(&place)), "web");
    let rules = nft(&["list", "chain", "ip", "filter", "DOCKER-USER"]);
    assert_eq!(rules.matches(" comment \"onggi-").count(), 4, "{rules}");

    // What Docker does when it starts beside containers, and what iptables -F does.
    nft(&["flush", "chain", "ip", "filter", "DOCKER-USER"]);
    beyond.run(|| assert!(back(&place) < Duration::from_secs(1)));
    nft(&["delete", "table", "ip", "filter"]);
    nft(&[DOCKER]);
    beyond.run(|| assert!(back(&place) < Duration::from_secs(1)));

    onggi.ok(["rm", "-f", "web"]);
    onggi.ok(["network", "prune", "-f"]);
    assert_eq!(nft(&["list", "table", "ip", "filter"]), before);
    assert_eq!(table(), None, "it goes with the last bridge");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn a_chain_that_drops_is_named_with_its_cure() {
    leave_network();
    let beyond = Beyond::new();
    greet(&beyond);
    let onggi = busybox();
    nft(&["table inet mine { chain gate { type filter hook forward priority 10; policy drop; }; }"]);
    let warned = onggi.run(["run", "--rm", "busybox", "true"]).code(0);
    let bridge = onggi.ok([
        "network",
        "inspect",
        "-f",
        "{{index .Options \"com.docker.network.bridge.name\"}}",
        "bridge",
    ]);
    let mend = format!(
        "nft insert rule inet mine gate iifname {bridge} accept && nft insert rule inet mine gate oifname {bridge} accept"
    );
    let sentence = format!(
        "the firewall (table inet mine, chain gate) drops what containers on the network bridge send to others: {mend}"
    );
    assert!(warned.stderr.contains(&sentence), "{warned}");
    assert!(!goes_out(&onggi));
    let doctor = onggi.run(["doctor"]);
    assert!(doctor.stdout.contains(&format!("mend: {mend}")), "{doctor}");
    for command in mend.split(" && ") {
        nft(&[command.strip_prefix("nft ").expect("of nft")]);
    }
    assert!(goes_out(&onggi));
    assert_eq!(onggi.run(["run", "--rm", "busybox", "true"]).code(0).stderr, "");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}
