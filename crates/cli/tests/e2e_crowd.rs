//! Many containers, eight at a time, leave nothing.

mod common;

use std::thread;

use common::busybox;

#[test]
fn crowds_of_containers_eight_at_a_time_leave_nothing() {
    let onggi = busybox();
    let rounds = if onggi_testkit::full() { 25 } else { 5 };
    thread::scope(|scope| {
        for lane in 0..8 {
            let onggi = &onggi;
            scope.spawn(move || {
                for round in 0..rounds {
                    let name = format!("jar-{lane}-{round}");
                    if round % 2 == 0 {
                        let script = format!("echo {name}; exit {lane}");
                        let output = onggi
                            .run(["run", "--rm", "--name", &name, "busybox", "sh", "-c", &script])
                            .code(lane);
                        assert_eq!(output.stdout, format!("{name}\n"), "{output}");
                    } else {
                        onggi.ok(["run", "-d", "--name", &name, "busybox", "sleep", "1000"]);
                        assert_eq!(onggi.ok(["exec", &name, "echo", "inside"]), "inside");
                        onggi.ok(["rm", "-f", &name]);
                    }
                }
            });
        }
    });
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    assert_eq!(onggi.leftovers(), Vec::<String>::new());
}

#[test]
fn one_name_wanted_by_eight_at_a_time_is_one_container_s() {
    let onggi = busybox();
    let winners = thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| onggi.run(["create", "--name", "jar", "busybox", "true"])))
            .collect();
        let outputs: Vec<_> = tries.into_iter().map(|attempt| attempt.join().expect("no panic")).collect();
        for output in outputs.iter().filter(|output| output.code != 0) {
            assert!(output.stderr.contains("jar"), "{output}");
        }
        outputs.iter().filter(|output| output.code == 0).count()
    });
    assert_eq!(winners, 1);
    assert_eq!(onggi.ok(["ps", "-aq"]).lines().count(), 1);
    let removed = thread::scope(|scope| {
        let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| onggi.run(["rm", "-f", "jar"]).code)).collect();
        tries.into_iter().filter_map(|attempt| attempt.join().ok()).filter(|&code| code == 0).count()
    });
    assert!(removed >= 1);
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
}
