//! What there is: `ps` and its filters, `inspect`, `events`, `info`, `version`, `doctor`, `system check`.

mod common;

use common::{busybox, fresh};

#[test]
fn filters_choose() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "runs", "-l", "color=red", "busybox", "sleep", "1000"]);
    onggi.run(["run", "--name", "failed", "-l", "color=blue", "busybox", "sh", "-c", "exit 3"]).code(3);
    onggi.ok(["create", "--name", "waits", "-l", "color", "busybox", "true"]);
    let names = |filters: &[&str]| {
        let flags = filters.iter().flat_map(|filter| ["--filter", filter]);
        let text = onggi.ok(["ps", "-a", "--format", "{{.Names}}"].into_iter().chain(flags));
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "failed runs waits");
    assert_eq!(onggi.ok(["ps", "--format", "{{.Names}}"]), "runs");
    for (filter, expected) in [
        ("name=un", "runs"),
        ("name=^waits$", "waits"),
        ("status=created", "waits"),
        ("status=exited", "failed"),
        ("exited=3", "failed"),
        ("label=color", "failed runs waits"),
        ("label=color=red", "runs"),
        ("ancestor=busybox", "failed runs waits"),
        ("before=failed", "runs"),
        ("since=failed", "waits"),
        ("health=none", "failed runs waits"),
        ("health=healthy", ""),
        ("is-task=false", "failed runs waits"),
        ("is-task=true", ""),
    ] {
        assert_eq!(names(&[filter]), expected, "{filter}");
    }
    assert_eq!(names(&["status=exited", "status=created"]), "failed waits", "the same key: either");
    assert_eq!(names(&["status=exited", "label=color=red"]), "", "two keys: both");
    onggi.fails(["ps", "--filter", "colour=red"]).says("colour");
    onggi.fails(["ps", "--filter", "health=fine"]).says("health=fine");
    for unbuilt in ["publish=80", "expose=80", "isolation=default"] {
        onggi.fails(["ps", "--filter", unbuilt]).says("is not built yet");
    }
    assert_eq!(onggi.ok(["ps", "-l", "--format", "{{.Names}}"]), "waits");
    assert_eq!(onggi.ok(["ps", "-n", "2", "--format", "{{.Names}}"]), "waits\nfailed");
}

#[test]
fn commands_and_sizes_are_docker_s() {
    let onggi = busybox();
    let script = "mkdir -p /a/b/c; echo 12345 > /a/f; ln /a/f /a/g";
    onggi.ok(["run", "--name", "jar", "busybox", "sh", "-c", script]);
    let shown = |format: &str| onggi.ok(["ps", "-a", "--no-trunc", "--format", format]);
    assert_eq!(shown("{{.Command}}"), format!("\"sh -c '{script}'\""));
    assert!(shown("{{.Size}}").starts_with("6B (virtual "), "{}", shown("{{.Size}}"));
}

#[test]
fn the_table_is_docker_s() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let text = onggi.ok(["ps"]);
    let (header, line) = text.split_once('\n').expect("two lines");
    let words: Vec<&str> = header.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    assert!(
        line.contains("busybox")
            && line.contains("\"sleep 1000\"")
            && line.contains("Up ")
            && line.ends_with("jar"),
        "{line}"
    );
    assert_eq!(line.split(' ').next().map(str::len), Some(12));
    onggi.run(["run", "--name", "ended", "busybox", "false"]).code(1);
    assert!(onggi.ok(["ps", "-a"]).contains("Exited (1) "), "{}", onggi.ok(["ps", "-a"]));
    let json: serde_json::Value =
        serde_json::from_str(&onggi.ok(["ps", "--format", "json"])).expect("an object a line");
    assert_eq!(json["Names"], "jar");
}

#[test]
fn inspect_has_docker_s_shape() {
    let onggi = busybox();
    let id = onggi.ok([
        "run", "-d", "--name", "jar", "-e", "A=b", "-l", "k=v", "-m", "64m", "busybox", "sleep", "1000",
    ]);
    let all: serde_json::Value = serde_json::from_str(&onggi.ok(["inspect", "jar"])).expect("a list");
    let one = &all[0];
    assert_eq!(one["Id"], id);
    assert_eq!(one["Name"], "/jar");
    assert_eq!(one["Path"], "sleep");
    assert_eq!(one["Args"], serde_json::json!(["1000"]));
    assert_eq!(one["State"]["Running"], true);
    assert_eq!(one["Config"]["Labels"]["k"], "v");
    assert_eq!(one["HostConfig"]["Memory"], 64 << 20);
    assert!(one["Config"]["Env"].as_array().expect("a list").iter().any(|entry| entry == "A=b"));
    assert_eq!(onggi.inspect("jar", "{{range .Config.Env}}{{println .}}{{end}}").lines().next(), Some("A=b"));
    assert_eq!(onggi.inspect("jar", "{{json .State.Running}} {{.Config.Cmd}}"), "true [sleep 1000]");
    assert_eq!(onggi.inspect("jar", "{{if .State.Running}}up{{else}}down{{end}}"), "up");
    onggi.fails(["inspect", "-f", "{{.No.Such}}", "jar"]);
    onggi.fails(["inspect", "nothing"]).says("nothing");
    let spec: serde_json::Value =
        serde_json::from_str(&onggi.ok(["inspect", "--oci", "jar"])).expect("an OCI configuration");
    assert_eq!(spec["process"]["args"], serde_json::json!(["sleep", "1000"]));
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 64 << 20);
}

#[test]
fn the_life_of_a_container_is_written_down() {
    let onggi = busybox();
    onggi.run(["run", "--rm", "--name", "jar", "-l", "k=v", "busybox", "sh", "-c", "exit 3"]).code(3);
    let mut events = onggi.spawn(["events", "--since", "0", "--until", "9999999999", "--format", "json"]);
    let mut actions = Vec::new();
    while !actions.iter().any(|action| action == "destroy") {
        let line = events.line().expect("an event");
        let event: serde_json::Value = serde_json::from_str(&line).expect("an object a line");
        if event["Type"] == "container" {
            assert_eq!(event["Actor"]["Attributes"]["name"], "jar");
            assert_eq!(event["Actor"]["Attributes"]["k"], "v");
            if event["Action"] == "die" {
                assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
            }
            actions.push(event["Action"].as_str().expect("a word").to_owned());
        }
    }
    actions.retain(|action| ["create", "start", "die", "destroy"].contains(&action.as_str()));
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
}

#[test]
fn states_forbid_what_they_must() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    onggi.fails(["rm", "jar"]).says("jar");
    onggi.ok(["start", "jar"]);
    onggi.ok(["kill", "-s", "KILL", "jar"]);
    assert_eq!(onggi.ok(["wait", "jar"]), "137");
    onggi.fails(["kill", "jar"]).says("not running");
    onggi.ok(["rm", "jar"]);
    for act in ["start", "stop", "kill", "rm", "logs", "wait", "attach"] {
        onggi.fails([act, "jar"]).code(1).says("jar");
    }
}

#[test]
fn the_program_tells_about_itself() {
    let onggi = fresh();
    assert!(onggi.ok(["version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(onggi.ok(["--version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(onggi.ok(["info"]).contains(&onggi.data().display().to_string()));
    let info: serde_json::Value =
        serde_json::from_str(&onggi.ok(["info", "--format", "json"])).expect("an object");
    assert_eq!(info["Containers"], 0);
    assert!(!onggi.run(["doctor"]).stdout.is_empty());
    onggi.ok(["system", "check"]);
    let help = onggi.ok(["run", "--help"]);
    assert!(help.contains("--cap-add") && help.contains("onggi run"), "{help}");
    assert!(onggi.ok(["--help"]).contains("run"));
    onggi.fails(["nosuchcommand"]).says("nosuchcommand");
}

#[test]
fn a_data_root_from_the_future_is_left_alone() {
    let onggi = fresh();
    onggi.ok(["ps"]);
    let version = onggi.data().join("VERSION");
    let before = std::fs::read_to_string(&version).expect("a version");
    std::fs::write(&version, "999\n").expect("the file");
    let output = onggi.fails(["ps"]);
    assert!(output.stderr.contains("999"), "{output}");
    std::fs::write(&version, before).expect("the file");
    onggi.ok(["ps"]);
}

#[test]
fn the_index_can_be_thrown_away() {
    let onggi = busybox();
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(onggi.run_root().join(format!("index.sqlite{suffix}")));
    }
    assert_eq!(onggi.ok(["ps", "-a", "--format", "{{.Names}}"]), "jar");
    assert_eq!(onggi.ok(["images", "--format", "{{.Repository}}"]), "busybox");
    onggi.run(["create", "--name", "jar", "busybox", "true"]).says("jar");
    onggi.ok(["start", "-a", "jar"]);
}
