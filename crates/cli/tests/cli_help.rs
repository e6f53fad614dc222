//! What `onggi`, its nouns and every command's `--help` print, whole. Needs no root and touches no store.

mod cli;

use cli::{Place, shown};

/// The commands that the overview lists, in its order.
fn commands(place: &Place) -> Vec<String> {
    let overview = place.run(&["--help"]).0;
    let lines = overview.lines().filter_map(|line| line.strip_prefix("  "));
    let names: Vec<String> =
        lines.map(|line| line.split("  ").next().unwrap_or_default().trim().to_owned()).collect();
    assert!(names.len() > 30, "{overview}");
    names
}

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    for name in commands(&place) {
        let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let (help, errors, code) = place.run(&words);
        assert_eq!((errors.as_str(), code), ("", 0), "{name}");
        assert!(help.contains("\nExamples:\n"), "{name} shows no example:\n{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 120 && line == line.trim_end()), "{help}");
        insta::assert_snapshot!(name.replace(' ', "_"), help);
    }
}

#[test]
fn the_overview_and_the_nouns() {
    let place = Place::new();
    let (text, errors, code) = place.run(&[]);
    assert_eq!((errors.as_str(), code), ("", 0));
    // The two lines on this host differ from host to host.
    let (fixed, host) = text.split_once("shows that everything works.\n\n").expect("the last lines");
    insta::assert_snapshot!("overview", fixed);
    assert_eq!(host.lines().count(), 2, "{host}");
    assert!(host.contains("Nothing is kept in"), "{host}");
    for noun in ["container", "image", "volume", "network", "system", "config"] {
        let page = place.run(&[noun]).0;
        insta::assert_snapshot!(format!("noun_{noun}"), page);
    }
}

#[test]
fn help_is_reached_in_many_ways() {
    let place = Place::new();
    let wanted = place.run(&["volume", "ls", "--help"]).0;
    assert_eq!(place.run(&["help", "volume", "ls"]).0, wanted);
    assert_eq!(place.run(&["volume", "ls", "-h"]).0, wanted);
    assert_eq!(place.run(&["help"]).0, place.run(&["--help"]).0);
    // `-h` of `run` is the host name, as in Docker.
    assert!(place.run(&["run", "-h"]).1.contains("flag needs an argument"));
}

#[test]
fn versions() {
    let place = Place::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(place.run(&["--version"]).0, format!("onggi version {version}\n"));
    assert_eq!(place.run(&["version", "--format", "{{.Client.Version}}"]).0, format!("{version}\n"));
    assert!(place.run(&["version"]).0.starts_with(&format!("Onggi {version}\n")));
}

#[test]
fn completions_and_manual_pages_come_from_the_same_flags() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let (script, _, code) = place.run(&["completion", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("__complete"), "{script}");
    }
    let (flags, errors, code) = place.run(&["__complete", "--", "run", "--"]);
    assert_eq!((errors.as_str(), code), ("", 0));
    for line in ["--security-opt\t", "--detach-keys\tThe keys that leave a container running"] {
        assert!(flags.contains(line), "{flags}");
    }
    assert!(!flags.contains("--gpus"), "it would be refused: {flags}");
    let page = place.run(&["man", "run"]).0;
    for part in
        [".TH ONGGI\\-RUN 1", ".SH EXAMPLES", "\\fB\\-\\-security\\-opt OPTION\\fR", ".SH EXIT STATUS"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.is_ascii(), "roff takes other letters by number only");
    for name in ["image-tree", "onggi-image-tree"] {
        assert_eq!(place.run(&["man", name]).0, place.run(&["man", "image", "tree"]).0);
    }
    let arguments = place.run(&["man", "rm"]).0;
    let (before, after) = arguments.split_once(".SH ARGUMENTS\n").expect("a section of its own");
    assert!(after.starts_with(".TP\n\\fBCONTAINER\\fR") && !before.contains("CONTAINER\\fR"), "{arguments}");
    let directory = place.directory().join("man");
    place.run(&["man", "--directory", &directory.display().to_string()]);
    assert!(directory.join("onggi-volume-ls.1").exists() && directory.join("onggi.1").exists());
}

#[test]
fn settings_are_shown_with_their_origin() {
    let place = Place::new();
    let (text, errors, code) = place.run(&["--root", "/else/where", "config", "show", "--origin"]);
    assert_eq!((errors.as_str(), code), ("", 0));
    // The columns are as wide as the place's name is long.
    let lines: Vec<String> = shown(&place, &text)
        .lines()
        .map(|line| {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" | ")
        })
        .collect();
    insta::assert_snapshot!("config_show_origin", lines.join("\n"));
}
