//! Every example of every `--help` is run, in a shell, as it stands: what a page shows must work.
//!
//! What the examples name (`web`, `db`, `debian`…) is made to be there before each. What they write outside of the test's directory
//! is sent into it, and the few that cannot be run are listed with the reason.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::busybox;
use onggi_testkit::TestEnv;

/// Not run, and why.
const NOT_RUN: [(&str, &str); 9] = [
    ("onggi doctor --fix", "tidies the machine that runs the tests, other tests' things among it"),
    ("onggi login", "needs a registry, as e2e_registry has one"),
    ("onggi login -u me --password-stdin ghcr.io < token", "the same"),
    ("onggi pull --progress json debian", "the same"),
    ("onggi pull --platform linux/arm64 debian", "the same"),
    ("onggi pull debian", "the same"),
    ("onggi pull debian@sha256:…", "the same; and what stands for a digest is none"),
    ("onggi pull localhost:5000/team/app:1.2", "the same"),
    ("onggi push localhost:5000/team/app:1.2", "the same"),
];

/// They go on until somebody ends them: they must still run after a moment. All others have to end by themselves.
const ENDLESS: [&str; 7] = [
    "onggi attach --no-stdin web",
    "onggi attach shell",
    "onggi events",
    "onggi events --format '{{json .}}'",
    "onggi logs -f --tail 20 web",
    "onggi stats",
    "onggi wait --condition removed job",
];

/// What is written in place of what lies outside of the test's directory, or is not on every machine.
const REPLACED: [(&str, &str); 6] = [
    ("/etc/bash_completion.d/", "./"),
    ("/usr/local/share/zsh/site-functions/", "./"),
    ("~/.config/fish/completions/", "./"),
    ("/usr/local/share/man/", "./"),
    ("| man -l -", "| grep -F .TH"),
    ("| zstd", "| gzip"),
];

/// The program of the examples' containers: it ends when asked to, and lets what it waits for be seen.
const SERVER: &str = r#"CMD ["sh", "-c", "trap 'exit 0' TERM INT; trap : HUP; echo runs; while :; do sleep 1000 & wait; done"]"#;

#[test]
fn every_example_works() {
    let onggi = busybox();
    files(&onggi);
    images(&onggi);
    let mut examples = examples(&onggi);
    for (line, _) in NOT_RUN {
        let place = examples.iter().position(|example| example == line);
        examples.remove(place.unwrap_or_else(|| panic!("`{line}` is not an example any more")));
    }
    for line in ENDLESS {
        assert!(examples.iter().any(|example| example == line), "`{line}` is not an example any more");
    }
    // It takes everything away.
    examples.sort_by_key(|line| line.contains("system reset"));
    assert!(examples.len() > 60, "only {} examples were found", examples.len());
    let mut failed = Vec::new();
    for line in &examples {
        prepare(&onggi, line);
        if let Err(problem) = run(&onggi, line) {
            failed.push(format!("{line}\n{problem}"));
        }
        if line == "onggi kill web" {
            // It is told, and ends a moment later.
            onggi.ok(["wait", "web"]);
        }
        if line.contains("rmi ") || line.contains("prune ") {
            images(&onggi);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} examples do not work (what cannot in a test has its reason in NOT_RUN):\n\n{}",
        failed.len(),
        examples.len(),
        failed.join("\n")
    );
}

/// The lines under `Examples:` of every listed command.
fn examples(onggi: &TestEnv) -> Vec<String> {
    let overview = onggi.ok(["--help"]);
    let names = overview.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.map(|line| line.split("  ").next().unwrap_or_default().trim().to_owned());
    let mut examples = Vec::new();
    for name in names {
        let help = onggi.ok(name.split(' ').chain(["--help"]));
        let (_, shown) =
            help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("`{name}` shows no example"));
        let lines = shown.lines().filter(|line| line.starts_with("  onggi "));
        examples.extend(lines.map(|line| line.trim().to_owned()));
    }
    examples
}

/// The files that examples read: busybox with the programs that they ask for, as a tar and as images.
fn files(onggi: &TestEnv) {
    let script = r#"mkdir tree && tar -xf "$0" -C tree && cd tree && mkdir -p var/lib var/log/nginx usr/share/nginx/html
        printf '#!/bin/sh\nexec sh "$@"\n' > bin/bash; printf '#!/bin/sh\n' > bin/psql; chmod 755 bin/bash bin/psql
        echo 'postgres:x:70:70::/:/bin/sh' >> etc/passwd; tar -cf ../rootfs.tar .; gzip -k ../rootfs.tar
        cd ..; onggi import rootfs.tar debian; onggi save -o debian.tar debian
        cp debian.tar images.tar.zst; mkdir layout; tar -xf debian.tar -C layout; mkdir site"#;
    let tar = onggi_testkit::image("busybox");
    let made = shell(onggi, &script.replace("$0", &tar.display().to_string()));
    assert!(made.status.success(), "{}", text(&made));
}

/// `debian`, `nginx` and the rest are busybox under their names.
fn images(onggi: &TestEnv) {
    let rootfs = onggi.file("rootfs.tar").display().to_string();
    for name in ["debian", "debian:12", "nginx"] {
        onggi.ok(["import", "-c", SERVER, rootfs.as_str(), name]);
    }
    onggi.import("busybox");
    onggi.ok(["tag", "debian", "app"]);
}

/// The containers, volumes and networks that the line names, in the state that it speaks of.
fn prepare(onggi: &TestEnv, line: &str) {
    let named = |name: &str| line.split([' ', ':']).any(|word| word == name);
    if named("data") {
        onggi.ok(["volume", "create", "data"]);
    }
    // One that others have left publishes nothing.
    if line == "onggi volume rm data" || line.starts_with("onggi port ") {
        onggi.run(["rm", "-f", "web"]);
    }
    for name in ["web", "db", "batch", "shell", "job"].into_iter().filter(|name| named(name)) {
        let wanted = if line.contains(&format!("--name {name}")) {
            ""
        } else if line.starts_with("onggi start ") || line == "onggi rm web" {
            "created"
        } else if line.starts_with("onggi unpause ") {
            "paused"
        } else if name == "job" {
            "exited"
        } else {
            "running"
        };
        let state = onggi.run(["inspect", "-f", "{{.State.Status}}", name]).stdout;
        if state.trim_end() != wanted {
            onggi.run(["rm", "-f", name]);
            make(onggi, name, wanted);
        }
    }
    networks(onggi, line);
}

/// A line that makes a network finds none of its name, any other finds it, with nobody on it but whom the line takes off.
fn networks(onggi: &TestEnv, line: &str) {
    let Some(act) = line.strip_prefix("onggi network ") else { return };
    for name in ["shop", "back", "both"].into_iter().filter(|name| act.split(' ').any(|word| word == *name)) {
        onggi.run(["network", "disconnect", "-f", name, "web"]);
        onggi.ok(["network", "rm", "-f", name]);
        if act.starts_with("create ") {
            continue;
        }
        onggi.ok(["network", "create", name]);
        if act.starts_with("disconnect ") {
            onggi.ok(["network", "connect", name, "web"]);
        }
    }
}

fn make(onggi: &TestEnv, name: &str, state: &str) {
    let program: &[&str] = match name {
        "shell" => &["sh"],
        "job" => &["true"],
        _ => &[],
    };
    let begin: &[&str] = match state {
        "" => return,
        "created" => &["create", "-i"],
        "exited" => &["run"],
        _ => &["run", "-di"],
    };
    let published: &[&str] = if name == "web" { &["-p", "80"] } else { &[] };
    onggi.ok(begin.iter().chain(published).chain(&["--name", name, "debian"]).chain(program));
    if state == "paused" {
        onggi.ok(["pause", name]);
    } else if state == "running" && program.is_empty() {
        // From here on it ends when it is asked to.
        onggi.spawn(["logs", "-f", name]).expect("runs");
    }
}

/// Runs the line to its end, or for a moment if it has none.
fn run(onggi: &TestEnv, line: &str) -> Result<(), String> {
    if line.contains(" -it ") {
        return in_terminal(onggi, line, "# ", "exit\r");
    }
    if line.contains(" prune ") && !line.contains(" -f") {
        return in_terminal(onggi, line, "[y/N]", "y\r");
    }
    let mut script = line.to_owned();
    for (outside, inside) in REPLACED {
        script = script.replace(outside, inside);
    }
    if script.contains("0123456789ab") {
        script = script.replace("0123456789ab", &onggi.ok(["images", "-q", "debian:12"]));
    }
    let endless = ENDLESS.contains(&line);
    let time = if endless { "0.3" } else { "9" };
    let output = shell(onggi, &format!("timeout -s KILL {time} {script}"));
    let ended_by_itself = output.status.signal().is_none();
    match output.status.success() || !ended_by_itself {
        true if endless != ended_by_itself => Ok(()),
        _ => Err(format!("{}: {}", output.status, text(&output))),
    }
}

/// With a person who answers a question, or leaves a shell.
fn in_terminal(onggi: &TestEnv, line: &str, question: &str, answer: &str) -> Result<(), String> {
    let mut terminal = onggi.terminal(line.split(' ').skip(1));
    terminal.expect(question);
    terminal.press(answer);
    match terminal.wait() {
        (0, _) => Ok(()),
        (code, screen) => Err(format!("ended with {code}: {screen}")),
    }
}

/// A script in the directory of the files, with the `onggi` under test. Nobody answers it.
fn shell(onggi: &TestEnv, script: &str) -> Output {
    let built = Path::new(env!("CARGO_BIN_EXE_onggi")).parent().expect("a directory");
    let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap_or_default());
    Command::new("bash")
        .args(["-o", "pipefail", "-ec", script])
        .current_dir(onggi.file("").as_path())
        .env("PATH", path)
        // Credentials are kept in the user's own files.
        .env("HOME", onggi.file("").as_path())
        .env_remove("DOCKER_CONFIG")
        .env_remove("REGISTRY_AUTH_FILE")
        .env_remove("XDG_RUNTIME_DIR")
        .env("ONGGI_ROOT", onggi.data())
        .env("ONGGI_RUN_ROOT", onggi.run_root())
        .stdin(Stdio::null())
        .output()
        .expect("bash")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
