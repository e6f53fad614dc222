//! `onggi man`: manual pages, made from the same definitions as `--help`.

use std::fs;
use std::path::Path;

use clap::{Arg, ArgMatches};

use super::completion::whole_tree;
use crate::command::{Command, Group, lookup, lookup_word};
use crate::commands::TABLE;
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, text, texts, value};

pub(crate) const COMMAND: Command = Command {
    names: &["man"],
    group: Group::Host,
    about: "Print a manual page, or write all of them to a directory",
    build,
    run,
    failure: 1,
    examples: &[
        ("man run | man -l -", "Read one"),
        ("man --directory /usr/local/share/man/man1", "Install all"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi man [OPTIONS] [COMMAND...]")
        .arg(value("directory", Some('d'), "DIR", "Write all pages there"))
        .arg(
            Arg::new("names")
                .value_name("COMMAND")
                .num_args(0..)
                .help("Whose page to print; onggi's own by default"),
        )
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(directory) = text(matches, "directory") {
        return write_all(Path::new(directory)).map(|()| 0);
    }
    let words = texts(matches, "names");
    let tree = match words.as_slice() {
        [] => whole_tree(),
        [word] => named(lookup_word(word), word)?,
        [noun, verb] => named(lookup(noun, verb), &words.join(" "))?,
        _ => return Err(CliError::invalid(format!("'{}' is not an onggi command", words.join(" ")))),
    };
    context.print(&String::from_utf8_lossy(&page(tree)?))?;
    Ok(0)
}

fn named(found: Option<(&'static Command, &'static str)>, name: &str) -> Result<clap::Command, CliError> {
    let (command, path) =
        found.ok_or_else(|| CliError::invalid(format!("'{name}' is not an onggi command")))?;
    Ok(titled(command, path))
}

/// Pages are called `onggi-volume-ls`.
fn titled(command: &Command, path: &'static str) -> clap::Command {
    command.tree(path).name(format!("onggi-{}", path.replace(' ', "-"))).version(env!("CARGO_PKG_VERSION"))
}

fn write_all(directory: &Path) -> Result<(), CliError> {
    let fail = |path: &Path, error| CliError::io(format!("write {}", path.display()), &error);
    fs::create_dir_all(directory).map_err(|error| fail(directory, error))?;
    let pages = TABLE.iter().filter(|command| command.group != Group::Hidden);
    let trees = pages.map(|command| titled(command, command.name())).chain([whole_tree()]);
    for tree in trees {
        let path = directory.join(format!("{}.1", tree.get_name()));
        fs::write(&path, page(tree)?).map_err(|error| fail(&path, error))?;
    }
    Ok(())
}

fn page(tree: clap::Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(tree).render(&mut page).map_err(|error| CliError::io("make the page", &error))?;
    Ok(page)
}
