//! Networks of containers, with real connections: published ports, names, isolation, changes while a container runs.

mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::busybox;
use common::network::{address, fetch, port, reaches, serve, watcher};
use onggi_testkit::PATIENCE;
use rustix::process::Signal;

#[test]
fn a_published_port_is_reached_and_held() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80", "-p", "127.0.0.1::80"]);
    let places = onggi.ok(["port", "web"]);
    let ports: Vec<&str> =
        places.lines().filter_map(|line| line.rsplit_once(':')).map(|(_, port)| port).collect();
    // The first on both families, as Docker has it.
    assert_eq!(ports.len(), 3, "{places}");
    assert_eq!(fetch(&format!("127.0.0.1:{}", ports[0])), "web");
    assert_eq!(fetch(&format!("127.0.0.1:{}", ports[2])), "web");
    let shown = onggi.ok(["ps", "--format", "{{.Ports}}"]);
    assert!(shown.contains("->80/tcp"), "{shown}");

    let twice = format!("{}:80", ports[0]);
    onggi.run(["run", "--rm", "-p", &twice, "busybox", "true"]).code(125).says(&format!(
        "Bind for 0.0.0.0:{} failed: port is already allocated (container web has it)",
        ports[0]
    ));
    let program = TcpListener::bind("127.77.0.1:0").expect("a port");
    let taken = program.local_addr().expect("its address");
    onggi
        .run(["run", "--rm", "-p", &format!("{taken}:80"), "busybox", "true"])
        .code(125)
        .says("port is already allocated (no container of Onggi's has it");
    drop(program);
    let refused = if onggi.is_ordinary() { "SCTP ports needs root" } else { "an sctp port on [::1]" };
    onggi.run(["run", "--rm", "-p", "[::1]::80/sctp", "busybox", "true"]).code(125).says(refused);
    onggi.ok(["rm", "-f", "web"]);
    onggi.ok(["run", "--rm", "-p", &twice, "busybox", "true"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn containers_find_those_of_their_network_and_no_others() {
    let onggi = busybox();
    onggi.ok(["network", "create", "shop"]);
    serve(&onggi, "db", &["--network", "shop", "--network-alias", "data"]);
    serve(&onggi, "alone", &[]);
    onggi.ok(["run", "-d", "--name", "web", "--network", "shop", "busybox", "sleep", "1000"]);
    let db = address(&onggi, "db");
    assert!(reaches(&onggi, "web", &db));
    assert!(!reaches(&onggi, "web", &address(&onggi, "alone")), "another network");
    assert!(!reaches(&onggi, "alone", &db), "another network");
    for name in ["db", "data", "DB", "db.shop"] {
        assert!(onggi.ok(["exec", "web", "nslookup", name]).contains(&db), "{name}");
    }
    onggi.fails(["exec", "web", "nslookup", "alone"]);

    onggi.ok(["network", "connect", "--alias", "late", "shop", "alone"]);
    assert!(reaches(&onggi, "alone", &db));
    let late = onggi.inspect("alone", "{{(index .NetworkSettings.Networks \"shop\").IPAddress}}");
    assert!(onggi.ok(["exec", "web", "nslookup", "late"]).contains(&late));
    assert!(onggi.ok(["exec", "alone", "cat", "/etc/hosts"]).contains(&late));
    onggi.ok(["network", "disconnect", "shop", "alone"]);
    assert!(!reaches(&onggi, "alone", &db));
    onggi.fails(["exec", "web", "nslookup", "late"]);

    onggi.ok(["rename", "db", "base"]);
    assert!(onggi.ok(["exec", "web", "nslookup", "base"]).contains(&db));
    onggi.fails(["exec", "web", "nslookup", "db"]);
    onggi.run(["network", "rm", "shop"]).code(1).says("has active endpoints");
    onggi.ok(["rm", "-f", "base", "web"]);
    onggi.ok(["network", "rm", "shop"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn a_network_of_another_container_is_shared_with_its_files() {
    let onggi = busybox();
    serve(&onggi, "web", &[]);
    let script = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 127.0.0.1 80; hostname; cat /etc/hosts";
    let text = onggi.ok(["run", "--rm", "--network", "container:web", "busybox", "sh", "-c", script]);
    assert!(text.contains("web\n") && text.contains(&address(&onggi, "web")), "{text}");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn both_families_fixed_addresses_and_internal_networks() {
    let onggi = busybox();
    onggi.ok(["network", "create", "--internal", "--ipv6", "--subnet", "10.191.0.0/24", "back"]);
    onggi.ok([
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        "back",
        "--ip",
        "10.191.0.9",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(address(&onggi, "db"), "10.191.0.9");
    let ipv6 = onggi.inspect("db", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}");
    assert!(ipv6.starts_with("fd"), "{ipv6}");
    assert!(onggi.ok(["exec", "db", "ip", "address"]).contains(&ipv6));
    assert!(!onggi.ok(["exec", "db", "ip", "route"]).contains("default"), "there is no way out");
    onggi
        .run(["run", "--rm", "--network", "back", "--ip", "10.191.0.9", "busybox", "true"])
        .code(125)
        .says("Address already in use");
    onggi
        .run(["run", "--rm", "--network", "back", "-p", "80", "busybox", "true"])
        .code(125)
        .says("not internal");
    onggi.ok(["rm", "-f", "db"]);
    onggi.ok(["network", "prune", "-f"]);
    // The table stays with the last bridge gone; by a bridge the kit finds what to take away.
    onggi.ok(["run", "--rm", "busybox", "true"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn a_dead_monitor_s_container_keeps_its_place() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80"]);
    let (before, host) = (address(&onggi, "web"), port(&onggi, "web", "80"));
    let place = format!("127.0.0.1:{host}");
    assert_eq!(fetch(&place), "web");
    onggi.monitor("web").kill();
    assert_eq!(fetch(&place), "web", "nobody is needed for a port");
    // The next look at it puts another monitor behind it, which holds the port again.
    assert_eq!(address(&onggi, "web"), before);
    onggi
        .run(["run", "--rm", "-p", &format!("{host}:80"), "busybox", "true"])
        .code(125)
        .says("already allocated");
    assert_ne!(onggi.ok(["run", "--rm", "busybox", "hostname", "-i"]).trim(), before);
    onggi.ok(["stop", "-t", "0", "web"]);
    onggi.ok(["start", "web"]);
    assert_eq!(fetch(&format!("127.0.0.1:{}", port(&onggi, "web", "80"))), "web");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn the_way_out_passes_to_the_next_network() {
    let onggi = busybox();
    for network in ["front", "back"] {
        onggi.ok(["network", "create", network]);
    }
    serve(&onggi, "web", &["--network", "front", "-p", "80"]);
    onggi.ok(["network", "connect", "back", "web"]);
    let place = format!("127.0.0.1:{}", port(&onggi, "web", "80"));
    let way = || onggi.ok(["exec", "web", "ip", "route", "show", "default"]);
    assert!(way().contains("dev eth0"), "{}", way());
    onggi.ok(["network", "disconnect", "front", "web"]);
    assert!(way().contains("dev eth1"), "{}", way());
    assert_eq!(fetch(&place), "web");
    assert!(place.ends_with(&port(&onggi, "web", "80")));
    let held = format!("{}:80", place.rsplit_once(':').expect("a port").1);
    onggi.run(["run", "--rm", "-p", &held, "busybox", "true"]).code(125).says("container web has it");
    onggi.ok(["network", "disconnect", "back", "web"]);
    assert_eq!(way(), "");
    onggi.ok(["run", "--rm", "-p", &held, "busybox", "true"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn the_port_of_one_whose_monitor_died_is_its_own_while_it_lives() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80"]);
    let host = port(&onggi, "web", "80");
    let place = format!("127.0.0.1:{host}");
    let (monitor, first) = (onggi.monitor("web"), onggi.first_process("web"));
    monitor.kill();
    // Nobody has looked at it since: its port is held by nobody, and in the table.
    let other = ["run", "-d", "--name", "other", "-p", &format!("{host}:80"), "busybox", "httpd", "-f"];
    onggi.run(other).code(125).says("port is already allocated (container web has it)");
    assert_eq!(fetch(&place), "web");
    watcher(&onggi, "web").kill();
    first.kill();
    onggi.ok(["rm", "other"]);
    serve(&onggi, "new", &["-p", &format!("{host}:80")]);
    assert_eq!(fetch(&place), "new", "it does not live any more");
    onggi.ok(["rm", "-f", "web"]);
    assert_eq!(fetch(&place), "new", "what the dead one gives back is not its own");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn what_was_left_behind_is_swept() {
    let onggi = busybox();
    onggi.ok(["network", "create", "--subnet", "10.191.1.0/30", "tiny"]);
    let run = ["run", "-d", "--name", "one", "--network", "tiny", "busybox", "sleep", "1000"];
    onggi.ok(run);
    // Both die: nobody gives the lease back.
    let (monitor, first) = (onggi.monitor("one"), onggi.first_process("one"));
    monitor.kill();
    first.kill();
    let other = ["run", "--rm", "--network", "tiny", "busybox", "true"];
    // There is one address, and it is said to be used until somebody looks at the container.
    onggi.ok(["ps", "-a"]);
    onggi.ok(other);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_had_is_said_with_what_can() {
    let onggi = busybox();
    onggi.ok(["network", "create", "--subnet", "10.191.2.0/24", "shop"]);
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    for (words, code, text) in [
        (&["network", "create", "--ingress", "x"][..], 1, "--ingress of networks is not built"),
        (&["network", "create", "--config-only=true", "x"], 1, "--config-only of networks is not built"),
        (&["network", "create", "--ipv4=false", "x"], 1, "--ipv4 of networks is not built"),
        (&["network", "connect", "host", "jar"], 1, "connected to host network"),
        (&["network", "disconnect", "host", "jar"], 1, "connected to host network"),
        (&["network", "connect", "none", "jar"], 1, "private (none) mode"),
        (
            &["run", "--rm", "--network", "shop", "--ip", "10.191.2.1", "busybox", "true"],
            125,
            "10.191.2.1 is the gateway of network shop",
        ),
        (&["run", "--rm", "-p", "203.0.113.9:8080:80", "busybox", "true"], 125, "`ip address` shows them"),
    ] {
        onggi.run(words).code(code).says(text);
    }
    onggi.ok(["network", "create", "--ingress=false", "--ipv4", "plain"]);
}

/// Removing a network beside connecting to it: one of both is first, and the other is told so.
#[test]
fn a_network_that_goes_while_somebody_comes() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "guest", "busybox", "sleep", "1000"]);
    for round in 0..6 {
        let name = format!("shop{round}");
        onggi.ok(["network", "create", &name]);
        let (connected, removed) = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| onggi.run(["network", "connect", &name, "guest"]).code == 0);
            let removing = scope.spawn(|| onggi.run(["network", "rm", &name]).code == 0);
            (connecting.join().expect("an answer"), removing.join().expect("an answer"))
        });
        assert_ne!(connected, removed, "round {round}");
        if connected {
            onggi.ok(["network", "disconnect", &name, "guest"]);
            onggi.ok(["network", "rm", &name]);
        }
    }
    onggi.ok(["system", "check"]);
    onggi.ok(["rm", "-f", "guest"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

/// What a crash of another day has left, of which no record says anything.
#[test]
fn bridges_and_files_of_no_network_are_found_and_taken_away() {
    let onggi = busybox();
    if onggi.is_ordinary() {
        return;
    }
    onggi.ok(["run", "--rm", "busybox", "true"]);
    let (id, link) = (format!("{:0>64}", std::process::id()), format!("og-x{}", std::process::id()));
    let alias = format!("onggi network {id} of {}", onggi.run_root().display());
    let ip = |words: &[&str]| {
        assert!(
            std::process::Command::new("ip").args(words).status().expect("iproute2").success(),
            "{words:?}"
        );
    };
    let directory = onggi.run_root().join("networks").join(&id);
    let leave = || {
        std::fs::create_dir_all(directory.join("endpoints")).expect("a directory");
        ip(&["link", "add", &link, "type", "bridge"]);
        ip(&["link", "set", &link, "alias", &alias]);
    };
    let is_there = || std::path::Path::new("/sys/class/net").join(&link).exists();
    leave();
    for words in [&["system", "check"][..], &["doctor"]] {
        let said = onggi.run(words).stdout;
        assert!(said.contains(&format!("{link}: is a bridge of no network")), "{words:?}: {said}");
        assert!(said.contains(&format!("{id}: is of no network")), "{words:?}: {said}");
    }
    onggi.ok(["system", "check", "--repair"]);
    assert!(!is_there() && !directory.exists());
    onggi.ok(["system", "check"]);
    leave();
    onggi.ok(["system", "reset", "-f"]);
    assert!(!is_there() && !directory.exists());
}

/// A removal beside it: whoever is second is told that there is no such container, or has done it to one that has ended.
#[test]
fn a_container_that_goes_while_it_is_connected() {
    let onggi = busybox();
    onggi.ok(["network", "create", "shop"]);
    for _ in 0..8 {
        onggi.ok(["run", "-d", "--name", "guest", "busybox", "sleep", "1000"]);
        let (connected, disconnected) = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| onggi.run(["network", "connect", "shop", "guest"]));
            let leaving = scope.spawn(|| onggi.run(["network", "disconnect", "bridge", "guest"]));
            onggi.ok(["rm", "-f", "guest"]);
            (connecting.join().expect("an answer"), leaving.join().expect("an answer"))
        });
        for output in [connected, disconnected] {
            let gone = output.stderr.contains("No such container");
            assert!(output.code == 0 || gone, "{output}");
        }
    }
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn a_port_that_was_chosen_and_then_taken_by_somebody_is_another() {
    let onggi = busybox();
    let words = ["run", "-d", "--name", "jar", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"];
    let stop = |command: onggi_testkit::Run| {
        command.env("ONGGI_FAULT", "engine.start.prepared:1").env("ONGGI_FAULT_SIGNAL", "19").spawn()
    };
    let starting = stop(onggi.command(words));
    let deadline = Instant::now() + PATIENCE;
    while !starting.process.read("stat").contains(") T ") {
        assert!(Instant::now() < deadline, "it does not stop");
        std::thread::yield_now();
    }
    let networks = onggi.run_root().join("networks");
    let files =
        std::fs::read_dir(networks).expect("networks").flatten().map(|entry| entry.path().join("endpoints"));
    let endpoint =
        files.filter_map(|path| std::fs::read_dir(path).ok()?.flatten().next()).next().expect("an endpoint");
    let text = std::fs::read_to_string(endpoint.path()).expect("an endpoint");
    let endpoint: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let chosen = endpoint["ports"][0]["host"].as_u64().expect("a port");
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{chosen}")).expect("it is not taken yet");
    starting.process.signal(Signal::CONT);
    starting.wait().code(0);
    assert_ne!(port(&onggi, "jar", "80"), chosen.to_string());
    drop(taken);
    assert_eq!(onggi.inspect("jar", "{{.State.Error}}"), "");
    onggi.ok(["rm", "-f", "jar"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn addresses_at_the_edge_of_a_network() {
    let onggi = busybox();
    onggi.ok(["network", "create", "--subnet", "10.191.7.0/31", "pair"]);
    let gateway = onggi.ok(["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", "pair"]);
    let refusal = format!("Address already in use: {} is the gateway of network pair", gateway.trim());
    let asked = ["run", "--rm", "--network", "pair", "--ip", gateway.trim(), "busybox", "true"];
    onggi.run(asked).code(125).says(&refusal);
    let route = onggi.ok(["run", "--rm", "--network", "pair", "busybox", "ip", "route"]);
    assert!(route.contains(&format!("default via {}", gateway.trim())), "{route}");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn networks_that_would_be_in_the_way() {
    let onggi = busybox();
    if onggi.is_ordinary() {
        return;
    }
    let link = format!("ogt{}", std::process::id());
    let ip = |words: &[&str]| {
        assert!(
            std::process::Command::new("ip").args(words).status().expect("iproute2").success(),
            "{words:?}"
        );
    };
    ip(&["link", "add", &link, "up", "type", "bridge"]);
    ip(&["address", "add", "10.191.9.1/24", "dev", &link]);
    for subnet in ["10.191.9.128/25", "10.191.8.0/22"] {
        let refused = onggi.run(["network", "create", "--subnet", subnet, "mine"]);
        refused.code(1).says("the host itself is on 10.191.9.");
    }
    // Somebody else's bridge, which says nothing of itself, is nobody's to take.
    let name = format!("com.docker.network.bridge.name={link}");
    let create = ["network", "create", "--opt", &name, "named"];
    let refusal = format!("the link {link}: it is there, and is not of this network");
    onggi.run(create).code(1).says(&refusal);
    ip(&["link", "delete", &link]);
    onggi.ok(create);
    onggi.ok(["run", "--rm", "--network", "named", "busybox", "true"]);
    let again = ["network", "create", "--opt", &name, "other"];
    onggi.run(again).code(1).says(&refusal);
    // It has gone, and somebody else has made one of that name.
    let is_there = || std::path::Path::new("/sys/class/net").join(&link).exists();
    ip(&["link", "delete", &link]);
    ip(&["link", "add", &link, "type", "bridge"]);
    onggi.run(["run", "--rm", "--network", "named", "busybox", "true"]).code(125).says(&refusal);
    onggi.ok(["network", "rm", "named"]);
    assert!(is_there(), "it is another's");
    ip(&["link", "delete", &link]);
    for subnet in ["169.254.1.0/24", "fe80::/64"] {
        onggi.run(["network", "create", "--subnet", subnet, "mine"]).code(1).says("invalid subnet");
    }
    // One letter is enough.
    onggi.ok(["network", "create", "m"]);
    onggi.ok(["network", "rm", "m"]);
    let id = onggi.ok(["network", "create", "mine"]);
    onggi.run(["network", "create", &id.trim()[..12]]).code(1).says("it is the id of network mine");
    for address in ["224.0.0.1", "255.255.255.255", "[ff02::1]"] {
        let refused = onggi.run(["create", "-p", &format!("{address}::80"), "busybox"]);
        refused.code(125).says("is of many hosts");
    }
    // A bridge that somebody has taken away leaves the table; by one the kit finds what to take away.
    onggi.ok(["run", "--rm", "busybox", "true"]);
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

/// `ip netns exec` mounts another /sys, in which there are no control groups.
#[test]
fn a_start_without_control_groups_leaves_nothing_in_the_way() {
    let onggi = busybox();
    if onggi.is_ordinary() {
        return;
    }
    let without = |words: &[&str]| {
        let script = "umount -R -l /sys && mount -t sysfs sysfs /sys && exec \"$@\"";
        let output = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_onggi")])
            .args(words)
            .env("ONGGI_ROOT", onggi.data())
            .env("ONGGI_RUN_ROOT", onggi.run_root())
            .output()
            .expect("unshare(1)");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let refused = "no control group file system is mounted";
    let (code, said) = without(&["run", "-d", "--name", "jar", "-p", "127.0.0.1::80", "busybox", "true"]);
    assert!(code == Some(125) && said.contains(refused), "{code:?} {said}");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "created");
    // Its leases are given back.
    onggi.ok(["system", "check"]);
    assert_eq!(without(&["rm", "jar"]).0, Some(0));
    let (code, said) = without(&["run", "--rm", "--name", "jar", "busybox", "true"]);
    assert!(code == Some(125) && said.contains(refused), "{code:?} {said}");
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    onggi.ok(["system", "check"]);
    // One that runs is not said to have gone by who cannot end it.
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let first = onggi.first_process("jar");
    onggi.monitor("jar").kill();
    without(&["rm", "-f", "jar"]);
    let is_there = onggi.ok(["ps", "-aq"]).lines().count() == 1;
    assert!(is_there || first.ends_within(Duration::ZERO));
    onggi.run(["rm", "-f", "jar"]);
}

#[test]
fn what_cannot_be_is_refused_before_there_is_a_container() {
    let onggi = busybox();
    onggi.ok(["network", "create", "--internal", "inner"]);
    let run = ["run", "-d", "--name", "jar"];
    for (flags, said) in [
        (["--network", "inner", "-p", "7999:80"], "a network that is not internal"),
        (["-p", "7620:80", "-p", "7620:81"], "this command publishes ports 80 and 81 on it"),
    ] {
        onggi.run(run.iter().chain(&flags).chain(&["busybox", "sleep", "1000"])).code(125).says(said);
        assert_eq!(onggi.ok(["ps", "-aq"]), "", "{said}");
    }
    onggi.ok(run.iter().chain(&["-p", "127.0.0.1:0:80", "busybox", "sleep", "1000"]));
    let port = onggi.ok(["port", "jar"]);
    assert!(port.starts_with("80/tcp -> 127.0.0.1:") && !port.ends_with(":0"), "{port}");
    onggi.ok(["create", "--name", "alone", "--network", "none", "busybox", "true"]);
    onggi.run(["rename", "alone", "jar"]).code(1).says("hint: `onggi rm -f jar` removes it, also if it runs");
}
