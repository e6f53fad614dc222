//! Records that are lost or damaged, and checks beside commands at work.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use common::busybox;
use onggi_testkit::{Process, TestEnv};

fn running(onggi: &TestEnv, name: &str) -> (PathBuf, Process) {
    onggi.ok(["run", "-d", "--name", name, "busybox", "sleep", "1000"]);
    (onggi.data().join("containers").join(onggi.inspect(name, "{{.Id}}")), onggi.first_process(name))
}

fn is_sound(onggi: &TestEnv) {
    onggi.run(["system", "check"]).code(0);
}

const PATIENCE: std::time::Duration = onggi_testkit::PATIENCE;

#[test]
fn a_lost_or_damaged_state_is_asked_of_the_monitor() {
    let onggi = busybox();
    for damage in [None, Some(""), Some("{ not JSON")] {
        let (directory, process) = running(&onggi, "jar");
        let harm = || match damage {
            None => fs::remove_file(directory.join("state.json")).expect("a state"),
            Some(text) => fs::write(directory.join("state.json"), text).expect("a state"),
        };
        harm();
        assert_eq!(onggi.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"]), "jar running");
        assert_eq!(onggi.inspect("jar", "{{.State.Pid}}"), process.pid.to_string());
        harm();
        onggi.ok(["stop", "-t", "0", "jar"]);
        assert!(process.ends_within(PATIENCE));
        onggi.ok(["start", "jar"]);
        let process = onggi.first_process("jar");
        harm();
        onggi.ok(["rm", "-f", "jar"]);
        assert!(process.ends_within(PATIENCE));
        is_sound(&onggi);
    }
}

#[test]
fn a_damaged_state_of_a_container_that_has_ended_is_set_aside() {
    let onggi = busybox();
    for how in ["repair", "rm"] {
        onggi.run(["run", "--name", "jar", "busybox", "sh", "-c", "echo kept > /file"]).code(0);
        let id = onggi.inspect("jar", "{{.Id}}");
        fs::write(onggi.data().join("containers").join(&id).join("state.json"), "{").expect("a state");
        assert!(onggi.ok(["ps", "-a"]).contains("jar"));
        onggi.ok(["system", "df"]);
        onggi.run(["system", "check"]).code(1);
        if how == "repair" {
            assert!(onggi.ok(["system", "check", "--repair"]).contains("lost/1/containers"));
            is_sound(&onggi);
            assert!(onggi.data().join("lost/1/containers").join(&id).join("state.json").exists());
            assert_eq!(onggi.inspect("jar", "{{.State.Status}} {{.State.ExitCode}}"), "exited 255");
            onggi.ok(["start", "jar"]);
        }
        onggi.ok(["rm", "-f", "jar"]);
        is_sound(&onggi);
    }
}

#[test]
fn damaged_records_of_volumes_and_networks_have_a_way_out() {
    let onggi = busybox();
    onggi.ok(["volume", "create", "--label", "a=b", "jam"]);
    onggi.ok(["run", "--rm", "-v", "jam:/jam", "busybox", "sh", "-c", "echo kept > /jam/file"]);
    onggi.ok(["network", "create", "shelf"]);
    let volume = onggi.data().join("volumes/jam/volume.json");
    let network = onggi.data().join("networks/shelf/network.json");
    let damages: [fn(&PathBuf); 3] = [
        |path| fs::write(path, "onggi-record").expect("a record"),
        |path| fs::remove_file(path).expect("a record"),
        |path| {
            fs::remove_file(path).expect("a record");
            fs::create_dir(path).expect("a directory");
        },
    ];
    for damage in damages {
        for path in [&volume, &network] {
            damage(path);
            let said = onggi.run(["system", "check"]).code(1);
            assert!(said.stdout.contains("wrong"), "{}", said.stdout);
            onggi.ok(["system", "check", "--repair"]);
            is_sound(&onggi);
        }
        assert_eq!(onggi.ok(["volume", "ls", "-q"]), "jam");
        assert_eq!(onggi.ok(["run", "--rm", "-v", "jam:/jam", "busybox", "cat", "/jam/file"]), "kept");
        onggi.ok(["network", "create", "shelf"]);
    }
    onggi.ok(["network", "rm", "shelf"]);
    onggi.ok(["volume", "rm", "jam"]);
}

#[test]
fn a_version_that_is_none_is_mended_by_what_the_hint_says() {
    let onggi = busybox();
    fs::write(onggi.data().join("VERSION"), "").expect("the version");
    assert!(onggi.run(["images"]).code(1).stderr.contains("system check --repair"));
    assert!(onggi.ok(["system", "check", "--repair"]).contains("VERSION"));
    is_sound(&onggi);
}

/// That of a container with `--rm` is not synced; and so were all of them, once.
#[test]
fn a_container_whose_volume_has_lost_its_record_starts() {
    let onggi = busybox();
    let script = "cat /data/file || echo kept > /data/file";
    onggi.ok(["run", "--name", "jar", "-v", "/data", "busybox", "sh", "-c", script]);
    let name = onggi.ok(["volume", "ls", "-q"]);
    let record = onggi.data().join("volumes").join(&name).join("volume.json");
    let mode = || fs::metadata(&record).expect("a record").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600, "it is to survive a power cut, as its container does");
    let damage = || {
        fs::write(&record, "\0\0\0").expect("a record");
        fs::set_permissions(&record, Permissions::from_mode(0o400)).expect("a mode");
        assert_eq!(onggi.ok(["volume", "ls", "-q"]), "");
    };
    damage();
    assert_eq!(onggi.ok(["start", "-a", "jar"]), "kept");
    assert_eq!(onggi.ok(["volume", "ls", "-q"]), name);
    is_sound(&onggi);
    damage();
    let said = onggi.run(["system", "check"]).code(1).stdout;
    assert!(said.contains(&format!("volume {name}")), "{said}");
    onggi.ok(["system", "check", "--repair"]);
    is_sound(&onggi);
    assert_eq!(onggi.ok(["volume", "ls", "-q"]), name);
    assert_eq!(onggi.ok(["start", "-a", "jar"]), "kept");
    // Nobody has it, and there is nothing in it.
    onggi.ok(["rm", "jar"]);
    damage();
    fs::remove_file(onggi.data().join("volumes").join(&name).join("_data/file")).expect("a file");
    is_sound(&onggi);
}

/// The state of a container that runs is not synced: a power cut may leave the file without its bytes.
#[test]
fn a_state_that_a_power_cut_has_emptied_is_that_of_a_container_that_ran() {
    let onggi = busybox();
    onggi.ok(["run", "--name", "jar", "busybox", "true"]);
    let id = onggi.inspect("jar", "{{.Id}}");
    for content in ["", "\0\0\0"] {
        fs::write(onggi.data().join("containers").join(&id).join("state.json"), content).expect("a state");
        assert_eq!(onggi.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"]), "jar exited");
        assert_eq!(onggi.inspect("jar", "{{.State.ExitCode}}"), "255");
        is_sound(&onggi);
        onggi.ok(["start", "-a", "jar"]);
    }
    assert!(!onggi.data().join("lost").exists());
}

#[test]
fn a_container_with_a_damaged_record_is_seen_and_can_be_removed_or_set_aside() {
    let onggi = busybox();
    for how in ["repair", "rm", "reset"] {
        let (directory, process) = running(&onggi, "jar");
        let id = onggi.inspect("jar", "{{.Id}}");
        fs::write(directory.join("container.json"), "").expect("a record");
        // The index is made anew from what can be read.
        fs::remove_file(onggi.run_root().join("index.sqlite")).expect("an index");
        let shown = onggi.ok(["ps", "-a", "--format", "{{.ID}} {{.Image}} {{.State}}"]);
        assert_eq!(shown, format!("{} <damaged record> running", &id[..12]));
        onggi.ok(["system", "df"]);
        onggi.run(["system", "check"]).code(1);
        match how {
            "repair" => {
                onggi.ok(["system", "check", "--repair"]);
                assert!(onggi.data().join("lost/1/containers").join(&id).join("upper").is_dir());
            }
            "rm" => drop(onggi.ok(["rm", "-f", &id[..12]])),
            _ => drop(onggi.ok(["system", "reset", "-f"])),
        }
        assert!(process.ends_within(PATIENCE), "{how}");
        is_sound(&onggi);
        assert_eq!(onggi.ok(["ps", "-aq"]), "");
    }
}

#[test]
fn a_sandbox_without_a_record_is_ended() {
    let onggi = busybox();
    let (directory, process) = running(&onggi, "jar");
    fs::rename(directory, onggi.file("away")).expect("the container's directory");
    let said = onggi.run(["system", "check"]).code(1);
    assert!(said.stdout.contains("has a monitor and no record"), "{said}");
    let said = onggi.ok(["system", "check", "--repair"]);
    assert!(said.contains("it was ended and removed"), "{said}");
    assert!(process.ends_within(PATIENCE));
    is_sound(&onggi);
}

#[test]
fn a_dead_container_gives_its_name_to_the_next() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--rm", "--name", "jar", "busybox", "sleep", "1000"]);
    let (monitor, process) = (onggi.monitor("jar"), onggi.first_process("jar"));
    monitor.kill();
    process.kill();
    assert!(monitor.ends_within(PATIENCE) && process.ends_within(PATIENCE));
    assert_eq!(onggi.ok(["run", "--rm", "--name", "jar", "busybox", "echo", "next"]), "next");
}

#[test]
fn repairs_beside_commands_break_none_and_see_nothing_wrong() {
    let onggi = busybox();
    let count = if onggi_testkit::full() { 40 } else { 8 };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for words in [&["system", "check", "--repair"][..], &["system", "check"]] {
            let (onggi, over) = (&onggi, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let said = onggi.run(words);
                    assert!(said.code == 0 && !said.stdout.contains("mended"), "{said}");
                }
            });
        }
        let acts: [&[&str]; 3] = [
            &["run", "--rm", "busybox", "true"],
            &["run", "-d", "busybox", "true"],
            &["create", "busybox", "true"],
        ];
        let commands = acts.map(|words| {
            let onggi = &onggi;
            scope.spawn(move || {
                let said = (0..count).map(|_| onggi.run(words));
                said.filter(|said| said.code != 0).map(|said| said.to_string()).collect::<Vec<_>>()
            })
        });
        let failed = commands.map(std::thread::ScopedJoinHandle::join);
        over.store(true, Ordering::Relaxed);
        for failed in failed {
            assert_eq!(failed.expect("a thread"), Vec::<String>::new());
        }
    });
}
