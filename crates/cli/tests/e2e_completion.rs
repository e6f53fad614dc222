//! Completion in real shells: each sources what `onggi completion` prints and is asked for candidates, as Tab would.

mod common;

use std::process::Command;

use common::busybox;
use onggi_testkit::TestEnv;

/// What a shell prints for a script, or `None` where it is not installed.
fn shell(onggi: &TestEnv, program: &str, script: &str) -> Option<String> {
    let completion = onggi.write("completion", &onggi.ok(["completion", program]));
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_onggi")).parent().expect("a directory");
    let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program)
        .arg("-c")
        .arg(script.replace("COMPLETION", &completion.display().to_string()))
        .env("PATH", path)
        .env("HOME", onggi.file(""))
        .env("ONGGI_ROOT", onggi.data())
        .env("ONGGI_RUN_ROOT", onggi.run_root())
        .output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => {
            let output = output.expect("a shell");
            assert!(output.stderr.is_empty(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
    }
}

fn with_containers() -> TestEnv {
    let onggi = busybox();
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    onggi.ok(["volume", "create", "box"]);
    onggi
}

#[test]
fn bash() {
    let onggi = with_containers();
    let script = r#"
        source COMPLETION
        for COMP_LINE in 'onggi ru' 'onggi rm j' 'onggi run busybox:' 'onggi run --pull=n' 'onggi volume rm ' 'onggi run --gpu' 'onggi save --format ' 'onggi logout '; do
            COMP_POINT=${#COMP_LINE} COMPREPLY=()
            _onggi
            echo "${COMPREPLY[*]}"
        done"#;
    // Bash has cut at : and =, and replaces only what is behind them.
    let wanted = "run\njar\nlatest\nnever\nbox\n\ndocker-archive oci-archive\ndocker.io\n";
    assert_eq!(shell(&onggi, "bash", script).expect("every system has bash"), wanted);
}

#[test]
fn fish() {
    let onggi = with_containers();
    let script = "source COMPLETION
        for line in 'onggi ru' 'onggi rm j' 'onggi run bus' 'onggi run --pull=n' 'onggi volume rm ' 'onggi run --gpu'
            complete -C $line | string replace -r '\\t.*' ''
        end";
    match shell(&onggi, "fish", script) {
        None => eprintln!("SKIP: there is no fish; ./test installs it"),
        Some(found) => assert_eq!(found, "run\njar\nbusybox:latest\n--pull=never\nbox\n"),
    }
}

#[test]
fn zsh() {
    let onggi = with_containers();
    // Behind `_describe`, which needs an editor that nobody is typing in, stands the list's name.
    let script = "
        autoload -U compinit; compinit -u -D
        source COMPLETION
        _describe() { print -rl -- ${(P)3} }
        t() { words=(\"$@\"); CURRENT=$#; $_comps[onggi] }
        t onggi rm j; t onggi run bus; t onggi run --pull=n; t onggi volume rm ''; t onggi run --gpu";
    match shell(&onggi, "zsh", script) {
        None => eprintln!("SKIP: there is no zsh; ./test installs it"),
        Some(found) => assert_eq!(found, "jar\nbusybox\\:latest\n--pull=never\nbox\n"),
    }
}
