//! Acting on a container that is there: another name, a pause, a new start.

mod common;

use common::busybox;

#[test]
fn a_container_is_renamed_while_it_runs() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    onggi.ok(["create", "--name", "pot", "busybox", "true"]);
    let (mut events, mut deaths) = (onggi.events(&["event=rename"]), onggi.events(&["event=die"]));
    assert_eq!(onggi.ok(["rename", "jar", "/crock"]), "");
    assert_eq!(onggi.inspect("crock", "{{.Name}} {{.State.Running}}"), "/crock true");
    onggi.fails(["inspect", "jar"]);
    events.expect("name=crock, oldName=/jar");
    assert_eq!(onggi.ok(["ps", "--format", "{{.Names}}"]), "crock");
    // The monitor has heard of it.
    onggi.ok(["kill", "crock"]);
    let death = deaths.line().expect("an event");
    assert!(death.contains("die") && death.contains("name=crock"), "{death}");
    onggi.ok(["rename", "pot", "jar"]);
    onggi.ok(["start", "-a", "jar"]);
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    let onggi = busybox();
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    onggi.ok(["create", "--name", "pot", "busybox", "true"]);
    let id = onggi.inspect("pot", "{{.Id}}");
    let mut text = String::new();
    for words in
        [["jar", "jar"], ["jar", "pot"], ["jar", "-x"], ["jar", "j"], ["jar", " "], ["nothing", "else"]]
    {
        let output = onggi.fails(["rename", words[0], words[1]]);
        text += &format!("$ rename {}  # {}\n{}", words.join(" "), output.code, output.stderr);
    }
    insta::assert_snapshot!(text.replace(&id, "ID"));
    assert_eq!(onggi.inspect("jar", "{{.Name}}"), "/jar");
    // Whoever means the other by its id would have this one.
    for name in [&id, &id[..12]] {
        let refusal = format!("invalid container name ({name}): it is the id of container {}", &id[..12]);
        onggi.run(["rename", "jar", name]).code(1).says(&refusal);
        onggi.run(["create", "--name", name, "busybox", "true"]).code(125).says(&refusal);
    }
}

#[test]
fn a_paused_container_stands_still() {
    let onggi = busybox();
    let count = "while true; do echo tick; done";
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", count]);
    onggi.ok(["run", "-d", "--name", "pot", "busybox", "sleep", "1000"]);
    let mut events = onggi.events(&["event=pause", "event=unpause"]);
    assert_eq!(onggi.ok(["pause", "jar", "pot"]), "jar\npot");
    events.expect("pause");
    assert_eq!(
        onggi.inspect("jar", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
        "paused true true"
    );
    assert!(onggi.ok(["ps", "--format", "{{.Names}} {{.Status}}"]).contains("(Paused)"));
    let first = onggi.first_process("jar");
    // The time that it has used, in ticks.
    let used =
        || first.read("stat").rsplit(") ").next().map(|rest| rest.split(' ').nth(11).map(str::to_owned));
    let before = used();
    onggi.ok(["unpause", "pot"]);
    assert_eq!(used(), before, "it has run");
    onggi.fails(["exec", "jar", "true"]).says("container jar is paused, unpause the container before exec");
    onggi.fails(["pause", "jar"]).says("is already paused");
    assert_eq!(onggi.ok(["unpause", "jar"]), "jar");
    events.expect("unpause");
    onggi.fails(["unpause", "jar"]).says("is not paused");
    onggi.ok(["pause", "jar"]);
    assert_eq!(onggi.ok(["stop", "-t", "0", "jar"]), "jar");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "exited");
    onggi.fails(["pause", "jar"]).says("is not running");
    onggi.fails(["unpause", "jar"]).says("is not paused");
    let mixed = onggi.fails(["pause", "nothing", "pot"]).says("No such container: nothing");
    assert_eq!(mixed.stdout, "pot\n");
    onggi.ok(["rm", "-f", "pot"]);
}

#[test]
fn a_restart_is_a_stop_and_a_start() {
    let onggi = busybox();
    let script = "echo begun; trap 'echo asked; exit 0' TERM; while :; do sleep 0.01; done";
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", script]);
    let mut log = onggi.spawn(["logs", "-f", "jar"]);
    log.expect("begun");
    let before = onggi.first_process("jar");
    assert_eq!(onggi.ok(["restart", "jar"]), "jar");
    assert!(before.ends_within(std::time::Duration::ZERO));
    assert_ne!(onggi.first_process("jar").pid, before.pid);
    let mut log = onggi.spawn(["logs", "-f", "jar"]);
    for line in ["begun", "asked", "begun"] {
        assert_eq!(log.line().as_deref(), Some(line));
    }
    assert_eq!(onggi.inspect("jar", "{{.RestartCount}}"), "0", "only those that the policy did count");
    // One that has ended is started; one that ignores the signal is killed; a paused one wakes.
    onggi.ok(["stop", "jar"]);
    onggi.ok(["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]);
    onggi.ok(["pause", "deaf"]);
    assert_eq!(onggi.ok(["restart", "-t", "0", "-s", "INT", "jar", "deaf"]), "jar\ndeaf");
    assert_eq!(onggi.ok(["ps", "-q"]).lines().count(), 2);
    let output =
        onggi.fails(["restart", "-t", "0", "nothing", "deaf"]).code(1).says("No such container: nothing");
    assert_eq!(output.stdout, "deaf\n");
    let actions = onggi.ok([
        "events",
        "--since",
        "0",
        "--until",
        "0s",
        "--filter",
        "container=deaf",
        "--format",
        "{{.Action}}",
    ]);
    assert!(actions.ends_with("kill\nkill\ndie\nstop\nstart\nrestart"), "{actions}");
}

#[test]
fn a_restart_keeps_what_goes_at_its_end() {
    let onggi = busybox();
    onggi.ok([
        "run",
        "-d",
        "--rm",
        "--name",
        "jar",
        "busybox",
        "sh",
        "-c",
        "touch /$$-was-here; ls /; exec sleep 1000",
    ]);
    let mut events = onggi.events(&["event=destroy"]);
    onggi.ok(["restart", "-t", "0", "jar"]);
    assert_eq!(onggi.inspect("jar", "{{.State.Running}}"), "true");
    onggi.ok(["exec", "jar", "ls", "/1-was-here"]);
    onggi.ok(["stop", "-t", "0", "jar"]);
    events.expect("destroy");
    onggi.fails(["inspect", "jar"]);
}

#[test]
fn the_processes_of_a_container() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", "sleep 1000 & exec sleep 2000"]);
    onggi.ok(["run", "-d", "--name", "pot", "busybox", "sleep", "3000"]);
    let mut events = onggi.events(&["event=top"]);
    let pid = onggi.first_process("jar").pid.to_string();
    let text = onggi.ok(["top", "jar"]);
    let (titles, rows) = text.split_once('\n').expect("rows");
    let cells: Vec<&str> = titles.split_whitespace().collect();
    assert_eq!(cells, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!((titles.find("PID"), rows.lines().count()), (Some(20), 2), "{text}");
    assert!(rows.contains("sleep 1000") && rows.lines().any(|row| row.contains(&pid)), "{text}");
    events.expect("top");
    let text = onggi.ok(["top", "jar", "-o", "pid,args"]);
    assert!(text.contains(&format!("{pid:<20}sleep 2000")), "{text}");
    // `ps` takes no list of processes beside these.
    assert_eq!(onggi.ok(["top", "jar", "axf"]).lines().count(), 3);
    onggi.ok(["pause", "jar"]);
    onggi.ok(["container", "top", "jar", "aux"]);
    let mut text = String::new();
    onggi.ok(["create", "--name", "new", "busybox", "true"]);
    for words in [
        &["top"] as &[&str],
        &["top", "nothing"],
        &["top", "new"],
        &["top", "jar", "-o", "args"],
        &["top", "jar", "-opid=X"],
        &["top", "jar", "xyz"],
    ] {
        let output = onggi.fails(words);
        text += &format!("$ {}  # {}\n{}", words.join(" "), output.code, output.stderr);
    }
    insta::assert_snapshot!(text.replace(&onggi.inspect("new", "{{.Id}}")[..12], "ID"));
}
