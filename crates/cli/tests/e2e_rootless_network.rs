//! An ordinary user's networks: bridges in a network namespace of the user's own, ports of the host's that lead there, pasta as the way
//! out, and what becomes of these when somebody dies.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::busybox_of_ordinary_user as busybox;
use common::network::fetch;
use onggi_testkit::{Beyond, PATIENCE, Process, TestEnv, leave_network};
use rustix::process::Signal;

/// httpd, which logs whom it serves.
fn serve(onggi: &TestEnv, name: &str, flags: &[&str]) {
    let script = format!("mkdir /w && echo {name} > /w/index.html && exec httpd -f -vv -p 80 -h /w");
    let words = [&["run", "-d", "--name", name][..], flags, &["busybox", "sh", "-c", &script]].concat();
    onggi.ok(words);
}

/// The port of the host's at which a container's is reached.
fn port(onggi: &TestEnv, name: &str, of: &str) -> u16 {
    let place = onggi.ok(["port", name, of]);
    let line = place.lines().next().expect("it is published");
    line.rsplit_once(':').expect("a port").1.parse().expect("a number")
}

/// The address that this host goes out with.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a route");
    socket.local_addr().expect("an address").ip()
}

fn pasta(onggi: &TestEnv) -> Process {
    let text =
        fs::read_to_string(onggi.run_root().join("user-namespace/pasta.pid")).expect("pasta's process id");
    Process::open(text.trim().parse().expect("a number")).expect("pasta lives")
}

/// Whether a container gets an answer from a server on this host, by pasta.
fn goes_out(onggi: &TestEnv, name: &str) -> bool {
    let listener = TcpListener::bind((own_address(), 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        listener.set_nonblocking(true).expect("a socket");
        let deadline = Instant::now() + Duration::from_secs(8);
        while Instant::now() < deadline {
            if let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"here\n");
                return;
            }
            std::thread::yield_now();
        }
    });
    // pasta of 2023 loses the answers to who has said that nothing more will come.
    let open = "mkfifo /open; sleep 1000 >/open &";
    let script = format!("{open} nc -w 5 {} {} </open; kill $!; rm /open", address.ip(), address.port());
    let said = onggi.run(["exec", name, "timeout", "7", "sh", "-c", &script]).stdout;
    let _ = server.join();
    said == "here\n"
}

#[test]
fn a_port_of_the_host_leads_to_the_container_and_the_client_s_address_stays() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80", "-p", "127.0.0.1::80"]);
    let (anywhere, local) = (port(&onggi, "web", "80"), {
        let all = onggi.ok(["port", "web"]);
        let line = all.lines().find(|line| line.contains("127.0.0.1")).expect("the second").to_owned();
        line.rsplit_once(':').expect("a port").1.parse::<u16>().expect("a number")
    });
    let own = own_address();
    assert_eq!(fetch(&format!("127.0.0.1:{anywhere}")), "web");
    assert_eq!(fetch(&format!("127.0.0.1:{local}")), "web");
    assert_eq!(fetch(&SocketAddr::new(own, anywhere).to_string()), "web");
    let refused = TcpStream::connect_timeout(&SocketAddr::new(own, local), Duration::from_secs(5));
    assert!(refused.is_err(), "it was published on 127.0.0.1 alone");
    onggi.spawn(["logs", "-f", "web"]).expect_error(&format!("[::ffff:{own}]:"));
    let taken = format!("{anywhere}:80");
    onggi
        .run(["run", "--rm", "-p", &taken, "busybox", "true"])
        .code(125)
        .says(&format!("Bind for 0.0.0.0:{anywhere} failed: port is already allocated"));
    onggi.ok(["rm", "-f", "web"]);
    onggi.ok(["run", "--rm", "-p", &taken, "busybox", "true"]);
}

#[test]
fn what_goes_through_a_port_arrives_whole_and_each_side_ends_by_itself() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "echo", "-p", "80", "busybox", "nc", "-ll", "-p", "80", "-e", "cat"]);
    let address = SocketAddr::new([127, 0, 0, 1].into(), port(&onggi, "echo", "80"));
    let deadline = Instant::now() + PATIENCE;
    // Whoever comes before the container listens is sent away.
    let talk = |bytes: &[u8]| -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        let mut writer = stream.try_clone()?;
        let bytes = bytes.to_vec();
        let writing = std::thread::spawn(move || {
            writer.write_all(&bytes).and_then(|()| writer.shutdown(Shutdown::Write))
        });
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        writing.join().expect("a writer").and(read)?;
        Ok(received)
    };
    while !talk(b"x").is_ok_and(|received| received == b"x") {
        assert!(Instant::now() < deadline, "the container does not answer");
    }
    let sent: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let received = talk(&sent).expect("a connection");
    assert!(received == sent, "{} bytes", received.len());
}

#[test]
fn datagrams_find_the_container_and_each_client_hears_its_own_answers() {
    const ECHO: &str = "import socket\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.bind(('', 53))\n\
        while True: s.sendto(*s.recvfrom(99))";
    let onggi = TestEnv::of_ordinary_user(env!("CARGO_BIN_EXE_onggi"));
    onggi.import("python");
    onggi.ok(["run", "-d", "--name", "echo", "-p", "53/udp", "python", "python3", "-c", ECHO]);
    let port = port(&onggi, "echo", "53/udp");
    let own = own_address();
    for (from, to) in [
        (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 1])),
        (own, own),
        (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
    ] {
        let clients = [0, 1].map(|_| UdpSocket::bind((from, 0)).expect("a socket"));
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
            let (deadline, word) = (Instant::now() + PATIENCE, format!("{number} {to}"));
            let mut heard = [0; 99];
            // Until somebody listens there, they are lost.
            let length = loop {
                match client.send_to(word.as_bytes(), (to, port)).and_then(|_| client.recv(&mut heard)) {
                    Ok(length) => break length,
                    Err(_) => assert!(Instant::now() < deadline, "{to} does not answer"),
                }
            };
            assert_eq!(&heard[..length], word.as_bytes());
        }
    }
    onggi.ok(["rm", "-f", "echo"]);
    UdpSocket::bind(("0.0.0.0", port)).expect("the port is free");
}

#[test]
fn a_container_goes_out_by_pasta_and_comes_back_by_the_host() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80"]);
    assert!(goes_out(&onggi, "web"));
    let own = own_address();
    let hosts =
        onggi.ok(["run", "--rm", "--add-host", "outside:host-gateway", "busybox", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{own}\toutside")), "{hosts}");
    assert_eq!(onggi.ok(["exec", "web", "cat", "/sys/class/net/eth0/mtu"]), "65520");
    // The host's loopback is the host's.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let script = format!(
        "for at in 169.254.254.2 $(ip route | awk '/default/ {{print $3}}'); do nc -w 1 $at {port} </dev/null && exit 1; done; exit 0"
    );
    onggi.ok(["exec", "web", "sh", "-c", &script]);
}

#[test]
fn low_ports_are_refused_with_the_setting_that_allows_them() {
    let onggi = busybox();
    onggi
        .run(["run", "--rm", "-p", "80:80", "busybox", "true"])
        .code(125)
        .says("port 80 is below 1024")
        .says("sudo sysctl net.ipv4.ip_unprivileged_port_start=80");
    onggi
        .run(["run", "--rm", "-p", "8080:80/sctp", "busybox", "true"])
        .code(125)
        .says("SCTP")
        .says("needs root");
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
}

#[test]
fn without_pasta_the_way_to_it_is_said_and_the_rest_works() {
    let onggi = busybox();
    let programs = onggi.file("programs");
    fs::create_dir(&programs).expect("a directory");
    for name in ["unshare", "sh", "mount", "setpriv", "newuidmap", "newgidmap"] {
        let found =
            ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|path| std::path::Path::new(path).join(name));
        let found = found.iter().find(|path| path.exists()).expect("a program");
        std::os::unix::fs::symlink(found, programs.join(name)).expect("a link");
    }
    let run = |words: &[&str]| onggi.command(words).env("PATH", &programs).output();
    run(&["run", "--rm", "busybox", "true"])
        .code(125)
        .says("pasta")
        .says("sudo apt-get install passt")
        .says("--network none");
    for network in ["none", "host"] {
        run(&["run", "--rm", "--network", network, "busybox", "true"]).code(0);
    }
    run(&["network", "create", "--internal", "back"]).code(0);
    run(&["run", "--rm", "--network", "back", "busybox", "true"]).code(0);
}

#[test]
fn a_host_without_ipv6_is_enough() {
    leave_network();
    let _beyond = Beyond::new();
    for link in ["all", "default", "lo"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").expect("root may");
    }
    let onggi = busybox();
    onggi.ok(["network", "create", "--ipv6", "dual"]);
    for network in ["bridge", "dual"] {
        serve(&onggi, network, &["-p", "80", "--network", network]);
        assert!(goes_out(&onggi, network), "{network}");
        let port = port(&onggi, network, "80");
        assert_eq!(fetch(&format!("127.0.0.1:{port}")), network);
        assert_eq!(fetch(&SocketAddr::new(own_address(), port).to_string()), network);
    }
    onggi.run(["run", "--rm", "-p", "[::1]::80", "busybox", "true"]).code(125).says("[::1]");
}

#[test]
fn a_host_without_a_default_route_leads_to_its_neighbours() {
    leave_network();
    let _beyond = Beyond::new();
    ip("route del default");
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80"]);
    assert!(goes_out(&onggi, "web"));
    assert_eq!(fetch(&SocketAddr::new(own_address(), port(&onggi, "web", "80")).to_string()), "web");
}

#[test]
fn a_host_without_any_network_runs_containers_and_leads_out_once_it_has_one() {
    leave_network();
    let onggi = busybox();
    let script = "mkdir /w && echo web > /w/index.html && exec httpd -f -p 80 -h /w";
    let output = onggi.run(["run", "-d", "--name", "web", "-p", "80", "busybox", "sh", "-c", script]).code(0);
    assert!(output.stderr.contains("the host has no network but loopback"), "{output}");
    assert_eq!(fetch(&format!("127.0.0.1:{}", port(&onggi, "web", "80"))), "web");
    let _beyond = Beyond::new();
    // Nobody types anything: the holder looks every ten seconds.
    let deadline = Instant::now() + PATIENCE;
    let file = onggi.run_root().join("user-namespace/pasta.pid");
    while !fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')) {
        assert!(Instant::now() < deadline, "nobody starts pasta");
        std::thread::yield_now();
    }
    assert!(goes_out(&onggi, "web"));
}

fn ip(arguments: &str) {
    let done = std::process::Command::new("ip").args(arguments.split(' ')).status().expect("ip is installed");
    assert!(done.success(), "ip {arguments}");
}

#[test]
fn a_pasta_that_does_not_hear_of_its_end_is_ended() {
    // It looks at the first of the files that have gone, and which ones it finds at once is chance: here it finds all.
    let gone = |remove: fn(&TestEnv)| {
        let onggi = busybox();
        onggi.ok(["run", "--rm", "busybox", "true"]);
        let pasta = pasta(&onggi);
        pasta.signal(Signal::STOP);
        remove(&onggi);
        pasta.signal(Signal::CONT);
        assert!(pasta.ends_within(PATIENCE));
    };
    gone(|onggi| {
        onggi.ok(["system", "reset", "--force"]);
    });
    gone(|onggi| {
        let directory = onggi.run_root().join("user-namespace");
        for name in ["making", "netns", "pasta.pid", "pasta.lock", "network", "users", "alive"] {
            fs::remove_file(directory.join(name)).expect("it is there");
        }
        fs::remove_dir(directory).expect("there is nothing else");
    });
}

/// The way out of this Onggi's user that lives, whether or not it is known to anybody.
fn ways_out(onggi: &TestEnv) -> Vec<Process> {
    let mut all = onggi_testkit::processes_mentioning(&onggi.run_root());
    all.retain(|process| process.read("cmdline").starts_with("pasta"));
    all
}

/// Kills who passes this step of the way out's life, the holder or a command: the next start has one, and after a reset there is none.
fn is_the_last(point: &str) {
    let onggi = busybox();
    // The import's, which has not heard of it.
    onggi.holder().expect("a holder").kill();
    onggi.command(["run", "--rm", "busybox", "true"]).env("ONGGI_FAULT", point).output();
    // Either it has been killed, or it is when it ends for want of anything to hold.
    if point.ends_with("ending") || point.ends_with("unnamed") {
        assert!(onggi.holder().is_none_or(|holder| holder.ends_within(PATIENCE)), "{point}");
    }
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    assert!(goes_out(&onggi, "jar"), "{point}");
    onggi.ok(["system", "reset", "--force"]);
    for way in ways_out(&onggi) {
        assert!(way.ends_within(PATIENCE), "{point}: {}", way.read("cmdline"));
    }
}

#[test]
fn whatever_step_of_its_beginning_is_the_last_there_is_a_way_out_afterwards_and_none_after_a_reset() {
    is_the_last("rootless.hold.locked");
    is_the_last("rootless.hold.network-made");
    is_the_last("rootless.hold.network-named");
    is_the_last("rootless.hold.ready");
    is_the_last("rootless.way.named");
    is_the_last("rootless.way.started");
}

#[test]
fn whatever_step_of_its_end_is_the_last_there_is_a_way_out_afterwards_and_none_after_a_reset() {
    is_the_last("rootless.hold.ending");
    is_the_last("rootless.way.unnamed");
}

#[test]
fn pasta_that_dies_is_started_again_by_nobody_s_hand() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    assert!(goes_out(&onggi, "jar"));
    let first = pasta(&onggi);
    first.kill();
    let deadline = Instant::now() + PATIENCE;
    let file = onggi.run_root().join("user-namespace/pasta.pid");
    while fs::read_to_string(&file)
        .is_ok_and(|text| text.trim() == first.pid.to_string() || text.trim().is_empty())
    {
        assert!(Instant::now() < deadline, "nobody starts it");
        std::thread::yield_now();
    }
    assert!(goes_out(&onggi, "jar"));
}

/// Runs nft in the user's network namespace; it has to succeed.
fn nft(onggi: &TestEnv, arguments: &[&str]) -> String {
    let holder = onggi.holder().expect("a holder");
    let name = fs::read_to_string(onggi.run_root().join("user-namespace/network")).expect("a namespace");
    let mut descriptors = fs::read_dir(format!("/proc/{}/fd", holder.pid)).expect("it lives").flatten();
    let namespace = descriptors
        .find(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == name.as_str()))
        .expect("it holds the namespace");
    let mut command = std::process::Command::new("nsenter");
    command.arg(format!("--net={}", namespace.path().display())).arg("nft").args(arguments);
    let output = command.output().expect("nsenter is installed");
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_table_that_is_flushed_or_emptied_comes_back_with_nobody_typing() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80"]);
    let address = format!("127.0.0.1:{}", port(&onggi, "web", "80"));
    assert_eq!(fetch(&address), "web");
    let whole = nft(&onggi, &["list", "ruleset"]);
    let tables: Vec<&str> = whole
        .lines()
        .filter_map(|line| line.strip_prefix("table inet ")?.strip_suffix(" {"))
        .filter(|name| *name != "onggi-relay")
        .collect();
    assert_eq!(tables.len(), 1, "{whole}");
    // In whatever order the kernel has the tables.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for damage in [
        &["flush", "ruleset"][..],
        &["flush", "map", "inet", tables[0], "ports4"],
        &["flush", "table", "inet", "onggi-relay"],
    ] {
        nft(&onggi, damage);
        let deadline = Instant::now() + PATIENCE;
        while sorted(&nft(&onggi, &["list", "ruleset"])) != sorted(&whole) {
            assert!(Instant::now() < deadline, "nobody mends it after {damage:?}");
        }
    }
    assert_eq!(fetch(&address), "web");
}

#[test]
fn a_network_outlives_its_holder_and_all_its_monitors() {
    let onggi = busybox();
    serve(&onggi, "web", &["-p", "80"]);
    let address = SocketAddr::new([127, 0, 0, 1].into(), port(&onggi, "web", "80"));
    assert_eq!(fetch(&address.to_string()), "web");
    onggi.holder().expect("a holder").kill();
    assert_eq!(fetch(&address.to_string()), "web");
    onggi.ok(["ps"]);
    onggi.holder().expect("another holder").kill();
    onggi.monitor("web").kill();
    // The next look at the container puts another monitor behind it, which takes the port again.
    assert_eq!(onggi.inspect("web", "{{.State.Status}}"), "running");
    assert_eq!(fetch(&address.to_string()), "web");
    assert!(goes_out(&onggi, "web"));
}

#[test]
fn nothing_is_left_when_the_last_container_has_ended() {
    let onggi = busybox();
    onggi.ok(["run", "--rm", "-p", "80", "busybox", "true"]);
    let (holder, pasta) = (onggi.holder().expect("a holder"), pasta(&onggi));
    let namespace = fs::read_to_string(onggi.run_root().join("user-namespace/network")).expect("a namespace");
    assert!(holder.ends_within(Duration::from_secs(40)));
    assert!(pasta.ends_within(PATIENCE));
    let holds = |process: &Process| {
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| link.as_os_str() == namespace.as_str())
    };
    let own = onggi_testkit::processes_mentioning(&onggi.run_root());
    assert!(!own.iter().any(holds), "somebody still has {namespace}");
}
