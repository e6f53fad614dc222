//! `onggi __complete`: what fits at the end of a command line, for the shells' completions.
//!
//! One candidate a line, with its meaning behind a tab; `:files` asks the shell for its own files. What fits is found in the commands'
//! own definitions, and names in the store: a store that cannot be read offers none, since nobody wants an error at a press of Tab.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Arg, ArgMatches};
use onggi_engine::Status;
use onggi_engine::request::ListOptions;

use crate::command::{Command, Group, lookup, lookup_word};
use crate::commands::{NOUNS, TABLE};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, texts};

pub(crate) const COMMAND: Command = Command {
    names: &["__complete"],
    group: Group::Hidden,
    about: "Complete a command line, for shells",
    build,
    run,
    failure: 1,
    examples: &[],
};

fn build() -> clap::Command {
    flags::command("onggi __complete -- WORD...")
        .arg(Arg::new("words").value_name("WORD").num_args(0..).allow_hyphen_values(true))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let words = texts(matches, "words");
    let (moved, words) = roots(context, &words);
    let mut found = candidates(words, &mut |kind| names(&moved, kind));
    found.dedup();
    let mut out = String::new();
    for (name, meaning) in found {
        out.push_str(&name);
        if !meaning.is_empty() {
            out.push_str(&format!("\t{meaning}"));
        }
        out.push('\n');
    }
    context.print(&out)?;
    Ok(0)
}

type Candidate = (String, String);

/// What a name may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Containers,
    Running,
    Ended,
    Images,
    Volumes,
    Networks,
    /// Those that images here have in their names.
    Registries,
}

/// Asks the shell for files.
fn files() -> Vec<Candidate> {
    vec![(":files".to_owned(), String::new())]
}

/// `--root` and `--run-root` before the command say whose names are meant.
fn roots<'w>(context: &Context, words: &'w [String]) -> (Context, &'w [String]) {
    let mut moved = Context::new();
    moved.flags = context.flags.clone();
    let mut rest = words;
    while let [flag, after @ ..] = rest {
        let (name, value, after) = match (flag.split_once('='), after) {
            (Some((name, value)), [_, ..]) => (name, value, after),
            (None, [value, after @ ..]) if !after.is_empty() => (flag.as_str(), value.as_str(), after),
            _ => break,
        };
        match name {
            "--root" => moved.flags.root = Some(value.into()),
            "--run-root" => moved.flags.run_root = Some(value.into()),
            _ => break,
        }
        rest = after;
    }
    (moved, rest)
}

/// The last of `words` is what is being typed, perhaps empty.
fn candidates(words: &[String], names: &mut dyn FnMut(Kind) -> Vec<String>) -> Vec<Candidate> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    let mut found = match before {
        [] if current.starts_with('-') => ["--root", "--run-root", "--help", "--version"]
            .map(|flag| (flag.to_owned(), String::new()))
            .to_vec(),
        [.., flag] if before.len() == 1 && matches!(flag.as_str(), "--root" | "--run-root") => {
            return files();
        }
        [] => first_words(),
        [noun, rest @ ..] if NOUNS.iter().any(|(known, _)| known == noun) => match rest {
            [] => verbs(noun),
            [verb, rest @ ..] => match lookup(noun, verb) {
                Some((command, path)) => of_command(command, path, rest, current, names),
                None => Vec::new(),
            },
        },
        [word, rest @ ..] => match lookup_word(word) {
            Some((command, path)) => of_command(command, path, rest, current, names),
            None => Vec::new(),
        },
    };
    found.retain(|(name, _)| name == ":files" || name.starts_with(current.as_str()));
    found
}

fn first_words() -> Vec<Candidate> {
    let listed = TABLE.iter().filter(|command| command.group != Group::Hidden);
    let one = listed.filter(|command| !command.name().contains(' '));
    let nouns = NOUNS.iter().map(|(noun, about)| ((*noun).to_owned(), (*about).to_owned()));
    one.map(|command| (command.name().to_owned(), command.about.to_owned())).chain(nouns).collect()
}

fn verbs(noun: &str) -> Vec<Candidate> {
    let shown = TABLE.iter().filter(|command| !command.examples.is_empty());
    let verb = |command: &&&Command| {
        command.names.iter().find_map(|path| path.split_once(' ').filter(|(first, _)| *first == noun))
    };
    shown.filter_map(|command| Some((verb(&command)?.1.to_owned(), command.about.to_owned()))).collect()
}

fn of_command(
    command: &Command,
    path: &'static str,
    before: &[String],
    current: &str,
    names: &mut dyn FnMut(Kind) -> Vec<String>,
) -> Vec<Candidate> {
    let tree = command.tree(path);
    let to_program = tree.get_arguments().any(|arg| arg.get_id() == "words");
    let mut positionals = Vec::new();
    let mut waiting = None;
    for word in before {
        if waiting.take().is_some() {
            continue;
        }
        let in_program = to_program && !positionals.is_empty();
        if word.starts_with('-') && word.len() > 1 && !in_program {
            waiting = flag_that_waits(&tree, word);
        } else {
            positionals.push(word.as_str());
        }
    }
    if let Some(flag) = waiting {
        return values(flag, names);
    }
    // Behind the image or the container everything is the program's own.
    if to_program && !positionals.is_empty() {
        return files();
    }
    if let Some((flag, _)) = current.split_once('=').filter(|(flag, _)| flag.starts_with("--")) {
        let arg = tree.get_arguments().find(|arg| arg.get_long() == Some(&flag[2..]) && !arg.is_hide_set());
        let found = arg.map(|arg| values(arg, names)).unwrap_or_default();
        return found.into_iter().map(|(name, meaning)| (format!("{flag}={name}"), meaning)).collect();
    }
    if current.starts_with('-') {
        return offered_flags(&tree);
    }
    let shown = tree.get_positionals().nth(positionals.len()).or_else(|| {
        tree.get_positionals().last().filter(|arg| arg.get_num_args().is_some_and(|n| n.max_values() > 1))
    });
    let Some(arg) = shown else { return Vec::new() };
    let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let plain = |names: Vec<String>| -> Vec<Candidate> {
        let fresh = names.into_iter().filter(|name| !positionals.contains(&name.as_str()));
        fresh.map(|name| (name, String::new())).collect()
    };
    match value.split(' ').next().unwrap_or_default() {
        "CONTAINER" => plain(names(match command.name() {
            "stop" | "kill" | "exec" | "attach" | "top" | "pause" | "unpause" | "stats" => Kind::Running,
            "start" => Kind::Ended,
            _ => Kind::Containers,
        })),
        "IMAGE" | "SOURCE" | "REPOSITORY[:TAG]" => plain(names(Kind::Images)),
        "VOLUME" => plain(names(Kind::Volumes)),
        "SERVER" => plain(names(Kind::Registries)),
        "NETWORK" if command.name() != "create" => plain(names(Kind::Networks)),
        "NAME" if path == "inspect" => {
            plain([Kind::Containers, Kind::Images, Kind::Volumes].into_iter().flat_map(names).collect())
        }
        "COMMAND" => first_words(),
        _ => possible(arg).unwrap_or_else(files),
    }
}

/// The flag whose value the next word is, if any.
fn flag_that_waits<'t>(tree: &'t clap::Command, word: &str) -> Option<&'t Arg> {
    let word = OsString::from(word);
    if !flags::wants_next(tree, &word) {
        return None;
    }
    let text = word.to_str()?;
    match text.strip_prefix("--") {
        Some(long) => tree
            .get_arguments()
            .find(|arg| arg.get_long_and_visible_aliases().is_some_and(|all| all.contains(&long))),
        None => tree.get_arguments().find(|arg| arg.get_short() == text.chars().last()),
    }
}

fn offered_flags(tree: &clap::Command) -> Vec<Candidate> {
    let visible = tree.get_arguments().filter(|arg| !arg.is_hide_set());
    let flag = |arg: &Arg| {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        Some((format!("--{}", arg.get_long()?), about))
    };
    visible.filter_map(flag).collect()
}

fn possible(arg: &Arg) -> Option<Vec<Candidate>> {
    let values = arg.get_possible_values();
    let named = values.iter().map(|value| (value.get_name().to_owned(), String::new()));
    (!values.is_empty()).then(|| named.collect())
}

/// What the value of a flag may be, as far as that can be listed.
fn values(arg: &Arg, names: &mut dyn FnMut(Kind) -> Vec<String>) -> Vec<Candidate> {
    let words = |text: &str| text.split(' ').map(|word| (word.to_owned(), String::new())).collect();
    let plain = |names: Vec<String>| names.into_iter().map(|name| (name, String::new())).collect::<Vec<_>>();
    if let Some(found) = possible(arg) {
        return found;
    }
    match arg.get_id().as_str() {
        "pull" => words("missing never always"),
        "network" => {
            let others = names(Kind::Running).into_iter().map(|name| format!("container:{name}"));
            plain(names(Kind::Networks).into_iter().chain(others).collect())
        }
        "isolation" => words("container process"),
        "log-driver" => words("json-file none"),
        "attach" => words("stdin stdout stderr"),
        "cgroupns" => words("private host"),
        "format" => words("json table"),
        "pid" | "ipc" => {
            let others = names(Kind::Running).into_iter().map(|name| format!("container:{name}"));
            plain(["host".to_owned()].into_iter().chain(others).collect())
        }
        "uts" => words("host"),
        "signal" | "stop-signal" => words("TERM KILL INT HUP QUIT USR1 USR2 STOP CONT WINCH"),
        "volumes-from" => plain(names(Kind::Containers)),
        "volume" => plain(names(Kind::Volumes)).into_iter().chain(files()).collect(),
        "cap-add" | "cap-drop" => {
            let all = onggi_engine::capability_names().map(str::to_owned);
            plain(["ALL".to_owned()].into_iter().chain(all).collect())
        }
        "env-file" | "label-file" | "cidfile" | "input" | "output" | "directory" | "iidfile" => files(),
        _ => Vec::new(),
    }
}

/// The names that there are; none where the store cannot be read.
fn names(context: &Context, kind: Kind) -> Vec<String> {
    let Ok(engine) = context.engine() else { return Vec::new() };
    match kind {
        Kind::Images => engine
            .store()
            .images()
            .unwrap_or_default()
            .into_iter()
            .flat_map(|image| image.names)
            .filter(|name| name.tag().is_some())
            .map(|name| name.familiar())
            .collect(),
        Kind::Registries => {
            let images = engine.store().images().unwrap_or_default().into_iter();
            let names = images.flat_map(|image| image.names).map(|name| name.domain().to_owned());
            names.collect::<BTreeSet<_>>().into_iter().collect()
        }
        Kind::Volumes => engine
            .volumes(&Default::default())
            .unwrap_or_default()
            .into_iter()
            .map(|volume| volume.name)
            .collect(),
        Kind::Networks => engine
            .networks(&Default::default())
            .unwrap_or_default()
            .into_iter()
            .map(|network| network.name)
            .collect(),
        _ => {
            let fits = |status: Status| match kind {
                Kind::Running => status.is_live(),
                Kind::Ended => !status.is_live(),
                _ => true,
            };
            let all = engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap_or_default();
            all.into_iter().filter(|one| fits(one.state)).map(|one| one.name).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut names = |kind| {
            let names: &[&str] = match kind {
                Kind::Containers => &["web", "ended"],
                Kind::Running => &["web"],
                Kind::Ended => &["ended"],
                Kind::Images => &["debian:latest", "busybox:latest"],
                Kind::Volumes => &["data"],
                Kind::Networks => &["bridge", "host", "shop"],
                Kind::Registries => &["docker.io", "ghcr.io"],
            };
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        candidates(&words, &mut names).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_fits() {
        for (line, fits) in [
            ("ru", "run"),
            ("vol", "volume"),
            ("volume cr", "create"),
            ("run --netw", "--network --network-alias"),
            ("run --network h", "host"),
            ("run --network=h", "--network=host"),
            ("run --network ", "bridge host shop container:web"),
            ("network rm s", "shop"),
            ("network connect s", "shop"),
            ("run d", "debian:latest"),
            ("run -it --rm -e A=1 b", "busybox:latest"),
            ("run --name web b", "busybox:latest"),
            ("run busybox --he", ":files"),
            ("run --env-file ", ":files"),
            ("run -v ", "data :files"),
            ("run --gpus", ""),
            ("stop ", "web"),
            ("logout g", "ghcr.io"),
            ("save --format ", "docker-archive oci-archive"),
            ("pull --progress ", "auto plain json none"),
            ("start ", "ended"),
            ("rm ", "web ended"),
            ("rm web ", "ended"),
            ("rm -f web e", "ended"),
            ("exec -it w", "web"),
            ("inspect d", "debian:latest data"),
            ("volume rm ", "data"),
            ("completion f", "fish"),
            ("container sto", "stop"),
            ("nonsense ", ""),
            ("load -i ", ":files"),
            ("run --pid c", "container:web"),
        ] {
            let found = complete(line);
            let wanted: Vec<&str> = fits.split(' ').filter(|word| !word.is_empty()).collect();
            assert_eq!(found, wanted, "{line:?}");
        }
        assert!(complete("").contains(&"ps".to_owned()) && !complete("").contains(&"__complete".to_owned()));
    }
}
